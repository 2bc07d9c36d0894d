"""How well does a model solve a task from examples: Dice of each query, for some support, and for a support that lies."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fmlab import metrics
from fmlab.errors import ModelError
from fmlab.incontext.examples import Examples
from fmlab.incontext.prediction import predict


def dices(model: nn.Module, support: Examples, queries: Examples, shots: int = 16, ensemble: int = 1, seed: int = 0) -> Tensor:
    """Dice (N,) of each query, float64; the convention of ``fmlab.metrics``, a query that shows nothing has NaN.

    For each query the support sets are drawn anew, so that no lucky set decides, and never of the query's own subject.
    Raises ModelError where nobody but the query's subject is left to learn from.
    """
    found = []
    for i in range(len(queries)):
        others = without(support, queries.names[i] if queries.names else "")
        answer = predict(model, queries.images[i : i + 1], {"task": others}, shots=shots, ensemble=ensemble, seed=seed + i)
        found.append(metrics.dice(answer.labels[0] > 0, queries.masks[i, 0] > 0))
    return torch.tensor(found, dtype=torch.float64)


def without(support: Examples, name: str) -> Examples:
    """The examples that are not of the subject ``name``. Raises ModelError if none is left."""
    if not name or name not in support.names:
        return support
    others = [i for i, each in enumerate(support.names) if each != name]
    if not others:
        raise ModelError(f"All examples are of {name}, who is the query too; give examples of somebody else.")
    return support[others]


def lying(support: Examples, other: Examples) -> Examples:
    """The control: the same images, each with a mask that belongs to another task's example. A model that uses its support is
    led astray by it; one that has learned what organs look like, and ignores it, is not."""
    return Examples(support.images, other.masks[[i % len(other) for i in range(len(support))]], support.names)
