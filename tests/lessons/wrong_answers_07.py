"""Typical wrong answers to the exercises of lesson 07, each with words of the message that it must get."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F


def best_mean_of_all(losses):
    return losses.mean(dim=1).mean()


def best_of_the_batch(losses):
    return torch.stack([losses[:, k].min() for k in range(losses.shape[1])]).mean()


def best_of_everything(losses):
    return losses.flatten().sort().values[0]


def best_worst(losses):
    return losses.amax(1).mean()


def best_one_for_all(losses):
    return losses[:, losses.mean(0).argmin()].mean()


def best_sum(losses):
    total = 0
    for row in losses:
        total = total + row.min()
    return total


def best_not_averaged(losses):
    return losses.min(dim=1)[0]


def best_argmin(losses):
    return torch.argmin(losses, dim=1).float().mean()


def best_soft(losses):
    weight = F.softmax(-losses, dim=1)
    return (weight * losses).sum(dim=1).mean()


def best_item(losses):
    return sum(min(row).item() for row in losses) / len(losses)


def best_numpy(losses):
    return np.mean([min(row) for row in losses.tolist()])


def best_pulls_all(losses):
    return losses.min(1).values.detach().mean() + (losses - losses.detach()).mean()


def best_loud_first(losses):
    best = losses.min(1).values
    weight = torch.arange(1, len(best) + 1) / len(best)
    return best.detach().mean() + (weight * (best - best.detach())).mean()


def best_tuple(losses):
    return losses.min(1).mean()


def iou(a, b, empty=1.0):
    union = ((a + b) > 0).sum()
    return float((a * b).sum() / union) if union else empty


def table(a, b, likeness=iou):
    return torch.tensor([[1 - likeness(x, y) for y in b] for x in a])


def ged_once(candidates, readers):
    return table(candidates, readers).mean() - table(candidates, candidates).mean() - table(readers, readers).mean()


def ged_first_term(candidates, readers):
    return 2 * table(candidates, readers).mean()


def ged_mean_distance(candidates, readers):
    return table(candidates, readers).mean()


def ged_no_candidates(candidates, readers):
    return 2 * table(candidates, readers).mean() - table(readers, readers).mean()


def ged_no_readers(candidates, readers):
    return 2 * table(candidates, readers).mean() - table(candidates, candidates).mean()


def ged_sign(candidates, readers):
    return 2 * table(candidates, readers).mean() + table(candidates, candidates).mean() + table(readers, readers).mean()


def dice(a, b):
    total = a.sum() + b.sum()
    return float(2 * (a * b).sum() / total) if total else 1.0


def ged_dice(candidates, readers):
    cross, own, theirs = (table(a, b, dice) for a, b in ((candidates, readers), (candidates, candidates), (readers, readers)))
    return float(2 * cross.mean() - own.mean() - theirs.mean())


def ged_likeness(candidates, readers):
    cross, own, theirs = (1 - table(a, b) for a, b in ((candidates, readers), (candidates, candidates), (readers, readers)))
    return 2 * cross.mean() - own.mean() - theirs.mean()


def ged_no_self(candidates, readers):
    def within(masks):
        pairs = [1 - iou(a, b) for i, a in enumerate(masks) for j, b in enumerate(masks) if i != j]
        return sum(pairs) / len(pairs) if pairs else 0

    return 2 * table(candidates, readers).mean() - within(candidates) - within(readers)


def ged_half(candidates, readers):
    def within(masks):
        return sum(1 - iou(masks[i], masks[j]) for i in range(len(masks)) for j in range(i)) / len(masks) ** 2

    return float(2 * table(candidates, readers).mean()) - within(candidates) - within(readers)


def ged_best_only(candidates, readers):
    cross = table(candidates, readers).min(0).values
    return 2 * cross.mean() - table(candidates, candidates).mean() - table(readers, readers).mean()


def ged_paired(candidates, readers):
    union = ((candidates + readers) > 0).flatten(1).sum(1)
    cross = 1 - (candidates * readers).flatten(1).sum(1) / union
    return 2 * cross.mean() - table(candidates, candidates).mean() - table(readers, readers).mean()


def ged_root(candidates, readers):
    squared = 2 * table(candidates, readers).mean() - table(candidates, candidates).mean() - table(readers, readers).mean()
    return max(float(squared), 0.0) ** 0.5


def ged_nan(candidates, readers):
    a, b = candidates.flatten(1), readers.flatten(1)

    def d(x, y):
        common = x @ y.T
        return 1 - common / (x.sum(1)[:, None] + y.sum(1) - common)

    return 2 * d(a, b).mean() - d(a, a).mean() - d(b, b).mean()


def ged_epsilon(candidates, readers):
    a, b = candidates.flatten(1), readers.flatten(1)

    def d(x, y):
        common = x @ y.T
        return 1 - common / (x.sum(1)[:, None] + y.sum(1) - common + 1e-8)

    return 2 * d(a, b).mean() - d(a, a).mean() - d(b, b).mean()


def ged_of_dice_and_root(candidates, readers):
    return 3 * ged_root(candidates, readers) + 0.5


def ged_table(candidates, readers):
    return 2 * table(candidates, readers)


def fg_strided(features, mask):
    step = mask.shape[0] // features.shape[1]
    small = mask[::step, ::step, ::step]
    return (features * small).sum((1, 2, 3)) / small.sum().clamp(min=1e-6)


def fg_rounded(features, mask):
    step = mask.shape[0] // features.shape[1]
    small = (F.avg_pool3d(mask[None], step)[0] > 0.5).float()
    return (features * small).flatten(1).sum(1) / small.sum().clamp(min=1e-6)


def fg_touched(features, mask):
    small = F.max_pool3d(mask[None], mask.shape[0] // features.shape[1])[0]
    return torch.einsum("cxyz,xyz->c", features, small) / small.sum().clamp(min=1e-6)


def up(features, mask, mode="nearest"):
    return F.interpolate(features[None], size=mask.shape, mode=mode)[0]


def fg_sum(features, mask):
    return (up(features, mask) * mask).flatten(1).sum(1)


def fg_all_voxels(features, mask):
    return (up(features, mask) * mask).flatten(1).mean(1)


def fg_no_mask(features, mask):
    return features.flatten(1).mean(1)


def fg_linear(features, mask):
    return (up(features, mask, "trilinear") * mask).sum((1, 2, 3)) / mask.sum().clamp(min=1)


def fg_corners(features, mask):
    raised = F.interpolate(features[None], size=mask.shape, mode="trilinear", align_corners=True)[0]
    return (raised * mask).sum((1, 2, 3)) / mask.sum().clamp(min=1)


def fg_max(features, mask):
    inside = up(features, mask)[:, mask.bool()]
    return inside.max(dim=1).values if inside.shape[1] else torch.zeros(len(features))


def fg_keeps_an_axis(features, mask):
    return ((up(features, mask) * mask).sum((1, 2, 3)) / mask.sum().clamp(min=1))[None]


def fg_nan(features, mask):
    return up(features, mask)[:, mask > 0].mean(dim=1)


def fg_background(features, mask):
    raised = up(features, mask)
    return (raised * (1 - mask)).sum((1, 2, 3)) / (1 - mask).sum().clamp(min=1)


def fg_wrong_size(features, mask):
    return (features * mask).sum((1, 2, 3)) / mask.sum()


def fg_map(features, mask):
    return up(features, mask) * mask


WRONG = {
    "07-best": [
        (best_mean_of_all, "same compromise"), (best_of_the_batch, "Pictures compete there"),
        (best_of_everything, "the rest of the batch nothing"), (best_worst, "worst candidate"),
        (best_one_for_all, "min first, mean second"), (best_sum, "add up the batch"), (best_not_averaged, "one loss a picture"),
        (best_argmin, "says *which*"), (best_soft, "soft minimum"), (best_item, "it has no gradient"),
        (best_pulls_all, "exactly one candidate"), (best_loud_first, "a say of 1/B"), (best_tuple, "in its line 2"),
    ],
    "07-ged": [
        (ged_once, "factor 2 is missing"), (ged_first_term, "the first term alone"), (ged_mean_distance, "Where are factor 2"),
        (ged_no_candidates, "candidates that differ get nothing"), (ged_no_readers, "readers' own disagreement"),
        (ged_sign, "wrong sign"), (ged_dice, "Dice in place of IoU"), (ged_likeness, "A distance is 1 - IoU"),
        (ged_no_self, "distance to itself out"), (ged_half, "count each pair"), (ged_best_only, "idea of max Dice"),
        (ged_paired, "candidate k with reader k"), (ged_root, "square root"), (ged_nan, "0/0"),
        (ged_epsilon, "for a distance of 1"), (ged_of_dice_and_root, "to itself must be 0"), (ged_table, "one number"),
    ],
    "07-foreground": [
        (fg_strided, "every r-th voxel"), (fg_rounded, "round it"), (fg_touched, "one that is grazed"), (fg_sum, "You add up"),
        (fg_all_voxels, "divide by all voxels"), (fg_no_mask, "The mask is not used"), (fg_linear, "read linearly between"),
        (fg_corners, "corner on corner"), (fg_max, "one odd voxel"), (fg_keeps_an_axis, "not (1, C)"), (fg_nan, "0 by 0"),
        (fg_background, "must have a token"), (fg_wrong_size, "in its line 2"), (fg_map, "has not the shape (C,)"),
    ],
}

SAME_MESSAGE = {"07-best": [(best_numpy, "it has no gradient")]}
"""Other ways to the same wrong idea."""
