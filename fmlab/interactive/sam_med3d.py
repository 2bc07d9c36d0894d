"""SAM-Med3D: SAM with a third axis everywhere, from the patches to the mask. One click segments a structure of a volume.

    Z = image_encoder(x)                                         once for a cube of 128 voxels a side
    mask = mask_decoder(Z, prompt_encoder(clicks, last mask))    for every click

Source: Wang et al. 2023, arXiv:2310.15161, and its released code, whose names of modules and parameters are kept, so that the
released checkpoint loads through ``hub.load_official``. It was trained with three habits that are kept, too:

- relative positions fall on the wrong axes, and windows are larger than the grid (``volume_attention``);
- positions are coded as [sin, cos, sin], the third being the first again;
- of a click the order of axes is (0, 1, 2), of the image's tokens (1, 0, 2).

The first click comes with a mask prompt of zeros, not without one; later ones with the logits of the one before, as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from fmlab.errors import ModelError
from fmlab.interactive.image_encoder import Block, ImageEncoder
from fmlab.interactive.mask_decoder import MaskDecoder
from fmlab.interactive.prompt_encoder import FourierPositions, PromptEncoder
from fmlab.interactive.sam import absent_tokens, check_prompts, of_prompts
from fmlab.interactive.volume_attention import VolumeAttention
from fmlab.interactive.windows import in_real_windows

SIZES = {
    "vit_b_ori": dict(size=128, patch=16, channels=768, depth=12, heads=12, everywhere=(2, 5, 8, 11), window=14),
    "nano": dict(size=32, patch=4, channels=96, depth=4, heads=4, everywhere=(1, 3), window=4, prompt_channels=96,
                 decoder_heads=1, mlp=256, hidden=48, textbook=True),
}
"""Settings of ``SamMed3D`` by name; the first is published."""


class SamMed3D(nn.Module):
    """size: voxels of a side of the cube. patch, channels, depth, heads, everywhere, window: as of ``Sam``, in 3-D.

    prompt_channels: of tokens and features in the decoder, a multiple of 24; mlp: hidden width of its transformer; hidden: of its
    IoU head, which was never trained. textbook: relative positions and axes as they were meant, for training anew.
    """

    def __init__(self, size: int = 128, patch: int = 16, channels: int = 768, depth: int = 12, heads: int = 12,
                 everywhere: Sequence[int] = (2, 5, 8, 11), window: int = 14, prompt_channels: int = 384, decoder_heads: int = 8,
                 mlp: int = 2048, hidden: int = 256, textbook: bool = False):
        super().__init__()
        if size % patch:
            raise ModelError(f"A cube of {size} voxels a side does not split into patches of {patch}; give a multiple.")
        if prompt_channels % 24:
            raise ModelError(f"{prompt_channels} channels of prompts do not split in 3 and in 8; give a multiple of 24.")
        grid = (size // patch,) * 3
        block = partial(Block, attention=partial(VolumeAttention, textbook=textbook), windows=in_real_windows)
        self.image_encoder = ImageEncoder(
            grid, patch, channels, depth, heads, prompt_channels, window, everywhere, inputs=1, block=block)
        positions = FourierPositions(3, prompt_channels // 3, waves=3, exchanged=not textbook)
        self.prompt_encoder = PromptEncoder(prompt_channels, grid, (size,) * 3, positions=positions, kinds=2)
        self.mask_decoder = MaskDecoder(prompt_channels, 3, 4, decoder_heads, mlp, hidden)
        self.size = size

    def forward(self, images: Tensor, points: Tensor | None = None, labels: Tensor | None = None, masks: Tensor | None = None,
                image_of: Tensor | None = None, multimask: bool = False) -> tuple[Tensor, Tensor]:
        """Logits (N, 1 or 3, low, low, low) and predicted IoU (N, 1 or 3) of N prompts, low = 4 size / patch.

        images (B, 1, size, size, size), preprocessed: cubes of 1.5 mm voxels, z-score of the voxels above 0. Else as ``decode``.
        """
        return self.decode(self.image_encoder(images), points, labels, masks, image_of, multimask)

    def decode(self, features: Tensor, points: Tensor | None = None, labels: Tensor | None = None, masks: Tensor | None = None,
               image_of: Tensor | None = None, multimask: bool = False) -> tuple[Tensor, Tensor]:
        """The same from features (B, C, *grid) of B encoded cubes.

        points (N, P, 3): voxel indices in the cube, in the order of its axes; labels (N, P): 1 or 0; -2 fills up prompts with
        fewer points, which come out as if they were alone. masks (N, 1, low, low, low): the last logits, or zeros for the first
        click. image_of (N,): which cube each prompt is of; left out, all N are of the one, or one of each. multimask: masks 1 to
        3, which the published model leaves aside, instead of mask 0. ModelError where counts differ.
        """
        check_prompts(points, labels, None, masks, dims=3)
        tokens, dense = self.prompt_encoder(points, labels, None, masks)
        absent = absent_tokens(labels, tokens.shape[1])
        image = of_prompts(features, len(tokens), image_of)
        logits, iou = self.mask_decoder(image, self.prompt_encoder.dense_positions(), tokens, dense, absent)
        chosen = slice(1, None) if multimask else slice(0, 1)
        return logits[:, chosen], iou[:, chosen]

    def no_mask(self, prompts: int = 1) -> Tensor:
        """The mask prompt of a first click: zeros (prompts, 1, low, low, low), on the model's device."""
        low = [4 * n for n in self.image_encoder.grid]
        return self.image_encoder.pos_embed.new_zeros(prompts, 1, *low)


def sam_med3d(size: str = "vit_b_ori", **changes) -> SamMed3D:
    """A ``SamMed3D`` by the name of its size: one of SIZES; changes: settings of ``SamMed3D`` that differ from it."""
    if size not in SIZES:
        raise ModelError(f"There is no SAM-Med3D of size {size!r}; choose one of {', '.join(SIZES)}.")
    return SamMed3D(**(SIZES[size] | changes))
