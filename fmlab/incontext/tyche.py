"""Tyche: several candidates for one image, because several readers would draw several masks.

    Y_hat = f_theta(x, z, S)          z_k ~ N(0, 1), k = 1..K: a noise image for each candidate

Source: Rakic et al. 2024, doi:10.1109/CVPR52733.2024.01058. Tyche-TS is a network of its own, below; Tyche-IS makes candidates
out of UniverSeg by varying what it is given, see ``tyche_is.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.errors import ModelError
from fmlab.incontext.cross_conv import SLOPE, CrossConv, OverSet
from fmlab.incontext.episode import check_episode, check_place
from fmlab.incontext.set_unet import PUBLISHED, Widths, layers, stride, walk


class SetBlock(nn.Module):
    """The candidates meet the support through their mean, and then each meets what came of it:

        z_j = a(CrossConv(1/K sum_k u_k, v_j))          v'_j = a(Conv'(z_j))
        m = 1/S sum_j z_j                               u'_k = a(Conv(a(Conv''([u_k, m]))))

    a is LeakyReLU(0.01). cross_relu: whether z_j has it; the released weights do.
    """

    mean_is_enough = False

    def __init__(self, inputs: tuple[int, int], widths: tuple[int, int], cross_relu: bool = True):
        super().__init__()
        if widths[0] != widths[1]:
            raise ModelError(f"A Tyche block of widths {widths} cannot be: its candidates need C_x = C_v; give one number.")
        self.cross = CrossConv(inputs, widths[0], cross_relu)
        self.meanconv = OverSet(inputs[0] + widths[0], widths[1])
        self.target = OverSet(*widths)
        self.support = OverSet(*widths)
        self.cross_relu = cross_relu

    def forward(self, u: Tensor, v: Tensor, chunk: int | None = None) -> tuple[Tensor, Tensor]:
        """u (B, K, C_u, H, W), v (B, S, C_v, H, W) to u' (B, K, C, H, W), v' (B, S, C, H, W). chunk: supports at a time."""
        once, total, parts = self.cross.of_target(u.mean(1, keepdim=True)), 0.0, []
        for part in v.split(chunk or v.shape[1], dim=1):
            z = self.act(once + self.cross.of_support(part))
            total = total + z.sum(1, keepdim=True)
            parts.append(self.support(z))
        return self.candidates(u, total / v.shape[1]), parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def last(self, u: Tensor, v: Tensor) -> Tensor:
        """u' alone, where nobody asks for v'."""
        once = self.cross.of_target(u.mean(1, keepdim=True))
        return self.candidates(u, self.act(once + self.cross.of_support(v)).mean(1, keepdim=True))

    def candidates(self, u: Tensor, m: Tensor) -> Tensor:
        """u'_k (B, K, C, H, W) of candidates u (B, K, C_u, H, W) and m (B, 1, C, H, W)."""
        return self.target(self.meanconv(torch.cat([u, m.expand(-1, u.shape[1], -1, -1, -1)], dim=2)))

    def act(self, z: Tensor) -> Tensor:
        return F.leaky_relu(z, SLOPE) if self.cross_relu else z

    def literal(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The same by the letter: pairs of the mean candidate with every support."""
        z = self.act(self.cross(u.mean(1, keepdim=True), v)[:, 0])
        return self.candidates(u, z.mean(1, keepdim=True)), self.support(z)


class Tyche(nn.Module):
    """Tyche-TS. encoder_blocks, decoder_blocks: a width per level; published: 1,774,785 parameters. cross_relu: see SetBlock."""

    def __init__(self, encoder_blocks: Widths = PUBLISHED, decoder_blocks: Widths | None = None, cross_relu: bool = True):
        super().__init__()

        def block(inputs: tuple[int, int], widths: tuple[int, int]) -> SetBlock:
            return SetBlock(inputs, widths, cross_relu)

        self.enc_blocks, self.dec_blocks, self.out_conv = layers(block, (2, 2), encoder_blocks, decoder_blocks)
        self.stride = stride(self)

    def forward(self, query: Tensor, images: Tensor, masks: Tensor, candidates: int = 8, noise: Tensor | None = None,
                generator: torch.Generator | None = None, chunk: int | None = None, literal: bool = False) -> Tensor:
        """Logits (B, K, H, W) of K candidates for query (B, 1, H, W), given support images and masks (B, S, 1, H, W).

        candidates: K; in training 8. noise: (B, K, H, W), standard normal; by default drawn from ``generator``, so that every
        call gives other candidates. They come in no order. chunk, literal: as in UniverSeg. Raises ModelError where these do
        not fit.
        """
        weight = self.out_conv.conv.weight
        check_episode(query, images, masks, self.stride, weight)
        shape = (len(query), candidates, *query.shape[2:])
        if noise is None:
            if candidates < 1:
                raise ModelError(f"{candidates} candidates cannot be drawn; ask for 1 or more.")
            device = generator.device if generator else query.device
            noise = torch.randn(shape, generator=generator, device=device).to(query)
        elif noise.ndim != 4 or not noise.shape[1] or noise.shape[0] != shape[0] or noise.shape[2:] != query.shape[2:]:
            raise ModelError(f"The noise has shape {tuple(noise.shape)}; give an image for each candidate, "
                             f"{('B', 'K', *shape[2:])}.")
        check_place(noise, "noise images", weight)
        u = torch.stack([query.expand(-1, noise.shape[1], -1, -1), noise], dim=2)
        return walk(self, u, torch.cat([images, masks], dim=2), chunk, literal)[:, :, 0]
