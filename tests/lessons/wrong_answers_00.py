"""Typical wrong answers to the exercises of lesson 00, each with words of the message that it must get."""

from __future__ import annotations

import numpy as np


def dice_iou(p, r):
    return (p & r).sum() / (p | r).sum()


def dice_without_two(p, r):
    return (p & r).sum() / (p.sum() + r.sum())


def dice_with_background(p, r):
    return 2 * (p == r).sum() / (p.size + r.size)


def dice_bool_plus(p, r):
    return 2 * (p & r).sum() / (p + r).sum()


def dice_bytes(p, r):
    count = lambda m: float(np.asarray(m).astype(np.uint8).sum(dtype=np.uint8))  # noqa: E731
    return 2 * count(p & r) / (count(p) + count(r))


def dice_zero_division(p, r):
    return 2 * int((p & r).sum()) / (int(p.sum()) + int(r.sum()))


def dice_epsilon(p, r):
    return (2 * (p & r).sum() + 1e-8) / (p.sum() + r.sum() + 1e-8)


def dice_smooth(p, r):
    return (2 * (p & r).sum() + 1) / (p.sum() + r.sum() + 1)


def dice_empty_zero(p, r):
    return 2 * (p & r).sum() / max(int(p.sum() + r.sum()), 1)


def dice_missed_nan(p, r):
    return float("nan") if not p.any() or not r.any() else 2 * (p & r).sum() / (p.sum() + r.sum())


def dice_asymmetric(p, r):
    return 2 * (p & r).sum() / (1.5 * p.sum() + 0.5 * r.sum())


def dice_numpy_only(p, r):
    return 2 * np.count_nonzero(p & r) / (p.astype(int).sum() + r.astype(int).sum())


def dice_no_return(p, r):
    result = 2 * (p & r).sum() / (p.sum() + r.sum())
    result  # noqa: B018


def dice_in_place(p, r):
    total = p.sum() + r.sum()
    p &= r
    return 2 * p.sum() / total


def world_no_translation(ijk, affine):
    return affine[:3, :3] @ np.asarray(ijk)


def world_transposed(ijk, affine):
    return np.asarray(ijk) @ affine[:3, :3] + affine[:3, 3]


def world_row_vector(ijk, affine):
    return (np.append(ijk, 1) @ affine)[:3]


def world_zyx(ijk, affine):
    return affine[:3, :3] @ np.asarray(ijk)[::-1] + affine[:3, 3]


def world_spacing_only(ijk, affine):
    return np.asarray(ijk) * np.sqrt((affine[:3, :3] ** 2).sum(0)) + affine[:3, 3]


def world_four_numbers(ijk, affine):
    return affine @ np.append(ijk, 1)


def world_inverse(ijk, affine):
    return (np.linalg.inv(affine) @ np.append(ijk, 1))[:3]


def volume_mm3(mask, spacing):
    return mask.sum() * spacing[0] * spacing[1] * spacing[2]


def volume_no_spacing(mask, spacing):
    return mask.sum() / 1000


def volume_centimetres(mask, spacing):
    return mask.sum() * np.prod(spacing) / 10


def volume_sum_of_spacing(mask, spacing):
    return mask.sum() * sum(spacing) / 1000


def volume_cube(mask, spacing):
    return mask.sum() * spacing[0] ** 3 / 1000


def volume_whole_scan(mask, spacing):
    return mask.size * np.prod(spacing) / 1000


WRONG = {
    "00-dice": [
        (dice_iou, "IoU"), (dice_without_two, "factor 2"), (dice_with_background, "background"), (dice_bool_plus, "union"),
        (dice_bytes, "256"), (dice_zero_division, "divide by zero"), (dice_epsilon, "get 1 from you"),
        (dice_smooth, "add 1 above"),
        (dice_empty_zero, "get 0 from you"), (dice_missed_nan, "drop out"), (dice_asymmetric, "swapped"),
        (dice_numpy_only, "torch tensors"), (dice_no_return, "`return`"), (dice_in_place, "changes its input"),
    ],
    "00-world": [
        (world_no_translation, "translation is missing"), (world_transposed, "is transposed: it is matrix"),
        (world_row_vector, "translation is lost"), (world_zyx, "order of the axes"), (world_spacing_only, "spacing only"),
        (world_four_numbers, "four numbers"), (world_inverse, "way back"),
    ],
    "00-volume": [
        (volume_mm3, "mm³: 1 ml"), (volume_no_spacing, "as if each were 1 mm³"), (volume_centimetres, "by 10"),
        (volume_sum_of_spacing, "add the spacings"), (volume_cube, "one spacing"), (volume_whole_scan, "every voxel of the scan"),
    ],
}
