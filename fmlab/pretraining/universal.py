"""The course's own universal model: which structures, which bodies, which network, which losses. Everything to train it again.

    min over theta_f, theta_c of  sum_n  1 / (sum_k w_nk)  sum_k w_nk L_SEG(Y_nk, sigma(theta_c(theta_f(X_n))))

over an assembly of four hospitals, none of which annotates everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from fmlab.backbones.by_name import nano
from fmlab.cohorts import Cohort
from fmlab.phantom.visits import any_visit
from fmlab.pretraining.masked import masked_bce_dice
from fmlab.pretraining.unmasked import softmax_background, unmasked_sigmoid
from fmlab.templates import assembly
from fmlab.vocabulary import structure

UNIVERSAL: tuple[str, ...] = (
    "vertebrae", "ribs", "sacrum", "hip_left", "hip_right", "femur_left", "femur_right", "spinal_cord", "lung_left", "lung_right",
    "trachea", "esophagus", "heart", "aorta", "inferior_vena_cava", "liver", "gallbladder", "spleen", "kidney_left",
    "kidney_right", "pancreas", "stomach", "duodenum", "small_bowel", "colon", "urinary_bladder", "iliopsoas_left",
    "iliopsoas_right", "autochthon_left", "autochthon_right")
"""The 30 classes, in vocabulary order. Heart chambers, lobes, adrenals, gluteal muscles, vessels and tumours are left for lessons
in which a model meets something new."""

COUNTS = {"A": 55, "B": 55, "C": 65, "D": 65}  # bodies per hospital
SPACING = 4.0  # mm; a cube of 64 voxels is 256 mm wide
SIDE = 64


def universal(structures: Sequence[str] = UNIVERSAL, width: int = 16, exclusive: bool = False) -> nn.Module:
    """A nano U-Net with one logit per structure; ``hub.build("universal")``.

    exclusive: it is trained with a softmax against background. Either way a voxel is the structure of the largest logit, if that
    is above 0, and nothing otherwise: of a sigmoid 0 is one half, of the softmax it is the background's logit.
    """
    model = nano(classes=len(structures), width=width)
    nn.init.constant_(model.head.bias, -4.0)  # at first every class is rare: 2 % (after Lin et al. 2017, arXiv:1708.02002)
    model.structures, model.exclusive = tuple(structure(name).name for name in structures), exclusive
    model.crumb_ml = 10.0  # none of the 30 is smaller; chosen on unseen bodies, others than those of the card
    return model


def training_bodies(counts: Mapping[str, int] = COUNTS, spacing: float = SPACING, workers: int | None = None) -> Cohort:
    """The partially labelled assembly that the shipped weights saw: seeds 0 and on, 240 bodies."""
    return assembly(counts, spacing, 0, workers, sampler=any_visit)


def masked(model: nn.Module, batch: dict) -> Tensor:
    """The objective above, L_SEG = cross-entropy + Dice: what is not annotated is not asked."""
    return masked_bce_dice(model(batch["image"]), batch["target"], batch["w"])


def unmasked(model: nn.Module, batch: dict) -> Tensor:
    """The same with w = 1 everywhere: what a data set did not draw is taken for background."""
    return unmasked_sigmoid(model(batch["image"]), batch["target"] * batch["w"][:, :, None, None, None])


def softmax(model: nn.Module, batch: dict) -> Tensor:
    """Softmax cross-entropy with everything that is not drawn as background."""
    return softmax_background(model(batch["image"]), batch["target"] * batch["w"][:, :, None, None, None])


LOSSES: dict[str, Callable[[nn.Module, dict], Tensor]] = {"masked": masked, "unmasked": unmasked, "softmax": softmax}
