"""3DSAM-adapter: SAM's image encoder, its weights frozen, reads a volume; points find one structure, such as a tumour.

    x + A(x), attention in cubes, MLP          A(x) = ReLU(W_2 ReLU(conv 3^3(ReLU(W_1 x))))          in every block
    y = head( neck_1(z_3), neck_2(z_6), neck_3(z_9), prompted(neck_4(z_12), points), x )

Source: Gong et al. 2023, arXiv:2306.13465, section 3; written from its description, for the released code has no licence. Names
of entries are the released ones. A volume is (B, 1, D, H, W), slices first; tokens stand in the order (H, W, D).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.errors import ModelError
from fmlab.hub.models import LoadReport
from fmlab.interactive.cube_attention import CubeAttention, in_cubes, shift_mask
from fmlab.interactive.image_encoder import EPS, MLP, PatchEmbed, neck
from fmlab.interactive.sam3d_adapter_head import MLAHead
from fmlab.interactive.sam3d_adapter_points import PointEncoder
from fmlab.interactive.tuning import take_over, train_only

SIZES = {
    "vit_b": dict(size=128, enlarged=512, patch=16, channels=768, depth=12, heads=12, everywhere=(2, 5, 8, 11), window=14),
    "nano": dict(size=32, enlarged=64, patch=8, channels=128, depth=4, heads=4, everywhere=(1, 3), window=8, cube=4, outputs=32,
                 point_heads=4, mlp=128, head=32),
}
"""Settings of ``Sam3DAdapter`` by name; the first is published, the other fits the nano SAM."""

NEW = ("encoder.depth_embed", "encoder.slice_embed.*", "*.adapter.*", "*.attn.lr", "*.attn_mask", "encoder.neck_3d.*",
       "prompt_encoders.*", "decoder.*")
"""What 3DSAM-adapter begins anew."""


class Sam3DAdapter(nn.Module):
    """size: voxels of a side of the crop. enlarged: to which it is resized before it is cut into patches of ``patch``.

    channels, depth, heads, everywhere, window: of the SAM whose weights are taken, for an image of twice ``enlarged``; all
    blocks attend in cubes of ``cube`` tokens, every other one shifted. outputs: channels of the features; point_heads, mlp: of
    the prompt encoder; head: width of the decoder.
    """

    def __init__(self, size: int = 128, enlarged: int = 512, patch: int = 16, channels: int = 768, depth: int = 12,
                 heads: int = 12, everywhere: Sequence[int] = (2, 5, 8, 11), window: int = 14, cube: int = 8, outputs: int = 256,
                 point_heads: int = 8, mlp: int = 2048, head: int = 128):
        super().__init__()
        if enlarged % (patch * cube) or depth % 4 or channels % heads:
            raise ModelError(f"enlarged={enlarged} is to be a multiple of patch={patch} times cube={cube}, depth={depth} of 4, "
                             f"and channels={channels} of heads={heads}.")
        self.encoder = VolumeEncoder(enlarged, patch, channels, depth, heads, everywhere, window, cube, outputs)
        self.prompt_encoders = nn.ModuleList(PointEncoder(outputs, point_heads, mlp) for _ in range(4))  # the last one is used
        self.decoder = MLAHead(outputs, head)
        self.size = size

    def forward(self, volumes: Tensor, points: Tensor) -> Tensor:
        """Logits (B, 2, D, H, W), background and object, of crops (B, 1, D, H, W) of ``size`` voxels a side, and ``decode``'s
        points."""
        return self.decode(self.encode(volumes), volumes, points)

    def encode(self, volumes: Tensor) -> list[Tensor]:
        """Four levels of features (B, C, H, W, D). ModelError for crops of another size."""
        if volumes.ndim != 5 or tuple(volumes.shape[1:]) != (1, *[self.size] * 3):
            raise ModelError(f"3DSAM-adapter reads crops (B, 1, {self.size}, {self.size}, {self.size}), not "
                             f"{tuple(volumes.shape)}; cut or fill them up first, or build it for that size.")
        return self.encoder(volumes)

    def decode(self, levels: Sequence[Tensor], volumes: Tensor, points: Tensor) -> Tensor:
        """The same from levels. points (B, P, 3): voxel indices (d, h, w); all of them clicks somewhere about the object.

        What a click's label says never enters. ModelError where points are not those of B volumes.
        """
        if points.ndim != 3 or len(points) != len(volumes) or points.shape[-1] != 3 or not points.shape[1]:
            raise ModelError(f"Points are (B, P, 3), some for each of {len(volumes)} volumes, not {tuple(points.shape)}.")
        places = (2 * points[..., [0, 2, 1]] + 1) / self.size - 1  # (slice, column, row) of voxels' centres
        prompted = self.prompt_encoders[-1](levels[-1], places)
        logits = self.decoder([*levels[:-1], prompted], volumes.movedim(2, -1))
        return logits.movedim(-1, 2)


class VolumeEncoder(nn.Module):
    """SAM's image encoder for volumes: its patches per slice, then neighbouring slices joined; cubes in place of windows."""

    def __init__(self, enlarged: int, patch: int, channels: int, depth: int, heads: int, everywhere: Sequence[int], window: int,
                 cube: int, outputs: int):
        super().__init__()
        grid = enlarged // patch
        self.pos_embed = nn.Parameter(torch.randn(1, 2 * grid, 2 * grid, channels) * 0.02)  # SAM's, of an image twice as large
        self.depth_embed = nn.Parameter(torch.ones(1, grid, channels))
        self.patch_embed = PatchEmbed(3, channels, patch, 2)
        self.slice_embed = nn.Conv3d(channels, channels, kernel_size=(1, 1, patch), stride=(1, 1, patch), groups=channels)
        nn.init.constant_(self.slice_embed.weight, 1 / patch)  # begins with the mean of the slices' patches; ours, not told
        nn.init.zeros_(self.slice_embed.bias)
        mask = shift_mask(grid, cube, cube // 2)
        self.blocks = nn.ModuleList(
            CubeBlock(channels, heads, 2 * grid if i in everywhere else window, cube, None if i % 2 else mask)
            for i in range(depth))
        self.neck_3d = nn.ModuleList(neck(channels, outputs, 3) for _ in range(4))
        self.enlarged = enlarged

    def forward(self, volumes: Tensor) -> list[Tensor]:
        x, levels = self.placed(self.tokens(volumes)), []
        for i, block in enumerate(self.blocks, 1):
            x = block(x)
            if i % (len(self.blocks) // 4) == 0:
                levels.append(self.neck_3d[len(levels)](x.movedim(-1, 1)))
        return levels

    def tokens(self, volumes: Tensor) -> Tensor:
        """(B, H, W, D, C) of volumes (B, 1, D, H, W).

        A patch of each slice by SAM's weights, three equal channels, and then a weighted sum over slices: together one patch in
        3-D, of a kernel that is the product of the two. Never are all slices' patches in memory.
        """
        x = F.interpolate(volumes, [self.enlarged] * 3, mode="trilinear", align_corners=False)
        flat, along = self.patch_embed.proj, self.slice_embed
        weights = along.weight[:, :, 0, 0, :, None, None]  # (C, 1, slices, 1, 1)
        kernel = weights * flat.weight.sum(1)[:, None, None]
        bias = flat.bias * weights.flatten(1).sum(1) + along.bias
        return F.conv3d(x, kernel, bias, stride=kernel.shape[2:]).permute(0, 3, 4, 2, 1)

    def placed(self, tokens: Tensor) -> Tensor:
        """With SAM's positions, four of them as one, and a position along the slices."""
        flat = F.avg_pool2d(self.pos_embed.movedim(-1, 1), 2).movedim(1, -1)
        return tokens + (flat[:, :, :, None] + self.depth_embed[:, None, None])


class CubeBlock(nn.Module):
    """The adapter first, then SAM's block in cubes of tokens; mask: of shifted cubes, None for those in place."""

    def __init__(self, channels: int, heads: int, span: int, cube: int, mask: Tensor | None):
        super().__init__()
        if mask is not None:
            self.register_buffer("attn_mask", mask)
        self.norm1, self.attn = nn.LayerNorm(channels, EPS), CubeAttention(channels, heads, span)
        self.norm2, self.mlp = nn.LayerNorm(channels, EPS), MLP(channels, 4 * channels)
        self.adapter, self.cube = Adapter(channels), cube

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, H, W, D, C) to the same shape."""
        mask = getattr(self, "attn_mask", None)
        x = x + self.adapter(x)
        x = x + in_cubes(self.attn, self.norm1(x), self.cube, 0 if mask is None else self.cube // 2, mask)
        return x + self.mlp(self.norm2(x))


class Adapter(nn.Module):
    """What half as many channels find among neighbours in 3-D, each channel on its own."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.linear1 = nn.Linear(channels, half)
        self.conv = nn.Conv3d(half, half, kernel_size=3, padding=1, groups=half)
        self.linear2 = nn.Linear(half, channels)

    def forward(self, x: Tensor) -> Tensor:
        near = self.conv(self.linear1(x).relu().movedim(-1, 1)).movedim(1, -1)
        return self.linear2(near.relu()).relu()


def sam3d_adapter(size: str = "vit_b", **changes) -> Sam3DAdapter:
    """A ``Sam3DAdapter`` by the name of its size: one of SIZES; changes: settings of it that differ."""
    if size not in SIZES:
        raise ModelError(f"There is no 3DSAM-adapter of size {size!r}; choose one of {', '.join(SIZES)}.")
    return Sam3DAdapter(**(SIZES[size] | changes))


def load_sam(model: Sam3DAdapter, sam: Mapping[str, Tensor], quiet: bool = False) -> LoadReport:
    """Begin with the image encoder of a SAM; its positions along the slices are the mean of those along rows and columns."""
    along = {key.replace("_h", "_d"): (value + sam[key.replace("_h", "_w")]) / 2 for key, value in sam.items()
             if key.endswith("rel_pos_h")}
    return take_over(model, {**sam, **along}, lambda key: "image_" + key, new=NEW, quiet=quiet)


def from_checkpoint(checkpoint: Mapping) -> dict[str, Tensor]:
    """The released file's weights, which stand in encoder_dict, feature_dict (four) and decoder_dict, under our names.

    Raises ModelError where these are not there.
    """
    if missing := [name for name in ("encoder_dict", "feature_dict", "decoder_dict") if name not in checkpoint]:
        raise ModelError(f"This file of weights has no {missing[0]}; give what torch.load makes of 3DSAM-adapter's best.pth.tar.")
    parts = {"encoder": checkpoint["encoder_dict"], "decoder": checkpoint["decoder_dict"]}
    parts |= {f"prompt_encoders.{i}": part for i, part in enumerate(checkpoint["feature_dict"])}
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}


TRAINED = ("depth_embed", "slice_embed", ".norm1.", ".norm2.", ".adapter.", ".rel_pos_d", "neck_3d")  # of the encoder


def trainable(model: Sam3DAdapter) -> list[nn.Parameter]:
    """What the paper trains: of the encoder its adapters, norms, necks and all that is of the third axis; all of the others."""
    return train_only(model, lambda name: not name.startswith("encoder.") or any(part in name for part in TRAINED))
