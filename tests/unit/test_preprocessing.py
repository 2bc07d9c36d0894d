"""Preprocessing: sizes, frames and their inverses, corners (constant, empty, small, odd), and what no parity file shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from fmlab.errors import ModelError
from fmlab.interactive import (
    preprocess_adapter3d,
    preprocess_crowd,
    preprocess_medsam,
    preprocess_sam,
    preprocess_sam_med2d,
    preprocess_sam_med3d,
    preprocess_segvol,
)
from fmlab.interactive.preprocessing import Frame, placed, taken_back, to_unit
from fmlab.interactive.prompts import Prompts


def picture(height=30, width=44, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("shape", "inner"), [((120, 200), (614, 1024)), ((1365, 2048), (683, 1024)), ((1, 1000), (1, 1024)),
                                              ((1024, 1024), (1024, 1024)), ((333, 250), (1024, 769))])
def test_sams_sizes(shape, inner):
    assert preprocess_sam.framed(*shape).inner == inner  # 682.5 is rounded up, 768.77 too


def test_sam_fills_with_the_mean_colour_and_takes_grey():
    grey = picture()[..., 0]
    x, frame = preprocess_sam.preprocess(grey, 64)
    assert x.shape == (1, 3, 64, 64) and frame.inner == (44, 64)
    assert not x[..., 44:, :].any()
    raw = x[0] * torch.tensor(preprocess_sam.STD).view(3, 1, 1) + torch.tensor(preprocess_sam.MEAN).view(3, 1, 1)
    assert torch.allclose(raw[0, :44], raw[1, :44], atol=1e-3)
    assert torch.allclose(raw[:, 44:].mean((1, 2)), torch.tensor(preprocess_sam.MEAN))
    assert torch.equal(x, preprocess_sam.preprocess(np.stack([grey] * 3, -1), 64)[0])


def test_sam_red_stays_red():
    red = np.zeros((8, 8, 3), dtype=np.uint8)
    red[..., 0] = 255
    x, _ = preprocess_sam.preprocess(red, 8)
    assert x[0, :, 0, 0].tolist() == pytest.approx([(255 - 123.675) / 58.395, -116.28 / 57.12, -103.53 / 57.375])


FRAMES = [preprocess_sam.framed(30, 44, 64), Frame((30, 44), (64, 64), (64, 64), (0, 0)), preprocess_sam_med2d.framed(30, 45, 64),
          preprocess_sam_med3d.framed((20, 9, 31), (3.5, 4, 30), 16), preprocess_sam_med3d.framed((5, 6, 7), (2.5, 3, 3.5), 9)]


@pytest.mark.parametrize("frame", FRAMES)
def test_points_there_and_back(frame):
    dims = len(frame.original)
    points = torch.rand(5, dims, generator=torch.Generator().manual_seed(0)) * 20
    assert torch.allclose(frame.points_back(frame.points(points)), points, atol=1e-4)
    box = torch.cat([points[0], points[1]])
    assert torch.equal(frame.boxes(box), torch.cat([frame.points(points[0]), frame.points(points[1])]))
    moved = frame.prompts(Prompts(points, torch.ones(5), box))
    assert torch.equal(moved.points, frame.points(points)) and torch.equal(moved.box, frame.boxes(box))


def test_x_goes_with_the_width():
    assert preprocess_medsam.preprocess(picture(30, 40), 120)[1].points(torch.tensor([[10.0, 10.0]])).tolist() == [[30.0, 40.0]]
    assert preprocess_sam_med2d.framed(30, 45, 64).points(torch.tensor([[0.0, 0.0]])).tolist() == [[9.0, 17.0]]


@pytest.mark.parametrize("frame", FRAMES)
def test_what_is_placed_can_be_taken_back(frame):
    image = torch.rand(2, *frame.inner, generator=torch.Generator().manual_seed(0)) + 1
    there = placed(image, frame)
    assert there.shape == (2, *frame.model)
    back = taken_back(there, frame)
    seen = back > 0
    assert torch.equal(back[seen], image[seen])
    assert int(seen.sum()) == int((there > 0).sum()) > 0
    assert bool(seen.all()) or len(frame.original) == 3  # only a crop leaves something out


def test_a_pixel_lands_where_its_coordinates_say():
    for frame in FRAMES[2:]:
        image = torch.zeros(frame.inner)
        index = (4, 4, 28) if min(frame.start) < 0 else tuple(n // 2 for n in frame.inner)
        image[index] = 1
        point = torch.tensor(index[::-1] if len(index) == 2 else index).float()
        found = placed(image, frame).nonzero()[0]
        assert (found.flip(0) if len(index) == 2 else found).tolist() == frame.points(point).tolist()


def test_medsam_resize_keeps_a_ramp_its_range_and_constants():
    ramp = np.add.outer(np.arange(40.0), np.arange(60.0))
    out = preprocess_medsam.resized(ramp, (20, 30))
    assert out.shape == (20, 30) and out.min() >= 0 and out.max() <= ramp.max()
    assert out[10, 15] == pytest.approx(2 * 10.5 - 0.5 + 2 * 15.5 - 0.5, abs=0.05)  # centres of the same field of view
    assert np.allclose(preprocess_medsam.resized(np.full((9, 7, 3), 5), (16, 16)), 5)
    step = np.repeat([0.0, 255.0], 20)[None].repeat(40, 0)
    assert preprocess_medsam.resized(step, (64, 64)).max() <= 255  # a spline alone would overshoot
    assert preprocess_medsam.resized(picture(), (16, 64)).shape == (16, 64, 3)


def test_medsam_sigmoid_comes_first():
    frame = Frame((8, 8), (16, 16), (16, 16), (0, 0))
    low = torch.tensor([[[[-9.0, 3.0], [-9.0, 3.0]]]])
    p = preprocess_medsam.postprocess(low, frame)
    logits = torch.nn.functional.interpolate(low, (8, 8), mode="bilinear")
    assert p.shape == (1, 1, 8, 8)
    assert int((p > 0.5).sum()) > int((logits > 0).sum())  # a confident background keeps less when logits are averaged last


def test_medsam_other_modalities():
    image = np.zeros((4, 50, 50))
    image[1:3] = np.random.default_rng(0).gamma(3, 100, (2, 50, 50))
    window = preprocess_medsam.percentile_window(image)
    assert window.dtype == np.uint8 and not window[[0, 3]].any() and window.max() == 255
    low, high = np.percentile(image[1:3], (0.5, 99.5))
    assert (window[image >= high] == 255).all() and (window[(image > 0) & (image <= low)] == 0).all()
    assert not preprocess_medsam.percentile_window(np.zeros((3, 3))).any()
    assert preprocess_medsam.ct_window(np.array([-2000, -160, 40, 240, 3000])).tolist() == [0, 0, 127, 255, 255]


def test_sam_med2d_small_images_are_padded_and_others_stretched():
    x, frame = preprocess_sam_med2d.preprocess(picture(30, 45), 64)
    assert x.shape == (1, 3, 64, 64) and frame.start == (17, 9) and not x[..., :17, :].any() and not x[..., :9].any()
    inner = x[0, :, 17:47, 9:54]
    assert torch.equal(inner, preprocess_sam.normalised(torch.from_numpy(picture(30, 45)).permute(2, 0, 1).float().flip(0)))
    wide, frame = preprocess_sam_med2d.preprocess(picture(30, 64), 64)
    assert frame.inner == (64, 64) and (wide != 0).float().mean() > 0.99
    assert torch.equal(wide[0, :, 0::32, :], preprocess_sam_med2d.preprocess(picture(30, 64)[[0, 15]], 64)[0][0, :, [0, 32], :])
    mask = np.zeros((30, 45))
    mask[3, 4] = 1
    assert preprocess_sam_med2d.preprocess_mask(mask, 64).nonzero().tolist() == [[0, 0, 20, 13]]


@pytest.mark.parametrize("shape", [(30, 45), (64, 20), (100, 90)])
def test_sam_med2d_back(shape):
    frame = preprocess_sam_med2d.framed(*shape, 64)
    low = torch.full((1, 1, 16, 16), -5.0)
    low[..., 6:10, 6:10] = 5
    mask = preprocess_sam_med2d.postprocess(low, frame)[0, 0] > 0
    assert mask.shape == shape
    middle = ndimage.center_of_mass(mask.numpy())
    assert np.abs(np.array(middle) - (np.array(shape) - 1) / 2).max() < 1.01


def test_sam_med3d_crop():
    volume = torch.arange(20 * 21 * 22).view(20, 21, 22).float() + 1
    mask = torch.zeros(20, 21, 22)
    mask[3:6, 10:14, 20:22] = 1
    centre = preprocess_sam_med3d.centre_of(mask)
    assert centre == (4.5, 12.0, 21.0)
    x, frame = preprocess_sam_med3d.preprocess(volume, centre, 8)
    assert x.shape == (1, 1, 8, 8, 8) and frame.start == (0, -8, -17)
    above = volume[0:8, 8:16, 17:22]
    assert torch.allclose(x[0, 0, :, :, :5], (above - above.mean()) / above.std(), atol=1e-5)
    assert torch.allclose(x[0, 0, :, :, 5:], -above.mean() / above.std())  # padded by 0 before the z-score
    assert preprocess_sam_med3d.centre_of(mask * 0) == (10.0, 10.5, 11.0)
    clamped, _ = preprocess_sam_med3d.preprocess(volume, centre, 8, ct=True)
    assert (clamped[0, 0, :, :, :5] == clamped[0, 0, 7, 7, 4]).float().mean() > 0.7  # above 1000 HU all alike


def test_sam_med3d_back_says_no_beyond_the_crop():
    frame = preprocess_sam_med3d.framed((20, 21, 22), (4.5, 12, 21), 8)
    logits = preprocess_sam_med3d.postprocess(torch.full((1, 1, 2, 2, 2), 5.0), frame)
    assert logits.shape == (1, 1, 20, 21, 22) and (logits > 0).nonzero()[:, 2:].amin(0).tolist() == [0, 8, 17]
    assert (logits > 0).nonzero()[:, 2:].amax(0).tolist() == [7, 15, 21]


@pytest.mark.parametrize("image", [torch.zeros(4, 4, 4), torch.full((4, 4, 4), 3.0), -torch.ones(4, 4, 4)])
def test_constant_images_stay_finite(image):
    assert preprocess_sam_med3d.z_normalised(image).isfinite().all()
    assert np.isfinite(preprocess_segvol.normalised(image.numpy())).all()
    assert not to_unit(image.numpy()).any()
    assert not preprocess_crowd.preprocess(image[0].numpy()).any()


def test_segvol_in_and_back():
    x, frame = preprocess_segvol.preprocess(np.random.default_rng(0).normal(0, 300, (10, 12, 14)), (8, 16, 16))
    assert x.shape == (1, 1, 8, 16, 16) and x.min() == 0 and x.max() == 1
    assert preprocess_segvol.postprocess(torch.ones(1, 1, 4, 4, 4), frame).shape == (1, 1, 10, 12, 14)


def test_adapter3d():
    assert preprocess_adapter3d.ct_normalised([-1000, 59.54, 1000], "kits").tolist() == pytest.approx(
        [(-54 - 59.54) / 55.46, 0, (247 - 59.54) / 55.46])
    with pytest.raises(ModelError, match="kits, lits"):
        preprocess_adapter3d.ct_normalised([0], "brats")


def test_sobel_of_a_ramp_in_two_and_three_dimensions():
    plane = np.arange(9.0)[:, None] * np.ones((9, 9))
    assert np.allclose(preprocess_crowd.sobel(plane)[1:-1], 2 / np.sqrt(2))
    assert np.allclose(preprocess_crowd.sobel(np.stack([plane] * 9, -1))[1:-1], 2 / np.sqrt(3))


def test_refusals():
    for bad in (picture().astype(np.float32), picture()[..., :2], np.zeros((0, 4), np.uint8)):
        with pytest.raises(ModelError, match="give uint8"):
            preprocess_sam.preprocess(bad)
    with pytest.raises(ModelError, match="give one"):
        preprocess_sam_med3d.preprocess(torch.zeros(2, 4, 4, 4), (2, 2, 2))
    with pytest.raises(ModelError, match=r"give \(H, W\)"):
        preprocess_crowd.preprocess(np.zeros((4, 4, 2)))
