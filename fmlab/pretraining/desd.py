"""DeSD: every depth of the student learns what the teacher's last layer says of another view.

    L = mean over stages s and both pairs of views of  DINO(student_s(v1), teacher_last(v2))

Source: Ye et al. 2022, doi:10.1007/978-3-031-16440-8_52 (MICCAI). Deep supervision keeps the shallow layers,
which a task of segmentation needs, from being left to chance.

Published setting: a 3-D ResNet-50, heads on its four stages (256 to 2048 features) of 60,000 outputs with batch norm, two views
of 16 x 96 x 96, HU / 1024, 125,000 sub-volumes of DeepLesion; student 0.1, teacher 0.04 to 0.07 in 20 epochs, SGD at 0.3 x batch
/ 256 to 0.048, weight decay 1e-6, 300 epochs. The course: the nano encoder, its last two stages, 256 outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fmlab.backbones import Nano
from fmlab.errors import ModelError
from fmlab.pretraining.distillation import DINO, Dino, Head, Teacher, dino
from fmlab.pretraining.transfer import COURSE, Transfers, without_decoder
from fmlab.pretraining.views import view

TRANSFERS = Transfers(("encoder",), COURSE, inside="teacher.net.encoder.")
"""The teacher's encoder, not the student's; the heads have done their work."""


class Stages(nn.Module):
    """An encoder and a head on each of some of its levels: images to {level: scores}, each level averaged over its positions."""

    def __init__(self, encoder: nn.Module, heads: dict[int, Head]):
        super().__init__()
        self.encoder, self.heads = encoder, nn.ModuleDict({str(level): head for level, head in heads.items()})

    def forward(self, x: Tensor, frozen: bool = False) -> dict[int, Tensor]:
        levels = self.encoder.encode(x)
        return {int(level): head(pooled(levels[int(level)]), frozen) for level, head in self.heads.items()}


class DeSD(nn.Module):
    """A student and its teacher; called with images it gives L.

    encoder: a backbone with ``encode`` (it loses its decoder). widths: features of its levels. levels: those with a head, the
    last one among them. head: settings of ``Head``.
    """

    def __init__(self, encoder: nn.Module, widths: Sequence[int], levels: Sequence[int], settings: Dino = DINO, **head):
        super().__init__()
        last = len(widths) - 1
        if last not in levels or not all(0 <= level <= last for level in levels):
            raise ModelError(f"DeSD has no levels {tuple(levels)} of {last + 1}; give some of 0 to {last}, the last among them.")
        encoder, heads = without_decoder(encoder), {level: Head(widths[level], **head) for level in sorted(levels)}
        self.student = Stages(encoder, heads)
        self.teacher = Teacher(Stages(encoder, {last: heads[last]}), len(heads[last].last), settings)
        self.last = last

    def forward(self, images: Tensor) -> Tensor:
        """L, of two new views of images (B, C, X, Y, Z) in [0, 1]; the teacher follows, in training, before it is asked."""
        if self.training:
            self.teacher.follow(self.student)
        views = [view(images), view(images)]
        with torch.no_grad():
            told = [self.teacher.net(v)[self.last] for v in views]
        total = 0.0
        for this, other in ((0, 1), (1, 0)):
            wanted = self.teacher.probabilities(told[other])
            scores = self.student(views[this], self.teacher.head_frozen)
            total = total + sum(dino(s, wanted, self.teacher.settings.student) for s in scores.values()) / len(scores) / 2
        if self.training:
            self.teacher.recentre(torch.cat(told))
        return total

    @torch.no_grad()
    def said(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's probabilities (B, K) and features (B, C) of images, for ``collapse``."""
        levels = self.teacher.net.encoder.encode(images)
        return self.teacher.probabilities(self.teacher.net(images)[self.last]), pooled(levels[self.last])


def pooled(level: Tensor) -> Tensor:
    """(B, C, X, Y, Z) averaged over the positions: (B, C)."""
    return level.flatten(2).mean(2)


def desd(width: int = 16, levels: Sequence[int] = (2, 3), outputs: int = 256, dino: dict | None = None,
         batch_norm: bool = True, **head) -> DeSD:
    """``DeSD`` on the nano encoder; dino: settings of ``Dino``, head and batch_norm of ``Head``. ``hub.build("desd")``.

    Batch norm, as published, also takes away what all samples have in common, which in a fresh network is nearly everything.
    """
    widths = [width * 2**level for level in range(4)]
    head = dict(head, outputs=outputs, batch_norm=batch_norm)
    return DeSD(Nano(width=width), widths, levels, Dino(**(dino or {})), **head)


def loss(model: nn.Module, batch: dict) -> Tensor:
    """L of batch["image"]. Random numbers are torch's."""
    return model(batch["image"])
