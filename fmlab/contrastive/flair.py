"""FLAIR as it is published: ResNet-50 and Bio_ClinicalBERT, each projected onto a sphere of 512 dimensions. Bring the weights.

    u = P_I z / |...|,  z: 2048 features / |...|        v = P_T h / |...|,  h: mean over layers 1, 2, 12 and all tokens / |...|

Padding counts in the mean over tokens, as published: a text's embedding depends a little on the longest text beside it. Texts
come as token numbers, from the tokeniser of Bio_ClinicalBERT (package transformers). Names of parameters are the official ones.

Source: Silva-Rodriguez et al. 2025, doi:10.1016/j.media.2024.103357, and github.com/jusiro/FLAIR (Apache-2.0, weights too).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab import hub
from fmlab.contrastive.bert import Bert, BertSize
from fmlab.errors import ModelError

SIDE, FEATURES, WIDTH = 512, 2048, 512
BASE = BertSize()
MIXED = (1, 2, -1)  # hidden states that make up a text's features
UNUSED = ("text_model.model.embeddings.position_ids", "vision_model.model.fc.")  # some versions of the packages store them


class Projection(nn.Module):
    """Features to length 1, through a matrix, to length 1 again."""

    def __init__(self, features: int):
        super().__init__()
        self.projection = nn.Linear(features, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.projection(F.normalize(x, dim=-1)), dim=-1)


class VisionTower(nn.Module):
    """(B, 3, 512, 512) in [0, 1] -> (B, 512)."""

    def __init__(self) -> None:
        super().__init__()
        from monai.networks.nets import resnet50

        self.model = resnet50(spatial_dims=2, n_input_channels=3, conv1_t_stride=2, feed_forward=False, bias_downsample=False)
        self.projection_head_vision = Projection(FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection_head_vision(self.model(x))


class TextTower(nn.Module):
    """Token numbers and where they are no padding, both (B, L) -> (B, 512)."""

    def __init__(self, size: BertSize):
        super().__init__()
        self.model = Bert(size)
        self.projection_head_text = Projection(size.width)

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        states = self.model(tokens, there)
        return self.projection_head_text(torch.stack([states[k] for k in MIXED]).mean((0, 2)))


class Flair(nn.Module):
    """text: None for the vision tower alone, whose 2048 features a linear probe needs."""

    def __init__(self, text: BertSize | None = BASE):
        super().__init__()
        self.vision_model = VisionTower()
        self.text_model = TextTower(text) if text else None
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, 512, 512) -> (B, 2048), as a probe takes them."""
        return self.vision_model.model(x)

    def forward(self, x: Tensor, tokens: Tensor, there: Tensor) -> Tensor:
        """Logits (B, N) of pictures and texts."""
        if self.text_model is None:
            raise ModelError("This FLAIR has no text tower; build it with text=True.")
        scale = self.logit_scale.clamp(max=math.log(100)).exp()
        return scale * self.vision_model(x) @ self.text_model(tokens, there).T


def flair(text: bool = True) -> Flair:
    """For ``hub.build("flair", text=...)``: 23.5 M parameters of vision, 108 M more with the text tower."""
    return Flair(BASE if text else None)


def load(path: str | Path, text: bool = False) -> Flair:
    """FLAIR from a file of yours, flair_resnet.pth or model.safetensors of jusiro2/FLAIR, in eval mode; prints what matched.

    ModelError for a file that cannot be read as plain weights, or whose keys are others.
    """
    model = hub.build("flair", text=text)
    aside = UNUSED if text else (*UNUSED, "text_model.")
    hub.load_official(model, _tensors(Path(path)), allow_unexpected=aside)
    return model.eval()


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"{path} cannot be read as plain weights ({reason}); fetch it again, and check its source.") from error


def preprocessed(picture: np.ndarray, side: int = SIDE) -> Tensor:
    """A photograph (H, W, 3) uint8 as FLAIR takes it, (1, 3, side, side): the longer side fitted, the rest black, over 255.

    As published the picture lies in the upper left corner; the mean and deviation of ImageNet are not taken off.
    """
    x = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255
    scale = max(x.shape[2:]) / side
    high, wide = int(x.shape[2] / scale), int(x.shape[3] / scale)
    x = F.interpolate(x, size=(high, wide), mode="bilinear", align_corners=False, antialias=True)
    return F.pad(x, (0, side - wide, 0, side - high))
