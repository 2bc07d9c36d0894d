"""The few-shot protocol: who is drawn, what is trained on what, which weights a rule keeps, and results that can be trusted."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_phantoms import boxed

from fmlab import hub
from fmlab.adaptation import attach, fewshot
from fmlab.adaptation.adapting import Budget, adapt, marks
from fmlab.adaptation.black_box import Features, Head
from fmlab.adaptation.fewshot import Protocol, run, tasks
from fmlab.adaptation.results import Result, append, curves, estimate, of, read, table
from fmlab.adaptation.sampling import official_support, support
from fmlab.adaptation.selection import RULES, HeldOutCase, LastStep, LeaveOneOut, Oracle, Plateau, Trial
from fmlab.adaptation.shots import Shots
from fmlab.adaptation.size_prior import MARGIN, penalty, size_target
from fmlab.adaptation.stopping import stop_epoch
from fmlab.cohorts import Case, Cohort
from fmlab.errors import DataError, ModelError, TrainingError

NAMES = ("liver", "gluteus_maximus_left")


@pytest.fixture(scope="module")
def base():
    return hub.build("fseft").eval()


@pytest.fixture
def tiny(base, monkeypatch):
    """A protocol of seconds: untrained weights, people made of boxes, one step."""
    monkeypatch.setattr(fewshot, "base", lambda label: deepcopy(base))
    monkeypatch.setattr(fewshot, "people", lambda protocol: (boxed(NAMES, 4), boxed(NAMES, 2, first_seed=50)))
    return Protocol(NAMES, shots=(1, 2), seeds=(0,), cubes=2, budget=Budget(steps=2, marks=2))


# ---- who is drawn

def test_a_draw_of_k_begins_that_of_more_and_follows_the_seed():
    people = [f"p{n}" for n in range(8)]
    assert support(people, 3, 1) == support(people, 5, 1)[:3] and support(people, 8, 1) != support(people, 8, 2)


def test_all_scans_of_a_drawn_patient_are_in_the_support():
    drawn = support(["a", "b", "a", "c"], 2, 0)
    assert {0, 2} <= set(drawn) or not {0, 2} & set(drawn)


@pytest.mark.parametrize("call", [lambda: support(["a"], 2, 0), lambda: support(["a"], 0, 0), lambda: official_support(3, 3, 1),
                                  lambda: official_support(29, 30, 1), lambda: official_support(9, 1, 0)])
def test_more_shots_than_patients_are_refused(call):
    with pytest.raises(DataError, match="ask for"):
        call()


# ---- cubes and features

def test_shots_are_the_same_cubes_every_time_but_for_the_shift():
    shots = Shots(boxed(NAMES, 2), NAMES, cubes=3)
    again = Shots(boxed(NAMES, 2), NAMES, cubes=3, shift=False)
    assert len(shots) == 6 and all(torch.equal(again[n]["image"], again.items[n]["image"]) for n in range(6))
    moved = [shots[0]["image"] - shots.items[0]["image"] for _ in range(60)]
    amounts = [float(each.mean()) for each in moved if each.abs().max() > 0]
    assert 0 < len(amounts) < 40 and max(map(abs, amounts)) <= 0.1 and all(float(each.std()) < 1e-6 for each in moved)


def test_an_empty_support_is_refused():
    with pytest.raises(DataError, match="no support set"):
        Shots(Cohort("nobody", ()), NAMES)


def test_theta_f_runs_once_a_cube_also_beyond_the_memory(base, fresh_cache):
    shots = Shots(boxed(NAMES, 1), NAMES, cubes=3, shift=False)
    one = base.channels * 32 ** 3 * 2 if hasattr(base, "channels") else base.backbone.channels * 32 ** 3 * 2
    for limit in (2**30, one):  # all in memory; one in memory and two on disk
        features = Features(base, shots, limit)
        first = [features[n]["image"] for n in range(3)]
        second = [features[n]["image"] for n in range(3)]
        assert features.runs == 3 and features.bytes <= 3 * one and all(map(torch.equal, first, second))
        z = base.backbone.features(shots.items[1]["image"][None])[0]
        assert (first[1].float() - z).abs().max() < 1e-2 * z.abs().max()
    assert Head(base)(first[0][None]).shape == (1, 16, 32, 32, 32)


def test_a_black_box_trains_the_head_and_nothing_else(base):
    model = deepcopy(base)
    adapter = attach(model, "spatial_adapter", NAMES)
    before = deepcopy(model.backbone.state_dict())
    trained = adapt(adapter, Shots(boxed(NAMES, 1), NAMES, cubes=2), Budget(steps=4, marks=2))
    assert len(trained.losses) == 4 and list(trained.kept) == [2, 4] and not hasattr(model, "after_step")
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())
    first, last = (trained.back_to(step).head[0].W2.detach().clone() for step in (2, 4))
    assert not torch.equal(first, last) and float(last.abs().max()) > 0


def test_a_gated_adaptation_makes_its_own_steps_and_has_its_gates_at_each_mark(base):
    adapter = attach(deepcopy(base), "arena", NAMES, lam=30.0)
    adapt(adapter, Shots(boxed(NAMES, 1), NAMES, cubes=2), Budget(steps=3))
    gates = torch.cat([module.v for module in adapter.model.modules() if hasattr(module, "v")])
    assert (gates == 0).any() and callable(adapter.model.after_step)


def test_an_unknown_loss_is_refused(base):
    adapter = attach(deepcopy(base), "linear_probe", NAMES)
    with pytest.raises(TrainingError, match="choose dice or bce_dice"):
        adapt(adapter, Shots(boxed(NAMES, 1), NAMES, cubes=1), Budget(steps=1, loss="focal"))


@pytest.mark.parametrize("steps, count, expected", [(120, 4, (30, 60, 90, 120)), (2, 4, (1, 2)), (5, 1, (5,))])
def test_marks_end_with_the_last_step(steps, count, expected):
    assert marks(steps, count) == expected


# ---- selection rules

def trial(scores: dict[str, list[float]], losses=(), shots: int = 2) -> Trial:
    """A trial of three marks; scores: cohort's name -> Dice at each mark."""
    cases = tuple(Case(f"c{n}", f"c{n}", lambda: None) for n in range(shots))
    at = (40, 80, 120)
    return Trial(list(losses) or [1.0] * 120, at, Cohort("support", cases), Cohort("aside", cases[:1]), Cohort("test", cases),
                 lambda step, cohort: scores[cohort.name][at.index(step)],
                 lambda others: trial({case.name: scores[f"without {case.name}"] for case in cases}, losses, len(others)))


def test_rules_look_at_what_they_may_look_at():
    scores = {"aside": [0.5, 0.9, 0.7], "test": [0.9, 0.1, 0.2], "without c0": [0.1, 0.2, 0.9], "without c1": [0.8, 0.3, 0.4]}
    found = {rule.name: rule.choose(trial(scores)) for rule in (LastStep(), HeldOutCase(), LeaveOneOut(), Oracle())}
    assert list(found.values()) == [120, 80, 120, 40]


def test_a_plateau_is_counted_in_epochs_of_the_support():
    flat = [1.0] * 120  # with one scan an epoch is a step: it stops at 31; with five, at 155
    assert Plateau().choose(trial({}, flat, shots=1)) == 40
    assert Plateau().choose(trial({}, flat, shots=5)) == 120
    falling = [math.exp(-step / 20) for step in range(120)]
    assert Plateau(relative=True).choose(trial({}, falling, shots=1)) == 120  # it still falls by more than 1 %
    assert Plateau().choose(trial({}, [0.02 * value for value in falling], shots=1)) < 120  # by less than 0.001


def test_rules_without_what_they_need_say_so():
    alone = trial({}, shots=1)
    with pytest.raises(TrainingError, match="two shots"):
        LeaveOneOut().choose(alone)
    with pytest.raises(TrainingError, match="set aside"):
        HeldOutCase().choose(Trial(alone.losses, alone.marks, alone.support, None, alone.test, alone.score, alone.again))
    assert len({rule.name for rule in RULES}) == len(RULES) and [r.name for r in RULES if r.needs_case] == ["held-out case"]


def test_a_short_training_never_stops():
    assert stop_epoch([1.0] * 30) == 30 and stop_epoch([1.0] * 31) == 31 and stop_epoch([1.0] * 99) == 31


# ---- runs

def test_a_run_does_every_task_once_and_goes_on_where_it_was(tiny, tmp_path, monkeypatch):
    methods = ("linear_probe", ("lora", {"rank": 1}))
    said = []
    results = run(tiny, methods, tmp_path, tell=said.append)
    assert len(results) == len(tasks(tiny, methods)) == len(said) == 4
    assert all(set(result.dice) == {"boxed-F-50", "boxed-F-51"} for result in results)
    lines = (tmp_path / "results-0.jsonl").read_bytes().split(b"\n")
    (tmp_path / "results-0.jsonl").write_bytes(b"\n".join(lines[:3]) + b"\n" + lines[3][:40])  # killed while it wrote the last
    run(tiny, methods, tmp_path, tell=said.append)
    assert len(said) == 5
    monkeypatch.setattr(fewshot, "one", None)
    assert len(run(tiny, methods, tmp_path, tell=said.append)) == 4


def test_other_settings_are_other_tasks(tiny, tmp_path):
    one = run(tiny, ("linear_probe",), tmp_path, tell=lambda line: None)
    other = run(replace(tiny, budget=Budget(steps=3)), ("linear_probe",), tmp_path, tell=lambda line: None)
    assert len(read(tmp_path)) == 4 and one[0].task["budget"] != other[0].task["budget"]


def test_scans_of_ones_own_can_be_adapted_to_and_are_other_tasks(tiny, tmp_path):
    mine = boxed(NAMES, 3, "E"), boxed(NAMES, 2, "E", 70)
    results = run(tiny, ("linear_probe",), tmp_path, mine, tell=lambda line: None)
    assert set(results[0].dice) == {"boxed-E-70", "boxed-E-71"} and results[0].task["pool"] == list(mine[0].names)
    assert len(run(tiny, ("linear_probe",), tmp_path, tell=lambda line: None)) == 2 and len(read(tmp_path)) == 4
    with pytest.raises(DataError, match="one side"):
        run(tiny, ("linear_probe",), tmp_path, (mine[0], mine[0]))


def test_torchrun_shares_the_tasks_out(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, count in (("1", 1), ("0", 2)):
        monkeypatch.setenv("RANK", rank)
        assert len(run(tiny, ("linear_probe",), tmp_path, tell=lambda line: None)) == count
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results-0.jsonl", "results-1.jsonl"]


def test_a_rule_with_a_held_out_case_takes_one_more_person(tiny, tmp_path):
    result, = run(replace(tiny, shots=(1,), rule=HeldOutCase()), ("linear_probe",), tmp_path, tell=lambda line: None)
    assert result.step in (1, 2) and result.task["rule"] == "held-out case"


# ---- results

def result(method: str, dice: dict[str, float], shots: int = 1, seed: int = 0) -> Result:
    return Result({"method": method, "shots": shots, "seed": seed, "options": {}, "decoder": False}, dice, 26, 1.0, 1, "here")


def test_seeds_do_not_count_as_patients():
    few = [result("lora", {"a": 0.2 + 0.1 * seed, "b": 0.6}, seed=seed) for seed in range(3)]
    found = estimate(few)
    assert found.patients == 2 and found.mean == pytest.approx(0.45) and (found.low, found.high) == pytest.approx((0.3, 0.6))


def test_a_figure_without_an_interval_is_not_shown():
    with pytest.raises(TrainingError, match="no interval"):
        table([result("lora", {"a": 0.5})])


def test_differences_are_paired_by_case():
    rows = [result("lora", {"a": 0.5, "b": 0.9}), result("full", {"a": 0.4, "b": 0.8})]
    found = estimate(of(rows, method="lora"), of(rows, method="full"))
    assert (found.low, found.mean, found.high) == pytest.approx((0.1, 0.1, 0.1))
    assert "0.10 [0.10, 0.10]" in table(rows, against="full")
    with pytest.raises(TrainingError, match="the same"):
        estimate(rows[:1], [result("full", {"a": 0.4, "c": 0.8})])


def test_a_table_and_curves_have_a_line_a_method():
    rows = [result(method, {"a": 0.5, "b": 0.6}, shots=k) for method in ("lora", "full") for k in (1, 5)]
    lines = table(rows).splitlines()
    assert lines[0].split()[:5] == ["method", "1", "shot", "5", "shots"] and len(lines) == 3
    axes, = curves(rows).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["lora", "full"]


def test_a_broken_line_amid_the_results_is_named(tmp_path):
    append(result("lora", {"a": 0.5}), tmp_path / "r.jsonl")
    (tmp_path / "r.jsonl").write_text("{oops\n" + (tmp_path / "r.jsonl").read_text())
    with pytest.raises(TrainingError, match="delete that line"):
        read(tmp_path)
    assert json.loads((tmp_path / "r.jsonl").read_text().splitlines()[1])["dice"] == {"a": 0.5}


# ---- the size prior

def test_the_penalty_is_zero_within_the_margin_and_pushes_towards_the_expected_size():
    for expected, sign in ((0.9, -1), (0.1, 1)):
        share = torch.tensor(0.5, requires_grad=True)
        value = penalty(share, expected)
        value.backward()
        assert float(value.detach()) == pytest.approx(0.4 / max(0.5, expected) - MARGIN) and math.copysign(1, share.grad) == sign
    share = torch.tensor(0.5, requires_grad=True)
    penalty(share, 0.55).backward()
    assert float(share.grad) == 0


def test_an_outlier_is_left_out_only_of_five_sizes_and_more():
    assert size_target([10, 10, 10, 10, 100]) == pytest.approx(10) and size_target([10, 10, 10, 100]) == pytest.approx(32.5)
    assert size_target([7.0] * 6) == 7.0
    with pytest.raises(DataError, match="at least one"):
        size_target([])


def test_features_out_of_range_are_refused(base):
    shots = Shots(boxed(NAMES, 1), NAMES, cubes=1, shift=False)
    broken = deepcopy(base)
    with torch.no_grad():
        broken.backbone.decoder1.conv_block.conv1.conv.weight.fill_(np.nan)
    with pytest.raises(ModelError, match="float16"):
        Features(broken, shots)[0]
