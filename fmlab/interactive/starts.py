"""Starts: what the weights of a small promptable model are at first, and between the stages of its training (``learning``).

Published models begin with an encoder that knows images and train for days. Where everything begins at random and there is an
hour, the first hundreds of steps go by until a click's token finds its place in the image; so it is shown where to look.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.interactive.image_encoder import ImageEncoder
from fmlab.interactive.prompt_encoder import NEGATIVE, POSITIVE
from fmlab.interactive.sam import Sam
from fmlab.interactive.sam_med3d import SamMed3D
from fmlab.interactive.two_way import Attention, TwoWayBlock, TwoWayTransformer


@torch.no_grad()
def begin_with_places(encoder: ImageEncoder, size: float = 0.5, waves: float = 1.5) -> None:
    """A start for the encoder's learned positions: smooth waves across the image, by which neighbours are alike.

    size: their deviation; waves: radians from the middle to a side (sd). Drawn from torch's generator.
    """
    places = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, n) for n in encoder.grid], indexing="ij"), dim=-1)
    channels = encoder.pos_embed.shape[-1]
    directions, phases = waves * torch.randn(len(encoder.grid), channels), 2 * math.pi * torch.rand(channels)
    encoder.pos_embed.copy_(size * 2**0.5 * (places @ directions + phases).sin()[None])


@torch.no_grad()
def look_where_it_points(model: nn.Module, gain: float = 2.0, small: float = 0.1) -> None:
    """A start for a small promptable model: in the decoder's cross-attentions queries and keys begin with the same weights.

    Then a click's token, which holds the Fourier code of its place, begins by reading the image about that place, and the image's
    places near the click read its token: the likeness of two codes falls with their distance. From separate random weights, as
    published, a small model finds for hundreds of steps that "nowhere" is the best answer. gain: of these weights. small: of the
    learned embeddings of prompts and tokens, which otherwise are longer than the code.
    """
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.weight.mul_(small)
        if isinstance(module, TwoWayBlock | TwoWayTransformer):
            for name, attention in module.named_children():
                if isinstance(attention, Attention) and name != "self_attn":
                    attention.q_proj.weight.mul_(gain)
                    attention.k_proj.weight.copy_(attention.q_proj.weight)
                    attention.k_proj.bias.copy_(attention.q_proj.bias)


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
def begin_with_masks(model: Sam | SamMed3D) -> None:
    """Between the stages: a mask prompt begins by saying what its absence said in the first stage, whatever it holds.

    The path of mask prompts is still random then. Its noise on the image's features would undo what was learned, and the model
    would first learn not to listen.
    """
    encoder = model.prompt_encoder
    absent = encoder.no_mask_embed.weight[0]
    if isinstance(model, SamMed3D):  # whose first click comes with zeros
        absent = encoder.mask_downscaling(model.no_mask())[0].flatten(1)[:, 0]
    last = encoder.mask_downscaling[-1]
    last.weight.zero_()
    last.bias.copy_(absent)


@torch.no_grad()
def begin_with_opposites(model: SamMed3D, apart: float = 4.0) -> None:
    """Between the stages: a negative click's embedding, which nothing used so far, begins far from the positive one's.

    Near each other, the decoder takes a negative click for one more positive click, and has to unlearn it.
    """
    negative, positive = (model.prompt_encoder.point_embeddings[kind].weight for kind in (NEGATIVE, POSITIVE))
    negative.copy_(positive - apart * positive / positive.norm())
