"""Zero-shot classification by words: a class is the mean of its texts' embeddings, and the nearest class wins.

    w_k = mean over the texts T of class k of v(T)        w_k / |w_k|, or w_k as it is        y = argmax_k  u . w_k

FLAIR averages embeddings of length 1 and does not normalise the mean: a class whose texts say different things has a shorter
w_k, lower logits, and is chosen less often than it should be. CLIP normalises again.

Source: Silva-Rodriguez et al. 2025, doi:10.1016/j.media.2024.103357, and its released code; Radford et al. 2021,
arXiv:2103.00020, section 3.1.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fmlab.contrastive.conditions import CONDITIONS, TEMPLATE
from fmlab.contrastive.image_text import ImageText
from fmlab.errors import ModelError

Texts = Mapping[str, Sequence[str]]  # class -> its texts


def names_only(classes: Sequence[str]) -> dict[str, list[str]]:
    """Each class by its name in the template."""
    return {name: [TEMPLATE.format(name)] for name in classes}


def with_knowledge(classes: Sequence[str]) -> dict[str, list[str]]:
    """Each class by an expert's descriptions and its name, each in the template."""
    return {name: [TEMPLATE.format(text) for text in (*CONDITIONS[name].says, name)] for name in classes}


@torch.no_grad()
def class_embeddings(model: ImageText, texts: Texts, normalise: bool = True) -> Tensor:
    """(K, width), a row a class: the mean of its texts' embeddings, of length 1 again, or not. ModelError for a class without."""
    if empty := [name for name, some in texts.items() if not some]:
        raise ModelError(f"The class {empty[0]!r} has no text; give it its name at least.")
    return ensemble([model.texts(list(some)) for some in texts.values()], normalise)


def ensemble(embeddings: Sequence[Tensor], normalise: bool = True) -> Tensor:
    """K times (n_k, width), each row of length 1 -> (K, width): their means, of length 1 again, or as long as they come."""
    means = torch.stack([each.mean(0) for each in embeddings])
    return F.normalize(means, dim=1) if normalise else means


@torch.no_grad()
def probabilities(model: ImageText, pictures: Tensor, texts: Texts, normalise: bool = True) -> Tensor:
    """(N, K): the softmax over the classes of N pictures (N, 3, H, W)."""
    logits = embedded(model, pictures) @ class_embeddings(model, texts, normalise).T
    return (model.scale * logits).softmax(1)


@torch.no_grad()
def embedded(model: ImageText, pictures: Tensor, batch: int = 128, projected: bool = True) -> Tensor:
    """Pictures (N, 3, H, W) as (N, width), of length 1; not ``projected``: the image tower's features, for a linear probe."""
    see = model.images if projected else model.image
    return torch.cat([see(part) for part in pictures.split(batch)])


def balanced_accuracy(guess: Tensor, truth: Tensor) -> float:
    """The mean over classes of the share of a class that is recognised; FLAIR's ACA. guess, truth: (N,) class numbers."""
    return float(torch.stack([(guess[truth == k] == k).float().mean() for k in truth.unique()]).mean())
