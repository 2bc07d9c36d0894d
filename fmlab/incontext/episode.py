"""What goes into an in-context model, checked: query images, and a support set of images with their masks."""

from __future__ import annotations

from torch import Tensor, is_autocast_enabled

from fmlab.errors import ModelError


def check_episode(query: Tensor, images: Tensor, masks: Tensor, stride: int, parameter: Tensor) -> None:
    """ModelError, in a sentence, unless the three fit each other and the model.

    query (B, 1, H, W) or, of a volume, (B, 1, X, Y, Z); images and masks (B, S, 1, ...) of the same size. stride: what sides must
    be a multiple of. parameter: any of the model's, for dtype and device.
    """
    check_shapes(query, images, masks, stride)
    for what, given in (("query", query), ("support images", images), ("support masks", masks)):
        check_place(given, what, parameter)
    check_values(query, "query")
    check_values(images, "support images")
    check_masks(masks, "support masks")


def check_shapes(query: Tensor, images: Tensor, masks: Tensor, stride: int) -> None:
    """ModelError unless the shapes are those of an episode, with one support image or more."""
    if query.ndim not in (4, 5) or query.shape[1] != 1:
        raise ModelError(f"The query has shape {tuple(query.shape)}; give one channel, (B, 1, H, W).")
    if images.ndim != query.ndim + 1 or images.shape[2] != 1:
        raise ModelError(f"The support images have shape {tuple(images.shape)}; give S of one channel to each query, (B, S, 1, "
                         "H, W).")
    if not images.shape[1]:
        raise ModelError("The support set is empty, and without an example there is no task; give one image with its mask or "
                         "more.")
    if masks.shape != images.shape:
        raise ModelError(f"Support images {tuple(images.shape)} and masks {tuple(masks.shape)} do not fit; give each image one "
                         "mask "
                         "of one channel: one class at a time.")
    if images.shape[0] != query.shape[0] or images.shape[3:] != query.shape[2:]:
        raise ModelError(f"Query {tuple(query.shape)} and support {tuple(images.shape)} differ in batch or size; give each "
                         "query its "
                         "support set, all images of one size.")
    check_size(query.shape[2:], stride)


def check_size(size: tuple[int, ...], stride: int) -> None:
    """ModelError unless all sides can be halved as often as the model does."""
    if any(side % stride for side in size):
        raise ModelError(f"A size of {' x '.join(map(str, size))} cannot be halved by this model; pad or resize to sides that "
                         "are "
                         f"multiples of {stride}.")


def check_place(given: Tensor, what: str, parameter: Tensor) -> None:
    """ModelError unless a tensor is on the model's device and of its dtype (under autocast of any floating one)."""
    if given.device != parameter.device:
        raise ModelError(f"The {what} lie on {given.device} and the model on {parameter.device}; bring both to one device.")
    if given.dtype != parameter.dtype and not (given.is_floating_point() and is_autocast_enabled(given.device.type)):
        raise ModelError(f"The {what} are {given.dtype} and the model is {parameter.dtype}; convert them by "
                         f".to({parameter.dtype}).")


def check_values(images: Tensor, what: str) -> None:
    """ModelError unless all values are in [0, 1]; a NaN is not."""
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):
        raise ModelError(f"The {what} run from {low:g} to {high:g}; bring each image to [0, 1], by an HU window or by its "
                         "minimum and "
                         "maximum.")


def check_masks(masks: Tensor, what: str) -> None:
    """ModelError unless all values are 0 or 1."""
    if not bool(((masks == 0) | (masks == 1)).all()):
        raise ModelError(f"The {what} hold other values than 0 and 1; give one class a mask, as by (labels == id).float().")
