"""What the hub builds under the backbones' names: the backbone alone, or with a linear head when ``classes`` is given."""

from __future__ import annotations

from typing import Any

from torch import nn

from fmlab.backbones.nano import Nano
from fmlab.backbones.nano_swin import NanoSwin
from fmlab.backbones.segmenter import Backbone, Segmenter, linear_head
from fmlab.backbones.segresnet import SegResNet
from fmlab.backbones.suprem_unet import SuPreMUNet
from fmlab.backbones.swin_unetr import SwinUNETR


def swin_unetr(classes: int | None = None, **config: Any) -> nn.Module:
    """``SwinUNETR(**config)``, in a ``Segmenter`` of K = classes where they are given."""
    return _with_head(SwinUNETR(**config), classes)


def suprem_unet(classes: int | None = None, **config: Any) -> nn.Module:
    """``SuPreMUNet(**config)``, in a ``Segmenter`` of K = classes where they are given."""
    return _with_head(SuPreMUNet(**config), classes)


def segresnet(classes: int | None = None, **config: Any) -> nn.Module:
    """``SegResNet(**config)``, in a ``Segmenter`` of K = classes where they are given."""
    return _with_head(SegResNet(**config), classes)


def nano(classes: int | None = None, **config: Any) -> nn.Module:
    """``Nano(**config)``, in a ``Segmenter`` of K = classes where they are given."""
    return _with_head(Nano(**config), classes)


def nano_swin(classes: int | None = None, **config: Any) -> nn.Module:
    """``NanoSwin(**config)``, in a ``Segmenter`` of K = classes where they are given."""
    return _with_head(NanoSwin(**config), classes)


def _with_head(backbone: Backbone, classes: int | None) -> nn.Module:
    return backbone if classes is None else Segmenter(backbone, linear_head(backbone.channels, classes))
