"""Swin UNETR: a transformer that looks through shifted windows, and a convolutional decoder. MONAI's blocks, without the head.

MONAI corrected its patch merging in 2025. Every checkpoint published before was trained with the old one; under the new one it
loads without a missing key and computes something else. So the merging is a choice here, and the old one is the default.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.backbones.segmenter import check_input
from fmlab.errors import ModelError

Merging = Literal["historical", "monai"]

# Which neighbour (offset along the three spatial axes) fills which eighth of the merged vector. 010 and 001 are there twice; 110
# and 011 are never read, so a quarter of what lies in a 2x2x2 block never reaches the next stage.
HISTORICAL = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1))


class HistoricalPatchMerging(nn.Module):
    """Halves each side and doubles the channels, (B, X, Y, Z, C) to (B, X/2, Y/2, Z/2, 2C), reading the slices of ``HISTORICAL``.

    Same parameter names as MONAI's module, which is why nothing warns. Sides are even here: the backbone's stride sees to it.
    """

    def __init__(self, dim: int, norm_layer: type[nn.LayerNorm] = nn.LayerNorm, spatial_dims: int = 3):
        super().__init__()
        self.reduction = nn.Linear(8 * dim, 2 * dim, bias=False)
        self.norm = norm_layer(8 * dim)

    def forward(self, x: Tensor) -> Tensor:
        eighths = [x[:, i::2, j::2, k::2] for i, j, k in HISTORICAL]
        return self.reduction(self.norm(torch.cat(eighths, dim=-1)))


class SwinUNETR(nn.Module):
    """Swin UNETR as published: depths 2-2-2-2, window 7, patch 2, instance norm. 62,186,610 parameters at feature size 48.

    in_channels: channels of X. feature_size: channels of Z, a multiple of 12. heads: attention heads of the four stages.
    merging: "historical" for all checkpoints from before 2025 (Tang/BTCV, CLIP-Driven, SuPreM, FSEFT), "monai" for the corrected
    one. checkpointing: recompute activations in the backward pass, slower and leaner.

    Names of parameters are the official ones. Raises ModelError for a merging or size that does not exist.
    Source: Hatamizadeh et al. 2022, doi:10.1007/978-3-031-08999-2_22; Tang et al. 2022, doi:10.1109/CVPR52688.2022.02007.
    """

    stride = 32
    parts = {"encoder": ("swinViT.",), "decoder": ("encoder", "decoder")}  # its "encoder" blocks lie on the skips
    official_keys = (("swin_vit.", "swinViT."), ("out.conv.conv.", "head."), ("classifier.", "head."))

    def __init__(
        self, in_channels: int = 1, feature_size: int = 48, merging: Merging = "historical",
        heads: tuple[int, int, int, int] = (3, 6, 12, 24), checkpointing: bool = False,
    ):
        super().__init__()
        if merging not in ("historical", "monai"):
            raise ModelError(f"There is no patch merging {merging!r}; choose 'historical' for published weights, or 'monai'.")
        if feature_size < 12 or feature_size % 12:
            raise ModelError(f"A feature size of {feature_size} does not split over the heads; give a multiple of 12.")
        from monai.networks.nets.swin_unetr import SwinUNETR as Whole  # slow to import, so only when one is built

        whole = Whole(
            in_channels, out_channels=1, feature_size=feature_size, num_heads=heads, use_checkpoint=checkpointing,
            downsample=HistoricalPatchMerging if merging == "historical" else "merging",
        )
        for name, block in whole.named_children():
            if name != "out":  # the head is the method's
                self.add_module(name, block)
        self.in_channels, self.channels, self.deep_channels = in_channels, feature_size, 16 * feature_size
        self.merging = merging

    def encode(self, x: Tensor) -> list[Tensor]:
        """The transformer's five levels (B, C 2^i, X/2^(i+1), ...), i = 0 to 4, each normalised over its channels."""
        levels = [self.swinViT.patch_embed(x)]
        for number in (1, 2, 3, 4):
            levels.append(stage(getattr(self.swinViT, f"layers{number}")[0], levels[-1]))
        return [F.layer_norm(h.movedim(1, -1), h.shape[1:2]).movedim(-1, 1) for h in levels]

    def deep_and_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Deepest level (B, 16 C, X/32, Y/32, Z/32) and Z (B, C, X, Y, Z) of x (B, in_channels, X, Y, Z)."""
        check_input(self, x)
        h2, h4, h8, h16, h32 = self.encode(x)
        deep = self.encoder10(h32)
        z = self.decoder5(deep, h16)
        z = self.decoder4(z, self.encoder4(h8))
        z = self.decoder3(z, self.encoder3(h4))
        z = self.decoder2(z, self.encoder2(h2))
        return deep, self.decoder1(z, self.encoder1(x))

    def features(self, x: Tensor) -> Tensor:
        """Z (B, feature_size, X, Y, Z) of x (B, in_channels, X, Y, Z); sides are multiples of 32."""
        return self.deep_and_features(x)[1]

    forward = features


def stage(layer: nn.Module, h: Tensor) -> Tensor:
    """One Swin stage, (B, C, X, Y, Z) to (B, 2C, X/2, Y/2, Z/2): windows, shifted windows, merging.

    It does what MONAI's stage does in its own forward, which needs the package einops only to move an axis.
    """
    from monai.networks.nets.swin_unetr import compute_mask, get_window_size

    sides = h.shape[2:]
    window, shift = get_window_size(sides, layer.window_size, layer.shift_size)
    padded = [-(-side // w) * w for side, w in zip(sides, window)]
    mask = compute_mask(padded, window, shift, h.device)  # keeps voxels apart that a cyclic shift brought together
    h = h.movedim(1, -1).contiguous()
    for block in layer.blocks:
        h = block(h, mask)
    return layer.downsample(h).movedim(-1, 1).contiguous()
