"""The U-Net that UniverSeg and Tyche share: it carries two sets of feature maps, those of the target and those of the support.

Encoder blocks with 2x2 max-pooling between them, decoder blocks after bilinear upsampling (align_corners) with the encoder's maps
concatenated behind; a 1x1 convolution of the target at the end. No normalisation, no dropout.
Source: Butoi et al. 2023, doi:10.1109/ICCV51070.2023.01960, section 3.2 and figure 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.errors import ModelError
from fmlab.incontext.cross_conv import Conv, each

Widths = Sequence[int | Sequence[int]]
PUBLISHED = (64, 64, 64, 64)  # UniverSeg's and Tyche's encoder
halved = partial(F.max_pool2d, kernel_size=2)
doubled = partial(F.interpolate, scale_factor=2, mode="bilinear", align_corners=True)


def layers(make_block: Callable[..., nn.Module], inputs: tuple[int, int], encoder_blocks: Widths,
           decoder_blocks: Widths | None = None) -> tuple[nn.ModuleList, nn.ModuleList, Conv]:
    """Encoder blocks, decoder blocks and the last convolution: a model's ``enc_blocks``, ``dec_blocks`` and ``out_conv``.

    make_block: called with (channels in, of target and support), (C_x, C_v). inputs: channels of a target and of a support entry.
    encoder_blocks: a width per level, an int n for (n, n) or a pair (C_x, C_v). decoder_blocks: by default those of the encoder
    without its last, in reverse. Raises ModelError where the widths do not make a U-Net.
    """
    down = [_pair(width) for width in encoder_blocks]
    up = down[-2::-1] if decoder_blocks is None else [_pair(width) for width in decoder_blocks]
    if not down or len(up) != len(down) - 1:
        raise ModelError(f"{len(down)} encoder and {len(up)} decoder blocks make no U-Net; give a width per level, and one block "
                         "less on the way up.")
    encoder, decoder = nn.ModuleList(), nn.ModuleList()
    for widths in down:
        encoder.append(make_block(inputs, widths))
        inputs = (widths[1], widths[1])
    for widths, (_, skip) in zip(up, down[-2::-1]):
        decoder.append(make_block((inputs[0] + skip, inputs[0] + skip), widths))
        inputs = (widths[1], widths[1])
    return encoder, decoder, Conv(inputs[0], 1, kernel=1, activated=False)


def walk(model: nn.Module, u: Tensor, v: Tensor, chunk: int | None = None, literal: bool = False) -> Tensor:
    """Logits (B, N, 1, H, W) of targets u (B, N, C_u, H, W) and supports v (B, S, C_v, H, W).

    chunk: supports convolved at a time; fewer need less memory. literal: as the papers' equations are written, every pair with
    every support, for comparison. The result is the same.
    """
    *blocks, last = [*model.enc_blocks, *model.dec_blocks]
    depth, skips = len(model.enc_blocks), []
    mean_first = last.mean_is_enough and not literal  # of the last block; doubling is linear, so the mean may come before it
    for level, block in enumerate(blocks):
        if level >= depth:
            u, v = joined(u, v, *skips.pop())
        u, v = block.literal(u, v) if literal else block(u, v, chunk)
        if level < depth - 1:
            skips.append((u, v.mean(1, keepdim=True) if mean_first and level == 0 else v))
            u, v = each(u, halved), each(v, halved)
    if skips:
        u, v = joined(u, v.mean(1, keepdim=True) if mean_first else v, *skips.pop())
    u = last.literal(u, v)[0] if literal else last.last(u, v)  # nobody asks the last block for supports
    return each(u, model.out_conv)


def joined(u: Tensor, v: Tensor, u_skip: Tensor, v_skip: Tensor) -> tuple[Tensor, Tensor]:
    """The deeper maps, doubled, with the encoder's maps behind them on the channels."""
    return torch.cat([each(u, doubled), u_skip], dim=2), torch.cat([each(v, doubled), v_skip], dim=2)


def stride(model: nn.Module) -> int:
    """What the sides of an image must be a multiple of: 2 to the number of poolings."""
    return 2 ** len(model.dec_blocks)


def _pair(width: int | Sequence[int]) -> tuple[int, int]:
    pair = (width, width) if isinstance(width, int) else tuple(width)
    if len(pair) != 2 or not all(isinstance(n, int) and n > 0 for n in pair):
        raise ModelError(f"A block's width is {width!r}; give a whole number above 0, or two of them.")
    return pair
