"""What the variants of SAM change: weights taken over, parts trained, click loops, whole volumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fmlab import hub
from fmlab.errors import ModelError, PromptError
from fmlab.interactive import ma_sam, sam3d_adapter, sam_med2d
from fmlab.interactive.clicks import Clicks
from fmlab.interactive.cube_attention import CubeAttention, in_cubes, shift_mask
from fmlab.interactive.ma_sam import MaSam
from fmlab.interactive.ma_sam_volume import averaged, predict_volume
from fmlab.interactive.medsam import MedSamPredictor
from fmlab.interactive.preprocess_medsam import preprocess
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.sam import Sam
from fmlab.interactive.sam3d_adapter import Sam3DAdapter
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


def adapter(**changes) -> Sam3DAdapter:
    torch.manual_seed(3)
    return Sam3DAdapter(**dict(size=12, enlarged=16, patch=4, channels=16, depth=4, heads=2, everywhere=(1, 3), window=4, cube=2,
                               outputs=8, point_heads=2, mlp=16, head=4) | changes)


@torch.no_grad()
def test_shifted_cubes_are_attention_among_neighbours_alone():
    """The same as attention in the smaller cuboids that the shift leaves, none of it around the edges."""
    torch.manual_seed(0)
    attention, x = CubeAttention(8, 2, 4), torch.randn(2, 4, 4, 4, 8)
    for table in (attention.rel_pos_h, attention.rel_pos_w, attention.rel_pos_d):
        torch.nn.init.normal_(table)
    ours = in_cubes(attention, x, 2, 1, shift_mask(4, 2, 1))
    tables = [table.clone() for table in (attention.rel_pos_h, attention.rel_pos_w, attention.rel_pos_d)]
    for at in ((slice(1, 3),) * 3, (slice(0, 1),) * 3, (slice(3, 4), slice(0, 1), slice(1, 3))):
        part = x[:, *at]
        for table, whole, n in zip((attention.rel_pos_h, attention.rel_pos_w, attention.rel_pos_d), tables, part.shape[1:4]):
            two = torch.nn.functional.interpolate(whole.T[None], size=3, mode="linear")[0].T  # the table of cubes of 2
            table.data = two if n == 2 else two[1:2]
        assert torch.allclose(attention.within(part, None), ours[:, *at], atol=1e-5)


@torch.no_grad()
def test_sam3d_adapter_answers_on_the_volumes_grid_and_reads_the_clicks():
    model, volume = adapter().eval(), torch.randn(2, 1, 12, 12, 12)
    points = torch.tensor([[[3.0, 5, 7], [2, 2, 9]], [[6, 6, 6], [1, 8, 3]]])
    levels = model.encode(volume)
    logits = model.decode(levels, volume, points)
    assert logits.shape == (2, 2, 12, 12, 12) and len(levels) == 4
    assert torch.allclose(model(volume, points.flip(1)), logits, atol=1e-5)  # their order does not matter
    assert (model.decode(levels, volume, points[..., [0, 2, 1]]) - logits).abs().max() > 1e-6
    alone = model(volume[1:], points[1:])
    assert torch.allclose(alone, logits[1:], atol=1e-5)
    for wrong in (points[:1], points[:, :0], points[..., :2]):
        with pytest.raises(ModelError, match="Points"):
            model.decode(levels, volume, wrong)
    with pytest.raises(ModelError, match="crops"):
        model(volume[..., :8], points)


@torch.no_grad()
def test_sam3d_adapter_takes_over_sam(plain):
    model = adapter(channels=16, depth=4)
    sam = Sam(**TINY | dict(depth=4, everywhere=(1, 3)))
    for block in sam.image_encoder.blocks:
        torch.nn.init.normal_(block.attn.rel_pos_h)
        torch.nn.init.normal_(block.attn.rel_pos_w)
    report = sam3d_adapter.load_sam(model, sam.state_dict())
    ours, theirs = model.state_dict(), sam.state_dict()
    for i in range(4):
        tables = [theirs[f"image_encoder.blocks.{i}.attn.rel_pos_{axis}"] for axis in "hw"]
        assert torch.equal(ours[f"encoder.blocks.{i}.attn.rel_pos_d"], sum(tables) / 2)
    assert not [key for key in report.missing if key.startswith("encoder.") and key.endswith(("norm1.weight", "rel_pos_d"))]
    assert {key.split(".")[0] for key in report.unexpected} == {"image_encoder", "prompt_encoder", "mask_decoder"}
    assert {".".join(key.split(".")[:2]) for key in report.unexpected if key.startswith("image")} == {"image_encoder.neck"}
    flat = torch.randn(1, 1, 1, 16, 16).expand(-1, -1, 16, -1, -1)  # all slices alike: SAM's own patches
    model.encoder.enlarged = 16
    patches = sam.image_encoder.patch_embed(flat[:, 0, :1].expand(-1, 3, -1, -1))
    assert torch.allclose(model.encoder.tokens(flat), patches[:, :, :, None].expand(-1, -1, -1, 4, -1), atol=1e-5)
    with pytest.raises(ModelError):
        sam3d_adapter.load_sam(model, plain.state_dict())  # too few blocks


def test_sam3d_adapter_trains_what_the_paper_trains():
    model = adapter()
    sam3d_adapter.trainable(model)
    model(torch.randn(1, 1, 12, 12, 12), torch.full((1, 3, 3), 5.0)).square().mean().backward()
    held = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert all(name.startswith("encoder.") for name in held)
    assert {name.split(".")[-2] + "." + name.split(".")[-1] for name in held if "blocks.0" in name} == {
        "attn.rel_pos_h", "attn.rel_pos_w", "attn.lr", "qkv.weight", "qkv.bias", "proj.weight", "proj.bias", "lin1.weight",
        "lin1.bias", "lin2.weight", "lin2.bias"}
    assert model.encoder.slice_embed.weight.grad.abs().max() > 0 and model.encoder.blocks[0].adapter.conv.weight.grad is not None


def test_sam3d_adapter_reads_the_released_form():
    model = adapter()
    released = {"encoder_dict": model.encoder.state_dict(), "decoder_dict": model.decoder.state_dict(),
                "feature_dict": [part.state_dict() for part in model.prompt_encoders], "epoch": 3}
    state = sam3d_adapter.from_checkpoint(released)
    assert set(state) == set(model.state_dict())
    with pytest.raises(ModelError, match="encoder_dict"):
        sam3d_adapter.from_checkpoint({"model": {}})


def test_sizes_of_the_variants_fit_the_nano_sam():
    torch.manual_seed(0)
    sam = hub.build("sam", size="nano").state_dict()
    for module, name in ((sam_med2d, "sam_med2d"), (ma_sam, "ma_sam"), (sam3d_adapter, "sam3d_adapter")):
        model = hub.build(name, size="nano")
        report = module.load_sam(model, sam)
        taken = ("qkv.weight", "pos_embed", "rel_pos_h", "patch_embed.proj.weight")
        assert not [key for key in report.missing if key.endswith(taken)]
        assert sum(p.numel() for p in model.parameters()) < 6e6
        with pytest.raises(ModelError, match="nano"):
            hub.build(name, size="huge")


@torch.no_grad()
def test_medsam_answers_a_box_by_resized_probabilities(plain):
    rng = np.random.default_rng(0)
    image, box = rng.integers(0, 256, (40, 60), dtype=np.uint8), torch.tensor([9.0, 12, 33, 30])
    predictor, asked = MedSamPredictor(plain), []
    with pytest.raises(ModelError, match="set_image"):
        predictor.probabilities(box[None])
    plain.image_encoder.register_forward_hook(lambda *_: asked.append(1))
    predictor.set_image(image)
    found = predictor.predict(replace(Prompts.of(2), box=box))

    features = plain.image_encoder(preprocess(image, 32)[0])
    low, _ = plain.decode(features, boxes=box[None] * torch.tensor([32 / 60, 32 / 40, 32 / 60, 32 / 40]), multimask=False)
    literal = torch.nn.functional.interpolate(low.sigmoid(), (40, 60), mode="bilinear")[0, 0]
    assert torch.equal(found.mask, literal > 0.5) and found.mask.any() and not found.mask.all()
    assert torch.allclose(found.logits.sigmoid()[0], literal, atol=1e-5)
    assert found.low.shape == (1, 32, 32) and found.iou.shape == (1,)
    other = torch.tensor([0.0, 0, 59, 39])
    both = predictor.probabilities(torch.stack([other, box]))
    assert torch.allclose(both[1], literal, atol=1e-6) and (both[0] - both[1]).abs().max() > 1e-3
    assert len(asked) == 2  # once for the predictor, once here

    for wrong in (Prompts.of(2), Prompts.of(2).click((5, 5)), replace(Prompts.of(2).click((5, 5)), box=box),
                  replace(Prompts.of(2), box=torch.tensor([70.0, 50, 80, 60]))):
        with pytest.raises(PromptError):
            predictor.predict(wrong)
    with pytest.raises(ModelError, match="slice by slice"):
        predictor.set_image(np.zeros((3, 40, 60, 1)))
