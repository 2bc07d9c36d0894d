"""Tuning a task on a labelled scan: it gets better there, the model stays, and what the scan does not show is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fmlab import hub
from fmlab.errors import ModelError
from fmlab.incontext.iris import dice_and_balanced_entropy
from fmlab.incontext.iris_tuning import tune_on
from fmlab.incontext.iris_volume import cut, task_of
from fmlab.vocabulary import ID
from fmlab.volume import Volume
from fmlab.windows import WIDE

ORGANS = ("liver", "spleen")
WINDOW = (16, 8, 8)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return hub.build("iris", widths=(4, 8, 8, 16), channels=64, context=3, width=4, blocks=1).requires_grad_(False)


def scan(organs=ORGANS):
    image, labels = torch.full((1, 20, 12, 10), -80.0), torch.zeros(1, 20, 12, 10)
    for organ, (low, high) in {"liver": (2, 8), "spleen": (12, 16)}.items():
        if organ in organs:
            box = (0, slice(low, high), slice(3, 8), slice(2, 7))
            image[box], labels[box] = 60.0, ID[organ]
    return Volume(image, np.diag([8.0, 8.0, 8.0, 1]), labels.byte(), frozenset(ORGANS), modality="CT", name="a scan")


def cost(model, volume, tokens):
    """The training's loss of each structure, in a window about its middle."""
    found = []
    for k, name in enumerate(ORGANS):
        mask = volume.mask(name)[None].float()
        middle = mask[0].nonzero().float().mean(0).tolist()
        logits = model.segment(cut(WIDE(volume.image), middle, WINDOW)[None], tokens[:, k : k + 1])
        found.append(float(dice_and_balanced_entropy(logits.flatten(), cut(mask, middle, WINDOW).flatten())))
    return found


def test_every_structure_gets_better_where_it_was_tuned_and_the_model_stays(model):
    volume, before = scan(), [p.clone() for p in model.parameters()]
    tokens = task_of(model, [volume], ORGANS, WINDOW)
    tuned = tune_on(model, tokens, volume, ORGANS, steps=15, lr=0.05, window=WINDOW)
    assert tuned.shape == tokens.shape and not tuned.requires_grad
    assert all(after < first for after, first in zip(cost(model, volume, tuned), cost(model, volume, tokens)))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


def test_no_step_changes_nothing(model):
    volume = scan()
    tokens = task_of(model, [volume], ORGANS, WINDOW)
    assert torch.equal(tune_on(model, tokens, volume, ORGANS, steps=0, window=WINDOW), tokens)


def test_a_structure_that_the_scan_does_not_show_is_refused(model):
    tokens = task_of(model, [scan()], ORGANS, WINDOW)
    with pytest.raises(ModelError, match="'a scan' does not show spleen"):
        tune_on(model, tokens, scan(organs=("liver",)), ORGANS, window=WINDOW)
