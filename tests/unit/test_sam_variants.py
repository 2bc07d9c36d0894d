"""What the variants of SAM change: weights taken over, parts trained, click loops, whole volumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fmlab.errors import ModelError, PromptError
from fmlab.interactive import sam_med2d
from fmlab.interactive.clicks import Clicks
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
