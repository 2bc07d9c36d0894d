"""MA-SAM: SAM's image encoder learns to read neighbouring slices, and its decoder to draw all organs without a prompt.

    x + A(x), attention, x + A'(x), MLP          A(x) = up(GELU(conv along slices(down(norm(x)))))          in every block
    q = W_q x + s V R_i U x,   v = W_v x + s V R'_i U x          U, V shared by all blocks: a low-rank change of SAM's own weights

Source: Chen et al. 2024, doi:10.1016/j.media.2024.103310, arXiv:2309.08842, sections 3.1 to 3.3; Jie and Deng 2023 (FacT),
arXiv:2212.03145. Names are those of the released code. Slices are a batch for SAM; only A and A' know which are neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.errors import ModelError
from fmlab.hub.models import LoadReport, load_official
from fmlab.interactive.channel_norm import ChannelNorm
from fmlab.interactive.image_encoder import EPS, Block, ImageEncoder
from fmlab.interactive.mask_decoder import MaskDecoder
from fmlab.interactive.prompt_encoder import PromptEncoder
from fmlab.interactive.tuning import take_over, train_only
from fmlab.interactive.windows import in_windows

SIZES = {
    "vit_b": dict(channels=768, depth=12, heads=12, everywhere=(2, 5, 8, 11)),
    "vit_l": dict(channels=1024, depth=24, heads=16, everywhere=(5, 11, 17, 23)),
    "vit_h": dict(channels=1280, depth=32, heads=16, everywhere=(7, 15, 23, 31)),
    "nano": dict(size=128, patch=8, channels=128, depth=4, heads=4, everywhere=(1, 3), window=8, prompt_channels=64,
                 decoder_heads=2, mlp=256, hidden=64, between=32, rank=8, upscaling=(32, 16, 8)),
}
"""Settings of ``MaSam`` by name. The paper's is vit_h; nano fits the nano SAM."""

NEW = ("*FacT*", "*.adapter_*", *(f"*.{part}.*" for part in ("mask_tokens", "output_hypernetworks_mlps", "iou_prediction_head")))
"""What MA-SAM begins anew: all that it adds, and the part of the decoder that is about masks rather than classes."""
DROPOUT = 0.1  # in the low-rank change, while training


class MaSam(nn.Module):
    """classes: of organs, without the background. slices: S, read together. between: width of the adapters. rank: of U and V.

    scale: s. upscaling: channels after each doubling of the features, log2(patch) of them, so that the answer has the image's
    size; left out, a quarter of prompt_channels, an eighth and so on. Others as of ``Sam``.
    """

    def __init__(self, classes: int = 12, size: int = 512, patch: int = 16, channels: int = 768, depth: int = 12, heads: int = 12,
                 everywhere: Sequence[int] = (2, 5, 8, 11), window: int = 14, prompt_channels: int = 256, decoder_heads: int = 8,
                 mlp: int = 2048, hidden: int = 256, slices: int = 5, between: int = 384, rank: int = 32, scale: float = 1.0,
                 upscaling: Sequence[int] | None = None):
        super().__init__()
        widths = tuple(upscaling or (prompt_channels >> i for i in range(2, patch.bit_length() + 1)))
        if patch < 2 or size % patch or patch != 2 ** len(widths) or min(classes, slices, *widths) < 1:
            raise ModelError(f"size={size}, patch={patch}, slices={slices}, classes={classes}, upscaling={widths}: the patch "
                             "divides the size and is 2 to the number of doublings; all others are 1 or more.")
        grid = (size // patch, size // patch)
        self.FacTu, self.FacTv = nn.Linear(channels, rank, bias=False), nn.Linear(rank, channels, bias=False)
        nn.init.zeros_(self.FacTv.weight)
        block = partial(slice_block, slices=slices, between=between, shared=(self.FacTu, self.FacTv), scale=scale)
        encoder = ImageEncoder(grid, patch, channels, depth, heads, prompt_channels, window, everywhere, block=block)
        decoder = MaskDecoder(prompt_channels, 2, 1 + classes, decoder_heads, mlp, hidden, to_pixels(prompt_channels, widths),
                              widths[-1])
        self.sam = nn.ModuleDict({
            "image_encoder": nn.ModuleDict({"ImageEncoderViT": encoder, "FacTu": self.FacTu, "FacTv": self.FacTv}),
            "prompt_encoder": PromptEncoder(prompt_channels, grid, (size, size)), "mask_decoder": decoder})
        self.size, self.slices, self.classes = size, slices, classes

    def forward(self, images: Tensor, boxes: Tensor | None = None) -> Tensor:
        """Logits (B, S, 1 + classes, size, size) of stacks of grey slices (B, S, size, size) in [0, 1]; softmax over dim 2.

        boxes (B, 4), x0 y0 x1 y1: one for all slices of a stack, for the variant that is prompted. ModelError for other shapes.
        """
        return self.decode(self.encode(images), boxes)[0].unflatten(0, (-1, self.slices))

    def encode(self, images: Tensor) -> Tensor:
        """Features (B S, C, H, W). A slice goes in as three equal channels."""
        if images.ndim != 4 or tuple(images.shape[1:]) != (self.slices, self.size, self.size):
            raise ModelError(f"MA-SAM reads stacks (B, {self.slices}, {self.size}, {self.size}), not {tuple(images.shape)}; see "
                             "predict_volume for whole volumes.")
        return self.sam.image_encoder.ImageEncoderViT(images.flatten(0, 1)[:, None].expand(-1, 3, -1, -1))

    def decode(self, features: Tensor, boxes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits (B S, 1 + classes, size, size), and IoU (B S, 1 + classes) that nothing trains."""
        boxes = None if boxes is None else boxes.repeat_interleave(self.slices, dim=0)
        tokens, dense = self.sam.prompt_encoder(boxes=boxes)
        tokens = tokens.expand(len(features), -1, -1)
        return self.sam.mask_decoder(features, self.sam.prompt_encoder.dense_positions(), tokens, dense)


class Named(nn.Module):
    """A module under one more name, for the official entries have it."""

    def __init__(self, name: str, module: nn.Module):
        super().__init__()
        self.name = name
        self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule(self.name)(x)


def slice_block(*args, **settings) -> Named:
    return Named("Block", SliceBlock(*args, **settings))


class SliceBlock(nn.Module):
    """SAM's block with an adapter along slices before the attention, and one before the MLP. Adds nothing when it is new."""

    def __init__(self, channels: int, heads: int, grid: Sequence[int], window: int, slices: int, between: int,
                 shared: tuple[nn.Linear, nn.Linear], scale: float):
        super().__init__()
        block = Block(channels, heads, grid, window)
        block.attn.qkv = FactoredQKV(block.attn.qkv, shared, scale)
        self.norm1, self.attn, self.norm2, self.mlp = block.norm1, Named("Attention", block.attn), block.norm2, block.mlp
        self.window, self.slices = window, slices
        for end in ("", "_2"):
            self.add_module("adapter_linear_down" + end, nn.Linear(channels, between, bias=False))
            self.add_module("adapter_linear_up" + end, nn.Linear(between, channels, bias=False))
            self.add_module("adapter_conv" + end, nn.Conv3d(between, between, kernel_size=(3, 1, 1), padding="same"))
            self.add_module("adapter_norm" + end, nn.LayerNorm(channels, EPS))
            nn.init.zeros_(self.get_submodule("adapter_linear_up" + end).weight)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B S, H, W, C) to the same shape."""
        x = x + self.along_slices(x, "")
        x = x + in_windows(self.attn, self.norm1(x), self.window)
        x = x + self.along_slices(x, "_2")
        return x + self.mlp(self.norm2(x))

    def along_slices(self, x: Tensor, end: str) -> Tensor:
        """A(x), or A'(x). Beyond the first and the last slice there are zeros."""
        parts = ("norm", "linear_down", "conv", "linear_up")
        norm, down, conv, up = (self.get_submodule(f"adapter_{part}{end}") for part in parts)
        x = down(norm(x)).unflatten(0, (-1, self.slices)).movedim(-1, 1)  # (B, between, S, H, W)
        return up(F.gelu(conv(x)).movedim(1, -1).flatten(0, 1))


class FactoredQKV(nn.Module):
    """SAM's queries, keys and values (..., 3 C) of tokens (..., C), with a low-rank change of queries and values.

    shared: U and V, which belong to the whole model and are no parts of this one.
    """

    def __init__(self, qkv: nn.Linear, shared: tuple[nn.Linear, nn.Linear], scale: float):
        super().__init__()
        self.shared, self.scale, rank = shared, scale, shared[0].out_features
        self.qkv = qkv
        self.q_FacTs, self.v_FacTs = nn.Linear(rank, rank, bias=False), nn.Linear(rank, rank, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return torch.cat([q + self.change(x, self.q_FacTs), k, v + self.change(x, self.v_FacTs)], dim=-1)

    def change(self, x: Tensor, own: nn.Linear) -> Tensor:
        """s V R U x."""
        u, v = self.shared
        return self.scale * v(F.dropout(own(u(x)), DROPOUT, self.training))


def to_pixels(channels: int, widths: Sequence[int]) -> nn.Sequential:
    """Features doubled in size once for each of the widths, which are the channels after it; a norm between, none at the end."""
    layers: list[nn.Module] = []
    for before, after in zip((channels, *widths), widths):
        layers += [nn.ConvTranspose2d(before, after, kernel_size=2, stride=2), ChannelNorm(after), nn.GELU()]
    return nn.Sequential(*layers[:-2], layers[-1])


def ma_sam(size: str = "vit_h", **changes) -> MaSam:
    """A ``MaSam`` by the name of its size: one of SIZES; changes: settings of ``MaSam`` that differ from it."""
    if size not in SIZES:
        raise ModelError(f"There is no MA-SAM of size {size!r}; choose one of {', '.join(SIZES)}.")
    return MaSam(**(SIZES[size] | changes))


def load_sam(model: MaSam, sam: Mapping[str, Tensor]) -> LoadReport:
    """Begin with a SAM of the same widths: positions resized, without what NEW names; of the upscaling, what has SAM's shape.

    Until it is trained, the model then gives each slice exactly the features that this SAM gives, at SAM's own size.
    """
    return take_over(model, sam, sam_name, new=NEW, loose=("*.output_upscaling.*",))


def sam_name(key: str) -> str:
    """SAM's name for an entry of MA-SAM."""
    return re.sub(r"^sam\.|ImageEncoderViT\.|Block\.|Attention\.", "", key).replace("qkv.qkv", "qkv")


def load_trained(model: MaSam, trained: Mapping[str, Tensor]) -> LoadReport:
    """Put the parts that MA-SAM's published checkpoints hold on top of SAM's, which ``load_sam`` has put there before.

    They name R of queries and values q_FacTs_000, v_FacTs_000 and so on, and leave out the leading "sam." elsewhere. Raises
    ModelError where a trained part is missing, or something does not fit.
    """
    state = {}
    for key, value in trained.items():
        numbered = re.fullmatch(r"([qv]_FacTs)_(\d+)", key)
        place = "image_encoder.ImageEncoderViT.blocks.{}.Block.attn.Attention.qkv.{}.weight"
        name = place.format(int(numbered[2]), numbered[1]) if numbered else key
        state[name if name.startswith(("sam.", "FacT")) else "sam." + name] = value
    frozen = [key for key in model.state_dict() if not is_trained(key)]
    return load_official(model, state, allow_missing=[*frozen, "FacTu", "FacTv"])


def is_trained(name: str) -> bool:
    """Whether the paper trains this parameter: adapters, U, V, R, prompt encoder and decoder."""
    return "FacT" in name or ".adapter_" in name or name.startswith(("sam.prompt_encoder.", "sam.mask_decoder."))


def trainable(model: MaSam) -> list[nn.Parameter]:
    """What the paper trains; the rest of SAM's image encoder is frozen."""
    return train_only(model, is_trained)
