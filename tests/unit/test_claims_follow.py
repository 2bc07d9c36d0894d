"""The ledger that ships follows from its numbers: verdicts from runs, effects from stored details, and the cheap ones anew.

Verdict, effect and interval are computed here a second time, by other code and other draws than ``claims.verdicts``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm, t

from fmlab import hub
from fmlab.interactive import nano
from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.scenes import body_scenes
from fmlab.lessons import claims, frequency
from fmlab.lessons.claims import page
from fmlab.lessons.experiments import c02, c09, c11, c12, c13, c14, c15, c17, c18, c19, c20, zipf

RAN = [claim.id for claim in claims.declared() if (claims.SHIPPED / f"{claim.id}.jsonl").is_file()]


# ---- a second way from runs to a verdict


def lines(claim: str) -> list[dict]:
    return [json.loads(line) for line in (claims.SHIPPED / f"{claim}.jsonl").read_text().splitlines() if line]


def table(claim: str) -> np.ndarray:
    """(seeds, cases), straight from the JSON; NaN where a seed did not meet a case."""
    found: dict[tuple, dict[str, list[float]]] = {}
    for row in lines(claim):
        cases: dict[str, list[float]] = {}
        for key, value in row["values"].items():
            cases.setdefault(key.split("/")[0], []).append(value)
        seed = found.setdefault((row["profile"], row["seed"]), {})
        for case, values in cases.items():
            seed.setdefault(case, []).append(sum(values) / len(values))
    names = sorted({case for seed in found.values() for case in seed})
    return np.array([[np.mean(seed[case]) if case in seed else np.nan for case in names] for seed in found.values()])


def draws(effects: np.ndarray, resamples: int = 4000) -> np.ndarray:
    """Means of rows and columns drawn again as numbers, one fewer of each than there are."""
    rng, (rows, columns) = np.random.default_rng(12345), effects.shape
    chosen = rng.integers(rows, size=(resamples, max(rows - 1, 1), 1)), rng.integers(columns, size=(resamples, 1, columns - 1))
    some = effects[chosen]
    met = np.isfinite(some)
    totals, counts = np.where(met, some, 0).sum(2), met.sum(2)
    means = np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)
    return np.nanmean(means[(counts > 0).any(1)], axis=1)


def stretch(effects: np.ndarray) -> float:
    """Student's t over the normal, with Satterthwaite's degrees of freedom of rows and columns."""
    sides = [np.array([np.nanmean(line) for line in lines]) for lines in (effects, effects.T)]
    parts = [(side.var(ddof=1) / side.size, side.size - 1) for side in sides if side.size > 1]
    below = sum(part * part / free for part, free in parts)
    return t.ppf(0.975, sum(part for part, _ in parts) ** 2 / below) / norm.ppf(0.975) if below else 1.0


@pytest.mark.parametrize("claim", RAN)
def test_effect_and_interval_follow_from_the_stored_runs(claim):
    effects, shown = table(claim), claims.verdict(claim)
    mean = np.mean([np.nanmean(row) for row in effects])
    assert shown.effect.mean == pytest.approx(mean, abs=1e-9) and (len(shown.seeds), shown.effect.patients) == effects.shape
    low, high = (mean + (end - mean) / stretch(effects) for end in (shown.effect.low, shown.effect.high))
    found, hair = draws(effects), 1e-9 + 1e-6 * (high - low)
    for end, share in ((low, 0.025), (high, 0.975)):  # means of few cases take few values, so a quantile may be a jump
        assert np.mean(found < end - hair) <= share + 0.01 and np.mean(found <= end + hair) >= share - 0.01


@pytest.mark.parametrize("claim", RAN)
def test_the_verdict_that_is_shown_follows_from_the_interval_that_is_shown(claim):
    text = re.search(rf"^{claim} .*$", claims.overview(), re.M).group()
    numbers = re.search(r"(holds|does not hold|undecided) +(-?[\d.]+) \[(-?[\d.]+), (-?[\d.]+)\]$", text)
    outcome, mean, low, high = numbers[1], *map(float, numbers.groups()[1:])
    effect, least = claims.verdict(claim).effect, claims.find(claim).least
    expected = "holds" if effect.low > least else "does not hold" if effect.high <= least else "undecided"
    assert outcome == ("does not hold" if "does not hold" in text else expected) == expected
    assert (mean, low, high) == pytest.approx((effect.mean, effect.low, effect.high), abs=6e-4)
    row = re.search(rf'<section id="{claim}".*?</section>', page.html(), re.S).group()
    assert f"<strong>{expected}</strong>" in row and str(effect) in row


# ---- stored effects and stored details tell one story


def _all(means: dict) -> dict:
    """Means as the results of one person, for experiments whose effects are sums."""
    return {name: {int(k): {"all": v} for k, v in value.items()} if isinstance(value, dict) else {"all": value}
            for name, value in means.items()}


def _weighted(details: dict, groups: list[str], way: str) -> float:
    """Mean over the objects of C02's groups: trained on bodies less trained on textures."""
    means = [details["mean"][group] for group in groups]
    objects = [details["objects"][group] for group in groups]
    return np.average([mean["bodies"][way] - mean["textures"][way] for mean in means], weights=objects)


EXACT: dict[str, Callable[[dict], float]] = {
    "C07": lambda d: np.mean([math.log10(q["UniverSeg"]["seconds"] / q["Iris"]["seconds"]) for q in d["queries"].values()]),
    "C11": lambda d: c11.effects(_all(d["mean"]))["all"],
    "C12": lambda d: c12.effects(_all(d["mean"]))["all"],
    "C13": lambda d: c13.effects(_all(d["mean"]))["all"],
    "C14": lambda d: np.mean(list(c14.effects({int(k): counts for k, counts in d["counts"].items()}).values())),
    "C17": lambda d: c17.effects({arm: {task: {"all": v} for task, v in dice.items()} for arm, dice in d["mean"].items()})["all"],
    "C18": lambda d: c18.within(np.array(d["counts"]), np.array(d["accuracy"])),
    "C19": lambda d: c19.effects({"all": d["mean"]})["all"],
    "C20": lambda d: np.mean([c20.needed(np.array(s["after"]), s["without prompts"]) * s["clicks a round"] / s["structures"]
                              for s in d["scans"].values()]),
}
"""Claim -> the mean effect from the details, where the effect is linear in what is stored, or all of it is."""
ROUNDED = {"C18": 0.05}  # points per decade: accuracies are stored to a tenth of a percent

AT_MOST: dict[str, Callable[[dict], float]] = {
    "C01": lambda d: np.mean([min(d["accuracy"]["specialist"][s][w] - d["accuracy"]["generalist"][s][w]
                                  for w in ("knowledge", "linear probe")) for s in d["accuracy"]["specialist"]]),
    "C05": lambda d: d["mean"]["masked"] - max(d["mean"]["unmasked"], d["mean"]["softmax"]) + 0.005,  # a mean of cases
    "C06": lambda d: min(d["differences"].values()),
    "C08": lambda d: min(d["differences"].values()),
    "C10": lambda d: min(d["differences"].values()),
    "C15": lambda d: c15.effects(_all(d["mean"]))["all"],
    "C16": lambda d: np.mean([max(task.values()) for task in d["mean"].values()]) - min(
        np.mean([task[rank] for task in d["mean"].values()]) for rank in next(iter(d["mean"].values()))),
}
"""Claim -> what the mean effect cannot exceed: a mean of the smaller of two is no larger than the smaller of two means."""

NEAR: dict[str, tuple[Callable[[dict], float], float]] = {
    "C02": (lambda d: min(_weighted(d, [g for g in d["mean"] if "pointed" in g], way) for way in c02.WAYS), 0.02),
    "C03": (lambda d: d["mean"]["3-D"][-1] - max(d["mean"][way][-1] for way in d["mean"] if "click" in way), 0.02),
    "C04": (lambda d: max(d["mean"]["one_hot"], d["mean"]["random"]) - d["mean"]["sentence"], 0.01),
    "C09": (lambda d: d["mean"]["tight"] - d["mean"]["relaxed by up to 20"], 0.01),
}
"""Claim -> the effect from means over objects, and how far the mean over persons may be from it."""


@pytest.mark.parametrize("claim", RAN)
def test_stored_effects_are_those_of_the_stored_details(claim):
    for run in claims.runs(claim):
        if claim in EXACT:
            assert run.mean == pytest.approx(EXACT[claim](run.details), abs=ROUNDED.get(claim, 1e-6))
        elif claim in AT_MOST:
            assert run.mean <= AT_MOST[claim](run.details) + 1e-6
        else:
            expected, near = NEAR[claim]
            assert run.mean == pytest.approx(expected(run.details), abs=near)


def test_the_effect_of_a_run_that_was_tampered_with_does_not_fit_its_details():
    run = claims.runs("C14")[0]
    assert run.mean != pytest.approx(EXACT["C14"](run.details | {"counts": {
        k: counts | {"lora": 2 * counts["lora"]} for k, counts in run.details["counts"].items()}}), abs=1e-3)


# ---- the cheap ones anew


def test_c14_counts_again_what_is_stored(monkeypatch):
    build = hub.build
    monkeypatch.setattr(hub, "build", lambda *what, **how: build(*what, **how).to("meta"))  # numbers are counted, not copied
    stored = claims.runs("C14")[-1]
    again = c14.run()
    assert again.values == pytest.approx(stored.values, abs=1e-9) and again.details["counts"] == stored.details["counts"]
    assert claims.judge(claims.find("C14"), [again]).outcome == claims.verdict("C14").outcome


@pytest.fixture(scope="module")
def person():
    """The first of the people of the claims about SAM, whom no training saw."""
    return list(nano.bodies({"A": 1}, nano.FINE, c02.UNSEEN))


def test_c09_is_what_the_weights_that_ship_give_for_one_person(person):
    run, scenes = claims.runs("C09")[0], body_scenes(person, c09.STRUCTURES)
    compared = {way: c09.BOXES[way] for way in ("tight", f"relaxed by up to {c09.RELAXED}")}
    rows = c09.dices(SamPredictor(hub.load("sam", "nano")), scenes, compared, run.seed)
    assert np.mean([c09.effect(row) for row in rows]) == pytest.approx(run.values[scenes[0].person], abs=2e-3)


def test_c02_is_what_the_weights_that_ship_give_for_one_person(person):
    run, scenes = claims.runs("C02")[0], body_scenes(person, c02.Setting().structures)
    found = c02.effect(c02.of_scenes(c02.models(), scenes, run.seed))
    assert found == pytest.approx(run.values[scenes[0].person], abs=5e-3)


def test_c18_one_turn_of_the_lot_gives_the_accuracies_that_are_stored():
    run = claims.runs("C18")[0]
    setting = c18.Setting()
    assert run.details["counts"] == zipf.frequencies(setting, run.seed).tolist()
    again = c18.accuracies(run.seed, "zipf", setting, workers=1, turns=1)[0].mean(0)
    stored = np.array(run.details["accuracy"][0])
    assert np.abs(again - stored).mean() < 2 and again.mean() == pytest.approx(stored.mean(), abs=1)


def test_c18_keeps_the_law_of_the_published_counts(shared_data):
    laws = frequency.laws(frequency.published_rows(shared_data / "concept_frequency" / "concept_frequency_zero_shot.csv"))
    for run in claims.runs("C18"):
        assert {name: one.stored() for name, one in laws.items()} == run.details["published"]
