"""The experiments behind the claims: what their figures mean, and that they run from end to end at a tiny size."""

from __future__ import annotations

import math
from importlib import import_module

import pytest
import torch

from data_scripts import run_claims
from fmlab import hub
from fmlab.incontext import nano
from fmlab.lessons import claims
from fmlab.lessons.experiments import c05, c06, c07

TINY = c05.Setting(steps=2, bodies=1, held_out=1, spacing=12.0, side=16)


def made_up(masked, unmasked, softmax):
    """Results in which every structure of one case has the same Dice."""
    return {loss: {"body": dict.fromkeys(c05.STRUCTURES, dice)}
            for loss, dice in (("masked", masked), ("unmasked", unmasked), ("softmax", softmax))}


@pytest.mark.parametrize(("dices", "effect"), [((0.8, 0.5, 0.3), 0.3), ((0.8, 0.3, 0.5), 0.3), ((0.4, 0.5, 0.1), -0.1)])
def test_effect_is_masked_less_the_better_of_the_others(dices, effect):
    assert c05.effects(made_up(*dices))["body"] == pytest.approx(effect)


def test_the_better_of_the_others_is_taken_for_each_structure():
    results = made_up(0.8, 0.0, 0.0)
    results["unmasked"]["body"]["liver"] = 0.8
    results["softmax"]["body"]["spleen"] = 0.8
    assert c05.effects(results)["body"] == pytest.approx(0.8 * (len(c05.STRUCTURES) - 2) / len(c05.STRUCTURES))


def test_by_share_sorts_structures_by_how_many_hospitals_draw_them():
    results = made_up(0.5, 0.5, 0.5)
    for name in ("liver", "spleen"):  # the two that three hospitals draw
        results["softmax"]["body"][name] = 0.9
    shares = c05.by_share(results)
    assert list(shares) == ["1", "2", "3"]
    assert shares["3"] == {"masked": 0.5, "unmasked": 0.5, "softmax": 0.9}
    assert shares["1"]["softmax"] == 0.5


def test_mean_of_nothing_is_not_a_number():
    assert math.isnan(c05.mean({"body": {"liver": 0.5}}, ["spleen"]))


def test_runs_from_end_to_end_and_can_be_recorded(fresh_cache, tmp_path):
    run = c05.run(7, TINY, progress=False, workers=1, command="a test")
    assert run.claim == "C05" and run.seed == 7 and len(run.values) == 4
    assert set(run.details["mean"]) == {"masked", "unmasked", "softmax"}
    claims.record(run, tmp_path)
    assert (tmp_path / "C05.jsonl").read_text().count("\n") == 1


def test_all_losses_start_from_the_same_weights_and_see_the_same_patches(fresh_cache, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(c05, "train", lambda model, loss, data, config, folder, progress: seen.append(
        ([p.detach().clone() for p in model.parameters()], config, id(data))))
    data = object()
    for loss in ("masked", "unmasked", "softmax"):
        c05.trained(loss, 3, TINY, data, tmp_path, progress=False)
    weights, configs, patches = zip(*seen)
    assert all(a.equal(b) for other in weights[1:] for a, b in zip(weights[0], other, strict=True))
    assert len(set(configs)) == len(set(patches)) == 1

# ---- C06: UniverSeg on tasks that it never met

TASKS = ("gluteus_maximus_left", "kidney_right", "gluteus_medius_right")
LITTLE = c06.Setting(supports=1, queries=1, shots=2, ensemble=2, steps=2, structures=TASKS)


@pytest.fixture(scope="module")
def small_bodies(tmp_path_factory):
    """Bodies of large voxels, made in this process once for all tests; models with random weights."""
    bodies, settings = nano.bodies, {"universeg": {"encoder_blocks": [4, 4]}, "iris": {}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FMLAB_DATA", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(nano, "SPACING", 12.0)
        patch.setattr(nano, "bodies", lambda counts, first_seed: bodies(counts, first_seed, workers=1))
        patch.setattr(hub, "load", lambda name, label: hub.build(name, **settings[name]))
        yield


def row(lie, one, many, net):
    """Ways of asking -> the Dice of one query."""
    dices = {"a lying support": lie, "S=1": one, "many, ensembled": many, "task net": net}
    return {way: torch.tensor([dice], dtype=torch.float64) for way, dice in dices.items()}


def test_c06_is_as_good_as_the_smallest_of_its_three_differences():
    found = {"a": (("body",), row(0.1, 0.5, 0.8, 0.9)), "b": (("body",), row(0.3, 0.5, 0.6, 0.5))}
    effects, means = c06.differences(found)
    assert means == pytest.approx([0.3, 0.2, 0.0])
    assert effects == {"body": pytest.approx(0.0)}


def test_c06_leaves_out_what_a_query_does_not_show():
    found = {"a": (("body",), row(0.1, 0.5, 0.8, 0.9)), "b": (("body",), row(math.nan, math.nan, math.nan, math.nan))}
    assert c06.differences(found)[1] == pytest.approx([0.4, 0.3, 0.1])


def test_c06_runs_from_end_to_end(small_bodies, tmp_path):
    run = c06.run(3, LITTLE, command="a test")
    assert run.claim == "C06" and run.seed == 3 and run.values
    assert set(run.details["differences"]) == set(c06.DIFFERENCES)
    assert set(run.details["mean"]) == {"a lying support", "S=1", "many, ensembled", "task net"}
    claims.record(run, tmp_path)


# ---- C07: what a query costs

def test_c07_counts_decades_of_time():
    assert c07.effect({"UniverSeg": {"seconds": 5.0}, "Iris": {"seconds": 0.05}}) == pytest.approx(2)
    assert c07.effect({"UniverSeg": {"seconds": 1.0}, "Iris": {"seconds": 10.0}}) == pytest.approx(-1)


def test_c07_runs_from_end_to_end(small_bodies, tmp_path):
    run = c07.run(1, c07.Setting(supports=1, queries=1, shots=2, repeats=1, structures=TASKS[:2]), command="a test")
    assert run.claim == "C07" and run.seed == 1 and len(run.values) == 2 and run.details["encoding"] > 0
    for name, effect in run.by_case().items():
        asked = run.details["queries"][name]
        assert effect == pytest.approx(c07.effect(asked))
        assert all(0 <= each["dice"] <= 1 and each["seconds"] > 0 and each["flops"] > 0 for each in asked.values())
    claims.record(run, tmp_path)


def test_the_cost_of_iris_does_not_grow_with_its_references(small_bodies):
    flops = []
    for shots in (1, 2):
        run = c07.run(0, c07.Setting(supports=1, queries=1, shots=shots, repeats=1, structures=TASKS[:1]))
        flops.append([row["flops"] for asked in run.details["queries"].values() for row in (asked["UniverSeg"], asked["Iris"])])
    (universeg_1, iris_1, *_), (universeg_2, iris_2, *_) = flops
    assert iris_1 == iris_2
    assert universeg_1 < universeg_2


# ---- the script that records

@pytest.mark.parametrize("claim", sorted(run_claims.EXPERIMENTS))
def test_every_experiment_can_be_run_by_the_script(claim, monkeypatch, tmp_path):
    experiment, given = import_module(run_claims.EXPERIMENTS[claim]), {}

    def run(seed, setting=None, folder=None, command=""):
        given.update(setting=setting, folder=folder)
        return claims.Run.now(claim, seed, {"a case": 0.5}, command=command)

    if claim != "C05":
        whole = run
        run = lambda seed, setting=None, command="": whole(seed, setting, command=command)  # noqa: E731
    monkeypatch.setattr(experiment, "run", run)
    assert run_claims.main([claim, "--seeds", "4", "5", "--ledger", str(tmp_path)]) == 0
    lines = (tmp_path / f"{claim}.jsonl").read_text().splitlines()
    assert [f"--seeds {seed}" in line for seed, line in zip((4, 5), lines)] == [True, True]
    assert (given["folder"] is not None) == (given["setting"] is not None) == (claim == "C05")
