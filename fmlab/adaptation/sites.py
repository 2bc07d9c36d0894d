"""Where adapters act: the encoder, its attention blocks, its norms and its convolutions, on any backbone of the course.

FSEFT's words: the encoder is the Swin transformer, or the contracting path of a U-Net; the decoder is the expanding path.
The convolutional blocks on Swin UNETR's skips are neither, and stay frozen.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from fmlab.backbones.segmenter import Segmenter
from fmlab.errors import ModelError

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.InstanceNorm3d)


def in_part(model: Segmenter, part: str, name: str) -> bool:
    """Whether a tensor or module of the model, by its name, lies in the "encoder" or "decoder" of its backbone."""
    beginnings = [begin for begin in model.backbone.parts[part] if (part, begin) != ("decoder", "encoder")]
    return name.startswith(tuple(f"backbone.{begin}" for begin in beginnings))


def encoder_modules(model: Segmenter, *kinds: type[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of everything of these kinds in the encoder, as a list that may be replaced one by one."""
    yield from [(name, module) for name, module in model.named_modules()
                if in_part(model, "encoder", name) and isinstance(module, kinds)]


def attention_blocks(model: Segmenter) -> list[tuple[str, nn.Module]]:
    """Name and module of the encoder's transformer blocks. ModelError where there are none."""
    blocks = [(name, module) for name, module in encoder_modules(model, nn.Module)
              if isinstance(getattr(getattr(module, "attn", None), "qkv", None), nn.Module) and hasattr(module, "forward_part2")]
    if not blocks:
        raise ModelError(f"{type(model.backbone).__name__} has no attention for this method to act on; take a Swin UNETR, or a "
                         "method for convolutions: affine, bitfit, lora, cnn_adapter, lite_residual.")
    return blocks


def convolutions(model: Segmenter) -> list[tuple[str, nn.Conv3d]]:
    """Name and module of the encoder's 3x3x3 convolutions. ModelError where there are none, as in a transformer."""
    found = [(name, module) for name, module in encoder_modules(model, nn.Conv3d) if module.kernel_size == (3, 3, 3)]
    if not found:
        raise ModelError(f"The encoder of {type(model.backbone).__name__} has no 3x3x3 convolution for this method to act on; "
                         "take a U-Net, or a method for attention: lora, adaptformer, compacter, arena.")
    return found


def has_attention(model: Segmenter) -> bool:
    """Whether the encoder is a transformer."""
    return any(hasattr(module, "qkv") for _, module in encoder_modules(model, nn.Module))


def replace(model: nn.Module, name: str, new: nn.Module) -> None:
    """Put a module in another's place."""
    model.set_submodule(name, new)
