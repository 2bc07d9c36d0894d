"""What the variants of SAM change: weights taken over, parts trained, click loops, whole volumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fmlab.errors import ModelError, PromptError
from fmlab.interactive import ma_sam, sam_med2d
from fmlab.interactive.clicks import Clicks
from fmlab.interactive.ma_sam import MaSam
from fmlab.interactive.ma_sam_volume import averaged, predict_volume
from fmlab.interactive.sam import Sam
from fmlab.interactive.tuning import resized

TINY = dict(size=32, patch=4, channels=16, depth=2, heads=2, everywhere=(1,), window=4, prompt_channels=16, decoder_heads=2,
            mlp=16, hidden=16)


@pytest.fixture
def plain() -> Sam:
    torch.manual_seed(0)
    return Sam(**TINY)


def med2d(**changes) -> Sam:
    torch.manual_seed(1)
    return Sam(**TINY | changes, block=sam_med2d.AdapterBlock)


def test_positions_are_resized_and_all_else_is_not():
    ramp = torch.arange(8.0)[None, :, None, None].expand(1, 8, 8, 3)
    assert torch.allclose(resized("image_encoder.pos_embed", ramp, torch.zeros(1, 4, 4, 3))[0, :, 0, 0],
                          torch.tensor([0.5, 2.5, 4.5, 6.5]))
    table = torch.arange(15.0)[:, None].expand(15, 2)
    shorter = resized("image_encoder.blocks.1.attn.rel_pos_h", table, torch.zeros(7, 2))
    assert shorter.shape == (7, 2) and shorter[3, 0] == 7 and torch.allclose(shorter, 14 - shorter.flip(0))
    assert resized("neck.0.weight", table, torch.zeros(7, 2)) is table


def test_sam_med2d_takes_over_sam_but_for_what_it_names(plain, capsys):
    model = med2d(size=16)
    before = model.state_dict()["mask_decoder.mask_tokens.weight"].clone()
    report = sam_med2d.load_sam(model, plain.state_dict())
    ours, theirs = model.state_dict(), plain.state_dict()
    assert set(report.missing) == {key for key in ours if any(word in key for word in (
        ".Adapter.", "mask_tokens", "hypernetworks", "iou_prediction_head"))} and not report.unexpected
    assert "missing" in capsys.readouterr().out
    assert torch.equal(ours["mask_decoder.mask_tokens.weight"], before)
    assert torch.equal(ours["image_encoder.blocks.1.mlp.lin1.weight"], theirs["image_encoder.blocks.1.mlp.lin1.weight"])
    assert ours["image_encoder.blocks.1.attn.rel_pos_h"].shape == (7, 8)
    with pytest.raises(ModelError, match="Not one entry"):
        sam_med2d.load_sam(model, {"other": torch.zeros(1)})
    with pytest.raises(ModelError, match="left unchanged"):  # another width
        sam_med2d.load_sam(Sam(**TINY | dict(channels=32), block=sam_med2d.AdapterBlock), theirs)


def test_sam_med2d_needs_an_even_grid():
    with pytest.raises(ModelError, match="even"):
        med2d(size=20)


def truth_of(n: int = 2) -> torch.Tensor:
    truth = torch.zeros(n, 32, 32, dtype=torch.bool)
    truth[:, 4:14, 6:20] = True
    return truth


def listened(model: Sam) -> list[dict]:
    """What the model's decoder is asked from now on."""
    asked, decode = [], model.decode
    model.decode = lambda *args, **kw: (asked.append(kw), decode(*args, **kw))[1]
    return asked


def test_sam_med2d_passes_are_steps_of_training():
    model, given = med2d(), []
    asked = listened(model)

    def corrections(prediction, truth, rng, n):
        assert prediction.shape == truth.shape == (32, 32)
        given.append(n)
        return Clicks(torch.zeros(n, 2), torch.ones(n, dtype=torch.int64))

    optimizer = torch.optim.SGD(sam_med2d.trainable(model), 1e-3)
    images = torch.randn(1, 3, 32, 32)
    reached = []
    for one in sam_med2d.passes(model, images, truth_of(), np.random.default_rng(0), corrections=corrections):
        assert one.logits.shape == (2, 1, 32, 32) and one.iou.shape == (2, 1)
        optimizer.zero_grad()
        (one.logits.square().mean() + one.iou.mean()).backward()
        reached.append(model.image_encoder.blocks[0].Adapter.norm.weight.grad is not None)
        optimizer.step()
    assert reached == [True] + [False] * 8  # zero_grad leaves None, and later passes leave the encoder alone
    assert model.image_encoder.blocks[0].mlp.lin1.weight.grad is None
    assert ("boxes" in asked[0]) != ("points" in asked[0]) and asked[0]["masks"] is None
    alone = [i for i, kw in enumerate(asked) if "points" not in kw and "boxes" not in kw]
    assert len(asked) == 9 and len(alone) == 2 and alone[-1] == 8
    assert all(0 <= kw["masks"].min() and kw["masks"].max() <= 1 and not kw["masks"].requires_grad for kw in asked[1:])
    assert len(given) == 2 * 6 and set(given) <= {1, 3, 5, 9}


@torch.no_grad()
def test_sam_med2d_passes_with_its_own_policies():
    model = med2d().eval()
    images, asked = torch.randn(2, 3, 32, 32), listened(model)
    kinds = set()
    for seed in range(4):
        asked.clear()
        rng = np.random.default_rng(seed)
        assert len(list(sam_med2d.passes(model, images, truth_of(), rng, torch.tensor([1, 0]), iterations=3))) == 4
        kinds.add(next(iter(asked[0])))
    assert kinds == {"boxes", "points"}
    with pytest.raises(PromptError):
        next(sam_med2d.passes(model, images, torch.zeros(2, 32, 32), np.random.default_rng(0)))


def ma(**changes) -> MaSam:
    torch.manual_seed(2)
    return MaSam(**TINY | dict(classes=2, slices=3, between=8, rank=4, upscaling=(8, 4)) | changes)


@torch.no_grad()
def test_ma_sam_begins_as_sam_slice_by_slice(plain):
    model = ma().eval()
    report = ma_sam.load_sam(model, plain.state_dict())
    assert {key[:42] for key in report.unexpected} == {"mask_decoder.output_hypernetworks_mlps.3.l"}  # SAM has four masks
    assert {ma_sam.sam_name(key).split(".")[0] for key in report.missing} == {"FacTu", "FacTv", "image_encoder", "mask_decoder"}
    assert all(ma_sam.is_trained(key) for key in report.missing)
    stack = torch.rand(2, 3, 32, 32)
    theirs = plain.image_encoder(stack.flatten(0, 1)[:, None].expand(-1, 3, -1, -1))
    assert torch.equal(model.encode(stack), theirs)
    assert torch.equal(model.sam.mask_decoder.iou_token.weight, plain.mask_decoder.iou_token.weight)


@torch.no_grad()
def test_ma_sam_reads_neighbours_of_its_own_stack_only():
    model = trained(ma().eval())
    stacks = torch.rand(2, 3, 32, 32)
    before = model.encode(stacks).unflatten(0, (2, 3))
    stacks[0, 2] = 0
    after = model.encode(stacks).unflatten(0, (2, 3))
    assert (before[0] - after[0]).abs().amax((1, 2, 3)).min() > 1e-4  # the last slice is read by all three
    assert torch.allclose(before[1], after[1], atol=1e-6)
    with pytest.raises(ModelError, match="stacks"):
        model(stacks[:, :2])


def trained(model: MaSam) -> MaSam:
    """With something in what begins at zero."""
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def test_ma_sam_trains_what_the_paper_trains():
    model = ma()
    parameters = ma_sam.trainable(model)
    model(torch.rand(1, 3, 32, 32)).square().mean().backward()
    assert all(p.grad is None for name, p in model.named_parameters() if not ma_sam.is_trained(name))
    assert model.sam.image_encoder.ImageEncoderViT.blocks[0].Block.adapter_linear_up_2.weight.grad.abs().max() > 0
    assert model.FacTv.weight.grad.abs().max() > 0 and model.FacTu is model.sam.image_encoder.FacTu
    assert sum(p is model.FacTu.weight for p in parameters) == 1


def test_ma_sam_loads_the_trained_parts_alone():
    source, model = trained(ma()), ma()
    parts = {}
    for key, value in source.sam.state_dict().items():
        if ".q_FacTs." in key or ".v_FacTs." in key:
            which, block = key.split(".")[-2], int(key.split("blocks.")[1].split(".")[0])
            parts[f"{which}_{block:03d}"] = value
        elif ma_sam.is_trained("sam." + key):
            parts[key] = value
    assert "q_FacTs_001" in parts
    ma_sam.load_trained(model, parts)
    for key, value in source.state_dict().items():
        if ma_sam.is_trained(key):
            assert torch.equal(model.state_dict()[key], value), key
    del parts["q_FacTs_001"]
    with pytest.raises(ModelError, match="1 missing"):
        ma_sam.load_trained(model, parts)


@torch.no_grad()
def test_ma_sam_volume_is_the_mean_of_all_stacks_that_hold_a_slice():
    model, slices = trained(ma().eval()), torch.rand(4, 32, 32)
    x = torch.cat([slices[:1], slices, slices[-1:]])
    total, seen = torch.zeros(6, 3, 32, 32), torch.zeros(6, 1, 1, 1)
    for first in range(4):
        total[first : first + 3] += model(x[None, first : first + 3]).softmax(2)[0]
        seen[first : first + 3] += 1
    found = torch.stack(list(averaged(model, x)))
    assert torch.allclose(found, total / seen, atol=1e-6)
    assert torch.equal(predict_volume(model, slices), found.argmax(1)[1:-1])
    assert predict_volume(model, torch.rand(1, 40, 24)).shape == (1, 40, 24)  # one slice, of another size
    with pytest.raises(ModelError, match="slices"):
        predict_volume(model, slices[None])


def test_ma_sam_refuses_what_it_cannot_be():
    for wrong in (dict(patch=6), dict(classes=0), dict(upscaling=(8,)), dict(size=30)):
        with pytest.raises(ModelError, match="patch"):
            ma(**wrong)
    with pytest.raises(ModelError, match="vit_h"):
        ma_sam.ma_sam("huge")
