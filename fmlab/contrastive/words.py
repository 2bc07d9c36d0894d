"""Texts as numbers: a word is a number, the words that are not known share one, and short texts are filled up with 0."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

FILL, UNKNOWN = 0, 1
LONGEST = 24  # words of a text; more are cut off


def split(text: str) -> list[str]:
    """The words of a text in small letters, without punctuation."""
    return re.findall(r"[a-z0-9]+", text.lower())


def vocabulary(texts: Iterable[str]) -> tuple[str, ...]:
    """All words of some texts, in the order of the alphabet."""
    return tuple(sorted({word for text in texts for word in split(text)}))


def numbers(texts: Sequence[str], words: Sequence[str]) -> Tensor:
    """Texts as (N, LONGEST) int64: word k of ``words`` is k + 2, any other ``UNKNOWN``, the rest ``FILL``."""
    place = {word: k + 2 for k, word in enumerate(words)}
    rows = torch.full((len(texts), LONGEST), FILL)
    for row, text in zip(rows, texts):
        known = [place.get(word, UNKNOWN) for word in split(text)[:LONGEST]]
        row[: len(known)] = torch.tensor(known, dtype=torch.long)
    return rows
