"""Masks beside readers, as lesson 07 shows them: which is nearest to whom, a window about them, scores of named ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fmlab.incontext.candidates import ged, max_dice
from fmlab.incontext.examples import Examples
from fmlab.lessons.several_readers import OTHERS, against_readers, around, compared, most_apart, scored
from fmlab.volume import Volume
from fmlab.windows import SOFT_TISSUE


def square(low, high, size=24):
    mask = torch.zeros(size, size)
    mask[low:high, low:high] = 1
    return mask


def test_a_window_is_about_all_that_is_shown_and_ends_at_the_picture():
    masks = torch.stack([square(10, 12), square(3, 5)])[:, None]
    rows, columns = around(masks, margin=4)
    assert (rows, columns) == (slice(0, 17), slice(0, 17))
    assert around(square(10, 12), margin=2) == (slice(8, 14), slice(8, 14))
    assert around(square(20, 24), margin=9) == (slice(2, 24), slice(2, 24))


def test_a_window_is_square_about_the_middle_of_what_is_not():
    mask = torch.zeros(24, 24)
    mask[10:12, 4:14] = 1
    assert around(mask, margin=1) == (slice(5, 17), slice(3, 15))
    assert around(mask[8:], margin=9) == (slice(0, 16), slice(1, 17))


def test_of_nothing_the_window_is_the_whole_picture():
    assert torch.zeros(3, 5)[around(torch.zeros(3, 5))].shape == (3, 5)


def test_two_masks_are_shown_where_they_differ_most():
    a = torch.zeros(24, 24, 6, dtype=torch.bool)
    a[10:14, 10:14] = True
    b = a.clone()
    b[9:16, 10:14, 4], b[9, 9, 2] = True, True
    volume = Volume(torch.arange(6.0).expand(1, 24, 24, 6) * 40, np.diag([2.0, 2.0, 2.0, 1.0]), modality="CT")
    shown, ours, theirs = most_apart(volume, a, b, size=24, margin=2)
    assert shown.shape == ours.shape == theirs.shape == (11, 11)
    assert ours.sum() == 16 and theirs.sum() == 28
    torch.testing.assert_close(shown, SOFT_TISSUE(torch.full((11, 11), 160.0)))  # of slice 4, not of slice 2 or 0


def test_each_reader_gets_the_mask_that_is_nearest_to_hers():
    wide, narrow = square(4, 16), square(8, 12)
    shown = against_readers(torch.rand(1, 24, 24), torch.stack([narrow, wide]), torch.stack([wide, narrow]))
    assert "reader 1: Dice 1.00" in shown.alt and "reader 2: Dice 1.00" in shown.alt
    only = against_readers(torch.rand(1, 24, 24), wide[None], torch.stack([wide, narrow]))
    assert f"reader 2: Dice {float(max_dice(wide[None], narrow[None])[0]):.2f}" in only.alt


def tasks():
    masks = torch.stack([square(6, 16), square(5, 17)])[:, None]
    examples = Examples(torch.rand(2, 1, 24, 24), masks)
    return [(examples, examples), (examples[:1], examples[1:])]


def test_every_query_is_scored_in_every_way_and_against_the_same_readers():
    asked = []

    def ways(query, examples):
        asked.append((tuple(query.shape), len(examples)))
        return {"one": square(6, 16)[None] > 0, "twice": torch.stack([square(6, 16)] * 2)}

    found = scored(ways, tasks())
    assert asked == [((1, 1, 24, 24), 2)] * 2 + [((1, 1, 24, 24), 1)]
    assert list(found) == ["one", "twice", OTHERS] and all(len(each) == 3 for each in found.values())
    for once, twice in zip(found["one"], found["twice"]):  # a mask given twice is no other set
        assert once == pytest.approx(twice)
    assert found == scored(lambda query, examples: {"one": square(6, 16)[None] > 0, "twice": square(6, 16)[None]}, tasks())


def test_readers_are_the_nearest_to_readers():
    found = scored(lambda query, examples: {"far": square(0, 3)[None]}, tasks())
    assert all(ged_other < ged_far for (_, ged_other), (_, ged_far) in zip(found[OTHERS], found["far"]))
    assert ged(square(0, 3)[None], square(0, 3)[None]) == 0


def test_the_comparison_says_its_means():
    shown = compared({"a way": [(0.5, 0.25), (0.7, 0.35)], "another": [(1.0, 0.0), (1.0, 0.0)]})
    assert "2 queries" in shown.alt and "a way 0.60 and 0.30" in shown.alt and "another 1.00 and 0.00" in shown.alt
    assert shown.png.startswith(b"\x89PNG")
