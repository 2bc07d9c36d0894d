"""What goes into an in-context model, checked: query images, and a support set of images with their masks."""

from __future__ import annotations

import torch
from torch import Tensor

from fmlab.errors import ModelError


def check_episode(query: Tensor, images: Tensor, masks: Tensor, stride: int, parameter: Tensor) -> None:
    """ModelError, in a sentence, unless the three fit each other and the model.

    query (B, 1, H, W) or, of a volume, (B, 1, X, Y, Z); images and masks (B, S, 1, ...) of the same size. stride: what sides must
    be a multiple of. parameter: any of the model's, for dtype and device.
    """
    batch, *size = query.shape[0], *query.shape[2:]
    if query.ndim not in (4, 5) or query.shape[1] != 1:
        raise ModelError(f"The query has shape {tuple(query.shape)}; give one channel, (B, 1, H, W).")
    if images.ndim != query.ndim + 1 or images.shape[2] != 1:
        raise ModelError(f"The support images have shape {tuple(images.shape)}; give S of one channel to a query, (B, S, 1, H, W).")
    if images.shape[1] == 0:
        raise ModelError("The support set is empty, and without an example there is no task; give one image with its mask or more.")
    if masks.shape != images.shape:
        raise ModelError(f"{tuple(images.shape)} support images and {tuple(masks.shape)} masks do not fit: give a mask of one channel "
                         "to each image, one class at a time.")
    if images.shape[0] != batch or list(images.shape[3:]) != size:
        raise ModelError(f"The query {tuple(query.shape)} and the support {tuple(images.shape)} differ in batch or size; give each "
                         "query its support set, all images of one size.")
    if any(side % stride for side in size):
        raise ModelError(f"A size of {' x '.join(map(str, size))} cannot be halved by this model; give sides that are multiples of "
                         f"{stride}: pad or resize.")
    for what, given in (("query", query), ("support images", images), ("support masks", masks)):
        if given.device != parameter.device:
            raise ModelError(f"The {what} lie on {given.device} and the model on {parameter.device}; bring both to one device.")
        if given.dtype != parameter.dtype and not torch.is_autocast_enabled(given.device.type):
            raise ModelError(f"The {what} are {given.dtype} and the model is {parameter.dtype}; convert them, as by .to({parameter.dtype}).")
    check_values(query, "query")
    check_values(images, "support images")
    if not bool(((masks == 0) | (masks == 1)).all()):
        raise ModelError("The support masks hold other values than 0 and 1; give one class a mask, as by (labels == id).float().")


def check_values(images: Tensor, what: str) -> None:
    """ModelError unless all values are in [0, 1]; a NaN is not."""
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):
        raise ModelError(f"The {what} run from {low:g} to {high:g}; bring each image to [0, 1] by its minimum and maximum, or by an HU "
                         "window.")
