"""The masked losses: formulas by hand, nothing to unannotated classes, and the corners without NaN."""

from __future__ import annotations

import math

import pytest
import torch

from fmlab.errors import ScanError, SettingsError
from fmlab.pretraining import masked, published
from fmlab.pretraining.unmasked import softmax_background, unmasked_sigmoid

LOSSES = {
    "masked_bce": masked.masked_bce,
    "masked_dice": masked.masked_dice,
    "masked_bce_dice": masked.masked_bce_dice,
    "masked_bce_dice empty": lambda x, y, w: masked.masked_bce_dice(x, y, w, reward_empty=True),
    "clip_driven": masked.clip_driven,
    "clip_driven volume": lambda x, y, w: masked.clip_driven(x, y, w, "volume"),
    "multitalent": masked.multitalent,
    "multitalent single": lambda x, y, w: masked.multitalent(x, y, w, batch=False),
    "suprem": published.suprem,
    "hermes": published.hermes,
    "dodnet": published.dodnet,
}
each = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


def batch(seed: int = 0, shape: tuple[int, ...] = (2, 3, 4, 3, 2)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, target and a w with one class (2) that no sample annotates."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator)
    target = (torch.rand(shape, generator=generator) > 0.6).to(torch.uint8)
    return logits.requires_grad_(), target, torch.tensor([[1, 1, 0], [0, 1, 0]])


@each
def test_nothing_reaches_an_unannotated_class(loss):
    x, y, w = batch()
    loss(x, y, w).backward()
    assert (x.grad[w == 0] == 0).all()  # exactly zero
    assert all(x.grad[n, k].abs().sum() > 0 for n, k in w.nonzero().tolist())


@each
def test_what_an_unannotated_pair_holds_is_never_read(loss):
    x, y, w = batch()
    clean = loss(x, y, w)
    dirty_x, dirty_y = x.detach().clone(), y.to(torch.int16)
    dirty_x[w == 0] = torch.tensor([math.inf, math.nan, -math.inf, 1e30]).repeat(6).view(4, 3, 2)
    dirty_y[w == 0] = -1
    dirty_x.requires_grad_()
    dirty = loss(dirty_x, dirty_y, w)
    dirty.backward()
    assert torch.equal(clean, dirty)
    assert torch.isfinite(dirty_x.grad).all() and (dirty_x.grad[w == 0] == 0).all()


@each
def test_nothing_annotated_in_the_batch(loss):
    x, y, w = batch()
    value = loss(x, y, torch.zeros_like(w))
    value.backward()
    assert torch.isfinite(value) and (x.grad == 0).all()
    assert value.item() == (1.0 if loss is published.suprem else 0.0)  # SuPreM's Dice of nothing is the constant 1


@each
@pytest.mark.parametrize("logit", [0.0, -200.0, 200.0])
def test_empty_and_full_foreground_are_finite(loss, logit):
    for fill in (0, 1):
        x = torch.full((2, 3, 4, 3, 2), logit, requires_grad=True)
        value = loss(x, torch.full(x.shape, fill), torch.ones(2, 3))
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", ["masked_bce", "masked_dice", "masked_bce_dice", "masked_bce_dice empty", "clip_driven",
                                  "suprem", "hermes", "dodnet"])
def test_a_sample_with_nothing_annotated_changes_nothing(name):
    x, y, w = batch()
    w = torch.tensor([[1, 1, 0], [0, 0, 0]])
    together, alone = LOSSES[name](x, y, w), LOSSES[name](x[:1], y[:1], w[:1])
    torch.testing.assert_close(together, alone)


def test_the_slides_formula_by_hand():
    x, y, w = batch()
    p, t = x.detach().double().sigmoid().flatten(2), y.double().flatten(2)
    cross = -(t * p.log() + (1 - t) * (1 - p).log()).mean(2)
    soft = 1 - (2 * (p * t).sum(2) + 1) / (p.sum(2) + t.sum(2) + 1)
    for per_pair, loss in ((cross, masked.masked_bce), (soft, masked.masked_dice)):
        by_hand = ((w * per_pair).sum(1) / w.sum(1)).mean()
        assert loss(x, y, w).item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert masked.clip_driven_bce(x, y, w).item() == pytest.approx(((w * cross).sum() / w.sum()).item(), rel=1e-5)
    assert masked.multitalent_bce(x, y, w).item() == pytest.approx((w * cross).sum().item(), rel=1e-5)


def test_both_forms_of_the_courses_own_loss_by_hand():
    x, y, w = batch()
    p, t = x.detach().double().sigmoid().flatten(2), y.double().flatten(2)
    below = 1 - 2 * (p * t).sum(2) / (p.sum(2) + t.sum(2) + 1)  # the 1 stands below the line only
    by_hand = masked.masked_bce(x, y, w) + ((w * below).sum(1) / w.sum(1)).mean()
    assert masked.masked_bce_dice(x, y, w).item() == pytest.approx(by_hand.item(), rel=1e-5)
    both = masked.masked_bce(x, y, w) + masked.masked_dice(x, y, w)
    torch.testing.assert_close(masked.masked_bce_dice(x, y, w, reward_empty=True), both)
    assert torch.equal(unmasked_sigmoid(x, y), masked.masked_bce_dice(x, y, torch.ones_like(w)))


def test_absence_is_taught_by_the_cross_entropy_alone():
    x, y, w = batch()
    y[0, 1] = 0  # annotated, and not here

    def gradient(loss, **options):
        return torch.autograd.grad(loss(x, y, w, **options), x)[0]

    alone, rewarded = gradient(masked.masked_bce_dice), gradient(masked.masked_bce_dice, reward_empty=True)
    cross = gradient(masked.masked_bce)
    torch.testing.assert_close(alone[0, 1], cross[0, 1], rtol=0, atol=0)  # no Dice gradient at all
    assert (cross[0, 1] > 0).all() and (rewarded[0, 1] > cross[0, 1]).all()
    assert (alone[0, 0] != cross[0, 0]).all()  # where there is foreground Dice takes part


def test_batch_dice_sums_over_images_before_it_divides():
    x = torch.full((2, 1, 1, 1, 2), 200.0)
    y = torch.tensor([[1.0, 1.0], [0.0, 0.0]]).view(2, 1, 1, 1, 2)
    w = torch.ones(2, 1)
    assert masked.multitalent_dice(x, y, w).item() == pytest.approx(4 / 6)
    assert masked.multitalent_dice(x, y, w, batch=False).item() == pytest.approx(1.0)


def test_empty_foreground_costs_what_each_loss_says():
    nothing, y, w = torch.full((1, 1, 3, 2, 2), -200.0), torch.zeros(1, 1, 3, 2, 2), torch.ones(1, 1)
    assert masked.masked_dice(nothing, y, w).item() == pytest.approx(0.0)
    assert masked.masked_bce_dice(nothing, y, w, reward_empty=True).item() == pytest.approx(0.0)
    assert masked.masked_bce_dice(nothing, y, w).item() == pytest.approx(1.0)
    for form in ("slices", "volume"):
        assert masked.clip_driven_dice(nothing, y, w, form).item() == pytest.approx(1.0)
    assert masked.multitalent_dice(nothing, y, w).item() == 0.0
    assert published.hermes_dice(nothing, y, w).item() == pytest.approx(1.0)
    assert published.dodnet_dice(nothing, y, w).item() == pytest.approx(1.0)


def test_a_slice_without_the_class_costs_one_and_teaches_nothing():
    x, y, w = batch(shape=(2, 3, 4, 3, 2))
    y[:, :, 0] = 0
    masked.clip_driven_dice(x, y, w).backward()
    assert (x.grad[:, :, 0] == 0).all() and x.grad[:, :, 1:].abs().sum() > 0


def test_two_axes_and_low_precision_work():
    x, y, w = batch(shape=(2, 3, 5, 4))
    value = masked.masked_bce_dice(x.bfloat16(), y.bool(), w.bool())
    assert value.dtype is torch.float32 and value.item() == pytest.approx(masked.masked_bce_dice(x, y, w).item(), abs=0.02)


def test_uniseg_leaves_other_tasks_channels_alone():
    x = torch.randn(2, 4, 4, 3, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = torch.randint(0, 2, (2, 1, 4, 3, 2), generator=torch.Generator().manual_seed(1))
    published.uniseg([x], [y], 2, [1.0]).backward()
    assert (x.grad[:, 2:] == 0).all() and x.grad[:, :2].abs().sum() > 0


def test_the_unmasked_losses_push_an_undrawn_organ_down():
    x, y, _ = batch()
    y[:, 2] = 0  # not drawn
    for loss in (unmasked_sigmoid, softmax_background):
        grad = torch.autograd.grad(loss(x, y), x)[0]
        assert (grad[:, 2] > 0).all()  # descent lowers it everywhere


def test_softmax_background_by_hand():
    x = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1, 1)
    scores = torch.tensor([0.0, 1.0, -2.0]).log_softmax(0)
    for drawn, choice in (((0, 0), 0), ((1, 0), 1), ((1, 1), 2)):  # a part after its whole wins
        value = softmax_background(x, torch.tensor(drawn).view(1, 2, 1, 1, 1))
        assert value.item() == pytest.approx(-scores[choice].item())


def test_refusals():
    x, y, w = batch()
    with pytest.raises(ScanError, match="do not fit"):
        masked.masked_bce(x, y[:, :2], w)
    with pytest.raises(ScanError, match="do not fit"):
        masked.masked_bce(x, y, w[0])
    with pytest.raises(ScanError, match="how much"):
        masked.masked_bce(x, y, w * 0.5)
    with pytest.raises(ScanError, match="annotated target"):
        masked.masked_bce(x, y.int() - 1, w)
    with pytest.raises(SettingsError, match="slices"):
        masked.clip_driven_dice(x, y, w, "volumes")
    with pytest.raises(ScanError, match="unmasked"):
        softmax_background(x, y.int() - 1)
    with pytest.raises(ScanError, match="uniseg"):
        published.uniseg([x], [y], 3, [1.0])
    with pytest.raises(ScanError, match="uniseg"):
        published.uniseg([x], [], 3, [1.0])
    with pytest.raises(ScanError, match="uniseg"):
        published.uniseg([x], [torch.full((2, 1, 4, 3, 2), 3)], 3, [1.0])
