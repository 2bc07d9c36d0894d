"""nano_swin: Swin UNETR made small, for adapters that need attention to act on and a laptop to act with."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.backbones.segmenter import check_input
from fmlab.backbones.swin_unetr import stage
from fmlab.errors import ModelError


class NanoSwin(nn.Module):
    """Swin UNETR with three stages instead of four and windows of 4 voxels instead of 7: about 1 million parameters, 4 MB.

    in_channels: channels of X. feature_size: channels of Z, a multiple of 12.

    Blocks and names are ``SwinUNETR``'s, so each method of ``fmlab.adaptation`` finds here what it finds there: two attention
    blocks a stage, the second with shifted windows, and a convolutional decoder over them. One stage less makes the stride 16, so
    that cubes of 32 voxels still have 2 x 2 x 2 at the deepest level. Patch merging is the corrected one: no published weights
    need the old.
    Source: after Hatamizadeh et al. 2022, doi:10.1007/978-3-031-08999-2_22.
    """

    stride = 16
    parts = {"encoder": ("swinViT.",), "decoder": ("encoder", "decoder")}  # its "encoder" blocks lie on the skips

    def __init__(self, in_channels: int = 1, feature_size: int = 12):
        super().__init__()
        if feature_size < 12 or feature_size % 12:
            raise ModelError(f"A feature size of {feature_size} does not split over the heads; give a multiple of 12.")
        from monai.networks.blocks import UnetrBasicBlock, UnetrUpBlock  # MONAI is slow to import, so only when one is built
        from monai.networks.nets.swin_unetr import PatchMergingV2, SwinTransformer

        c = feature_size
        whole = SwinTransformer(in_channels, c, (4,) * 3, (2,) * 3, (2, 2, 2, 2), (3, 6, 12, 24), downsample=PatchMergingV2)
        del whole.layers4
        self.swinViT = whole

        def block(inputs: int, outputs: int) -> nn.Module:
            return UnetrBasicBlock(3, inputs, outputs, kernel_size=3, stride=1, norm_name="instance", res_block=True)

        def up(inputs: int, outputs: int) -> nn.Module:
            return UnetrUpBlock(3, inputs, outputs, kernel_size=3, upsample_kernel_size=2, norm_name="instance", res_block=True)

        self.encoder1, self.encoder2, self.encoder3 = block(in_channels, c), block(c, c), block(2 * c, 2 * c)
        self.encoder10 = block(8 * c, 8 * c)
        self.decoder4, self.decoder3, self.decoder2, self.decoder1 = up(8 * c, 4 * c), up(4 * c, 2 * c), up(2 * c, c), up(c, c)
        self.in_channels, self.channels, self.deep_channels = in_channels, c, 8 * c

    def encode(self, x: Tensor) -> list[Tensor]:
        """The transformer's four levels (B, C 2^i, X/2^(i+1), ...), i = 0 to 3, each normalised over its channels."""
        levels = [self.swinViT.patch_embed(x)]
        for number in (1, 2, 3):
            levels.append(stage(getattr(self.swinViT, f"layers{number}")[0], levels[-1]))
        return [F.layer_norm(h.movedim(1, -1), h.shape[1:2]).movedim(-1, 1) for h in levels]

    def deep_and_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Deepest level (B, 8 C, X/16, Y/16, Z/16) and Z (B, C, X, Y, Z) of x (B, in_channels, X, Y, Z)."""
        check_input(self, x)
        h2, h4, h8, h16 = self.encode(x)
        deep = self.encoder10(h16)
        z = self.decoder3(self.decoder4(deep, h8), self.encoder3(h4))
        z = self.decoder2(z, self.encoder2(h2))
        return deep, self.decoder1(z, self.encoder1(x))

    def features(self, x: Tensor) -> Tensor:
        """Z (B, feature_size, X, Y, Z) of x (B, in_channels, X, Y, Z); sides are multiples of 16."""
        return self.deep_and_features(x)[1]

    forward = features
