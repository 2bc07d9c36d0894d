"""The four metrics on two masks: by hand, by their laws, and against MONAI and surface-distance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import surface_distance
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage

from fmlab import metrics
from fmlab.errors import ScanError
from fmlab.metrics import masks

pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}Warning") for kind in ("Deprecation", "Future")]  # others' own
SPACINGS = [(1.0, 1.0, 1.0), (1.5, 1.5, 1.5), (0.8, 0.8, 5.0), (3.0, 1.0, 1.0), (0.7, 1.9, 1.2)]


def empty(*shape: int) -> np.ndarray:
    return np.zeros(shape or (8, 8, 8), bool)


def cube(start: int, stop: int, side: int = 8) -> np.ndarray:
    mask = empty(side, side, side)
    mask[start:stop, start:stop, start:stop] = True
    return mask


def smooth_pair(seed: int, spacing: tuple[float, ...], extent: float = 44.0) -> tuple[np.ndarray, np.ndarray]:
    """Two readings of one lumpy organ about 25 mm wide, some 1.5 mm apart: bool, on a grid of this spacing."""
    rng = np.random.default_rng(seed)
    shape = [int(extent / s) + 2 for s in spacing]

    def noise(width: float) -> np.ndarray:
        field = ndimage.gaussian_filter(rng.normal(size=shape), [width / s for s in spacing])
        return field / field.std()

    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    first = 1 - 2 * np.sqrt(sum(g**2 for g in grid)) + 0.3 * noise(6) > 0
    depth = ndimage.distance_transform_edt(first, sampling=spacing) - ndimage.distance_transform_edt(~first, sampling=spacing)
    return first, depth + 1.5 * noise(8) > 0


def as_monai(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(mask)[None, None].float()


# --- by hand -------------------------------------------------------------------------------------------------------------------

def test_dice_by_hand():
    p, r = empty(4, 4, 4), empty(4, 4, 4)
    p[0, 0, :3] = True  # three voxels, two of them shared with the reference's five
    r[0, 0, 1:] = True
    r[0, 1, :2] = True
    assert metrics.dice(p, r) == 2 * 2 / (3 + 5)
    assert metrics.dice(r, r) == 1
    assert metrics.dice(p, r & ~p) == 0


def test_surface_is_the_shell_and_what_touches_the_border():
    shell = metrics.surface(cube(1, 5))
    assert shell.sum() == 4**3 - 2**3
    assert not shell[2:4, 2:4, 2:4].any()
    everywhere = metrics.surface(np.ones((3, 3, 3), bool))
    assert everywhere.sum() == 27 - 1  # all but the middle one


def test_hd95_and_nsd_of_two_voxels_are_their_distance_in_mm():
    p, r = empty(), empty()
    p[1, 1, 1] = r[3, 4, 1] = True
    spacing = (1.5, 1.0, 9.0)  # (2 * 1.5, 3 * 1.0): 3 and 3
    assert metrics.hd95(p, r, spacing) == pytest.approx(math.sqrt(18))
    assert metrics.nsd(p, r, spacing, tolerance=4.2) == 0
    assert metrics.nsd(p, r, spacing, tolerance=4.3) == 1


def test_hd95_is_the_larger_direction_not_the_pool():
    p, r = empty(30, 3, 3), empty(30, 3, 3)
    p[:, 1, 1] = True  # 30 surface voxels, the 20 beyond the reference 1, 2, ... 20 mm off
    r[:10, 1, 1] = True
    away = np.r_[np.zeros(10), np.arange(1, 21)]
    assert metrics.hd95(p, r, 1.0) == pytest.approx(np.percentile(away, 95))
    assert metrics.hd95(r, p, 1.0) == metrics.hd95(p, r, 1.0)
    assert metrics.nsd(p, r, 1.0, tolerance=2) == pytest.approx((10 + 2 + 10) / (30 + 10))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shift_by_one_voxel_costs_that_axis_spacing(axis):
    spacing = (0.8, 1.6, 5.0)
    p, r = cube(2, 5), np.roll(cube(2, 5), 1, axis)
    assert metrics.hd95(p, r, spacing) == pytest.approx(spacing[axis])
    assert metrics.nsd(p, r, spacing, tolerance=spacing[axis]) == 1
    assert metrics.nsd(p, r, spacing, tolerance=0.99 * spacing[axis]) < 1


def test_a_distance_equal_to_the_tolerance_counts_although_the_affine_is_float32():
    p, r = cube(2, 5), np.roll(cube(2, 5), 1, 0)
    crumbled = float(np.float32(0.7)) + 1e-7
    assert metrics.nsd(p, r, crumbled, tolerance=0.7) == 1


def test_volume_error_by_hand():
    spacing = (2.0, 2.0, 5.0)  # 20 mm3
    assert metrics.volume_error(cube(1, 4), cube(1, 3), spacing) == pytest.approx((27 - 8) * 0.02)
    assert metrics.volume_error(cube(1, 3), cube(1, 4), spacing) == pytest.approx((8 - 27) * 0.02)
    flat = np.ones((4, 5), bool)
    assert metrics.volume_error(flat, ~flat, 10.0) == pytest.approx(20.0)  # cm2


# --- conventions ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("missed", [True, False], ids=["missed", "false positive"])
def test_one_mask_empty_is_the_worst_score_and_finite(missed):
    full, none, spacing = cube(2, 5), empty(), (1.0, 2.0, 3.0)
    pair = (none, full) if missed else (full, none)
    diagonal = math.sqrt(8**2 + 16**2 + 24**2)
    assert metrics.dice(*pair) == 0
    assert metrics.nsd(*pair, spacing, tolerance=1e6) == 0
    assert metrics.hd95(*pair, spacing) == pytest.approx(diagonal)
    assert metrics.volume_error(*pair, spacing) == pytest.approx((-27 if missed else 27) * 0.006)


def test_missing_is_worse_than_any_prediction():
    corner, opposite = empty(), empty()
    corner[0, 0, 0] = opposite[-1, -1, -1] = True
    assert metrics.hd95(corner, opposite, 2.0) < metrics.hd95(empty(), opposite, 2.0)


def test_both_empty_is_not_applicable():
    pair = empty(), empty()
    assert math.isnan(metrics.dice(*pair))
    assert math.isnan(metrics.nsd(*pair, 1.0))
    assert math.isnan(metrics.hd95(*pair, 1.0))
    assert math.isnan(metrics.volume_error(*pair, 1.0))


# --- laws ----------------------------------------------------------------------------------------------------------------------

LAWS = settings(max_examples=40, deadline=None, derandomize=True)
SHAPES = st.tuples(*[st.integers(2, 7)] * 3)
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape)))
SIZES = st.tuples(*[st.sampled_from([0.5, 0.8, 1.0, 2.5, 5.0])] * 3)


def all_metrics(p: np.ndarray, r: np.ndarray, spacing: tuple[float, ...], tolerance: float = 2.0) -> list[float]:
    distances = metrics.nsd(p, r, spacing, tolerance), metrics.hd95(p, r, spacing)
    return [metrics.dice(p, r), *distances, abs(metrics.volume_error(p, r, spacing))]


@LAWS
@given(PAIRS, SIZES)
def test_symmetry_and_range(pair, spacing):
    p, r = pair
    assume(p.any() or r.any())
    there, back = all_metrics(p, r, spacing), all_metrics(r, p, spacing)
    assert there == back
    assert 0 <= there[0] <= 1 and 0 <= there[1] <= 1
    assert 0 <= there[2] <= masks.field_of_view_diagonal(p.shape, spacing)
    assert (there[0] == 1) == bool((p == r).all())


@LAWS
@given(PAIRS, SIZES, st.permutations(range(3)), st.sets(st.integers(0, 2)))
def test_flips_and_permutations_of_the_axes_change_nothing(pair, spacing, order, flipped):
    assume(pair[0].any() or pair[1].any())
    turned = [np.flip(np.transpose(mask, order), tuple(flipped)) for mask in pair]
    assert all_metrics(*turned, tuple(spacing[axis] for axis in order)) == pytest.approx(all_metrics(*pair, spacing))


@LAWS
@given(PAIRS, SIZES, st.integers(0, 3))
def test_room_around_the_masks_changes_nothing_but_the_penalty(pair, spacing, room):
    p, r = pair
    assume(p.any() and r.any())
    padded = [np.pad(mask, [(room, 2)] * 3) for mask in pair]
    assert all_metrics(*padded, spacing) == pytest.approx(all_metrics(p, r, spacing))


@LAWS
@given(PAIRS, SIZES, st.floats(0, 6), st.floats(0, 6))
def test_nsd_never_falls_with_the_tolerance(pair, spacing, one, other):
    assume(pair[0].any() or pair[1].any())
    low, high = sorted((one, other))
    assert metrics.nsd(*pair, spacing, low) <= metrics.nsd(*pair, spacing, high)


@LAWS
@given(PAIRS, SIZES, st.sampled_from([0.5, 2.0, 10.0]))
def test_scaling_mm_scales_distances_and_volumes(pair, spacing, scale):
    assume(pair[0].any() or pair[1].any())
    before, after = all_metrics(*pair, spacing, 2.0), all_metrics(*pair, tuple(scale * s for s in spacing), 2.0 * scale)
    assert after[:2] == pytest.approx(before[:2])
    assert after[2:] == pytest.approx([scale * before[2], scale**3 * before[3]])


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (1.0, 2.0, 4.0)])
def test_a_finer_grid_gives_the_same_figures_up_to_a_voxel(spacing):
    p, r = smooth_pair(3, spacing)
    fine = [mask.repeat(2, 0).repeat(2, 1).repeat(2, 2) for mask in (p, r)]
    half = tuple(s / 2 for s in spacing)
    assert metrics.dice(*fine) == pytest.approx(metrics.dice(p, r))
    assert metrics.volume_error(*fine, half) == pytest.approx(metrics.volume_error(p, r, spacing))
    assert metrics.hd95(*fine, half) == pytest.approx(metrics.hd95(p, r, spacing), abs=math.hypot(*spacing))
    assert metrics.nsd(*fine, half, tolerance=4.0) == pytest.approx(metrics.nsd(p, r, spacing, tolerance=4.0), abs=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_growing_the_error_never_raises_a_score(seed):
    first, _ = smooth_pair(seed, (1.5, 1.5, 1.5))
    grown = [first] + [ndimage.binary_dilation(first, iterations=n) for n in (1, 2, 3)]
    scores = np.array([all_metrics(mask, first, (1.5, 1.5, 1.5)) for mask in grown])
    assert (np.diff(scores[:, 0]) < 0).all() and (np.diff(scores[:, 1]) <= 0).all()
    assert (np.diff(scores[:, 2]) > 0).all() and (np.diff(scores[:, 3]) > 0).all()


# --- against MONAI and surface-distance ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_monai_on_smooth_masks(seed, spacing):
    p, r = smooth_pair(seed, spacing)
    one, other = as_monai(p), as_monai(r)
    assert metrics.dice(p, r) == pytest.approx(compute_dice(one, other).item(), abs=1e-6)  # MONAI works in float32
    expected = compute_hausdorff_distance(one, other, include_background=True, percentile=95, spacing=spacing).item()
    assert metrics.hd95(p, r, spacing) == pytest.approx(expected, rel=1e-5)
    for tolerance in (0.55, 1.13, 2.31, 6.0):  # away from sums of squares of the spacing, where float32 decides
        expected = compute_surface_dice(one, other, [tolerance], include_background=True, spacing=spacing).item()
        assert metrics.nsd(p, r, spacing, tolerance) == pytest.approx(expected, abs=1e-6)


@LAWS
@given(PAIRS, st.sampled_from(SPACINGS))
def test_equal_to_monai_on_ragged_masks(pair, spacing):
    assume(pair[0].any() and pair[1].any())
    one, other = map(as_monai, pair)
    expected = compute_hausdorff_distance(one, other, include_background=True, percentile=95, spacing=spacing).item()
    assert metrics.hd95(*pair, spacing) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    expected = compute_surface_dice(one, other, [2.17], include_background=True, spacing=spacing).item()
    assert metrics.nsd(*pair, spacing, 2.17) == pytest.approx(expected, abs=1e-6)


def test_equal_to_monai_in_two_dimensions():
    rng = np.random.default_rng(0)
    p, r = (ndimage.gaussian_filter(rng.normal(size=(40, 30)), 4) > 0 for _ in range(2))
    one, other = as_monai(p), as_monai(r)
    expected = compute_hausdorff_distance(one, other, include_background=True, percentile=95, spacing=(0.5, 2.0)).item()
    assert metrics.hd95(p, r, (0.5, 2.0)) == pytest.approx(expected, rel=1e-5)
    expected = compute_surface_dice(one, other, [1.7], include_background=True, spacing=(0.5, 2.0)).item()
    assert metrics.nsd(p, r, (0.5, 2.0), 1.7) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(3))
def test_close_to_surface_distance(seed, spacing):
    """Another surface (a mesh, weighed by area), so not equal: HD95 within a voxel's diagonal; NSD, at a tolerance that no voxel
    side exceeds, at most 0.1 below theirs (ours is the stricter) and 0.02 above."""
    p, r = smooth_pair(seed, spacing)
    theirs = surface_distance.compute_surface_distances(r, p, spacing)
    assert metrics.dice(p, r) == surface_distance.compute_dice_coefficient(r, p)
    expected = surface_distance.compute_robust_hausdorff(theirs, 95)
    assert metrics.hd95(p, r, spacing) == pytest.approx(expected, abs=math.hypot(*spacing))
    tolerance = max(spacing)
    expected = surface_distance.compute_surface_dice_at_tolerance(theirs, tolerance)
    assert -0.1 < metrics.nsd(p, r, spacing, tolerance) - expected < 0.02


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_box_changes_nothing(spacing):
    p, r = smooth_pair(5, spacing)
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (p, r)]
    whole = [ndimage.distance_transform_edt(~b, sampling=spacing)[a] for a, b in (edges, edges[::-1])]
    for ours, theirs in zip(metrics.surface_distances(p, r, spacing), whole):
        np.testing.assert_allclose(ours, theirs)


# --- input ---------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("convert", [
    lambda m: m, lambda m: m.astype(np.uint8), lambda m: m.astype(float), lambda m: np.asfortranarray(m), lambda m: m[::-1][::-1],
    torch.from_numpy, lambda m: torch.from_numpy(m).to(torch.bfloat16), lambda m: torch.from_numpy(m).float().requires_grad_(),
], ids=["bool", "uint8", "float64", "fortran", "strided", "tensor", "bfloat16", "grad"])
def test_every_kind_of_mask_gives_the_same_float(convert):
    p, r = cube(2, 5), cube(3, 6)
    found = all_metrics(convert(p), convert(r), (1.0, 2.0, 3.0))
    assert found == all_metrics(p, r, (1.0, 2.0, 3.0))
    assert all(type(value) is float for value in found)


def test_inputs_are_left_alone():
    p, r = cube(2, 5), cube(3, 6)
    all_metrics(p, r, (1.0, 2.0, 3.0))
    assert (p == cube(2, 5)).all() and (r == cube(3, 6)).all()


@pytest.mark.parametrize(("p", "r", "says"), [
    (cube(1, 3), cube(1, 3, side=9), "has shape"),
    (cube(1, 3)[None], cube(1, 3)[None], "one structure"),
    (np.ones(5, bool), np.ones(5, bool), "one structure"),
    (np.zeros((0, 3, 3), bool), np.zeros((0, 3, 3), bool), "one structure"),
    (cube(1, 3) * 0.5, cube(1, 3), "threshold"),
    (cube(1, 3), cube(1, 3) * 2, "threshold"),
    (np.where(cube(1, 3), np.nan, 1.0), cube(1, 3), "threshold"),
    (np.full((2, 2, 2), "x"), np.ones((2, 2, 2), bool), "threshold"),
])
def test_unfit_masks_are_refused(p, r, says):
    with pytest.raises(ScanError, match=says):
        metrics.dice(p, r)
    for metric in (metrics.nsd, metrics.hd95, metrics.volume_error):
        with pytest.raises(ScanError, match=says):
            metric(p, r, 1.0)


@pytest.mark.parametrize("spacing", [0, -1.0, (1, 1), (1, 1, 0), (1, 1, math.nan), (1, 1, math.inf), "x", None, (1, (2, 3), 4)])
def test_unfit_spacing_is_refused(spacing):
    for metric in (metrics.nsd, metrics.hd95, metrics.volume_error):
        with pytest.raises(ScanError, match="spacing"):
            metric(cube(1, 3), cube(1, 3), spacing)


@pytest.mark.parametrize("tolerance", [-0.1, math.nan, math.inf, "x", None])
def test_unfit_tolerance_is_refused(tolerance):
    with pytest.raises(ScanError, match="tolerance"):
        metrics.nsd(cube(1, 3), cube(1, 3), 1.0, tolerance)
