"""SAM: segment anything that is pointed at. The image is encoded once; each prompt then costs a small decoder only.

    Z = image_encoder(x)                                  once for an image
    masks, iou = mask_decoder(Z, prompt_encoder(prompts))      for every click

Source: Kirillov et al. 2023, ICCV, arXiv:2304.02643. Names of modules and parameters are the official ones, so a released
checkpoint loads through ``hub.load_official``. Several prompts on several images go through the decoder in one call, which the
official code cannot do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fmlab.errors import ModelError
from fmlab.interactive.image_encoder import ImageEncoder
from fmlab.interactive.mask_decoder import MaskDecoder
from fmlab.interactive.prompt_encoder import ABSENT, PromptEncoder

SIZES = {
    "vit_b": dict(channels=768, depth=12, heads=12, everywhere=(2, 5, 8, 11)),
    "vit_l": dict(channels=1024, depth=24, heads=16, everywhere=(5, 11, 17, 23)),
    "vit_h": dict(channels=1280, depth=32, heads=16, everywhere=(7, 15, 23, 31)),
    "nano": dict(size=128, patch=8, channels=128, depth=4, heads=4, everywhere=(1, 3), window=8, prompt_channels=64,
                 decoder_heads=2, mlp=256, hidden=64),
}
"""Settings of ``Sam`` by name; the first three are published."""


class Sam(nn.Module):
    """size: pixels of a side of the preprocessed image. patch: of a token. channels, depth, heads: of the image encoder.

    everywhere: numbers of the blocks that attend over the whole image; window: tokens of the others' windows. prompt_channels:
    of tokens and features in the decoder; mlp: hidden width of its transformer; hidden: of its IoU head. block: as of
    ``ImageEncoder``, where a variant brings its own.
    """

    def __init__(self, size: int = 1024, patch: int = 16, channels: int = 768, depth: int = 12, heads: int = 12,
                 everywhere: Sequence[int] = (2, 5, 8, 11), window: int = 14, prompt_channels: int = 256, decoder_heads: int = 8,
                 mlp: int = 2048, hidden: int = 256, block: Callable[..., nn.Module] | None = None):
        super().__init__()
        if size % patch:
            raise ModelError(f"An image of {size} pixels does not split into patches of {patch}; give a multiple.")
        grid = (size // patch, size // patch)
        self.image_encoder = ImageEncoder(grid, patch, channels, depth, heads, prompt_channels, window, everywhere,
                                          block=block)
        self.prompt_encoder = PromptEncoder(prompt_channels, grid, (size, size))
        self.mask_decoder = MaskDecoder(prompt_channels, 2, 4, decoder_heads, mlp, hidden)
        self.size = size

    def forward(self, images: Tensor, points: Tensor | None = None, labels: Tensor | None = None, boxes: Tensor | None = None,
                masks: Tensor | None = None, image_of: Tensor | None = None, multimask: bool = True) -> tuple[Tensor, Tensor]:
        """Logits (N, 3 or 1, size/4, size/4) and predicted IoU (N, 3 or 1) of N prompts; images (B, 3, size, size),
        preprocessed."""
        return self.decode(self.image_encoder(images), points, labels, boxes, masks, image_of, multimask)

    def decode(self, features: Tensor, points: Tensor | None = None, labels: Tensor | None = None, boxes: Tensor | None = None,
               masks: Tensor | None = None, image_of: Tensor | None = None, multimask: bool = True) -> tuple[Tensor, Tensor]:
        """The same from features (B, C, H, W) of B encoded images.

        points (N, P, 2) in pixels (x, y) of the preprocessed image, labels (N, P) 1 or 0; boxes (N, 4) x0 y0 x1 y1; masks
        (N, 1, size/4, size/4) logits. image_of (N,): which image each prompt is of; left out, all N are of the one image, or
        one of each. Prompts with fewer points than others are filled up with label -2, and come out as if they were alone.
        multimask: masks 1 to 3, for a prompt that may mean several things, or mask 0 alone. ModelError where counts differ.
        """
        logits, iou = self.decode_all(features, points, labels, boxes, masks, image_of)
        chosen = slice(1, None) if multimask else slice(0, 1)
        return logits[:, chosen], iou[:, chosen]

    def decode_all(self, features: Tensor, points: Tensor | None = None, labels: Tensor | None = None,
                   boxes: Tensor | None = None, masks: Tensor | None = None, image_of: Tensor | None = None
                   ) -> tuple[Tensor, Tensor]:
        """All four masks of ``decode``: (N, 4, size/4, size/4) and (N, 4). The decoder makes them all in any case."""
        check_prompts(points, labels, boxes, masks)
        tokens, dense = self.prompt_encoder(points, labels, boxes, masks)
        absent = absent_tokens(labels, tokens.shape[1])
        image = of_prompts(features, len(tokens), image_of)
        return self.mask_decoder(image, self.prompt_encoder.dense_positions(), tokens, dense, absent)


def sam(size: str = "vit_b", **changes) -> Sam:
    """A ``Sam`` by the name of its size: one of SIZES; changes: settings of ``Sam`` that differ from it."""
    if size not in SIZES:
        raise ModelError(f"There is no SAM of size {size!r}; choose one of {', '.join(SIZES)}.")
    return Sam(**(SIZES[size] | changes))


def of_prompts(features: Tensor, prompts: int, image_of: Tensor | None = None) -> Tensor:
    """Features (N or 1, C, ...) of each prompt's image, out of those of B images."""
    if image_of is not None:
        if len(image_of) != prompts or (len(image_of) and not 0 <= int(image_of.min()) <= int(image_of.max()) < len(features)):
            raise ModelError(f"image_of names images {image_of.tolist()} for {prompts} prompts and {len(features)} images; give "
                             "each prompt the number of its image.")
        return features[image_of]
    if len(features) not in (1, prompts) and prompts != 1:
        raise ModelError(f"{prompts} prompts and {len(features)} images: say with image_of which prompt is of which image.")
    return features


def absent_tokens(labels: Tensor | None, tokens: int) -> Tensor | None:
    """Prompt tokens (N, T) bool that stand for points of label -2; None where there are none."""
    if labels is None or not bool((labels == ABSENT).any()):
        return None
    missing = labels == ABSENT
    return torch.cat([missing, missing.new_zeros(len(missing), tokens - missing.shape[1])], dim=1)


def check_prompts(points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None, dims: int = 2
                  ) -> None:
    """ModelError unless points have labels, and all prompts are as many."""
    if (points is None) != (labels is None):
        raise ModelError("Points and labels belong together; give both, with a label of 1 (object) or 0 (background) a point.")
    if points is not None and (points.ndim != 3 or points.shape[-1] != dims or labels.shape != points.shape[:2]):
        raise ModelError(f"Points are (N, P, {dims}) and labels (N, P), not {tuple(points.shape)} and {tuple(labels.shape)}.")
    if boxes is not None and (boxes.ndim != 2 or boxes.shape[-1] != 2 * dims):
        raise ModelError(f"Boxes are (N, {2 * dims}), not {tuple(boxes.shape)}; give one a prompt.")
    counts = {len(x) for x in (points, boxes, masks) if x is not None}
    if len(counts) > 1:
        raise ModelError(f"Points, boxes and masks are of {sorted(counts)} prompts; give as many of each.")
