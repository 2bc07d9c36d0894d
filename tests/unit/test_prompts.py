"""Simulated clicks and boxes, and Prompts: where they may fall, what they say, seeds, corners, records, mm, refusals."""

from __future__ import annotations

import json
import warnings
from functools import partial

import numpy as np
import pytest
import torch

from fmlab.errors import PromptError, PromptWarning
from fmlab.interactive import boxes, clicks, mask_prompts
from fmlab.interactive.prompts import BOXES, FIRST_CLICKS, NEXT_CLICKS, Prompts, policy


def rng(seed=0):
    return np.random.default_rng(seed)


def truth(dims):
    """A block off the centre, of unequal sides."""
    mask = np.zeros((20, 30, 24)[:dims], dtype=bool)
    mask[(slice(4, 9), slice(12, 25), slice(3, 10))[:dims]] = True
    return mask


def prediction(dims):
    """Misses the block's far half, and has a smaller block beside it."""
    mask = truth(dims)
    mask[:, 18:] = False
    mask[(slice(12, 14), slice(2, 5), slice(15, 18))[:dims]] = True
    return mask


def at(mask, found):
    """The mask's values at clicks; in 2-D a click is (x, y)."""
    index = found.points.long()
    return mask[tuple((index.flip(1) if index.shape[1] == 2 else index).T.numpy())]


PLANE_OR_VOLUME = pytest.mark.parametrize("dims", [2, 3])


@PLANE_OR_VOLUME
@pytest.mark.parametrize("name", FIRST_CLICKS)
def test_first_clicks_say_what_lies_there(name, dims):
    mask = truth(dims)
    if name == "points_per_slice" and dims == 2:
        with pytest.raises(PromptError, match="volume"):
            FIRST_CLICKS[name](mask, rng())
        return
    found = FIRST_CLICKS[name](mask, rng())
    assert found.points.dtype is torch.float32 and found.labels.dtype is torch.int64
    assert found.points.shape == (len(found.labels), dims)
    counted = found.labels.numpy() >= 0
    assert np.array_equal(at(mask, found)[counted], found.labels.numpy()[counted] == 1)
    assert (found.labels == 1).any()
    Prompts(*found).check(mask.shape)


@PLANE_OR_VOLUME
@pytest.mark.parametrize("name", NEXT_CLICKS)
def test_next_clicks_lie_in_errors_and_say_which(name, dims):
    p, t = prediction(dims), truth(dims)
    drawn = [NEXT_CLICKS[name](p, t, rng(seed)) for seed in range(60)]
    seen = {(tuple(found.points[0].tolist()), int(found.labels[0])) for found in drawn}
    for point, label in seen:
        found = clicks.Clicks(torch.tensor([point]), torch.tensor([label]))
        assert at(p != t, found).all() and at(t, found)[0] == label
    assert {label for _, label in seen} == ({0, 1} if name in ("random_error", "sam_med2d", "sam_med3d") else {1})
    assert (len(seen) == 1) == (name == "centre")


@PLANE_OR_VOLUME
@pytest.mark.parametrize(("table", "masks"), [(FIRST_CLICKS, 1), (NEXT_CLICKS, 2), (BOXES, 1)])
def test_the_same_seed_gives_the_same(table, masks, dims):
    for name, draw in table.items():
        if name == "points_per_slice" and dims == 2:
            continue
        given = [prediction(dims), truth(dims)][2 - masks:]
        same = [draw(*given, rng(3)), draw(*[torch.from_numpy(mask).to(torch.uint8) for mask in given], rng(3))]
        flat = [x if isinstance(x, torch.Tensor) else torch.cat([x.points, x.labels[:, None]], 1) for x in same]
        assert torch.equal(*flat), name


def test_every_place_is_drawn_about_equally():
    mask = truth(2)
    found = clicks.random_foreground(mask, rng(), 65000).points.long()
    counts = np.zeros(mask.shape, dtype=int)
    np.add.at(counts, (found[:, 1].numpy(), found[:, 0].numpy()), 1)
    assert not counts[~mask].any() and 850 < counts[mask].min() <= counts[mask].max() < 1150  # 1000 +- 31


def test_points_are_x_y():
    mask = np.zeros((10, 20))
    mask[3, 15] = 1
    assert clicks.random_foreground(mask, rng()).points.tolist() == [[15.0, 3.0]]
    assert boxes.tight_box(mask).tolist() == [15, 3, 15, 3]
    mask = np.zeros((10, 20, 30))
    mask[3, 15, 28] = 1
    assert clicks.random_foreground(mask, rng()).points.tolist() == [[3.0, 15.0, 28.0]]
    assert boxes.tight_box(mask).tolist() == [3, 15, 28, 3, 15, 28]


def test_points_per_slice():
    mask = truth(3)
    for axis, shown in ((0, range(4, 9)), (1, range(12, 25)), (2, range(3, 10)), (-1, range(3, 10))):
        found = clicks.points_per_slice(mask, rng(), 2, axis)
        assert at(mask, found).all() and found.points[:, axis].tolist() == [s for s in shown for _ in range(2)]


def test_segvols_points_have_one_size():
    counts = set()
    for seed in range(40):
        found = clicks.padded_points(truth(3), rng(seed))
        assert found.points.shape == (21, 3) and 1 <= (found.labels == 1).sum() <= 11 and (found.labels == 0).sum() <= 10
        counts.add(int((found.labels == -1).sum()))
    assert len(counts) > 5


def test_half_and_half():
    found = clicks.half_and_half(truth(2), rng(), 9)
    assert sorted(found.labels.tolist()) == [0] * 5 + [1] * 4 and found.labels.tolist() != sorted(found.labels.tolist())
    assert clicks.half_and_half(np.ones((3, 3)), rng(), 4).labels.tolist() == [1] * 4  # nowhere to say no


def test_depth_is_scipys_with_the_outside_beyond_the_image():
    from scipy import ndimage

    mask = rng().random((15, 12, 9)) > 0.2
    mask[5:] |= rng(1).random((10, 12, 9)) > 0.1
    whole = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1]
    assert np.allclose(clicks.depth(mask), whole)
    assert clicks.depth(np.ones((5, 5), dtype=bool)).max() == 3  # the whole image is as deep as its border is far


def test_the_largest_error_is_the_deepest_not_the_biggest():
    t, p = np.zeros((40, 60)), np.zeros((40, 60))
    t[5:12, 5:12] = 1  # missed: 49 pixels, 4 deep
    p[20:23, 0:50] = 1  # wrong: 150 pixels, 2 deep
    found = clicks.largest_error_candidates(p, t)
    assert found.positive and (found.missed, found.wrong) == (4, 2)
    assert found.candidates.sum() == 9 and found.candidates[7:10, 7:10].all()
    centre = clicks.centre_of_largest_error(p, t)
    assert centre.points.tolist() == [[8, 8]] and centre.labels.tolist() == [1]
    p[5:12, 5:12] = 1
    assert clicks.centre_of_largest_error(p, t).points.tolist() in ([[24, 21]], [[25, 21]])
    assert clicks.centre_of_largest_error(p, t).labels.tolist() == [0]


def test_equally_deep_errors_are_taken_back_first():
    t, p = np.zeros((9, 20)), np.zeros((9, 20))
    t[3:6, 3:6] = p[3:6, 12:15] = 1
    assert not clicks.largest_error_candidates(p, t).positive


@PLANE_OR_VOLUME
def test_nothing_left_to_correct(dims):
    t = truth(dims)
    for name in ("random_error", "largest_error", "centre"):
        with pytest.warns(PromptWarning, match="no error"):
            found = NEXT_CLICKS[name](t, t, rng())
        assert found.points.shape == (0, dims) and found.labels.shape == (0,)
        assert Prompts.of(dims).add(found).empty
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = NEXT_CLICKS["sam_med3d"](t, t, rng())
        ignored = NEXT_CLICKS["sam_med2d"](t, t, rng())
    assert kept.labels.tolist() == [1] and at(t, kept).all()
    assert ignored.labels.tolist() == [-1]


@PLANE_OR_VOLUME
def test_an_empty_ground_truth(dims):
    empty = np.zeros_like(truth(dims))
    for draw in (*FIRST_CLICKS.values(), *BOXES.values()):
        with pytest.raises(PromptError, match="empty"):
            draw(empty, rng())
    with pytest.raises(PromptError, match="empty"):
        NEXT_CLICKS["sam_med3d"](empty, empty, rng())
    assert clicks.random_error(prediction(dims), empty, rng()).labels.tolist() == [0]  # false positives can still be clicked


def test_masks_that_are_none():
    for bad, words in ((np.zeros((1, 1, 4, 4)), "without batch"), (np.zeros(4), "without batch"),
                       (np.full((4, 4), 0.5), "threshold"), (np.full((4, 4), 2), "one label"),
                       (np.full((4, 4), np.nan), "threshold")):
        with pytest.raises(PromptError, match=words):
            clicks.random_foreground(bad, rng())
    with pytest.raises(PromptError, match="one grid"):
        clicks.random_error(np.ones((4, 4)), np.ones((4, 5)), rng())


@PLANE_OR_VOLUME
def test_relaxed_boxes_contain_and_jittered_ones_are_near(dims):
    mask = truth(dims)
    tight, size = boxes.tight_box(mask), torch.tensor(boxes.sizes(mask))
    relaxed = torch.stack([boxes.relaxed_box(mask, rng(s), 6) for s in range(300)])
    assert (relaxed[:, :dims] <= tight[:dims]).all() and (relaxed[:, dims:] >= tight[dims:]).all()
    assert (relaxed[:, :dims] >= 0).all() and (relaxed[:, dims:] <= size).all()
    assert (relaxed - tight)[:, dims:].amax(0).tolist() == [6] * dims
    assert (relaxed - tight)[:, dims:].amin(0).tolist() == [0] * dims
    assert (tight - relaxed)[:, 0].unique().tolist() == [0, 1, 2, 3, 4, 5, 6][:5 if dims == 3 else 7]
    jittered = torch.stack([boxes.jittered_box(mask, rng(s)) for s in range(300)])
    side = (tight[dims:] - tight[:dims] + 1).repeat(2)
    assert torch.allclose((jittered - tight).std(0) / side, torch.full_like(side, 0.1), atol=0.015)
    assert (boxes.jittered_box(mask, rng(1), share=5, most=2) - tight).abs().max() <= 2
    wide = torch.stack([boxes.jittered_box(mask, rng(s), share=3, most=1000) for s in range(50)])
    assert (wide[:, :dims] <= wide[:, dims:]).all() and (wide >= 0).all() and (wide[:, dims:] < size).all()


def test_translated_boxes_keep_their_size_and_take_the_largest_regions():
    mask = np.zeros((30, 40))
    mask[2:5, 3:6], mask[10:20, 10:30], mask[25:26, 5:35] = 1, 1, 1
    moved = torch.stack([boxes.translated_boxes(mask, rng(s), 2) for s in range(200)])
    low, high = moved[..., :2], moved[..., 2:]
    assert (high - low == torch.tensor([[20.0, 10], [30, 1]])).all()
    assert low[:, 0, 0].unique().tolist() == list(range(5, 15))
    assert low[:, 1].unique().tolist() == [5, 25]  # 1 pixel thin: not moved
    assert boxes.translated_boxes(mask, rng(), 5, 0)[:, 0].tolist() == [3, 10, 5, 3, 10]
    diagonal = np.eye(6)
    assert boxes.translated_box(diagonal, rng(), 0).tolist() == [0, 0, 6, 6]


def test_boxes_per_slice():
    mask = truth(3)
    mask[4, :, 3] = False
    found = boxes.boxes_per_slice(mask)
    assert list(found) == list(range(3, 10))
    assert found[3].tolist() == [12, 5, 24, 8] and found[4].tolist() == [12, 4, 24, 8]  # x is the second axis that is left
    relaxed = boxes.boxes_per_slice(mask, 0, partial(boxes.relaxed_box, rng=rng(), most=3))
    assert list(relaxed) == list(range(4, 9)) and not torch.equal(relaxed[5], relaxed[6])
    with pytest.raises(PromptError, match="volume"):
        boxes.boxes_per_slice(mask[5])


def test_crowd_boxes_unite_what_touches():
    mask = np.zeros((60, 60))
    mask[5:10, 5:10] = mask[5:10, 13:20] = mask[40:50, 40:50] = 1  # the blur of 5 bridges a gap of 3
    found = boxes.crowd_boxes(mask)
    assert found.tolist() == [[3, 3, 23, 13], [38, 38, 53, 53]]
    ring = np.zeros((60, 60))
    ring[10:50, 10:50], ring[14:46, 14:46], ring[28:32, 28:32] = 1, 0, 1
    assert boxes.crowd_boxes(ring).tolist() == [[8, 8, 53, 53]]  # what lies within a ring belongs to it


def test_mask_prompts():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    best = mask_prompts.best_logits(logits, torch.tensor([[0.1, 0.9, 0.2], [0.5, 0.1, 0.3]]))
    assert torch.equal(best[:, 0], torch.stack([logits[0, 1], logits[1, 0]]))
    assert torch.equal(mask_prompts.previous_logits(best), best) and not mask_prompts.previous_logits(best).requires_grad
    assert torch.equal(mask_prompts.previous_probabilities(best), best.sigmoid())
    assert not mask_prompts.zero_logits((3, 4, 5), 2).any() and mask_prompts.zero_logits((3, 4, 5), 2).shape == (2, 1, 3, 4, 5)
    with pytest.raises(PromptError, match="do not fit"):
        mask_prompts.best_logits(logits, torch.zeros(2, 4))


def test_passes_with_the_mask_alone():
    drawn = [mask_prompts.mask_only_passes(11, rng(s)) for s in range(100)]
    assert {min(passes) for passes in drawn} == set(range(2, 9)) and {max(passes) for passes in drawn} == {10}
    assert {len(passes) for passes in drawn} == {2}
    assert [mask_prompts.mask_only_passes(n, rng()) for n in (1, 2, 4)] == [set(), set(), {3}]


def test_policies_by_name():
    assert policy(BOXES, "relaxed") is boxes.relaxed_box
    with pytest.raises(PromptError, match="tight, relaxed"):
        policy(BOXES, "loose")


def test_prompts_grow_and_do_not_change():
    none = Prompts.of(2)
    one = none.click((5, 7))
    two = one.click((9, 3.4), positive=False)
    assert none.empty and not one.empty and len(one.points) == 1
    assert two.points.tolist() == [[5, 7], [9, pytest.approx(3.4)]] and two.labels.tolist() == [1, 0]
    assert two.check((8, 10)) is two
    with pytest.raises(AttributeError):
        two.points = one.points


def test_contradictory_clicks():
    one = Prompts.of(2).click((5, 7)).click((2, 2))
    with pytest.warns(PromptWarning, match="newer click counts"):
        changed = one.click((5.3, 6.8), positive=False)
    assert changed.labels.tolist() == [1, 0] and changed.points[1].tolist() == pytest.approx([5.3, 6.8])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(one.click((5, 7)).click((6, 7), positive=False).points) == 4  # again, and beside it
        Prompts([[5, 7], [5, 7]], [1, -1]).check((10, 10))
    both = Prompts([[5, 7], [5, 7]], [1, 0])
    with pytest.warns(PromptWarning, match="inside and as outside"):
        both.check((10, 10))


@pytest.mark.parametrize(("prompts", "fits"), [
    (Prompts([[19.4, 9.4]], [1]), True), (Prompts([[-0.5, -0.5]], [1]), True), (Prompts([[9, 19]], [1]), False),
    (Prompts([[20, 5]], [0]), False), (Prompts([[-1, 5]], [0]), False), (Prompts([[99, 99], [1, 1]], [-1, 1]), True),
    (Prompts([[1, 1]], [1], [0, 0, 20, 10]), True), (Prompts([[1, 1]], [1], [-3, 2, 4, 5]), True),
    (Prompts([[1, 1]], [1], [5, 5, 4, 6]), False), (Prompts([[1, 1]], [1], [20, 0, 25, 5]), False),
    (Prompts([[1, 1, 1]], [1]), False), (Prompts([[1, 1, 1]], [1], unit="mm"), False)])
def test_prompts_against_an_image(prompts, fits):
    if fits:
        assert prompts.check((10, 20)) is prompts  # x up to 19, y up to 9
    else:
        with pytest.raises(PromptError, match="image"):
            prompts.check((10, 20))


def full(dims=3):
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(4, dims, generator=generator) * 100
    box = [3.0, 4.25, 5][:dims] + [60.1, 70, 80][:dims]
    return Prompts(points, [1, 0, -1, 1], box, torch.randn(1, 8, 9, generator=generator))


def equal(a, b, tolerance=0.0):
    boxes_agree = torch.allclose(a.box, b.box, rtol=0, atol=tolerance) if a.box is not None else b.box is None
    points_agree = torch.allclose(a.points, b.points, rtol=0, atol=tolerance)
    return a.unit == b.unit and torch.equal(a.labels, b.labels) and points_agree and boxes_agree


@pytest.mark.parametrize("prompts", [full(2), full(3), Prompts.of(2), Prompts.of(3).click((1 / 3, 2, 1e-7)),
                                     Prompts([[1, 2, 3]], [0], unit="mm")])
def test_records_are_exact(prompts):
    back = Prompts.from_json(prompts.to_json())
    assert equal(back, prompts) and back.dimensions == prompts.dimensions
    assert (back.mask is None) == (prompts.mask is None) and (back.mask is None or torch.equal(back.mask, prompts.mask))
    assert back.to_json() == prompts.to_json() and json.loads(prompts.to_json())["version"] == 1


def test_records_that_are_none():
    for text in ("", "[]", "{}", "3", '{"version": 1}', full().to_json().replace("float32", "float16")):
        with pytest.raises(PromptError, match="no record"):
            Prompts.from_json(text)
    with pytest.raises(PromptError, match="update fmlab"):
        Prompts.from_json('{"version": 2}')
    with pytest.raises(PromptError, match="a click is 1"):
        Prompts.from_json(full().to_json().replace('"labels": [1', '"labels": [7'))


def test_clicks_in_mm_and_on_another_grid():
    affine = np.array([[-1.5, 0, 0, 90], [0, 0, 2.0, -30], [0, 0.8, 0, 12], [0, 0, 0, 1]])  # left-right flipped, two axes swapped
    prompts = full()
    mm = prompts.to_mm(affine)
    assert mm.unit == "mm" and mm.mask is None
    assert torch.allclose(mm.points, torch.from_numpy((np.c_[prompts.points, np.ones(4)] @ affine.T)[:, :3]).float(), atol=1e-4)
    assert (mm.box[:3] < mm.box[3:]).all()
    assert equal(mm.from_mm(affine), prompts, 1e-4)
    finer = affine @ np.diag([0.5, 0.5, 0.5, 1])
    assert torch.allclose(mm.from_mm(finer).points, 2 * prompts.points, atol=1e-3)
    turned = np.eye(4)
    turned[:2, :2] = [[0.9, -0.1], [0.1, 0.9]]
    points = Prompts(prompts.points, prompts.labels)
    assert equal(points.to_mm(turned).from_mm(turned), points, 1e-4)
    with pytest.raises(PromptError, match="oblique"):
        prompts.to_mm(turned)
    for wrong in (lambda: mm.to_mm(affine), lambda: prompts.from_mm(affine), lambda: full(2).to_mm(affine)):
        with pytest.raises(PromptError, match="do not become"):
            wrong()


def test_prompts_that_are_none():
    for points, labels, box, words in (
        ([[1, 2]], [1, 0], None, "do not fit"), ([1, 2], [1], None, "do not fit"), ([[1, 2, 3, 4]], [1], None, "do not fit"),
        ([[1, 2]], [2], None, "a click is 1"), ([[1, 2]], [1], [1, 2, 3], "two corners"),
        ([[1, float("nan")]], [1], None, "finite")):
        with pytest.raises(PromptError, match=words):
            Prompts(torch.tensor(points, dtype=torch.float32), labels, box)
    with pytest.raises(PromptError, match="2-D"):
        Prompts.of(2).click((1, 2, 3))
    with pytest.raises(PromptError, match="unit"):
        Prompts([[1, 2]], [1], unit="cm")
