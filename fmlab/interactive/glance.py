"""A first stage for a small promptable model that begins at random: the mask decoder's formula, without its transformer.

    mask = MLP(t(p) + Z(p)) . up(Z + PE)          p: a place in the object, t its click's token, Z the image's features

An encoder learns from this what belongs together, and decoder's hypernetwork and upscaling how to say it. A click costs one dot
product, so each image is asked for many. SAM's encoder comes from a masked autoencoder instead (Kirillov et al. 2023,
arXiv:2304.02643); learning which pixels lie in one object is the older idea of Fathi et al. 2017, arXiv:1703.10277.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.interactive import losses
from fmlab.interactive.image_encoder import ImageEncoder
from fmlab.interactive.prompt_encoder import POSITIVE
from fmlab.interactive.sam import Sam
from fmlab.interactive.sam_med3d import SamMed3D

CLICKS = 4  # on each object


def glance_loss(model: Sam | SamMed3D, images: Tensor, masks: Tensor, share: float = 0.8, clicks: int = CLICKS) -> Tensor:
    """Mean over objects and clicks of Dice and cross-entropy (``cross_entropy``, with ``share``).

    images: (B, C, *size) as the encoder takes them; masks: (B, M, *size), none empty. Clicks are drawn from torch's generator.
    """
    features, truth = model.image_encoder(images), masks.flatten(0, 1) > 0
    image_of = torch.arange(len(images), device=images.device).repeat_interleave(masks.shape[1])
    upscaled = model.mask_decoder.output_upscaling(features + model.prompt_encoder.dense_positions())
    points = places_in(truth, clicks)
    logits = torch.einsum("nkc,nc...->nk...", weights_at(model, features[image_of], points), upscaled[image_of])
    if logits.shape[2:] != truth.shape[1:]:
        logits = F.interpolate(logits, size=truth.shape[1:], mode="bilinear" if truth.ndim == 3 else "trilinear")
    target = truth[:, None].to(logits.dtype)
    return (losses.dice_per_mask(logits, target.expand_as(logits)) + cross_entropy(logits, target, share)).mean()


def weights_at(model: Sam | SamMed3D, features: Tensor, points: Tensor) -> Tensor:
    """What each click (N, K, d) would weight the upscaled features with: (N, K, c). features: (N, C, *grid)."""
    encoder = model.prompt_encoder
    tokens = encoder.points(points, points.new_full(points.shape[:2], POSITIVE), fill=False)
    where = 2 * encoder.relative(points) - 1
    if not points_are_xy(model):
        where = where.flip(-1)  # grid_sample wants the last axis first
    where = where.unflatten(1, (-1, *[1] * (points.shape[-1] - 1)))
    there = F.grid_sample(features, where, padding_mode="border", align_corners=False).flatten(2).transpose(1, 2)
    heads = model.mask_decoder.output_hypernetworks_mlps
    return torch.stack([head(tokens + there) for head in heads]).mean(0)


def points_are_xy(model: Sam | SamMed3D) -> bool:
    """In 2-D a click is (x, y); in 3-D it has the order of the volume's axes."""
    return isinstance(model, Sam)


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


@torch.no_grad()
def begin_as_glance(model: SamMed3D, images: Tensor, quiet: float = 0.1) -> None:
    """Between the stages: the decoder's transformer begins as what it was left out for, a look at the features at the click.

    Its first self-attention hands the click's token on to the tokens of the masks; two of its attentions then read Z(p), half of
    the channels each; all other parts begin quietly. In 3-D a small decoder hardly finds this by itself: among the 512 places it
    does not know which one the click means, for the features drown the codes of places. images: (B, C, *size), some that the
    encoder knows, from which is learned how to tell the codes from the features (``by_place``).
    """
    transformer, channels = model.mask_decoder.transformer, model.prompt_encoder.channels
    first, second = transformer.layers
    hand_on, same = first.self_attn, torch.eye(channels)
    clicked = F.normalize(model.prompt_encoder.point_embeddings[POSITIVE].weight[0], dim=0)
    hand_on.q_proj.weight.zero_()
    hand_on.q_proj.bias.copy_(8 * clicked)
    for layer in (hand_on.k_proj, hand_on.v_proj, hand_on.out_proj):
        layer.weight.copy_(same)
        layer.bias.zero_()
    halves = torch.linalg.qr(torch.randn(channels, channels))[0].chunk(2)
    for reader, half in zip((first.cross_attn_token_to_image, transformer.final_attn_token_to_image), halves, strict=True):
        for layer, weight in ((reader.v_proj, half), (reader.out_proj, half.T)):
            layer.weight.copy_(weight)
            layer.bias.zero_()
    others = [part for block in (first, second) for part in (block.cross_attn_image_to_token.out_proj, block.mlp.lin2)]
    for layer in (*others, second.self_attn.out_proj, second.cross_attn_token_to_image.out_proj):
        layer.weight.mul_(quiet)
        layer.bias.mul_(quiet)
    by_place(model, model.image_encoder(images.to(model.image_encoder.pos_embed)))


def by_place(model: SamMed3D, features: Tensor, gain: float = 2.0, least: float = 0.3) -> None:
    """Queries and keys of the decoder's cross-attentions begin as those directions in which codes of places vary most against
    features (B, C, *grid): generalised eigenvectors, each scaled to let places vary by ``gain``. least: ratio of a direction."""
    codes = model.prompt_encoder.dense_positions().flatten(2)[0].T
    middle, tokens = codes.mean(0), features.flatten(2).transpose(1, 2).flatten(0, 1)
    of_places, of_features = (codes - middle).T @ (codes - middle) / len(codes), tokens.T @ tokens / len(tokens)
    of_features.diagonal().add_(0.05 * of_features.diagonal().mean())
    whiten = torch.linalg.inv(torch.linalg.cholesky(of_features))
    ratios, vectors = torch.linalg.eigh(whiten @ of_places @ whiten.T)
    directions = (vectors.T @ whiten).flip(0)
    directions = directions / (directions @ of_places * directions).sum(1, keepdim=True).clamp(min=1e-6).sqrt()
    transformer = model.mask_decoder.transformer
    readers = [transformer.final_attn_token_to_image]
    for layer in transformer.layers:
        readers += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    for reader in readers:
        inner = reader.q_proj.out_features
        chosen = gain * directions[:inner] * (ratios.flip(0)[:inner, None] > least)
        chosen = chosen.unflatten(0, (-1, reader.heads)).transpose(0, 1).flatten(0, 1)  # each head gets good ones
        for layer in (reader.q_proj, reader.k_proj):
            layer.weight.copy_(chosen)
            layer.bias.copy_(-chosen @ middle)


@torch.no_grad()
def begin_with_places(encoder: ImageEncoder, size: float = 0.5, waves: float = 1.5) -> None:
    """A start for the encoder's learned positions: smooth waves across the image, by which neighbours are alike.

    size: their deviation; waves: radians from the middle to a side (sd). Drawn from torch's generator.
    """
    places = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, n) for n in encoder.grid], indexing="ij"), dim=-1)
    channels = encoder.pos_embed.shape[-1]
    directions, phases = waves * torch.randn(len(encoder.grid), channels), 2 * np.pi * torch.rand(channels)
    encoder.pos_embed.copy_(size * 2**0.5 * (places @ directions + phases).sin()[None])
