"""Iris: a task is encoded once into a few tokens, and then segments any number of scans, all classes in one pass.

    T = model.encode_task(images, masks)        once; (B, K, m + 1, C)
    logits = model.segment(query, T)            as often as you like; (B, K, X, Y, Z)

Source: Gao et al. 2025, CVPR, arXiv:2503.19359. There is no official code and there are no weights; what the paper leaves open is
decided here, and each file says what. UniverSeg's cost grows with references times classes, this one's does not: after encoding a
query costs its features once, whatever the references, and a class adds what ``mask_decoding`` does on small maps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fmlab.errors import ModelError
from fmlab.incontext.iris_input import check_query, check_references, check_tokens
from fmlab.incontext.mask_decoding import MaskDecoder
from fmlab.incontext.residual_unet import Features, ResidualUNet
from fmlab.incontext.task_encoding import TaskEncoder

NANO = (8, 24, 48, 72)  # channels of the encoder's levels, finest first; PUBLISHED has the paper's
PUBLISHED = (32, 64, 128, 256, 320)


class Iris(nn.Module):
    """widths: channels of the encoder's levels. channels: C. context: m, in the paper 10. pooling: of T_f, "full" or "coarse".

    The paper does not say C, which features the task is read from, how many blocks and heads, or how wide the decoder is. Here F
    lies one level above the deepest, r = 2^(levels - 2), and C is a multiple of r^3: 64 at r = 4, while PUBLISHED has r = 8 and
    so needs 512. A head has 16 channels, there are ``blocks`` two-way blocks, and ``width`` channels to a class's own maps.
    """

    def __init__(self, widths: Sequence[int] = NANO, channels: int = 64, context: int = 10, width: int = 16, blocks: int = 2,
                 pooling: str = "full"):
        super().__init__()
        if len(widths) < 3 or min(widths) < 1 or channels % 16 or context < 1 or blocks < 1:
            raise ModelError(f"An Iris of widths {tuple(widths)}, {channels} channels, {context} tokens and {blocks} blocks "
                             "cannot be; give 3 levels or more, a multiple of 16 channels, 1 token or more, 1 block or more.")
        fine, heads = tuple(widths[:-2]), channels // 16
        self.image_encoder = ResidualUNet(widths, channels)
        self.task_encoder = TaskEncoder(fine, channels, context, heads, pooling)
        self.mask_decoder = MaskDecoder(fine, channels, width, blocks, heads)
        self.stride, self.channels, self.tokens = 2 ** (len(widths) - 1), channels, context + 1

    def forward(self, query: Tensor, images: Tensor, masks: Tensor) -> Tensor:
        """Logits (B, K, X, Y, Z) of query (B, 1, X, Y, Z), given references (B, R, 1, X, Y, Z) and masks (B, R, K, X, Y, Z)."""
        return self.segment(query, self.encode_task(images, masks))

    def encode_task(self, images: Tensor, masks: Tensor) -> Tensor:
        """Task tokens T (B, K, m + 1, C) of R references: images (B, R, 1, X, Y, Z) in [0, 1], masks (B, R, K, X, Y, Z), 0 or 1.

        With several references it is the mean of their tokens (the paper's context ensemble), of each class over those references
        that show it. Sides are multiples of ``stride``; references and query need not be of one size. Keep T: nothing of the
        references is needed after it. Raises ModelError where these do not fit, or where no reference shows a class.
        """
        check_references(images, masks, self.stride, self.probe)
        tokens, shown = self.encode_each(images, masks)
        return mean_of_shown(tokens, shown)

    def encode_each(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of every reference on its own (B, R, K, m + 1, C), and whether it shows the class (B, R, K) bool: for a bank."""
        tokens = self.tokens_of(self.features(images.flatten(0, 1)), masks.flatten(0, 1))
        return tokens.unflatten(0, images.shape[:2]), masks.flatten(3).any(-1)

    def segment(self, query: Tensor, tokens: Tensor) -> Tensor:
        """Logits (B, K, X, Y, Z), all K classes in one pass, of query (B, 1, X, Y, Z) in [0, 1] and T (B or 1, K, m + 1, C).

        A class's logits depend on its own tokens alone: not on the others, their number or their order. The sigmoid is the
        caller's. Raises ModelError where query and tokens do not fit the model or each other.
        """
        check_query(query, self.stride, self.probe)
        check_tokens(tokens, len(query), self.tokens, self.channels, self.probe)
        return self.masks(self.features(query), tokens.expand(len(query), -1, -1, -1))

    def features(self, images: Tensor) -> Features:
        """What is the same for every class, of images (B, 1, X, Y, Z): the dear part."""
        return self.image_encoder(images)

    def tokens_of(self, features: Features, masks: Tensor) -> Tensor:
        """Tokens (B, K, m + 1, C) of images that are encoded already, and their masks (B, K, X, Y, Z)."""
        return self.task_encoder(features, masks)

    def masks(self, features: Features, tokens: Tensor) -> Tensor:
        """Logits (B, K, X, Y, Z) of images that are encoded already, and tokens (B, K, m + 1, C)."""
        return self.mask_decoder(features, tokens)

    @property
    def probe(self) -> Tensor:
        """A parameter, for the model's device and dtype."""
        return self.task_encoder.queries


def mean_of_shown(tokens: Tensor, shown: Tensor) -> Tensor:
    """The context ensemble: tokens (B, R, K, m + 1, C) averaged over the references that show (B, R, K) each class."""
    weight = shown.to(tokens.dtype)[..., None, None]
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1)


def loss(model: Iris, batch: dict) -> Tensor:
    """Soft Dice + balanced cross-entropy, for ``training.train``: each person of an episode is segmented by examples of others.

    batch: images (B, P, 1, X, Y, Z), masks (B, P, K, X, Y, Z), as ``VolumeEpisodes`` gives them. Every image is encoded once and
    serves twice, as a query and as the others' reference. The references are 1 to P - 1 others, the next ones in the row; a class
    that none of them shows is not asked for, one that they show and the query does not is to be left empty.
    """
    images, drawn = batch["images"], batch["masks"].to(batch["images"].dtype)
    batches, people = images.shape[:2]
    features = model.features(images.flatten(0, 1))
    tokens = model.tokens_of(features, drawn.flatten(0, 1)).unflatten(0, (batches, people))
    shown, count = drawn.flatten(3).any(-1), int(torch.randint(1, people, ()))
    others = [(torch.arange(people) + step) % people for step in range(1, count + 1)]  # for each person, the next ones
    task = mean_of_shown(torch.stack([tokens[:, other] for other in others], 1).flatten(2, 3),
                         torch.stack([shown[:, other] for other in others], 1).flatten(2, 3))
    logits = model.masks(features, task.unflatten(1, (people, -1)).flatten(0, 1)).unflatten(0, (batches, people))
    asked = torch.stack([shown[:, other] for other in others]).any(0)
    each = dice_and_balanced_entropy(logits.flatten(3), drawn.flatten(3))
    return (each * asked).sum() / asked.sum().clamp(min=1)


def dice_and_balanced_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Soft Dice + cross-entropy of flat masks: logits, target (..., N) to (...).

    The entropy is the mean of what lies inside and what lies outside, each averaged on its own. The paper says no more than "Dice
    and cross-entropy"; with the plain mean over all voxels, of which an organ has one in a hundred, a small model says
    "nowhere" at first, and for long.
    """
    logits, target = logits.float(), target.float()
    p, outside = logits.sigmoid(), 1 - target
    dice = 1 - 2 * (target * p).sum(-1) / (target.sum(-1) + p.sum(-1) + 1)
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    within, without = ((entropy * part).sum(-1) / (part.sum(-1) + 1) for part in (target, outside))
    return dice + (within + without) / 4
