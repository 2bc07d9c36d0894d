"""UniverSeg: a network that is given its task as an argument, and so segments what it was never trained on.

    y = f_theta(x, S)          S = {(x_j, y_j)}, j = 1..S

Source: Butoi et al. 2023, doi:10.1109/ICCV51070.2023.01960. Its published weights (OpenRAIL++-M, for research) load under their
own names. One class at a time, a logit per pixel: the sigmoid is the caller's, see ``fmlab.incontext.prediction``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fmlab.incontext.cross_block import CrossBlock
from fmlab.incontext.episode import check_episode
from fmlab.incontext.set_unet import PUBLISHED, Widths, layers, stride, walk


class UniverSeg(nn.Module):
    """encoder_blocks: a width per level, n or (C_x, C_v); published: 1,182,785 parameters. decoder_blocks: by default
    mirrored."""

    def __init__(self, encoder_blocks: Widths = PUBLISHED, decoder_blocks: Widths | None = None):
        super().__init__()
        self.enc_blocks, self.dec_blocks, self.out_conv = layers(CrossBlock, (1, 2), encoder_blocks, decoder_blocks)
        self.stride = stride(self)

    def forward(self, query: Tensor, images: Tensor, masks: Tensor, chunk: int | None = None, literal: bool = False) -> Tensor:
        """Logits (B, 1, H, W) of query (B, 1, H, W), given support images and masks (B, S, 1, H, W).

        Images lie in [0, 1] (published: by minimum and maximum, 128 x 128), masks are 0 or 1; H and W are multiples of 2 to the
        number of poolings. The order of the support does not matter. chunk: supports at a time, for less memory. literal: by the
        letter of the paper, several times slower.

        Raises ModelError where these do not fit, an empty support set included.
        """
        check_episode(query, images, masks, self.stride, self.out_conv.conv.weight)
        return walk(self, query[:, None], torch.cat([images, masks], dim=2), chunk, literal)[:, 0]
