"""Swin UNETR's pre-training: repair a cut-out, name a rotation, recognise the same cube in another guise. Three losses, 1/1/1.

    v_i = rotated(x, k_i), i = 1, 2                     two views of every cube of the batch
    r, c, x' = heads(theta_f(cut_out(v_i)))
    L = CE(r_i, k_i) + NT-Xent(c_1, c_2) + |x'_i - v_i|

Source: Tang et al. 2022, doi:10.1109/CVPR52688.2022.02007, and its released code. Where the two differ this follows the code:

- rotations are about the left-right axis (the paper has z), so cubes must be cubic;
- the cut-out is drawn twice, noise and then pieces of another cube of the batch: up to 60 % are asked for, not 30;
- the target of the repair is the rotated view;
- rotation is read from one corner token of the last level, contrast from the next one, and nothing is pooled.

Published setting: 96^3 of 5,050 CTs, -1000 to 1000 HU to [0, 1], feature size 48, AdamW at 4e-4 (6e-6 in the command), weight
decay 0.1, 500 steps of warm-up, cosine, 100,000 steps on 32 GPUs of one volume (two crops) each. The course: 64^3, the nano
encoder, whose tokens are averaged, as a convolution's corner has not seen the rest.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.backbones import Nano, SwinUNETR
from fmlab.errors import ModelError, ScanError
from fmlab.pretraining.transfer import COURSE, Input, Transfers, without_decoder

Tokens = Literal["corners", "mean"]
MOST = 0.3  # share of the volume that one pass of the cut-out may ask for
SIDES = (0.05, 0.25)  # of the box, as shares of the cube's
TEMPERATURE = 0.5


def official_name(key: str) -> str:
    """From ``model_swinvit.pt`` to MONAI's names: the prefix that it lacks, and fc1, fc2 for linear1, linear2."""
    key = key.removeprefix("swin_vit.").removeprefix("swinViT.")
    return "swinViT." + key.replace(".mlp.fc1.", ".mlp.linear1.").replace(".mlp.fc2.", ".mlp.linear2.")


TRANSFERS = Transfers(("encoder",), COURSE, inside="backbone.")
"""The encoder only: the decoder that follows in a segmentation is new. Of the published network that is 13 % of the
parameters."""
OFFICIAL = Transfers(("encoder",), Input("-1000 to 1000 HU to [0, 1]", None), named=official_name)


class SwinSSL(nn.Module):
    """An encoder with three heads. backbone: any that has ``encode`` (it loses its decoder). features: of the contrast.

    tokens: "corners" as published, or "mean" of all positions.
    """

    def __init__(self, backbone: nn.Module, tokens: Tokens = "corners", features: int = 512):
        super().__init__()
        if tokens not in ("corners", "mean"):
            raise ModelError(f"There are no {tokens!r} tokens; choose 'corners' as published, or 'mean'.")
        self.backbone, self.tokens = without_decoder(backbone), tokens
        self.rotation = nn.Linear(backbone.deep_channels, 4)
        self.contrast = nn.Linear(backbone.deep_channels, features)
        self.repair = repair_head(backbone.deep_channels, backbone.stride, backbone.in_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of four rotations (B, 4), contrast features (B, F) and the repaired cube, of x (B, C, X, Y, Z)."""
        deep = self.backbone.encode(x)[-1]
        tokens = deep.flatten(2)
        if tokens.shape[2] < 2:
            raise ModelError(f"A cube of {tuple(x.shape[2:])} is a single token at the deepest level, and two are read; take a "
                             "larger one.")
        first, second = (tokens[..., 0], tokens[..., 1]) if self.tokens == "corners" else [tokens.mean(2)] * 2
        return self.rotation(first), self.contrast(second), self.repair(deep)


def swin_ssl(backbone: Literal["nano", "swin_unetr"] = "nano", tokens: Tokens | None = None, features: int = 512,
             **config) -> SwinSSL:
    """``SwinSSL`` on a backbone by name, config being the backbone's; tokens: "mean" for nano, else "corners"."""
    kinds = {"nano": Nano, "swin_unetr": SwinUNETR}
    if backbone not in kinds:
        raise ModelError(f"Swin SSL has no backbone {backbone!r}; choose one of {', '.join(kinds)}.")
    return SwinSSL(kinds[backbone](**config), tokens or ("mean" if backbone == "nano" else "corners"), features)


def repair_head(channels: int, stride: int, outputs: int) -> nn.Sequential:
    """Convolution, instance norm, leaky ReLU, twice as fine; up to the image's size. All steps but the last halve the
    channels."""
    steps, layers = stride.bit_length() - 1, []
    for step in range(steps):
        fewer = channels if step == steps - 1 else channels // 2
        layers += [nn.Conv3d(channels, fewer, kernel_size=3, padding=1), nn.InstanceNorm3d(fewer), nn.LeakyReLU(),
                   nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)]
        channels = fewer
    return nn.Sequential(*layers, nn.Conv3d(channels, outputs, kernel_size=1))


def loss(model: nn.Module, batch: dict) -> Tensor:
    """The sum of ``losses``, for batch["image"] (B, C, S, S, S). Random numbers are torch's."""
    return sum(losses(model, batch["image"]).values())


def losses(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Rotation, contrast and repair, one number each; two samples or more, as contrast needs others to differ from."""
    if len(images) < 2:
        raise ScanError("Swin SSL was given a single cube, and contrast needs another to differ from; give two or more.")
    views, turns = zip(rotated(images), rotated(images))
    clean, k = torch.cat(views), torch.cat(turns)
    seen = torch.cat([cut_out(view) for view in views])
    rotation, features, repaired = model(seen)
    return {"rotation": F.cross_entropy(rotation.float(), k), "contrast": nt_xent(*features.float().chunk(2)),
            "repair": F.l1_loss(repaired.float(), clean.float())}


def rotated(images: Tensor) -> tuple[Tensor, Tensor]:
    """Each of (B, C, S, S, S) turned k quarters about the left-right axis, and k (B,). ScanError where it is no cube."""
    if images.ndim != 5 or len(set(images.shape[2:])) > 1:
        raise ScanError(f"Rotation was given {tuple(images.shape)}; quarter turns need cubes, (B, C, S, S, S).")
    k = torch.randint(4, (len(images),))
    return torch.stack([image.rot90(int(quarters), (2, 3)) for image, quarters in zip(images, k)]), k.to(images.device)


def cut_out(images: Tensor) -> Tensor:
    """(B, C, X, Y, Z) with boxes of noise, then with boxes of another sample, which may have its own cut-outs already.

    The partner is drawn from the whole batch; whoever draws itself keeps the noise alone. A batch of one never has a second pass.
    """
    out = images.clone()
    for index, image in enumerate(out):
        for box in boxes(image.shape[1:]):
            image[(slice(None), *box)] = _noise(image[(slice(None), *box)])
        partner = int(torch.randint(len(out), ()))
        if partner != index:
            for box in boxes(image.shape[1:]):
                image[(slice(None), *box)] = out[partner][(slice(None), *box)]
    return out


def boxes(sides: tuple[int, ...], most: float = MOST) -> list[tuple[slice, ...]]:
    """Boxes of one pass, until their volumes, overlaps counted twice, reach a budget drawn from 0 to ``most`` of the cube.

    Sides are 5 to 25 % of the cube's; a box may begin anywhere but in the last 5 % and is clipped at the border.
    """
    budget = float(torch.rand(())) * most * torch.Size(sides).numel()
    least = [max(1, int(SIDES[0] * n)) for n in sides]
    limit = [max(low + 1, int(SIDES[1] * n)) for low, n in zip(least, sides)]
    made, filled = [], 0
    while filled < budget:
        starts = [int(torch.randint(n - low, ())) for low, n in zip(least, sides)]
        ends = [min(start + int(torch.randint(low, high, ())), n) for start, low, high, n in zip(starts, least, limit, sides)]
        made.append(tuple(slice(start, end) for start, end in zip(starts, ends)))
        filled += torch.Size([end - start for start, end in zip(starts, ends)]).numel()
    return made


def nt_xent(a: Tensor, b: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """NT-Xent of two views (B, F): each of 2 B features must find its other view among the 2 B - 1 others, by cosine.

    Source: Chen et al. 2020, arXiv:2002.05709, equation 1. It is MONAI's ``ContrastiveLoss``, which takes many seconds to import.
    """
    z = F.normalize(torch.cat([a, b]), dim=1)
    alike = (z @ z.T / temperature).fill_diagonal_(-torch.inf)  # oneself is no candidate
    return F.cross_entropy(alike, torch.arange(len(z), device=z.device).roll(len(a)))


def _noise(like: Tensor) -> Tensor:
    """Gaussian noise stretched to [0, 1]; a single voxel has nothing to be stretched between and becomes 0."""
    noise = torch.randn_like(like)
    return (noise - noise.min()) / (noise.max() - noise.min()).clamp(min=1e-6)
