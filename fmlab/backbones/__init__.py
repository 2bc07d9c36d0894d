"""Backbones: Z = theta_f(X). Each gives features and leaves the head theta_c to the method.

    backbone = Nano()
    z = backbone.features(x)                                    # (B, 1, X, Y, Z) to (B, 16, X, Y, Z)
    model = Segmenter(backbone, linear_head(backbone.channels, classes=30))
    y_hat = model(x).sigmoid()                                  # sigma stays outside

``FeatureCache`` keeps Z on disk for methods that never touch theta_f.
"""

from fmlab.backbones.caching import FeatureCache
from fmlab.backbones.nano import Nano
from fmlab.backbones.segmenter import Backbone, Segmenter, linear_head
from fmlab.backbones.segresnet import SegResNet
from fmlab.backbones.suprem_unet import SuPreMUNet
from fmlab.backbones.swin_unetr import SwinUNETR

__all__ = ["Backbone", "FeatureCache", "Nano", "SegResNet", "Segmenter", "SuPreMUNet", "SwinUNETR",
           "linear_head"]
