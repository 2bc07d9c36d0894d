"""Simulated clicks and boxes: the official candidate sets, and the official draws by the generators that they were drawn with."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
from parity_files import arrays, parity_cases

from fmlab.interactive import boxes, clicks

FILES = parity_cases("interactive", "prompt_simulation")


class Legacy:
    """numpy's global generator, seeded, in the place of a Generator."""

    def __init__(self, seed: int):
        self.state = np.random.RandomState(seed)
        self.integers, self.permutation = self.state.randint, self.state.permutation


class Python:
    """Python's generator; the far end of ``randint`` belongs to it."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)

    def integers(self, low: int, high: int) -> int:
        return self.random.randint(low, high - 1)


def named(stored: dict[str, np.ndarray], pattern: str) -> list[tuple[np.ndarray, list[int]]]:
    """Arrays whose whole name fits, each with the numbers in the name's groups; at least one."""
    found = [(value, [int(n) for n in fit.groups()]) for name, value in stored.items() if (fit := re.fullmatch(pattern, name))]
    assert found, pattern
    return found


def seeds(first: int, last: int, click: np.ndarray) -> range:
    assert len(click) == last + 1 - first
    return range(first, last + 1)


@pytest.mark.parametrize("path", FILES)
def test_candidates(path):
    stored = arrays(path)
    pair = stored["pred3d"], stored["gt3d"]
    assert np.array_equal(clicks.error_candidates(*pair), stored["error3d_random_candidates"] > 0)
    found = clicks.largest_error_candidates(*pair)
    assert np.array_equal(found.candidates, stored["ritm_candidates"] > 0)
    assert found.positive == bool(stored["ritm_is_positive"])
    assert found.missed == pytest.approx(float(stored["ritm_fn_max"]))
    assert found.wrong == pytest.approx(float(stored["ritm_fp_max"]))
    assert found.candidates[tuple(clicks.centre_of_largest_error(*pair).points[0].int().tolist())]


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize(("name", "policy"), [("random", clicks.random_error), ("ritm", clicks.largest_error)])
def test_sam_med3d_clicks(path, name, policy):
    stored = arrays(path)
    label = stored[f"med3d_{name}_label"]
    for click, (first, last) in named(stored, rf"med3d_{name}_click_seed(\d+)to(\d+)"):
        for k, seed in enumerate(seeds(first, last, click)):
            found = policy(stored["pred3d"], stored["gt3d"], Legacy(seed))
            assert found.points.tolist() == [click[k].tolist()] and found.labels.tolist() == [label[k]], seed
    for click, (seed,) in named(stored, r"med3d_train_click_seed(\d+)"):
        if name == "random":
            found = policy(stored["pred3d"], stored["gt3d"], Legacy(seed))
            assert found.points.tolist() == click[0].tolist()
            assert found.labels.tolist() == stored[f"med3d_train_label_seed{seed}"][0].tolist()


@pytest.mark.parametrize("path", FILES)
def test_sam_med2d_points(path):
    stored = arrays(path)
    for points, (n, seed) in named(stored, r"med2d_init_points(\d+)_seed(\d+)"):
        found = clicks.half_and_half(stored["gt2d"], Legacy(seed), n)
        assert found.points.tolist() == points.tolist()
        assert found.labels.tolist() == stored[f"med2d_init_labels{n}_seed{seed}"].tolist()
    for points, (seed,) in named(stored, r"med2d_correction_points_seed(\d+)"):
        found = clicks.random_error(stored["pred2d"], stored["gt2d"], Legacy(seed), points.shape[1])
        assert found.points.tolist() == points[0].tolist()
        assert found.labels.tolist() == stored[f"med2d_correction_labels_seed{seed}"][0].tolist()


@pytest.mark.parametrize("path", FILES)
def test_sam_med2d_boxes(path):
    stored = arrays(path)
    for theirs, (n, most, seed) in named(stored, r"med2d_boxes_n(\d+)_max(\d+)_seed(\d+)"):
        assert boxes.translated_boxes(stored["gt2d"], Legacy(seed), n, most).tolist() == theirs.tolist(), (n, most)


@pytest.mark.parametrize("path", FILES)
def test_medsam_boxes(path):
    stored = arrays(path)
    assert boxes.tight_box(stored["gt2d"]).tolist() == stored["medsam_tight_box_xyxy"].tolist()
    for theirs, (seed,) in named(stored, r"medsam_box_pyseed(\d+)_xyxy"):
        assert boxes.relaxed_box(stored["gt2d"], Python(seed)).tolist() == theirs.tolist()


@pytest.mark.parametrize("path", parity_cases("interactive", "preprocessing"))
def test_crowd_boxes(path):
    stored = arrays(path)
    for theirs, (size,) in named(stored, r"crowd_bbox_(\d+)"):
        assert boxes.yolo_boxes(stored["crowd_yolo"], size, size).tolist() == theirs.tolist()
