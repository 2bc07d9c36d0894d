"""A masked autoencoder for volumes, the sparse way: what is hidden is not there, until the decoder asks for it.

    encoder     every convolution's and norm's output is multiplied by m at its resolution; norms see visible voxels only
    between     a level's hidden positions get a learned token, then a 3x3x3 convolution ("densify")
    decoder     the ordinary one
    L           as in ``mae``

Source: Tian et al. 2023 (SparK, ICLR), arXiv:2301.03580; for volumes, as S3D: Wald et al.
2025, arXiv:2410.23132, with the settings told in ``mae``. As there, a level coarser than the blocks counts as visible everywhere;
with blocks as large as the stride, as in the course, there is none.

The mask is an argument here and nowhere global, so two passes may run side by side. What remains afterwards is an ordinary U-Net.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fmlab.backbones import Nano, linear_head
from fmlab.backbones.nano import Block
from fmlab.errors import ModelError, ScanError
from fmlab.pretraining.mae import BLOCK, RATIO, grown, hidden_mse, visible_blocks
from fmlab.pretraining.transfer import COURSE, Transfers

TRANSFERS = Transfers(("encoder", "decoder"), COURSE, inside="backbone.")
"""The plain U-Net; tokens and densifying layers have done their work."""


class SparseMAE(nn.Module):
    """A nano U-Net and what only the pretext needs: a norm, a token and a convolution for each level, and the head.

    width, in_channels: of ``Nano``. ``hub.build("sparse_mae")``.
    """

    def __init__(self, width: int = 16, in_channels: int = 1):
        super().__init__()
        self.backbone = Nano(in_channels, width)
        widths = [width * 2**level for level in range(4)]
        self.densify = nn.ModuleList([Densify(n, first=level == 3) for level, n in enumerate(widths)])
        self.head = linear_head(width, in_channels)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """What x (B, C, X, Y, Z) is thought to be, in deviations; visible (B, 1, *grid) bool, True is visible."""
        levels = sparse_levels(self.backbone, x, visible)
        filled = [fill(level, grown(visible, level.shape[2:])) for fill, level in zip(self.densify, levels)]
        return self.head(self.backbone.decode(filled))


class Densify(nn.Module):
    """A level as the decoder wants it: normalised, hidden positions filled with a token, and (but for the first) convolved.

    channels: of the level. first: the deepest one, at which the decoder begins; it is not convolved, as in SparK.
    """

    def __init__(self, channels: int, first: bool):
        super().__init__()
        self.norm = nn.InstanceNorm3d(channels, affine=True)
        self.token = nn.Parameter(torch.empty(1, channels, 1, 1, 1))
        nn.init.trunc_normal_(self.token, std=0.02, a=-0.02, b=0.02)
        self.project = nn.Identity() if first else nn.Conv3d(channels, channels, kernel_size=3, padding=1)

    def forward(self, level: Tensor, m: Tensor) -> Tensor:
        return self.project(torch.where(m, sparse_norm(self.norm, level, m), self.token.to(level.dtype)))


def sparse_mae(**config) -> SparseMAE:
    """``SparseMAE(**config)``."""
    return SparseMAE(**config)


def loss(model: nn.Module, batch: dict, block: int = BLOCK, ratio: float = RATIO) -> Tensor:
    """Of batch["image"] (B, C, X, Y, Z), whose sides are multiples of ``block``. Random numbers are torch's."""
    x = batch["image"]
    visible = visible_blocks(len(x), x.shape[2:], block, ratio, x.device)
    return hidden_mse(model(x, visible), x, grown(visible, x.shape[2:]))


def sparse_levels(backbone: Nano, x: Tensor, visible: Tensor) -> list[Tensor]:
    """The encoder's four levels of a plain nano U-Net, computed from visible voxels alone; hidden positions hold 0.

    What the hidden voxels of x are makes no difference. visible: (B, 1, *grid) bool. Raises ModelError for another backbone,
    ScanError where the grid does not divide the sides or fewer than two positions of a level are visible.
    """
    if not isinstance(backbone, Nano):
        raise ModelError(f"Sparse levels are of the nano U-Net, not of {type(backbone).__name__}; pre-train that densely.")
    if visible.ndim != 5 or any(side % n for side, n in zip(x.shape[2:], visible.shape[2:])):
        raise ScanError(f"A mask of {tuple(visible.shape)} does not fit images {tuple(x.shape)}; give (B, 1, *grid), "
                        "one value a block.")
    x = x * grown(visible, x.shape[2:])
    levels = []
    for level in (backbone.level1, backbone.level2, backbone.level3, backbone.level4):
        for block in level.modules():
            if isinstance(block, Block):
                x = sparse_block(block, x, visible)
        levels.append(x)
    return levels


def sparse_block(block: Block, x: Tensor, visible: Tensor) -> Tensor:
    """Convolution, norm and activation of a plain block, masked after each of the first two: (B, C, ...) to (B, C', ...)."""
    x = block.conv(x)
    m = grown(visible, x.shape[2:])
    return block.act(sparse_norm(block.norm, x * m, m) * m)  # leaky ReLU keeps 0


def sparse_norm(norm: nn.InstanceNorm3d, x: Tensor, m: Tensor) -> Tensor:
    """An instance norm whose mean and variance are those of the visible positions, m (B, 1, ...) bool."""
    count = m.sum((2, 3, 4), keepdim=True)
    if (count < 2).any():
        raise ScanError(f"Of {m[0].numel()} positions fewer than two are visible, which cannot be normalised; hide less, or take "
                        "larger cubes.")
    exact, axes = x.float(), (2, 3, 4)
    mean = (exact * m).sum(axes, keepdim=True) / count
    variance = ((exact - mean).square() * m).sum(axes, keepdim=True) / count
    scaled = (exact - mean) * (variance + norm.eps).rsqrt()
    return (scaled * norm.weight.view(1, -1, 1, 1, 1) + norm.bias.view(1, -1, 1, 1, 1)).to(x.dtype)
