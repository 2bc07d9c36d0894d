"""Lesson 19: right answers pass, whatever their style; the exercises are what the package does; gaps and maps add up."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from fmlab.adaptation import regret
from fmlab.adaptation.selection import HeldOutCase, LastStep, LeaveOneOut, Oracle, Plateau, Trial
from fmlab.cohorts import Case, Cohort
from fmlab.errors import LessonError, TrainingError
from fmlab.lessons import claims, conv_peft, decision_map, selection_gap
from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise
from fmlab.lessons.quiz import questions


def gap_in_loops(dice, chosen):
    means = [sum(row) / len(row) for row in dice.tolist()]
    return max(means) - means[chosen]


def gap_person_by_person(dice, chosen):
    best = int(np.argmax(dice.mean(axis=1)))
    return np.mean(dice[best] - dice[chosen])


def loo_by_sum(dice):
    return np.argmax(dice.sum(axis=0))


def loo_in_loops(dice):
    best, found = -1.0, 0
    for mark in range(dice.shape[1]):
        mean = float(np.mean([row[mark] for row in dice]))
        if mean > best + 1e-12:
            best, found = mean, mark
    return found


def regret_in_loops(dice, known):
    lost = []
    for t, row in enumerate(dice):
        rows = [other for u, other in enumerate(dice) if u != t and known[u] == known[t]]
        rows = rows or [other for u, other in enumerate(dice) if u != t]
        lost.append(max(row) - row[int(np.argmax(np.mean(rows, axis=0)))])
    return sum(lost) / len(lost)


RIGHT = [("19-gap", gap_in_loops), ("19-gap", gap_person_by_person), ("19-loo", loo_by_sum), ("19-loo", loo_in_loops),
         ("19-regret", regret_in_loops)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


def test_quiz_has_five_questions():
    assert len(questions("19")) == 5


# --- the package's side ------------------------------------------


def trial(left_out: np.ndarray) -> Trial:
    cases = tuple(Case(f"case {n}", f"case {n}", lambda: None) for n in range(len(left_out)))
    marks = tuple(range(10, 10 * left_out.shape[1] + 1, 10))

    def score(step, cohort):
        return float(left_out[int(cohort.names[0][-1]), marks.index(step)])

    here = Trial([0.0], marks, Cohort("all", cases), None, Cohort("test", ()), score, lambda others: here)
    return here


@pytest.mark.parametrize("seed", range(5))
def test_the_exercise_is_the_packages_rule(seed):
    left_out = np.random.default_rng(seed).uniform(0.2, 0.9, (3, 6))
    assert LeaveOneOut().choose(trial(left_out)) == 10 * (1 + regret.best_left_out(left_out))


def test_what_cannot_be_chosen_is_refused():
    with pytest.raises(TrainingError, match="no mark 3"):
        regret.selection_gap(np.ones((3, 2)), 3)
    with pytest.raises(TrainingError, match="two cases"):
        regret.best_left_out(np.ones((1, 4)))
    with pytest.raises(TrainingError, match="nothing can be chosen"):
        regret.left_out_choices(np.array([[0.5, np.nan], [np.nan, 0.5]]), np.array([True, True]))


def test_a_gap_in_the_table_is_neither_chosen_nor_regretted():
    dice = np.array([[0.9, 0.8, np.nan], [0.7, 0.6, 0.65], [np.nan, 0.5, 0.6]])
    chosen = regret.left_out_choices(dice, np.array([True, True, True]))
    assert chosen.tolist() == [0, 0, 2]  # of the third's own methods, the one that was better on the second
    assert np.isnan(regret.regrets(dice, 0)[2]) and regret.regrets(dice, chosen).tolist() == pytest.approx([0, 0, 0])


def outcome(**changes) -> selection_gap.Outcome:
    test = {"a": [0.5, 0.9, 0.7, 0.6], "b": [0.4, 0.6, 0.8, 0.5]}
    made = selection_gap.Outcome("full", 0, [0.5] * 80, [20, 40, 60, 80], test, [[0.1, 0.2, 0.4, 0.3], [0.5, 0.4, 0.45, 0.3]],
                                 {"a": [0.4, 0.5, 0.6, 0.7], "b": [0.3, 0.4, 0.5, 0.6]}, "here")
    return replace(made, **changes)


def test_stored_numbers_go_through_the_packages_rules():
    one = outcome()
    assert [one.chosen(rule) for rule in (LastStep(), LeaveOneOut(), HeldOutCase(), Oracle())] == [3, 2, 0, 1]
    assert one.lost(Oracle()) == 0 and one.lost(LastStep()) == pytest.approx(0.75 - 0.55) and one.lost(LeaveOneOut()) == 0
    assert one.lost(HeldOutCase()) == pytest.approx(0.75 - 0.35)  # the weights of a training on one scan less
    flat = outcome(losses=[0.5] * 80)
    assert flat.chosen(Plateau()) == 3  # 40 epochs of two scans; epoch 31 is the first that can be the last
    text = selection_gap.table([one, outcome(seed=1)])
    assert text.count("\n") == len(selection_gap.RULES) and "your honesty" in text


def test_a_missing_or_broken_record_is_said(tmp_path):
    with pytest.raises(LessonError, match="cannot be read"):
        selection_gap.recorded(tmp_path / "none.jsonl")
    (path := tmp_path / "r.jsonl").write_text(json.dumps(asdict(outcome())) + "\n")
    assert selection_gap.recorded(path) == [outcome()]
    path.write_text("{}\n")
    with pytest.raises(LessonError):
        selection_gap.recorded(path)


def test_curves_name_the_best_step():
    _, told = selection_gap.curves([outcome()])
    assert "full, seed 0: best 0.750 at step 40, last 0.550" in told


def run_of(claim: str, details: dict, seed: int = 0) -> claims.Run:
    return claims.Run(claim, seed, "laptop", "here", "2026-11-28T00:00:00+00:00", "0", {"x": 0.0}, details=details)


@pytest.fixture
def ledger(monkeypatch):
    """Runs by claim, as the lesson reads them."""
    stored: dict[str, list[claims.Run]] = {}
    monkeypatch.setattr(claims, "runs", lambda claim, source="shipped": tuple(stored.get(claim, ())))
    return stored


def test_runs_that_share_a_task_are_one_row(ledger):
    ledger["C16"] = [run_of("C16", {"mean": {"known organs": {"1": 0.7, "4": 0.8}, "new organs": {"1": 0.5, "4": 0.6}}})]
    ledger["C17"] = [run_of("C17", {"mean": {"lora": {"known organs": 0.8, "new organs": 0.6},
                                             "arena": {"known organs": 0.9, "new organs": 0.4}}})]
    ledger["C15"] = [run_of("C15", {"mean": {"decoder": 0.7, "lora+decoder": 0.6}})]
    found = decision_map.table()
    assert found.tasks == (("known organs", 0), ("new organs", 0)) and found.known.tolist() == [True, False]
    row = dict(zip(found.methods, found.dice[1]))
    assert row["lora"] == 0.6 and row["arena"] == 0.4 and "decoder" not in row  # that one row alone has tried
    assert dict(zip(found.methods, found.dice[0]))["lora, rank 1"] == 0.7


def test_draws_of_a_task_are_one_task(ledger):
    ledger["C13"] = [run_of("C13", {"mean": {"full": 0.5 + 0.1 * seed, "lora": 0.6}}, seed) for seed in range(3)]
    found = decision_map.table().by_task()
    assert found.dice.shape == (1, 2) and found.dice[0, found.methods.index("full")] == pytest.approx(0.6)


def test_an_empty_ledger_and_old_runs_are_said(ledger):
    with pytest.raises(LessonError, match="no run"):
        decision_map.table()
    old = run_of("C15", {"mean": {"decoder": 0.7}})
    assert "mixed up" in decision_map.crosswise([old])
    both = {base: {what: {"linear_probe": value, "spatial_adapter": value, "decoder": 0.8} for what, value in (
        ("known", 0.9), ("new", 0.2))} for base in ("nano", "swapped")}
    text = decision_map.crosswise([old, run_of("C15", {"mean": {"decoder": 0.7}, "by base": both})])
    assert "-0.700" in text and "(1 draw)" in text


def test_the_map_pays_where_kinds_differ(ledger):
    ledger["C13"] = [run_of("C13", {"mean": {"linear_probe": 0.8, "decoder": 0.7}})]
    both = {base: {"known": {"linear_probe": 0.8, "decoder": 0.7}, "new": {"linear_probe": 0.1, "decoder": 0.7}}
            for base in ("nano", "swapped")}
    ledger["C15"] = [run_of("C15", {"mean": {"decoder": 0.7}, "by base": both})]
    rows = {rule: lost for rule, lost, _ in decision_map.regret_table(decision_map.table().by_task())}
    assert rows["the map: known or new?"] == pytest.approx(0) == rows["the oracle"]
    assert rows["always decoder"] == pytest.approx(0.06) and rows["always linear_probe"] == pytest.approx(0.24)
    figure, told = decision_map.drawn(decision_map.table().by_task())
    assert figure is not None and "new organs: best decoder, 0.70" in told


def test_a_random_start_breaks_the_u_net_and_a_zero_start_does_not(monkeypatch):
    """Without training: what attach does to the logits."""
    from fmlab import hub
    from fmlab.adaptation import attach

    away = {name: attach(hub.load("universal", "nano"), method, ["liver"], **options).report(16).away
            for name, (method, options) in conv_peft.VARIANTS.items() if name != "affine"}
    assert away["adapter, begins at zero"] == away["LoRA, rank 4"] == 0 < 0.5 < away["adapter, begins at random"]
