"""Slices as pictures and back, by hand; what augmentation may do to an episode, and what it may not; synthetic tasks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fmlab.errors import ScanError
from fmlab.incontext import augment, material
from fmlab.incontext.augment import NANO, NONE, PUBLISHED, Augmentation, augmented
from fmlab.incontext.shapes import LARGEST, SMALLEST, Shapes
from fmlab.vocabulary import ID
from fmlab.volume import Volume

STEPS = (1.5, 0.9, 3.1)  # mm
each_axis = pytest.mark.parametrize("axis", material.AXES)


def ball(shape=(37, 53, 21), steps=STEPS, radius=17.0):
    """A ball of liver, 120 HU in water, in the middle of unequal voxels."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    inside = np.linalg.norm((index - (np.array(shape) - 1) / 2) * steps, axis=-1) < radius
    image, labels = torch.from_numpy(inside * 120.0)[None], torch.from_numpy(inside * ID["liver"])[None]
    return Volume(image, np.diag([*steps, 1.0]), labels, frozenset({"liver"}), name="ball")


def marked(*voxel):
    """4 x 5 x 6 mm of air with one bright voxel."""
    image = torch.full((1, 4, 5, 6), -1000.0)
    image[(0, *voxel)] = 250
    return Volume(image, np.eye(4), name="marked")


@pytest.mark.parametrize(("axis", "voxel", "index", "size", "seen"), [
    ("axial", (3, 4, 2), 2, 5, (0, 3)),  # right and in front: at the right, at the top
    ("axial", (0, 0, 2), 2, 5, (4, 0)),  # left and behind
    ("coronal", (3, 1, 5), 1, 6, (0, 4)),  # right and at the head: 4 columns in the middle of 6
    ("coronal", (0, 1, 0), 1, 6, (5, 1)),  # left, at the feet
    ("sagittal", (2, 4, 5), 2, 6, (0, 4)),  # in front and at the head: at the right, at the top
    ("sagittal", (2, 0, 0), 2, 6, (5, 0)),
])
def test_which_way_is_up(axis, voxel, index, size, seen):
    shown = material.pictures(marked(*voxel), axis, [index], size)
    assert shown.shape == (1, 1, size, size)
    assert shown[0, 0].nonzero().tolist() == [list(seen)] and shown.max() == 1
    assert not material.pictures(marked(*voxel), axis, [index - 1], size).any()


@each_axis
def test_millimetres_stay_round(axis):
    drawn = material.masks(ball(), ["liver"], axis, [ball().shape[material.AXES[axis]] // 2], size=64)[0, 0]
    height, width = (int(drawn.any(side).sum()) for side in (1, 0))
    longest = max(n * step for i, (n, step) in enumerate(zip(ball().shape, STEPS)) if i != material.AXES[axis])
    assert abs(height - width) <= 64 * max(STEPS) / longest
    assert height == pytest.approx(64 * 34 / longest, abs=64 * max(STEPS) / longest)


@each_axis
@pytest.mark.parametrize("size", [20, 64, 65])
def test_pictures_are_squares_in_0_to_1_and_masks_are_0_or_1(axis, size):
    volume, count = ball(), ball().shape[material.AXES[axis]]
    noise = torch.randn(volume.image.shape, generator=torch.Generator().manual_seed(0))
    noisy = replace(volume, image=volume.image + 300 * noise)
    for window in (material.SOFT_TISSUE, None):
        shown = material.pictures(noisy, axis, size=size, window=window)
        assert shown.shape == (count, 1, size, size) and shown.min() >= 0 and shown.max() <= 1 and shown.std() > 0.1
    drawn = material.masks(volume, ["liver", "liver_tumor"], axis, [0, count // 2], size)
    assert drawn.shape == (2, 2, size, size)
    assert drawn[1, 0].any() and not drawn[:, 1].any() and set(drawn.unique().tolist()) == {0, 1}


@each_axis
def test_back_undoes_pictures(axis):
    volume, number = ball(), material.AXES[axis]
    drawn, found = material.masks(volume, ["liver"], axis), torch.zeros(volume.shape)
    smooth = torch.stack(torch.meshgrid(*(torch.linspace(0, 1, n) for n in volume.shape), indexing="ij")) \
        .mul(torch.tensor([100.0, 70, 40]).view(3, 1, 1, 1)).sum(0, keepdim=True)
    shown, read = material.pictures(replace(volume, image=smooth), axis), torch.zeros(volume.shape)
    for index in range(volume.shape[number]):
        found.select(number, index).copy_(material.back(volume, drawn[index], axis)[0])
        read.select(number, index).copy_(material.back(volume, shown[index], axis)[0])
    mask = volume.mask("liver")
    assert 2 * (mask & (found > 0.5)).sum() / (mask.sum() + (found > 0.5).sum()) > 0.9
    inner = (slice(3, -3),) * 3  # at the rim of the scan a picture's pixels mix with what is beside it
    assert (read * 425 - 175 - smooth[0])[inner].abs().mean() < 2  # HU, of 210


def test_slices_and_axes_that_are_not_there():
    with pytest.raises(ScanError, match="no axis 'oblique'"):
        material.pictures(ball(), "oblique")
    with pytest.raises(ScanError, match="ball has 21 axial slices, so none of number 21"):
        material.pictures(ball(), "axial", [21])
    with pytest.raises(ScanError, match="has no labels"):
        material.masks(replace(ball(), labels=None), ["liver"])


def batch(count=5, side=32, seed=0):
    """Smooth images in 0.2 to 0.8, and a square and a bar as masks."""
    noise = torch.rand(count, 1, side // 4, side // 4, generator=torch.Generator().manual_seed(seed)) * 0.6 + 0.2
    images = torch.nn.functional.interpolate(noise, size=(side, side), mode="bilinear")
    masks = torch.zeros(count, 1, side, side)
    masks[:, :, 10:18, 8:20] = 1
    return images, masks


def only(task=None, image=None):
    """An augmentation that does nothing but this, for sure."""
    return Augmentation(replace(NONE.task, **(task or {})), replace(NONE.image, **(image or {})))


def test_none_changes_nothing():
    images, masks = batch()
    found = augmented(images, masks, NONE, np.random.default_rng(0))
    assert (found[0] - images).abs().max() <= 1e-6 and torch.equal(found[1], masks)


@pytest.mark.parametrize("ranges", [PUBLISHED, NANO], ids=["published", "nano"])
def test_what_always_holds(ranges):
    for seed in range(60):
        images, masks = augmented(*batch(), ranges, np.random.default_rng(seed))
        assert images.shape == masks.shape == (5, 1, 32, 32) and images.dtype == masks.dtype == torch.float32
        assert images.min() >= 0 and images.max() <= 1 and set(masks.unique().tolist()) <= {0.0, 1.0}
    once, again, other = (augmented(*batch(), ranges, np.random.default_rng(seed))[0] for seed in (7, 7, 8))
    assert torch.equal(once, again) and not torch.equal(once, other)


def test_flip_swap_edges_and_inversion_are_the_tasks():
    images, masks = batch()
    flips = set()
    for seed in range(20):
        found = augmented(images, masks, only({"p_flip": 1}), np.random.default_rng(seed))
        fits = [axis for axis in (2, 3) if (found[0] - images.flip(axis)).abs().max() <= 1e-6]
        assert len(fits) == 1 and torch.equal(found[1], masks.flip(*fits))
        flips.update(fits)
    assert flips == {2, 3}
    rng = np.random.default_rng(0)
    shown, drawn = augmented(images, masks, only({"p_swap": 1}), rng)
    assert (shown - images).abs().max() <= 1e-6 and torch.equal(drawn, 1 - masks)
    shown, drawn = augmented(images, masks, only({"p_edges": 1}), rng)
    rim = torch.zeros_like(masks)
    rim[:, :, 9:19, 7:21], rim[:, :, 11:17, 9:19] = 1, 0  # two pixels wide, about the square's outline
    assert torch.equal(drawn, rim) and torch.equal(augment.edges(masks), rim)
    shown, drawn = augmented(images, masks, only({"p_invert": 1}), rng)
    assert (shown - 1 + images).abs().max() <= 1e-6 and torch.equal(drawn, masks)


CHANGES = {"turn": {"p_affine": 1, "move": 0, "size": (1, 1)}, "bend": {"p_bend": 1}, "light": {"p_light": 1},
           "blur": {"p_blur": 1}, "sharp": {"p_sharp": 1}}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_task_changes_all_alike_and_images_each_on_their_own(change):
    images, masks = (x[:1].expand(5, -1, -1, -1) for x in batch())
    alike, _ = augmented(images, masks, only(change), np.random.default_rng(3))
    own, _ = augmented(images, masks, only(None, change), np.random.default_rng(3))
    assert (alike - alike[:1]).abs().max() <= 1e-6 and (alike - images).abs().max() > 1e-3
    assert (own[1:] - own[:1]).flatten(1).abs().max(1).values.min() > 1e-4


def test_image_and_mask_move_together_and_as_far_as_said():
    images, masks = batch()
    for seed in range(20):
        moved, mask = augmented(masks, masks, only({"p_affine": 1, "p_bend": 1, "p_flip": 1}), np.random.default_rng(seed))
        assert torch.equal((moved >= 0.5).float(), mask)
    doubled = augmented(images, masks, only({"p_affine": 1, "turn": 0, "move": 0, "size": (2, 2)}), np.random.default_rng(0))[1]
    assert doubled[0].sum().item() == pytest.approx(4 * masks[0].sum().item(), rel=0.15)
    places = []
    for seed in range(40):
        drawn = augmented(images, masks, only({"p_affine": 1, "turn": 0, "size": (1, 1)}), np.random.default_rng(seed))[1][0, 0]
        places.append(drawn.nonzero().float().mean(0) - torch.tensor([13.5, 13.5]))
    furthest = torch.stack(places).abs().max()
    assert 4 < furthest <= 0.2 * 32 + 0.6  # a fifth of the side


def test_noise_is_each_images_own():
    images = torch.full((4, 1, 16, 16), 0.5)
    found = augment.lit(images, replace(NONE.task, p_noise=1, noise=0.1), np.random.default_rng(0))
    assert (found[1:] - found[:1]).abs().max() > 1e-3 and found.std() < 0.1


def test_synthetic_tasks_look_alike_and_differ():
    source = Shapes(32)
    for seed in range(20):
        images, masks, subjects = source.draw(np.random.default_rng(seed), 4)
        assert images.shape == masks.shape == (4, 1, 32, 32) and images.min() >= 0 and images.max() <= 1
        assert set(masks.unique().tolist()) == {0, 1} and len(set(subjects)) == 4
        assert SMALLEST <= masks[0].mean() <= max(LARGEST, 0.5)
        common = (masks[1] * masks[0]).sum() / masks[0].sum()
        assert not torch.equal(masks[0], masks[1]) and common > masks.mean()  # alike: more than chance
    again = source.draw(np.random.default_rng(0), 4)
    assert torch.equal(again[0], source.draw(np.random.default_rng(0), 4)[0])
