"""Hermes: tasks and modalities as learned tokens that meet the image inside the network, as a radiologist's knowledge does.

    priors     = [tokens of the K tasks asked, tokens of the modality]
    z, posteriors = U-Net(x, priors)        at the lower levels features and priors attend to each other, both ways
    logits_k   = z . prototype(posteriors_k)

Every task asked is one sigmoid, and a list of any length can be asked: what a hospital has drawn, so that what it has not is
never asked of its scans. Unlike DoDNet's code the token enters before the decoder, unlike UniSeg's map several are heard in one
pass, and the posteriors depend on the image. Data sets that draw the same organ keep tokens of their own.

Source: Gao et al. 2024, doi:10.48550/arXiv.2306.02416, and its released code. Hermes-R is a residual
U-Net (``hermes_resunet``), Hermes-M a MedFormer (``hermes_medformer``).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from fmlab.errors import ModelError
from fmlab.pretraining.hermes_medformer import HermesM
from fmlab.pretraining.hermes_priors import NULL
from fmlab.pretraining.hermes_resunet import Answer, HermesR
from fmlab.pretraining.published import hermes as of_masks

SIZES = {
    "published": (HermesR, {}),
    "medformer": (HermesM, {}),
    "nano": (HermesR, dict(widths=(8, 16, 32, 40, 48), blocks=1, depths=(1, 1, 2, 1, 1), head=8)),
}
"""Network and settings by name; the first, Hermes-R, is the one whose weights were released."""


def hermes(size: str = "published", **changes) -> HermesR | HermesM:
    """A Hermes by the name of its size: one of SIZES; changes: settings of ``HermesR`` or ``HermesM`` that differ from it."""
    if size not in SIZES:
        raise ModelError(f"There is no Hermes of size {size!r}; choose one of {', '.join(SIZES)}.")
    network, settings = SIZES[size]
    return network(**(settings | changes))


def objective(answer: Answer, target: Tensor, w: Tensor, modality: Tensor, weight: float = 0.01) -> Tensor:
    """What Hermes is trained with: ``published.hermes`` of the asked tasks + 0.01 times cross-entropy of the modality.

    target: (B, K, X, Y, Z) in {0, 1}, in the order asked. w: (B, K) in {0, 1}, 0 where NULL filled up. modality: (B,), NULL for
    samples whose modality is unknown, which teach nothing of it. With a second output, Hermes-M's, either counts one half.
    """
    loss = of_masks(answer.logits, target, w)
    if answer.aux is not None:
        loss = 0.5 * loss + 0.5 * of_masks(answer.aux, target, w)
    known = modality != NULL
    if not known.any():  # the mean over none would be NaN
        return loss
    return loss + weight * F.cross_entropy(answer.modality[known].float(), modality[known])
