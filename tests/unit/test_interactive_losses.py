"""SAM's loss of the lowest mask: who learns, and who does not; numbers by hand; bf16; refusals."""

from __future__ import annotations

import math

import pytest
import torch

from fmlab.errors import ModelError
from fmlab.interactive import losses


def prompts(best=1, masks=3, size=8):
    """Two prompts; mask ``best`` has the target, the others its opposite, weakly so: logits, target, IoU, with gradients."""
    y = torch.zeros(2, 1, size, size)
    y[..., 2:5, 3:6] = 1
    x = torch.full((2, masks, size, size), 0.0) - (2 * y - 1)
    x[:, best] = (2 * y - 1)[:, 0]
    iou = torch.linspace(0.1, 0.9, 2 * masks).view(2, masks)
    return x.clone().requires_grad_(), y, iou.requires_grad_()


@pytest.mark.parametrize("best", [0, 1, 2])
def test_only_the_mask_of_lowest_loss_learns(best):
    x, y, iou = prompts(best)
    losses.sam(x, y, iou).backward()
    assert [bool(x.grad[:, k].any()) for k in range(3)] == [k == best for k in range(3)]
    assert [bool(iou.grad[:, k].any()) for k in range(3)] == [k == best for k in range(3)]


def test_ranking_can_learn_from_all_masks():
    x, y, iou = prompts()
    losses.sam(x, y, iou, rank_all=True).backward()
    assert not x.grad[:, 0].any() and (iou.grad != 0).all()
    true = torch.tensor([0.0, 1.0, 0.0])  # mask 1 is the target, the others its opposite
    assert torch.allclose(iou.grad, 2 * (iou.detach() - true) / 6)


def test_each_prompt_chooses_for_itself():
    (x, y, iou), (other, *_) = prompts(0), prompts(2)
    x = torch.stack([x[0], other[1]]).detach().requires_grad_()
    losses.sam(x, y, iou).backward()
    assert x.grad.flatten(2).any(2).tolist() == [[True, False, False], [False, False, True]]


def test_by_hand():
    """Four pixels at logit 0, one of them foreground: p = 1/2."""
    x, y, iou = torch.zeros(1, 1, 2, 2), torch.tensor([1.0, 0, 0, 0]).view(1, 1, 2, 2), torch.tensor([[0.5]])
    focal = (0.25 + 3 * 0.75) / 4 * 0.5**2 * math.log(2)
    dice = 1 - (2 * 0.5 + 1) / (2 + 1 + 1)
    assert losses.sam(x, y, iou).item() == pytest.approx(20 * focal + dice + (0.5 - 0) ** 2)  # nothing is above 0: IoU 0
    assert losses.sam_med2d(x, y, iou).item() == pytest.approx(20 * focal + dice + (0.5 - 0.5 / 2.5) ** 2)
    assert losses.medsam(x, y).item() == pytest.approx(1 - 2 * 0.5 / (1 + 1) + math.log(2), abs=1e-4)
    assert losses.sam_med3d(x[..., None], y[..., None]).item() == pytest.approx(losses.medsam(x, y).item())
    assert losses.segvol(x[..., None], y[..., None]).item() == pytest.approx(1 - 1 / (2 + 1 + 1) + math.log(2))


def test_ma_sam_does_not_read_what_does_not_count():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 4, 6, 5, generator=generator), torch.randint(0, 4, (2, 6, 5), generator=generator)
    y[:, :2] = losses.IGNORED
    x.requires_grad_()
    loss = losses.ma_sam(x, y)
    loss.backward()
    assert not x.grad[:, :, :2].any() and x.grad[:, :, 2:].any()
    assert losses.ma_sam(x.detach()[:, :, 2:], y[:, 2:]).item() == pytest.approx(loss.item())


def test_the_predicted_iou_has_a_target_for_empty_masks():
    empty, some = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    assert losses.iou_per_mask(empty > 0, empty).item() == 1
    assert losses.iou_per_mask(some > 0, empty).item() == losses.iou_per_mask(empty > 0, some).item() == 0


@pytest.mark.parametrize("loss", [losses.medsam, losses.sam_med3d, losses.segvol])
def test_half_precision_is_summed_in_full(loss):
    x = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    y = (x > 1).to(torch.uint8)
    assert loss(x, y).dtype is torch.float32
    assert loss(x, y).item() == pytest.approx(loss(x.double(), y).item(), rel=1e-5)


def test_refusals():
    x = torch.zeros(2, 1, 8, 8)
    for loss in (losses.medsam, losses.sam_med3d, losses.segvol, losses.sam_med2d_focal, losses.adapter3d):
        with pytest.raises(ModelError, match="one size"):
            loss(x, torch.zeros(2, 1, 8, 4))
    with pytest.raises(ModelError, match="one size"):
        losses.sam(x.expand(2, 3, 8, 8), torch.zeros(2, 3, 8, 8), torch.zeros(2, 3))
    with pytest.raises(ModelError, match="Predicted IoU"):
        losses.sam(x, x, torch.zeros(2))
    with pytest.raises(ModelError, match="one size"):
        losses.ma_sam(torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 4))
