"""Training by simulated interaction: the loss of a small SAM in 2-D and of a small SAM-Med3D, for ``training.train``.

Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A; Wang et al. 2023, arXiv:2310.15161. The papers take 11 passes an
object, and begin with an encoder that knows images already (SAM: a masked autoencoder). Here everything begins at random. A first
stage does without the decoder's transformer (``glance``), in a second one each object gets one prompt, which is cheap, and then 2
to ``MOST`` of them, few more often than many.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.interactive import losses
from fmlab.interactive.boxes import jittered_box
from fmlab.interactive.glance import cross_entropy, glance_loss
from fmlab.interactive.preprocess_sam import normalised
from fmlab.interactive.prompt_encoder import NEGATIVE, POSITIVE
from fmlab.interactive.sam import Sam
from fmlab.interactive.sam_med3d import SamMed3D
from fmlab.interactive.simulation import Pass, passes
from fmlab.interactive.two_way import Attention, TwoWayBlock, TwoWayTransformer

MOST = 6  # passes


def as_sam_sees(images: Tensor) -> Tensor:
    """Grey pictures (B, 1, H, W) in [0, 1] as SAM's three normed channels (B, 3, H, W)."""
    return normalised(255 * images.expand(-1, 3, -1, -1))


def sam_loss(model: Sam, batch: dict, most: int = MOST) -> Tensor:
    """Mean over passes. batch: image (B, 1, H, W) in [0, 1], masks (B, M, H, W), as ``Slices`` gives them. most: 0 to glance.

    Each image is encoded once for all its objects and passes. The first prompt of a step is a click or a jittered box. All four
    masks learn at every pass, where SAM trains its single mask on prompts without doubt only: a small model needs each lesson.
    """
    if not most:
        return glance_loss(model, as_sam_sees(batch["image"]), batch["masks"])
    rng = np.random.default_rng(int(torch.randint(2**31, ())))
    images, truth = batch["image"], batch["masks"].flatten(0, 1) > 0
    features = model.image_encoder(as_sam_sees(images))
    image_of = torch.arange(len(images), device=images.device).repeat_interleave(batch["masks"].shape[1])

    def decode(points: Tensor, labels: Tensor, boxes: Tensor, masks: Tensor, multimask: bool) -> tuple[Tensor, Tensor]:
        tokens, dense = model.prompt_encoder(points, labels, boxes, masks)
        return model.mask_decoder(features[image_of], model.prompt_encoder.dense_positions(), tokens, dense)

    box = None if rng.random() < 0.5 else jittered_box
    answers = passes(decode, truth, rng, count_of(rng, most), box)
    return torch.stack([answer_loss(answer, truth) for answer in answers]).mean()


def sam_med3d_loss(model: SamMed3D, batch: dict, most: int = MOST) -> Tensor:
    """The same in 3-D: image (B, 1, X, Y, Z), normed, masks (B, M, X, Y, Z), as ``Cubes`` gives them; clicks alone."""
    if not most:
        return glance_loss(model, batch["image"], batch["masks"])
    rng = np.random.default_rng(int(torch.randint(2**31, ())))
    truth = batch["masks"].flatten(0, 1) > 0
    features = model.image_encoder(batch["image"])
    image_of = torch.arange(len(features), device=features.device).repeat_interleave(batch["masks"].shape[1])

    def decode(points: Tensor, labels: Tensor, masks: Tensor, boxes: None, multimask: bool) -> tuple[Tensor, Tensor]:
        return model.decode(features, points, labels, masks, image_of, multimask)

    answers = passes(decode, truth, rng, count_of(rng, most), first_mask=model.no_mask(len(truth)), several=False)
    return torch.stack([answer_loss(answer, truth) for answer in answers]).mean()


def answer_loss(answer: Pass, truth: Tensor) -> Tensor:
    """Mask 0 learns, of the others the best, all by Dice and cross-entropy, and every predicted IoU; truth: (N, *size).

    SAM takes 20 focal + Dice, SAM-Med3D Dice + cross-entropy (``losses``). An object has one pixel in a hundred, and with a mean
    over all pixels a small model soon says "nowhere", where neither Dice nor focal loss has a slope to speak of. So what lies
    inside weighs more (``glance.cross_entropy``). SAM-Med3D leaves its IoU head untrained; here it learns, for it is shown.
    """
    target = truth[:, None].to(answer.logits.dtype)
    each = losses.dice_per_mask(answer.logits, target.expand_as(answer.logits)) + cross_entropy(answer.logits, target, 0.7)
    error = (answer.iou - losses.iou_per_mask(answer.logits.detach() > 0, target.expand_as(answer.logits))).square()
    several = each[:, 1:].amin(1) if each.shape[1] > 1 else each[:, 0]
    return ((each[:, 0] + several) / 2 + error.mean(1)).mean()


def count_of(rng: np.random.Generator, most: int = MOST) -> int:
    """2 to ``most`` passes, few more often than many; 1 where that is the most."""
    return 1 if most == 1 else int(rng.integers(2, most + 1, 2).min())


@torch.no_grad()
def look_where_it_points(model: nn.Module, gain: float = 2.0, small: float = 0.1) -> None:
    """A start for a small promptable model: in the decoder's cross-attentions queries and keys begin with the same weights.

    Then a click's token, which holds the Fourier code of its place, begins by reading the image about that place, and the image's
    places near the click read its token: the likeness of two codes falls with their distance. From separate random weights, as
    published, a small model finds for hundreds of steps that "nowhere" is the best answer. gain: of these weights. small: of the
    learned embeddings of prompts and tokens, which otherwise are longer than the code.
    """
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.weight.mul_(small)
        if isinstance(module, TwoWayBlock | TwoWayTransformer):
            for name, attention in module.named_children():
                if isinstance(attention, Attention) and name != "self_attn":
                    attention.q_proj.weight.mul_(gain)
                    attention.k_proj.weight.copy_(attention.q_proj.weight)
                    attention.k_proj.bias.copy_(attention.q_proj.bias)


@torch.no_grad()
def begin_with_masks(model: Sam | SamMed3D) -> None:
    """Between the stages: a mask prompt begins by saying what its absence said in the first stage, whatever it holds.

    The path of mask prompts is still random then. Its noise on the image's features would undo what was learned, and the model
    would first learn not to listen.
    """
    encoder = model.prompt_encoder
    absent = encoder.no_mask_embed.weight[0]
    if isinstance(model, SamMed3D):  # whose first click comes with zeros
        absent = encoder.mask_downscaling(model.no_mask())[0].flatten(1)[:, 0]
    last = encoder.mask_downscaling[-1]
    last.weight.zero_()
    last.bias.copy_(absent)


@torch.no_grad()
def begin_with_opposites(model: SamMed3D, apart: float = 4.0) -> None:
    """Between the stages: a negative click's embedding, which nothing used so far, begins far from the positive one's.

    Near each other, the decoder takes a negative click for one more positive click, and has to unlearn it.
    """
    negative, positive = (model.prompt_encoder.point_embeddings[kind].weight for kind in (NEGATIVE, POSITIVE))
    negative.copy_(positive - apart * positive / positive.norm())
