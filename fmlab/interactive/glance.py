"""A first stage for a small promptable model that begins at random: the mask decoder's formula, without its transformer.

    mask = MLP(t(p) + Z(p)) . up(Z + PE)          p: a place in the object, t its click's token, Z the image's features

An encoder learns from this what belongs together, and decoder's hypernetwork and upscaling how to say it. A click costs one dot
product, so each image is asked for many. SAM's encoder comes from a masked autoencoder instead (Kirillov et al. 2023,
arXiv:2304.02643); learning which pixels lie in one object is the older idea of Fathi et al. 2017, arXiv:1703.10277.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.interactive import losses
from fmlab.interactive.prompt_encoder import POSITIVE
from fmlab.interactive.sam import Sam
from fmlab.interactive.sam_med3d import SamMed3D
from fmlab.interactive.simulation import resized

CLICKS = 4  # on each object


def glance_loss(model: Sam | SamMed3D, images: Tensor, masks: Tensor, share: float = 0.8, clicks: int = CLICKS) -> Tensor:
    """Mean over objects and clicks of Dice and cross-entropy (``cross_entropy``, with ``share``).

    images: (B, C, *size) as the encoder takes them; masks: (B, M, *size), none empty. Clicks are drawn from torch's generator.
    """
    features, truth = model.image_encoder(images), masks.flatten(0, 1) > 0
    image_of = torch.arange(len(images), device=images.device).repeat_interleave(masks.shape[1])
    upscaled = model.mask_decoder.output_upscaling(features + model.prompt_encoder.dense_positions())
    points = places_in(truth, clicks)
    weights = weights_at(model, features[image_of], points).unflatten(0, masks.shape[:2])
    logits = torch.einsum("bmkc,bc...->bmk...", weights, upscaled)  # one matrix product an image, none of its features twice
    logits = resized(logits.flatten(0, 1), truth.shape[1:])
    target = truth[:, None].to(logits.dtype)
    return (losses.dice_per_mask(logits, target.expand_as(logits)) + cross_entropy(logits, target, share)).mean()


def weights_at(model: Sam | SamMed3D, features: Tensor, points: Tensor) -> Tensor:
    """What each click (N, K, d) would weight the upscaled features with: (N, K, c). features: (N, C, *grid)."""
    encoder = model.prompt_encoder
    tokens = encoder.points(points, points.new_full(points.shape[:2], POSITIVE), fill=False)
    where = 2 * encoder.relative(points) - 1
    if points.shape[-1] == 3:  # clicks have the order of the axes, in 2-D already (x, y)
        where = where.flip(-1)  # grid_sample wants the last axis first
    where = where.unflatten(1, (-1, *[1] * (points.shape[-1] - 1)))
    there = F.grid_sample(features, where, padding_mode="border", align_corners=False).flatten(2).transpose(1, 2)
    heads = model.mask_decoder.output_hypernetworks_mlps
    return torch.stack([head(tokens + there) for head in heads]).mean(0)


def places_in(truth: Tensor, count: int) -> Tensor:
    """``count`` places of each mask (N, *size), as clicks are given: (N, count, d); x before y in 2-D."""
    found = []
    for mask in truth:
        inside = mask.nonzero()
        found.append(inside[torch.randint(len(inside), (count,), device=inside.device)])
    places = torch.stack(found).float()
    return places.flip(-1) if places.shape[-1] == 2 else places


def cross_entropy(logits: Tensor, target: Tensor, share: float = 1.0) -> Tensor:
    """Mean inside and mean outside, weighted: logits (N, M, ...), target (N, 1, ...) to (N, M).

    share = 1: half and half, however small an object is; share = 0: the mean over all pixels. In between, inside : outside is as
    (n_in : n_out) to the power of 1 - share.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none").flatten(2)
    inside = target.flatten(2)
    parts = [(part, part.sum(2)) for part in (inside, 1 - inside)]
    weights = torch.stack([count ** (1 - share) for _, count in parts])
    weights = weights / weights.sum(0)
    return sum(weight * (entropy * part).sum(2) / (count + 1) for weight, (part, count) in zip(weights, parts))
