"""SegResNet as SuPreM trained it: a residual encoder, a light decoder that adds its skips. MONAI's blocks, without the head."""

from __future__ import annotations

from torch import Tensor, nn

from fmlab.backbones.segmenter import check_input
from fmlab.errors import ModelError


class SegResNet(nn.Module):
    """16 to 128 channels, 1-2-2-4 blocks down, 1-1-1 up, group norm: 4,700,880 parameters, and 17 more for each class of a head.

    in_channels: channels of X. width: channels of the first level and of Z, a multiple of 8. ModelError for another width.
    Names of parameters are the official ones. Source: Myronenko 2018, doi:10.1007/978-3-030-11726-9_28; Li et al. 2024 (SuPreM).
    """

    stride = 8
    official_keys = (("conv_final.2.conv.", "head."),)
    parts = {"encoder": ("convInit.", "down_layers."), "decoder": ("up_layers.", "up_samples.", "conv_final.")}

    def __init__(self, in_channels: int = 1, width: int = 16):
        super().__init__()
        if width < 8 or width % 8:
            raise ModelError(f"A width of {width} does not split into 8 groups; give a multiple of 8, 16 as published.")
        from monai.networks.nets import SegResNet as Whole  # slow to import, so only when one is built

        whole = Whole(
            init_filters=width, in_channels=in_channels, out_channels=1, blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1))
        for name in ("convInit", "down_layers", "up_layers", "up_samples"):
            self.add_module(name, whole.get_submodule(name))
        self.conv_final = whole.conv_final[:2]  # norm and ReLU; the convolution is the method's head
        self.in_channels, self.channels, self.deep_channels = in_channels, width, 8 * width

    def deep_and_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Deepest level (B, 8 width, X/8, Y/8, Z/8) and Z (B, width, X, Y, Z) of x (B, in_channels, X, Y, Z)."""
        check_input(self, x)
        h, levels = self.convInit(x), []
        for down in self.down_layers:
            h = down(h)
            levels.append(h)
        for up, block, skip in zip(self.up_samples, self.up_layers, levels[-2::-1]):
            h = block(up(h) + skip)
        return levels[-1], self.conv_final(h)

    def features(self, x: Tensor) -> Tensor:
        """Z (B, width, X, Y, Z) of x (B, in_channels, X, Y, Z); sides are multiples of 8."""
        return self.deep_and_features(x)[1]

    forward = features
