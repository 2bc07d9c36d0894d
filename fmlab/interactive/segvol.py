"""SegVol: a structure of a CT named in words, pointed at or boxed; text is one more prompt of SAM's decoder, in 3-D.

    mask_i = (MLP_i(token_i) + W text) . up(features)          tokens: clicks, box corners, and the text's vector

Source: Du et al. 2023, arXiv:2311.13385, figure 2, and its released code, whose names are kept. Habits of the released weights:

- coordinates (d, h, w) are divided by (H, D, W) of the volume instead of (D, H, W), so that h runs up to H / D, 8 times too far;
- of the image's tokens the first two axes change places, as in SAM-Med3D (``FourierPositions``);
- the norm between the decoder's upscalings is taken over the whole map, with a weight for each of its places;
- weights for 2-D mask prompts came with SAM's code and were never used.

Only mask 0 is used; the IoU was never trained. The text tower is CLIP's (``segvol_text``). A whole CT is read twice: at a glance,
then closely around what was found (``segvol_zoom``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fmlab.errors import ModelError
from fmlab.interactive.mask_decoder import MaskDecoder
from fmlab.interactive.prompt_encoder import PromptEncoder, mask_downscaling
from fmlab.interactive.sam import absent_tokens, check_prompts, of_prompts
from fmlab.interactive.segvol_encoder import VolumeViT

SIZES = {
    "vit": dict(size=(32, 256, 256), patch=(4, 16, 16), channels=768, depth=12, heads=12, encoder_mlp=3072),
    "nano": dict(size=(16, 64, 64), patch=(4, 8, 8), channels=96, depth=4, heads=4, encoder_mlp=384, decoder_heads=4, mlp=256,
                 hidden=64),
}
"""Settings of ``SegVol`` by name; the first is published."""


class SegVol(nn.Module):
    """size: (D, H, W) that the model reads; patch: of a token. channels: of all tokens, of the image, of prompts and of text.

    depth, heads, encoder_mlp: of the image encoder. decoder_heads, mlp: of the decoder's transformer; hidden: of its IoU head.
    """

    def __init__(self, size: Sequence[int] = (32, 256, 256), patch: Sequence[int] = (4, 16, 16), channels: int = 768,
                 depth: int = 12, heads: int = 12, encoder_mlp: int = 3072, decoder_heads: int = 8, mlp: int = 2048,
                 hidden: int = 256):
        super().__init__()
        self.image_encoder = VolumeViT(size, patch, channels, depth, heads, encoder_mlp)
        grid = self.image_encoder.grid
        self.mask_decoder = MaskDecoder(channels, 3, 4, decoder_heads, mlp, hidden, upscaling=upscaling(channels, grid))
        self.mask_decoder.txt_align_upscaled_embedding = nn.Linear(channels, channels // 8)
        self.prompt_encoder = PromptEncoder(channels, grid, size, divisor=(size[1], size[0], size[2]))
        self.prompt_encoder.mask_downscaling = mask_downscaling(channels, 16, dims=2)
        self.size = tuple(size)

    def forward(self, images: Tensor, points: Tensor | None = None, labels: Tensor | None = None, boxes: Tensor | None = None,
                text: Tensor | None = None, image_of: Tensor | None = None, multimask: bool = False) -> tuple[Tensor, Tensor]:
        """Logits (N, 1 or 3, *4 grid) and predicted IoU (N, 1 or 3) of N prompts; images (B, 1, D, H, W) in [0, 1], as
        ``preprocess_segvol`` makes them."""
        return self.decode(self.image_encoder(images), points, labels, boxes, text, image_of, multimask)

    def decode(self, features: Tensor, points: Tensor | None = None, labels: Tensor | None = None, boxes: Tensor | None = None,
               text: Tensor | None = None, image_of: Tensor | None = None, multimask: bool = False) -> tuple[Tensor, Tensor]:
        """The same from features (B, channels, *grid) of B encoded volumes.

        points (N, P, 3): (d, h, w) in voxels of the volume as the model reads it; labels (N, P): 1, 0, -1 to fill up, -2 for not
        there. boxes (N, 6): d0, h0, w0, d1, h1, w1, both corners inside. text (N, channels): vectors of names. image_of,
        multimask: as of ``Sam.decode``. Raises ModelError where counts or widths differ.
        """
        check_prompts(points, labels, boxes, None, dims=3)
        tokens, dense = self.prompt_encoder(points, labels, boxes)
        if text is not None:
            tokens = torch.cat([self._as_many(tokens, text, points, boxes), text[:, None]], dim=1)
        image = of_prompts(features, len(tokens), image_of)
        absent = absent_tokens(labels, tokens.shape[1])
        hidden, changed = self.mask_decoder.read(image, self.prompt_encoder.dense_positions(), tokens, dense, absent)
        fine = self.mask_decoder.output_upscaling(changed)
        logits = self.mask_decoder.masks(hidden, fine)
        if text is not None:
            likeness = torch.einsum("nc,ncdhw->ndhw", self.mask_decoder.txt_align_upscaled_embedding(text), fine)
            logits = logits + likeness[:, None]
        chosen = slice(1, None) if multimask else slice(0, 1)
        return logits[:, chosen], self.mask_decoder.iou_prediction_head(hidden[:, 0])[:, chosen]

    def _as_many(self, tokens: Tensor, text: Tensor, points: Tensor | None, boxes: Tensor | None) -> Tensor:
        """Tokens of as many prompts as there are texts; none but the text's own where there is neither click nor box."""
        given = points is not None or boxes is not None
        if text.ndim != 2 or text.shape[1] != tokens.shape[-1] or (given and len(text) != len(tokens)):
            raise ModelError(f"Text is (N, {tokens.shape[-1]}), a vector for each of the N prompts, not {tuple(text.shape)}"
                             f"{f' for {len(tokens)}' if given else ''}; see segvol_text.")
        return tokens if given else tokens.expand(len(text), -1, -1)


def upscaling(channels: int, grid: Sequence[int]) -> nn.Sequential:
    """Features at four times the resolution. The norm is over channels and places together, so the size is built in."""
    doubled = [2 * n for n in grid]
    return nn.Sequential(
        nn.ConvTranspose3d(channels, channels // 4, kernel_size=2, stride=2), nn.LayerNorm([channels // 4, *doubled]), nn.GELU(),
        nn.ConvTranspose3d(channels // 4, channels // 8, kernel_size=2, stride=2), nn.GELU())


def segvol(size: str = "vit", **changes) -> SegVol:
    """A ``SegVol`` by the name of its size: one of SIZES; changes: settings of ``SegVol`` that differ from it.

    The published checkpoint holds the text tower, too: leave it to ``segvol_text.ClipText`` and load the rest by
    ``hub.load_official(model, state, allow_unexpected=("text_encoder",))``.
    """
    if size not in SIZES:
        raise ModelError(f"There is no SegVol of size {size!r}; choose one of {', '.join(SIZES)}.")
    return SegVol(**(SIZES[size] | changes))
