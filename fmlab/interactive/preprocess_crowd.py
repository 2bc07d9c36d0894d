"""The crowd study's picture for SAM: to 0..255, its edges added.

Source: Kulkarni et al. 2024, arXiv:2403.15218; edges: Sobel and Feldman 1968, in n dimensions as scikit-image has them.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from fmlab.errors import ModelError
from fmlab.interactive.preprocessing import to_unit

SMOOTH, EDGE = np.array([1, 2, 1]) / 4, np.array([1, 0, -1])


def sobel(image: np.ndarray) -> np.ndarray:
    """How steep the image is at each pixel, the root mean square over its axes; edges mirrored. Any dimensions, same dtype."""
    image = np.asarray(image)
    image = image if image.dtype.kind == "f" else image.astype(np.float64)
    squares = np.zeros_like(image)
    for axis in range(image.ndim):
        kernel = np.ones((1,) * image.ndim)
        for other in range(image.ndim):
            taps = EDGE if other == axis else SMOOTH
            kernel = kernel * taps.reshape([3 if a == other else 1 for a in range(image.ndim)])
        squares += ndimage.convolve(image, kernel, mode="reflect") ** 2
    return np.sqrt(squares / image.ndim)


def preprocess(image: np.ndarray, edges: bool = True) -> np.ndarray:
    """(H, W) or (H, W, 3) to uint8 (H, W, 3). edges: with them (the study's SAM), or without (its MedSAM).

    Edges are taken over all three axes of the picture, colour included; grey has none there.
    """
    image = np.asarray(image, dtype=np.float32)
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3:
        raise ModelError(f"An image of shape {image.shape}: give (H, W) or (H, W, 3).")
    image = to_unit(image) * 255
    if edges:
        image = to_unit(image + to_unit(sobel(image)) * 255) * 255
    return image.astype(np.uint8)
