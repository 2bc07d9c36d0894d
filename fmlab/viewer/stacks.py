"""Pictures, masks and answers as the sketch takes them: arrays or tensors of several forms, checked, in one form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fmlab.errors import ScanError

Array = torch.Tensor | np.ndarray


def pictures_of(pictures: Array) -> np.ndarray:
    """(N, H, W) float32 of pictures (N, H, W) or (N, 1, H, W) with values in [0, 1]; ScanError if they are not."""
    stack = _stack(pictures, "pictures")
    return _within(stack, "pictures").astype(np.float32)


def query_of(query: Array, size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32 of a query (H, W), (1, H, W) or (1, 1, H, W) with values in [0, 1] and of the examples' size."""
    return _within(_one(query, size, "query", "the examples"), "query").astype(np.float32)


def answer_of(answer: Array, size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32 of a mask or of probabilities for the query's pixels."""
    return _within(_one(answer, size, "answer", "the query"), "answer").astype(np.float32)


def masks_of(masks: Array | None, shape: tuple[int, int, int]) -> np.ndarray:
    """(N, H, W) uint8 of 0 and 1; empty masks for None. ScanError if shape or values do not fit the pictures."""
    if masks is None:
        return np.zeros(shape, np.uint8)
    stack = _stack(masks, "masks")
    if stack.shape != shape:
        raise ScanError(f"The masks have the shape {stack.shape} and the pictures {shape}; give one mask for each picture.")
    if not np.isin(stack, (0, 1)).all():
        raise ScanError("The masks hold other values than 0 and 1; compare first, as in (labels == 42).")
    return stack.astype(np.uint8)


def names_of(names: Sequence[str] | None, count: int) -> list[str]:
    """One name for each picture: those given, or "Example 1" and so on."""
    if names is None:
        return [f"Example {k + 1}" for k in range(count)]
    if isinstance(names, str) or len(names) != count:
        raise ScanError(f"The names {names!r} do not fit; give a list with one name for each of the {count} pictures.")
    return [str(name) for name in names]


def grey(values: np.ndarray) -> np.ndarray:
    """From [0, 1] to one byte each."""
    return (values * 255).round().astype(np.uint8)


def _array(values: Array, what: str) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()  # numpy knows no bfloat16
    array = np.asarray(values)
    if array.dtype.kind not in "buif":
        raise ScanError(f"The {what} are {type(values).__name__}, not an array or tensor of numbers.")
    return array


def _stack(values: Array, what: str) -> np.ndarray:
    array = _array(values, what)
    stack = array[:, 0] if array.ndim == 4 and array.shape[1] == 1 else array
    if stack.ndim != 3 or not stack.size:
        raise ScanError(f"The {what} have the shape {array.shape}; give (N, H, W) or (N, 1, H, W), with at least one picture.")
    return stack


def _one(values: Array, size: tuple[int, int], what: str, partner: str) -> np.ndarray:
    array = _array(values, what)
    if array.shape[-2:] != size or array.size != size[0] * size[1]:
        raise ScanError(f"The {what} has the shape {array.shape}; {partner} need one picture of {size}.")
    return array.reshape(size)


def _within(values: np.ndarray, what: str) -> np.ndarray:
    """The values, if all lie in [0, 1] but for a rounding error; yes and no count as 1 and 0."""
    values = values.astype(np.float64)
    low, high = values.min(), values.max()
    if not (low >= -1e-4 and high <= 1 + 1e-4):  # false for NaN too
        raise ScanError(f"Values of the {what} run from {low:.4g} to {high:.4g}; bring them to [0, 1] first.")
    return values.clip(0, 1)
