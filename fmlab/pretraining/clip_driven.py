"""The CLIP-Driven Universal Model: one head per class, whose numbers follow from the class's name and from the image.

    deep, Z  = theta_f(X)                              backbone: U-Net or Swin UNETR
    f        = GAP(deep)                               what this image is like
    theta_k  = W [f ; w_k] + b,  w_k = MLP(text_k)     controller: class k's three small layers
    P_k      = sigma(((F * theta_k1) * theta_k2) * theta_k3),   F = pre-head(Z), 8 channels

The text is the only thing that tells classes apart: W splits into W_f f + (W_w w_k + b), and the bracket does not depend on the
image, so it is computed once (``text_terms``). An encoder frozen by others places "kidney tumor" near "kidney" before the first
step; whether that helps is asked by giving the same network one-hot or random texts (``text_embeddings``).

Source: Liu et al. 2023, doi:10.1109/ICCV51070.2023.01934 (arXiv:2301.00785), and its released code, whose names are kept. It is
trained with ``objective``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmlab.backbones import Backbone, Nano, SuPreMUNet, SwinUNETR
from fmlab.errors import ModelError
from fmlab.pretraining.clip_driven_data import CLASSES
from fmlab.pretraining.dynamic_head import dynamic_head, parameter_count
from fmlab.pretraining.masked import clip_driven as masked_loss
from fmlab.pretraining.text_embeddings import table_of
from fmlab.pretraining.transfer import COURSE, Transfers
from fmlab.pretraining.universal import UNIVERSAL
from fmlab.vocabulary import ID

TRANSFERS = Transfers(("encoder", "decoder"), COURSE, inside="backbone.")
"""What the nano model hands on to new structures: theta_f. The controller and its texts stay behind."""

GROUPS = 16  # of the norms before head and GAP
SIZES = {"unet": (SuPreMUNet, 256), "swin_unetr": (SwinUNETR, 256), "nano": (Nano, 64)}
"""Backbone, and channels of f and w_k. The first two are published: 19,416,417 and 62,595,315 parameters."""


class ClipDriven(nn.Module):
    """theta_f, its two readers (GAP and pre-head), the texts, and the controller. Names of parameters are the official ones.

    backbone: any ``Backbone`` whose channels are multiples of 16. classes: names of the K classes. table: (K, T) text embeddings,
    a buffer that is never trained; None: a vector per class is learnt instead, without MLP ("rand_embedding" as published).
    vision: channels of f and of w_k. width: channels of F and of the head.
    ModelError for what does not fit.
    """

    def __init__(self, backbone: Backbone, classes: Sequence[str], table: Tensor | None, vision: int = 256, width: int = 8):
        super().__init__()
        if not classes or len(set(classes)) < len(classes):
            raise ModelError(f"The classes {tuple(classes)!r} cannot be; name one class or more, none of them twice.")
        if backbone.channels % GROUPS or backbone.deep_channels % GROUPS or min(vision, width) < 1:
            raise ModelError(
                f"{type(backbone).__name__} has {backbone.channels} and {backbone.deep_channels} channels; both must be "
                f"multiples of {GROUPS}, and vision and width at least 1.")
        self.classes = tuple(classes)
        if set(classes) <= set(ID):
            self.structures = self.classes  # then ``inference.segment`` knows what the logits are
        self.backbone = backbone
        self.precls_conv = nn.Sequential(
            nn.GroupNorm(GROUPS, backbone.channels), nn.ReLU(inplace=True), nn.Conv3d(backbone.channels, width, 1))
        self.GAP = nn.Sequential(
            nn.GroupNorm(GROUPS, backbone.deep_channels), nn.ReLU(inplace=True), nn.AdaptiveAvgPool3d(1),
            nn.Conv3d(backbone.deep_channels, vision, 1))
        self.controller = nn.Conv3d(2 * vision, parameter_count(width), 1)
        if table is None:
            self.organ_embedding = nn.Embedding(len(classes), vision)
        else:
            self.register_buffer("organ_embedding", torch.empty(0))
            self.set_texts(table)
            self.text_to_vision = nn.Linear(table.shape[1], vision)
        self._folded: tuple[tuple, Tensor] | None = None

    def forward(self, x: Tensor, classes: Sequence[str] | Sequence[int] | None = None) -> Tensor:
        """Logits (B, K', X, Y, Z) of x (B, 1, X, Y, Z), sigma left to the caller; classes: the K' asked for, by default all K."""
        deep, z = self.backbone.deep_and_features(x)
        return dynamic_head(self.precls_conv(z), self.theta(self.GAP(deep).flatten(1), self.index(classes)))

    def theta(self, f: Tensor, index: Sequence[int]) -> Tensor:
        """Numbers of the heads (B, K', P) of image vectors f (B, vision) and class numbers from 0: W_f f + (W_w w_k + b)."""
        of_image = F.linear(f, self._weight()[:, : f.shape[1]])
        return of_image[:, None] + self.text_terms()[list(index)]

    def text_terms(self) -> Tensor:
        """W_w w_k + b for all K classes, (K, P). Without gradients it is computed once, and again only when a weight changes."""
        if self.training or torch.is_grad_enabled():
            self._folded = None
            return self._text_terms()
        parts = [self.controller.weight, self.controller.bias, *self._text_parts()]
        state = tuple((part.data_ptr(), 0 if part.is_inference() else part._version, part.dtype) for part in parts)
        state += (torch.is_autocast_enabled(parts[0].device.type),)
        if self._folded is None or self._folded[0] != state:
            self._folded = state, self._text_terms()
        return self._folded[1]

    def texts(self) -> Tensor:
        """w_k of all classes, (K, vision)."""
        if isinstance(self.organ_embedding, nn.Embedding):
            return self.organ_embedding.weight
        return F.relu(self.text_to_vision(self.organ_embedding.to(self.text_to_vision.weight.dtype)))

    def set_texts(self, table: Tensor) -> None:
        """Put other text embeddings (K, T) in the place of the present ones. ModelError unless rows, channels and values fit."""
        if isinstance(self.organ_embedding, nn.Embedding):
            raise ModelError("This model learns its class vectors and reads no texts; build it with text='random' instead.")
        channels = self.text_to_vision.in_features if hasattr(self, "text_to_vision") else None
        if table.ndim != 2 or len(table) != len(self.classes) or channels not in (None, table.shape[1]):
            raise ModelError(f"A table {tuple(table.shape)} does not fit {len(self.classes)} classes"
                             + (f" and {channels} channels" if channels else "") + "; give (K, T).")
        if not table.isfinite().all():
            raise ModelError("The table of texts holds values that are not finite; make it again.")
        self.organ_embedding = table.detach().to(device=self.controller.weight.device, dtype=torch.float32, copy=True)
        self._folded = None

    def index(self, classes: Sequence[str] | Sequence[int] | None) -> list[int]:
        """Numbers from 0 of classes by name or number; of None all. ModelError for one that there is not, and for none."""
        if classes is None:
            return list(range(len(self.classes)))
        try:
            found = [self.classes.index(c) if isinstance(c, str) else range(len(self.classes))[c] for c in classes]
        except (ValueError, IndexError, TypeError) as error:
            raise ModelError(f"The model lacks one of {classes!r}; its classes are {', '.join(self.classes)}.") from error
        if not found or isinstance(classes, str):
            raise ModelError(f"The model was asked for {classes!r}; give a list of one class or more.")
        return found

    def asking(self, classes: Sequence[str] | Sequence[int]) -> Asked:
        """This model as one that knows these classes only, for what calls a model with x alone: sliding windows, ``segment``."""
        return Asked(self, [self.classes[k] for k in self.index(classes)])

    def _apply(self, fn: Callable, recurse: bool = True) -> ClipDriven:
        self._folded = None  # to another device or precision
        return super()._apply(fn, recurse)

    def _weight(self) -> Tensor:
        return self.controller.weight.flatten(1)

    def _text_parts(self) -> list[Tensor]:
        if isinstance(self.organ_embedding, nn.Embedding):
            return [self.organ_embedding.weight]
        return [self.organ_embedding, self.text_to_vision.weight, self.text_to_vision.bias]

    def _text_terms(self) -> Tensor:
        w = self.texts()
        return F.linear(w, self._weight()[:, -w.shape[1]:], self.controller.bias)


def objective(model: ClipDriven, batch: dict) -> Tensor:
    """``masked.clip_driven`` of a batch of ``Patches``, with logits only for what somebody in the batch annotates: 1 to 17 of 32.

    The Dice is that over the volume, which the authors meant; the published weights were trained with the one per slice.
    """
    asked = batch["w"].any(0).nonzero().flatten().tolist() or [0]  # with nothing annotated the loss is 0 whatever is computed
    return masked_loss(model(batch["image"], asked), batch["target"][:, asked], batch["w"][:, asked], "volume")


class Asked(nn.Module):
    """A ``ClipDriven`` that is asked for some of its classes, and computes no others. Its weights are those of the model."""

    def __init__(self, model: ClipDriven, classes: Sequence[str]):
        super().__init__()
        self.model, self.classes = model, tuple(classes)
        if set(classes) <= set(ID):
            self.structures = self.classes

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K', X, Y, Z) of x (B, 1, X, Y, Z)."""
        return self.model(x, self.classes)


def clip_driven(size: str = "unet", classes: Sequence[str] | None = None, text: str = "random", text_channels: int = 512,
                **backbone: Any) -> ClipDriven:
    """A ``ClipDriven`` of one of ``SIZES``; ``hub.build("clip_driven")``.

    classes: by default the 32 published ones; of "nano" the 30 of the course. text: "one_hot", "random" (``text_channels``
    numbers), "sentence" (names of the vocabulary only) or "learned" (a vector per class, no text). CLIP's table, which does not
    ship, comes with a checkpoint, or by ``model.set_texts(clip_from_transformers()(CLASSES))`` into a model of 512 random ones.
    backbone: options of the backbone. ModelError for a size or text that there is not.
    """
    if size not in SIZES:
        raise ModelError(f"There is no CLIP-driven model of size {size!r}; choose one of {', '.join(SIZES)}.")
    make, vision = SIZES[size]
    names = tuple(classes) if classes is not None else UNIVERSAL if size == "nano" else CLASSES
    table = None if text == "learned" else table_of(text, names, text_channels)
    model = ClipDriven(make(**backbone), names, table, vision)
    if size == "nano":
        nn.init.constant_(model.controller.bias[-1:], -4.0)  # at first every class is rare, as in ``universal``
        model.crumb_ml = 10.0
    return model
