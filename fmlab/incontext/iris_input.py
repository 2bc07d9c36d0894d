"""What goes into Iris, checked: reference volumes with masks of K classes, query volumes, cached tokens."""

from __future__ import annotations

from math import prod

from torch import Tensor

from fmlab.errors import ModelError
from fmlab.incontext.episode import check_masks, check_place, check_values


def check_references(images: Tensor, masks: Tensor, stride: int, parameter: Tensor) -> None:
    """ModelError, in a sentence, unless images (B, R, 1, X, Y, Z) and masks (B, R, K, X, Y, Z) fit each other and the model."""
    if images.ndim != 6 or images.shape[2] != 1:
        raise ModelError(f"The references have shape {tuple(images.shape)}; give R volumes of one channel, (B, R, 1, X, Y, Z).")
    if images.shape[1] == 0:
        raise ModelError("There is no reference, and without an example there is no task; give a volume with its masks.")
    if masks.ndim != 6 or masks.shape[:2] != images.shape[:2] or masks.shape[3:] != images.shape[3:] or masks.shape[2] == 0:
        raise ModelError(f"References {tuple(images.shape)} and masks {tuple(masks.shape)} do not fit; give each reference K "
                         "masks of its size, one a class: (B, R, K, X, Y, Z).")
    check_sides(images, stride)
    for what, given in (("references", images), ("reference masks", masks)):
        check_place(given, what, parameter)
    check_values(images, "references")
    check_masks(masks, "reference masks")
    shown = masks.flatten(3).any(-1).any(1)
    if not bool(shown.all()):
        gone = (~shown).nonzero()[0].tolist()
        raise ModelError(f"No reference of item {gone[0]} shows class {gone[1]}, so nothing says what it is; leave it out, or "
                         "cut the reference where the structure lies.")


def check_query(query: Tensor, stride: int, parameter: Tensor) -> None:
    """ModelError unless query is (B, 1, X, Y, Z) in [0, 1] with sides that the model can halve."""
    if query.ndim != 5 or query.shape[1] != 1:
        raise ModelError(f"The query has shape {tuple(query.shape)}; give volumes of one channel, (B, 1, X, Y, Z).")
    check_sides(query, stride)
    check_place(query, "query", parameter)
    check_values(query, "query")


def check_tokens(tokens: Tensor, batch: int, count: int, channels: int, parameter: Tensor) -> None:
    """ModelError unless tokens are (B or 1, K, m + 1, C) of this model."""
    if tokens.ndim != 4 or tokens.shape[1] == 0 or tuple(tokens.shape[2:]) != (count, channels):
        raise ModelError(f"The task has shape {tuple(tokens.shape)} and a task of this model (B, K, {count}, {channels}); make "
                         "it by encode_task of the same model.")
    if tokens.shape[0] not in (1, batch):
        raise ModelError(f"{tokens.shape[0]} tasks do not fit {batch} queries; give one task for all, or one to each.")
    check_place(tokens, "task tokens", parameter)


def check_sides(images: Tensor, stride: int) -> None:
    """ModelError unless the last three sides are multiples of the stride, and leave more than one voxel at the deepest level."""
    size = tuple(images.shape[-3:])
    if 0 in size or any(side % stride for side in size) or prod(side // stride for side in size) < 2:
        raise ModelError(f"A volume of {' x '.join(map(str, size))} cannot be halved by this model; pad or crop to sides that "
                         f"are multiples of {stride}, one of them at least {2 * stride}.")
