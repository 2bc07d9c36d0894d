"""Hospitals as tasks: whose question a cube comes with, the objectives, one answer from all prompts, bad input."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.data import default_collate

from fmlab import cohorts, hub
from fmlab.cohorts import Case, Cohort
from fmlab.errors import DataError, ModelError
from fmlab.pretraining import nano, published
from fmlab.pretraining.hospitals import (
    ASKED,
    HOSPITALS,
    MOST,
    STRUCTURES,
    TOKENS,
    Prompted,
    TaskPatches,
    asks,
    dodnet_objective,
    hermes_objective,
    uniseg_objective,
)
from fmlab.pretraining.patches import Patches
from fmlab.templates import covers
from fmlab.training.order import seeded

SIDE = 32


@pytest.fixture(scope="module")
def bodies():
    """Coarse bodies of B and C, partly labelled."""
    return sum((cohorts.phantoms(1, name, 12.0, 900 + i, 1, True) for i, name in enumerate("BC")), Cohort("two", ()))


def dodnet(**changes):
    return hub.build("dodnet", size="nano", tasks=4, outputs=MOST, **changes)


def uniseg():
    return hub.build("uniseg", size="nano", tasks=4, classes=1 + MOST, patch=(SIDE,) * 3)


def test_each_prompt_asks_for_what_its_hospital_annotates():
    from fmlab.phantom.centres import CENTRES

    for name in HOSPITALS:
        assert all(covers(CENTRES[name].annotated, structure) for structure in ASKED[name])
    assert set().union(*ASKED.values()) == set(STRUCTURES)
    assert len(ASKED["C"]) == MOST


def test_a_cube_comes_with_its_hospitals_question(bodies):
    """The same draw of ``Patches``, with the hospital's structures in its own order, and zeros behind."""
    own, plain = TaskPatches(bodies, SIDE), Patches(bodies, STRUCTURES, SIDE)
    for n, name in enumerate("BC"):
        with seeded(3):
            item = own[n]
        with seeded(3):
            other = plain[n]
        assert item["task"] == HOSPITALS.index(name) and torch.equal(item["image"], other["image"])
        assert item["target"].shape == (MOST, SIDE, SIDE, SIDE)
        for k, structure in enumerate(ASKED[name]):
            assert torch.equal(item["target"][k], other["target"][STRUCTURES.index(structure)])
            assert item["w"][k] == other["w"][STRUCTURES.index(structure)]
        assert not item["w"][len(ASKED[name]):].any() and not item["target"][len(ASKED[name]):].any()


def test_a_scan_of_another_hospital_is_refused(bodies):
    body = bodies[0]
    stranger = replace(body, info={**body.info, "centre": "F"})
    with pytest.raises(DataError, match="none of the hospitals A, B, C, D"):
        TaskPatches(Cohort("F", (Case("F", "F", lambda: stranger),)), SIDE)


def hermes():
    return hub.build("hermes", size="nano", tasks=sum(map(len, ASKED.values())), modalities=1)


def batch(bodies):
    data = TaskPatches(bodies, SIDE)
    with seeded(0):
        return default_collate([data[0], data[1]])


@pytest.mark.parametrize(("make", "objective"), [(dodnet, dodnet_objective), (hermes, hermes_objective)])
@torch.no_grad()
def test_nothing_is_learned_from_channels_that_a_task_lacks(bodies, make, objective):
    torch.manual_seed(0)
    model, given = make(), batch(bodies)
    before = objective(model, given)
    given["target"][0, len(ASKED["B"]):] = 1  # B has 5 channels; nobody asks what lies in the others
    assert torch.equal(objective(model, given), before)
    given["target"][0, 0] = 1
    assert not torch.equal(objective(model, given), before)


def test_each_hospital_has_tokens_of_its_own():
    numbers = [token for name in HOSPITALS for token in TOKENS[name]]
    assert numbers == list(range(len(numbers))) and all(len(TOKENS[name]) == len(ASKED[name]) for name in HOSPITALS)
    model, given = hermes(), {"image": torch.rand(1, 1, SIDE, SIDE, SIDE), "task": torch.tensor([1]),
                              "target": torch.ones(1, MOST, SIDE, SIDE, SIDE), "w": torch.ones(1, MOST)}
    hermes_objective(model, given).backward()
    tables = [weight.grad for name, weight in model.named_parameters() if name.endswith("task_prior")]
    used = set(torch.cat(tables, 1).abs().sum(1).nonzero().flatten().tolist()) & set(numbers)
    assert used == set(TOKENS["B"])


def test_uniseg_objective_is_the_mean_of_each_sample_alone(bodies):
    torch.manual_seed(0)
    model, given = uniseg().train(), batch(bodies)
    both = uniseg_objective(model, given)
    alone = [uniseg_objective(model, {k: v[n:n + 1] for k, v in given.items()}) for n in range(2)]
    assert torch.allclose(both, torch.stack(alone).mean(), atol=1e-5)
    both.backward()
    heads = model.seg_outputs[-1].weight.grad.flatten(1).abs().sum(1)
    assert (heads > 0).all()  # C asks for all channels


def test_uniseg_weights_of_scales_fall_by_half_and_sum_to_one(bodies, monkeypatch):
    seen = []
    monkeypatch.setattr(published, "uniseg", lambda logits, labels, classes, weights: seen.append((classes, weights)) or
                        logits[0].sum())
    uniseg_objective(uniseg().train(), batch(bodies))
    assert [classes for classes, _ in seen] == [1 + len(ASKED["B"]), 1 + len(ASKED["C"])]
    weights = seen[0][1]
    assert sum(weights) == pytest.approx(1) and all(a == pytest.approx(2 * b) for a, b in zip(weights, weights[1:]))


def test_asks_prefers_the_named_hospitals_and_finds_another_where_they_do_not_draw():
    assert asks()["liver"] == "A" and asks(["D"])["liver"] == "D"
    assert asks(["D"])["stomach"] == "A" and set(asks(["B"])) == set(STRUCTURES)
    with pytest.raises(ModelError, match="'Z'"):
        asks(["Z"])


@pytest.mark.parametrize("make", [dodnet, uniseg, hermes])
@torch.no_grad()
def test_prompted_gives_each_structure_from_its_own_prompt(make):
    torch.manual_seed(0)
    model, x = make().eval(), torch.rand(1, 1, SIDE, SIDE, SIDE)
    asked = asks(["D"])
    logits = Prompted(model, asked)(x)
    assert logits.shape == (1, len(STRUCTURES), SIDE, SIDE, SIDE)
    for structure in ("liver", "stomach", "vertebrae"):
        name = asked[structure]
        k = ASKED[name].index(structure)
        if make is hermes:  # in another order
            tokens = {s: TOKENS[n][ASKED[n].index(s)] for s, n in reversed(asked.items())}
            wanted = model(x, list(tokens.values()))[0, list(tokens).index(structure)]
        else:
            answer = model(x, HOSPITALS.index(name))[0]
            wanted = answer[k] if make is dodnet else answer[:1 + len(ASKED[name])].softmax(0)[1 + k].logit()
        assert torch.allclose(logits[0, STRUCTURES.index(structure)], wanted, atol=1e-4)


def test_a_prompt_cannot_ask_for_what_its_hospital_does_not_draw():
    with pytest.raises(ModelError, match="'B' does not annotate 'aorta'"):
        Prompted(dodnet(), {"aorta": "B"})


# ---- the seven methods on one protocol

def test_novel_structures_are_none_that_a_supervised_method_is_asked_for():
    assert not set(nano.NOVEL) & set(STRUCTURES)
    assert all(covers(cohorts_annotated("F"), name) for name in nano.NOVEL)


def cohorts_annotated(name):
    from fmlab.phantom.centres import CENTRES

    return CENTRES[name].annotated


@pytest.mark.parametrize("name", sorted(nano.METHODS))
def test_a_step_of_every_method_moves_every_part_it_hands_on(name, bodies, tmp_path):
    model, log = nano.trained(name, 0, tmp_path, steps=2, precision="float32", cohort=bodies, progress=False)
    with seeded(0):
        fresh = hub.build(name, **nano.METHODS[name].config)
    assert len(log) == 2 and not model.training
    moved = [not torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved)


def test_an_unknown_method_is_refused(tmp_path):
    with pytest.raises(ModelError, match="'moco'.*clip_driven"):
        nano.trained("moco", 0, tmp_path)
