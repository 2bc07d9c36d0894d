"""SAM's mask decoder: tokens and features become four masks, and a guess of how good each is.

    mask_i = MLP_i(token_i) . up(features)          iou = MLP(token_iou)

Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A. Mask 0 is for prompts that leave no doubt; masks 1 to 3 are whole,
part and part of a part for those that do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fmlab.interactive.channel_norm import ChannelNorm
from fmlab.interactive.two_way import TwoWayTransformer


class ReLUMLP(nn.Module):
    """Linear maps with ReLU between them. widths: from input to output."""

    def __init__(self, *widths: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


class MaskDecoder(nn.Module):
    """channels: of tokens and features. dims: 2 or 3. masks: how many. hidden: of the IoU head. upscaling: of the features."""

    def __init__(self, channels: int = 256, dims: int = 2, masks: int = 4, heads: int = 8, mlp: int = 2048, hidden: int = 256,
                 upscaling: nn.Sequential | None = None, upscaled: int | None = None):
        super().__init__()
        self.transformer = TwoWayTransformer(channels, heads, mlp)
        self.iou_token, self.mask_tokens = nn.Embedding(1, channels), nn.Embedding(masks, channels)
        self.output_upscaling = upscaling or fourfold(channels, dims)
        upscaled = upscaled or channels // 8
        self.output_hypernetworks_mlps = nn.ModuleList(ReLUMLP(channels, channels, channels, upscaled) for _ in range(masks))
        self.iou_prediction_head = ReLUMLP(channels, hidden, hidden, masks)

    def forward(self, image: Tensor, image_pe: Tensor, tokens: Tensor, dense: Tensor, absent: Tensor | None = None
                ) -> tuple[Tensor, Tensor]:
        """Logits (N, masks, 4 grid) and predicted IoU (N, masks) of N prompts.

        image (N or 1, C, *grid): features, of each prompt's own image. image_pe (1, C, *grid). tokens (N, T, C) and dense
        (N or 1, C, *grid): from the prompt encoder. absent (N, T) bool: prompt tokens that are not there.
        """
        hidden, features = self.read(image, image_pe, tokens, dense, absent)
        return self.masks(hidden, self.output_upscaling(features)), self.iou_prediction_head(hidden[:, 0])

    def read(self, image: Tensor, image_pe: Tensor, tokens: Tensor, dense: Tensor, absent: Tensor | None = None
             ) -> tuple[Tensor, Tensor]:
        """Tokens (N, 1 + masks + T, C) and features (N, C, *grid) after the two-way transformer."""
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(len(tokens), -1, -1), tokens], dim=1)
        if absent is not None:
            absent = torch.cat([absent.new_zeros(len(absent), len(own)), absent], dim=1)
        image = (image + dense).expand(len(tokens), *image.shape[1:])
        tokens, features = self.transformer(image, image_pe, tokens, absent)
        return tokens, features.transpose(1, 2).unflatten(2, image.shape[2:])

    def masks(self, hidden: Tensor, upscaled: Tensor) -> Tensor:
        """The mask tokens' dot products with the upscaled features."""
        weights = torch.stack([mlp(hidden[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1)
        return torch.einsum("nmc,nc...->nm...", weights, upscaled)


def fourfold(channels: int, dims: int) -> nn.Sequential:
    """Features at four times the resolution, by two transposed convolutions."""
    make = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dims]
    return nn.Sequential(
        make(channels, channels // 4, kernel_size=2, stride=2), ChannelNorm(channels // 4), nn.GELU(),
        make(channels // 4, channels // 8, kernel_size=2, stride=2), nn.GELU())
