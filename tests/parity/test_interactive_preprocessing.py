"""Preprocessing gives the official numbers: bytes exactly, z-scores to rounding; and the ways back, on the models' files."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from parity_files import arrays, parity_cases

from fmlab.interactive import (
    preprocess_crowd,
    preprocess_ma_sam,
    preprocess_medsam,
    preprocess_sam,
    preprocess_sam_med3d,
    preprocess_segvol,
)

FILES = parity_cases("interactive", "preprocessing")
PREDICTORS = parity_cases("interactive", "sam_*_predictor")


def close(ours, theirs: np.ndarray, tolerance: float = 2e-6) -> None:
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape
    assert float(np.abs(ours - theirs).max()) <= tolerance


@pytest.mark.parametrize("path", FILES)
def test_medsam(path):
    stored = arrays(path)
    sizes = [int(fit[1]) for name in stored if (fit := re.fullmatch(r"medsam_resize_uint8_(\d+)", name))]
    assert sizes
    for size in sizes:
        bytes_ = preprocess_medsam.resized(stored["gray_uint8"], (size, size)).astype(np.uint8)
        assert np.array_equal(bytes_, stored[f"medsam_resize_uint8_{size}"]), size
        x, frame = preprocess_medsam.preprocess(stored["gray_uint8"], size)
        assert x.shape == (1, 3, size, size) and frame.original == stored["gray_uint8"].shape
        for channel in x[0]:
            close(channel, stored[f"medsam_norm01_{size}"], 1e-6)
    assert np.array_equal(preprocess_medsam.ct_window(stored["ct_hu"]), stored["medsam_ct_window_uint8"])


@pytest.mark.parametrize("path", FILES)
def test_crowd(path):
    stored = arrays(path)
    assert np.array_equal(preprocess_crowd.preprocess(stored["gray_uint8"]), stored["crowd_edge_enhanced_uint8"])
    assert np.array_equal(preprocess_crowd.preprocess(stored["gray_uint8"], edges=False), stored["crowd_plain_uint8"])


@pytest.mark.parametrize("path", FILES)
def test_volumes(path):
    stored = arrays(path)
    close(preprocess_segvol.foreground_normalised(stored["segvol_vol"]), stored["segvol_fgnorm"])
    close(preprocess_segvol.normalised(stored["segvol_vol"]), stored["segvol_minmax"])
    close(preprocess_sam_med3d.z_normalised(torch.from_numpy(stored["znorm_in"])), stored["znorm_out"], 1e-5)
    close(preprocess_ma_sam.ct_normalised(stored["ct_hu"]), stored["masam_ct_norm"])


@pytest.mark.parametrize("path", FILES)
def test_ma_sams_long_way_is_our_short_one(path):
    hu = arrays(path)["ct_hu"].astype(np.float64)
    long = ((np.clip(hu, -200, 250) + 200) / 450 * 255 - 50.22) / 68.47
    close(preprocess_ma_sam.ct_normalised(hu), (long - long.min()) / (long.max() - long.min()), 1e-12)


@pytest.mark.parametrize("path", PREDICTORS)
def test_sam_in(path):
    stored = arrays(path)
    side = max(stored["resized_uint8"].shape[:2])
    assert np.array_equal(preprocess_sam.resized(stored["raw_image"], side), stored["resized_uint8"])
    x, frame = preprocess_sam.preprocess(stored["raw_image"], side)
    assert list(frame.inner) == stored["input_size"].tolist() and list(frame.original) == stored["original_size"].tolist()
    height, width = frame.inner
    pixels = x[0, :, :height, :width].permute(1, 2, 0) * torch.tensor(preprocess_sam.STD) + torch.tensor(preprocess_sam.MEAN)
    close(pixels, stored["resized_uint8"].astype(np.float32), 1e-3)
    assert not x[0, :, height:].any() and not x[0, :, :, width:].any()
    close(frame.points(torch.from_numpy(stored["point_coords"])), stored["point_coords_model"], 1e-4)
    close(frame.boxes(torch.from_numpy(stored["box"]))[None], stored["box_model"], 1e-4)


@pytest.mark.parametrize("path", PREDICTORS)
def test_sam_back(path):
    stored = arrays(path)
    frame = preprocess_sam.framed(*stored["raw_image"].shape[:2], max(stored["resized_uint8"].shape[:2]))
    prompts = [name.removesuffix("__logits_fullres") for name in stored if name.endswith("__logits_fullres")]
    assert prompts
    for name in prompts:
        low, full = torch.from_numpy(stored[f"{name}__low_res"]), stored[f"{name}__logits_fullres"]
        ours = preprocess_sam.postprocess(low[None], frame)[0]
        close(ours, full.astype(np.float32), 2e-5 if full.dtype == np.float32 else 2e-3)
        bits = np.packbits((ours > 0).numpy().ravel())
        assert np.array_equal(bits, stored[f"{name}__mask_packbits"]), name


@pytest.mark.parametrize("path", parity_cases("interactive", "sam_med3d_*_model"))
def test_sam_med3d_back(path):
    stored = arrays(path)
    side = stored["iter__final_shape"][-1]
    frame = preprocess_sam_med3d.framed((side,) * 3, (side / 2,) * 3, side)
    logits = preprocess_sam_med3d.postprocess(torch.from_numpy(stored["iter__low2"]), frame)
    assert np.array_equal(np.packbits((logits > 0).numpy().ravel()), stored["iter__final_mask_packbits"])


@pytest.mark.parametrize("path", parity_cases("interactive", "segvol_*_model"))
def test_segvol_back(path):
    stored = arrays(path)
    full = stored["boxtext__logits_fullsize_f16"].astype(np.float32)
    frame = preprocess_segvol.Frame(full.shape[2:], full.shape[2:], full.shape[2:], (0, 0, 0))
    close(preprocess_segvol.postprocess(torch.from_numpy(stored["boxtext__mask0"]), frame), full, 2e-3)
