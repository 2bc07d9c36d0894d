"""An image-text model in the manner of CLIP: two towers, two projections onto one sphere, and a temperature.

    u_i = P_I theta_I(X_i) / |...|      v_j = P_T theta_T(T_j) / |...|      s_ij = exp(t) u_i . v_j

Source: Radford et al. 2021, arXiv:2103.00020, figure 3; FLAIR keeps it, doi:10.1016/j.media.2024.103357.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.contrastive.encoders import ImageEncoder, TextEncoder
from fmlab.errors import ModelError

HIGHEST = math.log(100)  # of t, as in CLIP
FIRST = math.log(1 / 0.07)


class ImageText(nn.Module):
    """words: the vocabulary of the text tower. width: of the sphere both towers are projected onto."""

    def __init__(self, words: Sequence[str], width: int = 64):
        super().__init__()
        if not words:
            raise ModelError("An image-text model needs words; give contrastive.nano.WORDS or a vocabulary of your captions.")
        self.image, self.text = ImageEncoder(), TextEncoder(words)
        self.project_image = nn.Linear(self.image.features, width, bias=False)
        self.project_text = nn.Linear(self.text.features, width, bias=False)
        self.t = nn.Parameter(torch.tensor(FIRST))

    def images(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, width), of length 1."""
        return F.normalize(self.project_image(self.image(x)), dim=1)

    def texts(self, texts: Tensor | Sequence[str]) -> Tensor:
        """N texts, or their numbers -> (N, width), of length 1."""
        return F.normalize(self.project_text(self.text(texts)), dim=1)

    @property
    def scale(self) -> Tensor:
        """exp(t), at most 100."""
        return self.t.clamp(max=HIGHEST).exp()

    def forward(self, x: Tensor, texts: Tensor | Sequence[str]) -> Tensor:
        """Logits (B, N) of pictures and texts."""
        return self.scale * self.images(x) @ self.texts(texts).T


def image_text(words: Sequence[str], width: int = 64) -> ImageText:
    """For ``hub.build("image_text", words=...)``."""
    return ImageText(words, width)
