"""Candidates: the loss that only the best one learns from, their measures by hand, Tyche-IS, and readers who do not agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fmlab.errors import ModelError
from fmlab.incontext import candidates
from fmlab.incontext.augment import Ranges
from fmlab.incontext.prediction import probability
from fmlab.incontext.readers import redrawn
from fmlab.incontext.tyche_is import INFERENCE, inference_candidates


def test_only_the_best_candidate_learns():
    target = (torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    logits = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    best = [2, 0, 3]
    for item, k in enumerate(best):
        logits[item, k] = 4 * target[item, 0] - 2
    logits.requires_grad_()
    loss = candidates.best_candidate_loss(logits, target)
    loss.backward()
    p = torch.sigmoid(torch.tensor(2.0, dtype=torch.float64))  # of every pixel's right answer
    y = target.double().sum((1, 2, 3))
    dice = 1 - 2 * y * p / (y + y * p + (64 - y) * (1 - p) + 1)
    assert loss.item() == pytest.approx((dice - p.log()).mean().item(), rel=1e-5)
    for item in range(3):
        reached = logits.grad[item].flatten(1).any(1)
        assert reached.tolist() == [k == best[item] for k in range(4)]


A, B, NOTHING = torch.tensor([1, 1, 0, 0]), torch.tensor([0, 1, 1, 0]), torch.zeros(4)  # IoU 1/3, Dice 1/2


def masks_of(*rows):
    return torch.stack([row.float() for row in rows])[:, None]


@pytest.mark.parametrize(("found", "readers", "by_hand"), [
    ((A, B), (A, B), 0), ((A,), (B,), 2 * 2 / 3), ((A,), (A, B), 1 / 3), ((A, A, B, B), (A, B), 0), ((NOTHING,), (NOTHING,), 0),
    ((NOTHING,), (A,), 2), ((NOTHING, A), (A,), 2 * 1 / 2 - 2 / 4)])
def test_ged_by_hand(found, readers, by_hand):
    assert candidates.ged(masks_of(*found), masks_of(*readers)) == pytest.approx(by_hand, abs=1e-12)
    assert candidates.ged(masks_of(*readers), masks_of(*found)) == pytest.approx(by_hand, abs=1e-12)


def test_max_dice_by_hand():
    assert candidates.max_dice(masks_of(A, NOTHING), masks_of(A, B)).tolist() == [1.0, 0.5]
    assert candidates.max_dice(masks_of(NOTHING), masks_of(A)).tolist() == [0.0]
    assert candidates.max_dice(masks_of(A), masks_of(NOTHING)).tolist() == [0.0]
    assert candidates.max_dice(masks_of(A, NOTHING), masks_of(NOTHING)).isnan().all()  # as in fmlab.metrics


@pytest.mark.parametrize("measure", [candidates.ged, candidates.max_dice])
def test_measures_refuse_what_is_no_set_of_masks(measure):
    for found, readers in ((masks_of(A)[0], masks_of(A)), (masks_of(A)[:0], masks_of(A)), (masks_of(A), masks_of(A)[:, :, :3])):
        with pytest.raises(ModelError, match="give masks of one size"):
            measure(found, readers)
    with pytest.raises(ModelError, match="threshold the probabilities"):
        measure(masks_of(A) * 0.7, masks_of(A))


def test_the_loss_refuses_shapes_that_do_not_fit():
    for logits, target in (((2, 4, 8), (2, 1, 8)), ((2, 4, 8, 8), (2, 4, 8, 8)), ((2, 4, 8, 8), (1, 1, 8, 8))):
        with pytest.raises(ModelError, match="do not fit"):
            candidates.best_candidate_loss(torch.zeros(logits), torch.zeros(target))


class Remembers(torch.nn.Module):
    """Says the query's values back as logits, and keeps what it was given."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(1)), []

    def forward(self, query, images, masks, chunk=None):
        self.seen.append((query[0], images[0], masks[0]))
        return query + self.weight


def task(peak=(9, 4)):
    """A query and four examples of smooth light with one clear maximum, and their masks."""
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    hill = 0.2 + 0.6 * torch.exp(-((rows - peak[0]) ** 2 + (columns - peak[1]) ** 2) / 8)
    return hill[None], hill.expand(4, 1, -1, -1).clone(), (hill > 0.5).float().expand(4, 1, -1, -1)


def test_inference_candidates_change_light_and_never_geometry():
    model, (query, images, masks) = Remembers(), task()
    often = Ranges(p_light=1, brightness=0.1, contrast=0.3, p_blur=1, blur=0.5, p_noise=1, noise=0.005, p_sharp=1)
    found = inference_candidates(model, query, images, masks, candidates=6, ranges=often)
    assert found.shape == (6, 16, 16)
    assert torch.equal(found[0], probability(model, query[None], images, masks)[0, 0])  # the plain answer
    for asked, context, drawn in model.seen[:6]:
        assert torch.equal(drawn, masks)
        assert (asked.argmax(), *(image.argmax() for image in context)) == (9 * 16 + 4,) * 5
        assert asked.min() >= 0 and context.max() <= 1
    assert torch.equal(model.seen[0][1], images)
    assert all((found[i] - found[j]).abs().max() > 1e-3 for i in range(6) for j in range(i))
    changed = model.seen[1][1]
    assert (changed[0] - changed[1]).abs().max() > 1e-3  # each example on its own


def test_inference_candidates_are_made_again_by_their_seed_and_may_exchange_light_and_dark():
    model, given = Remembers(), task()
    once, again, other = (inference_candidates(model, *given, candidates=8, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(once, again) and not torch.equal(once, other)
    model.seen.clear()
    still = Ranges(**{name: 0.0 for name in vars(INFERENCE) if name.startswith("p_")})
    inference_candidates(model, *given, candidates=2, ranges=still, p_invert=1.0)
    torch.testing.assert_close(model.seen[1][0], 1 - given[0])
    torch.testing.assert_close(model.seen[1][1], 1 - given[1])


def discs(count=12, side=48):
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return ((rows - 22) ** 2 + (columns - 26) ** 2 < 100).float().expand(count, 1, -1, -1)


def test_readers_draw_the_same_thing_each_in_their_own_way():
    masks = discs()
    drawn = redrawn(masks, np.random.default_rng(0))
    assert drawn.shape == masks.shape and drawn.dtype == masks.dtype and set(drawn.unique().tolist()) == {0, 1}
    assert len({tuple(mask.flatten().tolist()) for mask in drawn}) == len(masks)
    overlap = 2 * (drawn * masks).sum((1, 2, 3)) / (drawn + masks).sum((1, 2, 3))
    assert 0.75 < overlap.min() < overlap.max() <= 1
    areas = drawn.sum((1, 2, 3))
    assert areas.min() < masks[0].sum() < areas.max()  # some draw wider, some narrower
    assert torch.equal(drawn, redrawn(masks, np.random.default_rng(0)))


def test_readers_draw_nothing_far_from_the_outline():
    masks = discs(300)
    near, deep = torch.nn.functional.max_pool2d(masks, 7, 1, 3), -torch.nn.functional.max_pool2d(-masks, 7, 1, 3)
    drawn = redrawn(masks, np.random.default_rng(0))
    assert (drawn <= near).all() and (drawn >= deep).all()


def test_what_would_vanish_stays():
    one = torch.zeros(20, 1, 24, 24)
    one[:, :, 12, 12] = 1
    drawn = redrawn(one, np.random.default_rng(0))
    assert drawn.flatten(1).any(1).all()
    assert not redrawn(torch.zeros(3, 1, 24, 24), np.random.default_rng(0)).any()  # nothing there, nothing drawn
    narrow, wide = (redrawn(discs(1), np.random.default_rng(0), habit=0, slip=0, reach=r) for r in (0.5, 1.5))
    assert (narrow - discs(1)).abs().mean() < 0.01 and (wide - discs(1)).abs().mean() < 0.02
