"""UniMiSS: pictures and volumes teach one network by self-distillation; a volume is compared with its own slices.

    pictures   L = DINO(f(u1), f(u2))                                          f: student, then teacher; u, v: two views
    volumes    L = DINO(f(v1), f(v2)) + DINO(s(v1), f(v2)) + DINO(s(v1), s(v2)) + DINO(f(v1), s(v2))

s(v) is the mean of the 2-D path's features over the slices of v. Source: Xie et al. 2022 (ECCV), arXiv:2112.09356.

Published setting: 120,000 CT sub-volumes of 16 x 96 x 96 and chest radiographs of 224^2, two epochs of pictures, two of volumes,
and so on; 65,536 outputs, student 0.1, teacher 0.04, the head's last layer frozen for an epoch, AdamW at 8e-4 x batch / 256,
weight decay 0.04 to 0.4, 200 epochs. The course: 48 x 48 x 16, 256 outputs, ``pyramid.NANO``; its encoder is a transformer, so it
goes to a ``PyramidBackbone`` and not to the nano U-Net.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fmlab.errors import ModelError
from fmlab.pretraining.distillation import DINO, Dino, Head, Teacher, dino
from fmlab.pretraining.pyramid import NANO, Pyramid
from fmlab.pretraining.transfer import COURSE, Transfers
from fmlab.pretraining.views import view

TRANSFERS = Transfers(("encoder", "decoder"), COURSE, inside="student.")
"""Of the student, not the teacher; classification takes the encoder alone. The head has done its work."""


class Scored(nn.Module):
    """A pyramid and the head on its class token."""

    def __init__(self, net: Pyramid, head: Head):
        super().__init__()
        self.net, self.head = net, head

    def forward(self, x: Tensor, frozen: bool = False) -> Tensor:
        """Scores (B, K) of pictures (B, C, X, Y) or volumes (B, C, X, Y, Z)."""
        return self.head(self.net(x)[0], frozen)

    def slices(self, x: Tensor, frozen: bool = False) -> Tensor:
        """Scores (B, K) of volumes (B, C, X, Y, Z) by their slices along Z: features are averaged, then scored."""
        pictures = x.movedim(-1, 1).flatten(0, 1)
        return self.head(self.net(pictures)[0].unflatten(0, (len(x), -1)).mean(1), frozen)


class UniMiSS(nn.Module):
    """A student and its teacher; called with images it gives L. interval: passes of one kind in a row, where there are both."""

    def __init__(self, net: Pyramid, settings: Dino = DINO, interval: int = 50, **head):
        super().__init__()
        if interval < 1:
            raise ModelError(f"An interval of {interval} passes cannot be; give one or more.")
        self.student = Scored(net, Head(net.dims[0], **head))
        self.teacher = Teacher(self.student, len(self.student.head.last), settings)
        self.interval = interval

    def forward(self, images: Tensor) -> Tensor:
        """L, of two new views of pictures (B, C, X, Y) or volumes (B, C, X, Y, Z) in [0, 1].

        Of pictures, what is named 3D takes no part and so stays as it is (DistributedDataParallel: ``unused_parameters``).
        """
        if self.training:
            self.teacher.follow(self.student)
        flat = images.ndim == 4
        views = [view(images[..., None])[..., 0] if flat else view(images) for _ in range(2)]
        frozen, terms, told = self.teacher.head_frozen, [], []
        with torch.no_grad():
            targets = [[look(v) for look in self._looks(self.teacher.net, flat)] for v in views]
        for this, other in ((0, 1), (1, 0)):
            scores = [look(views[this], frozen) for look in self._looks(self.student, flat)]
            for wanted in targets[other]:
                told.append(wanted)
                p = self.teacher.probabilities(wanted)
                terms += [dino(s, p, self.teacher.settings.student) / 2 for s in scores]
        if self.training:
            self.teacher.recentre(torch.cat(told))
        return sum(terms)

    @staticmethod
    def _looks(scored: Scored, flat: bool) -> tuple:
        """The ways in which a network looks at such images: as they are, and a volume also slice by slice."""
        return (scored,) if flat else (scored, scored.slices)

    @property
    def turn_of_volumes(self) -> bool:
        """Whether the coming pass is one of volumes: pictures come first."""
        return int(self.teacher.passed) // self.interval % 2 == 1

    @torch.no_grad()
    def said(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's probabilities (B, K) and features (B, C) of images, for ``collapse``."""
        features = self.teacher.net.net(images)[0]
        return self.teacher.probabilities(self.teacher.net.head(features)), features


def unimiss(outputs: int = 256, interval: int = 50, hidden: int = 256, bottleneck: int = 64, dino: dict | None = None,
            **config) -> UniMiSS:
    """``UniMiSS`` on a ``Pyramid`` of NANO's settings and what config changes in them; dino: settings of ``Dino``.

    ``hub.build("unimiss")``.
    """
    head = dict(outputs=outputs, hidden=hidden, bottleneck=bottleneck)
    return UniMiSS(Pyramid(**{**NANO, **config}), Dino(**(dino or {})), interval, **head)


def loss(model: nn.Module, batch: dict) -> Tensor:
    """L of batch["image"], volumes, or, in its turns, of batch["flat"], pictures, where the batch has some."""
    kind = getattr(model, "module", model)  # DistributedDataParallel holds it
    return model(batch["flat"] if "flat" in batch and not kind.turn_of_volumes else batch["image"])
