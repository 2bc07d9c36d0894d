"""The in-context weights that ship: small, with all that makes them again; they use their support; the README quotes their
cards."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from fmlab import hub
from fmlab.incontext import nano
from fmlab.incontext.evaluate import dices, lying
from fmlab.incontext.examples import examples_of

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "fmlab" / "hub" / "weights"
MODELS = ("universeg", "tyche", "iris")


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_small_and_say_how_they_were_made(name):
    path = WEIGHTS / f"{name}-nano.safetensors"
    assert path.stat().st_size < 3e6
    with safe_open(path, framework="pt") as file:
        said = json.loads(file.metadata()["fmlab"])
    assert said["name"] == name
    assert re.fullmatch(rf"python -m data_scripts.train_course_weights {name} --steps \d+ --seed \d+", said["notes"]["command"])
    assert {"data", "hardware", "precision", "seconds"} <= said["notes"].keys()
    assert all(held_out in said["notes"]["data"] for held_out in nano.HELD_OUT)


@pytest.mark.parametrize("name", MODELS)
def test_card_tells_the_same_as_the_file(name):
    card = (WEIGHTS / f"{name}-nano.md").read_text(encoding="utf-8")
    with safe_open(WEIGHTS / f"{name}-nano.safetensors", framework="pt") as file:
        notes = json.loads(file.metadata()["fmlab"])["notes"]
    for key, value in notes.items():
        assert f"- {key}: {value}" in card
    assert "Not for diagnosis".lower() in card.lower() and "licence" in card


def first_number(card: str, words: str) -> float:
    """The number after some words of a card."""
    return float(re.search(re.escape(words) + r"[^:]*: (\d\.\d+)", card)[1])


def numbers(name: str, heading: str) -> dict[str, dict[str, float]]:
    """Row -> column -> mean, of the table under a heading of a card; gaps are left out."""
    text = (WEIGHTS / f"{name}-nano.md").read_text(encoding="utf-8").split(f"# {heading}\n")[1].split("\n#")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: {column: float(cell.split()[0]) for column, cell in zip(rows[0][1:], row[1:]) if cell != "-"}
            for row in rows[2:]}


GRID = [f"S={s}, M={m}" for s in (1, 2, 4, 8, 16) for m in (1, 4)]
GROUPS = {"A-D", "E", "F", "real CT, examples of bodies", "real CT, its own slices", "lung X-rays, one example"}


def test_universeg_gains_from_every_doubling_of_its_support():
    row = numbers("universeg", "Dice by size of support and ensemble")["A-D"]
    single = [row[f"S={s}, M=1"] for s in (1, 2, 4, 8, 16)]
    assert single == sorted(single) and single[-1] >= 0.70


def test_tyches_card_has_the_same_grid_for_its_best_candidate_and_for_one_answer():
    best = numbers("tyche", "The best of four candidates")
    mean = numbers("tyche", "The mean of their probabilities, as one answer")
    assert GROUPS <= best.keys() == mean.keys()
    for group, row in best.items():
        assert [*row] == [*mean[group]] == ["tasks", *GRID], group
    assert best["A-D"]["S=16, M=1"] > best["A-D"]["S=1, M=1"] + 0.05  # it too uses its support
    assert all(best[group]["S=16, M=1"] >= mean[group]["S=16, M=1"] for group in ("A-D", "E", "F"))


def test_iris_card_has_every_number_of_references_and_what_tuning_brings():
    found = numbers("iris", "Dice in 3-D by number of references")
    assert found.keys() == {"A-D", "E", "F", "real CT"}
    assert all({f"S={s}" for s in (1, 2, 4, 8, 16)} <= row.keys() for row in found.values())
    assert all(found[group]["S=1, tuned"] > found[group]["S=1"] + 0.1 for group in ("A-D", "E"))


@pytest.fixture(scope="module")
def tasks():
    """Two structures that were never a task: examples and queries of people that the training never saw."""
    people = list(nano.bodies({"A": 8}, first_seed=6100, workers=1))
    others = list(nano.bodies({"A": 3}, first_seed=7100, workers=1))
    return {name: (examples_of(people, name), examples_of(others, name)) for name in ("kidney_left", "gluteus_maximus_right")}


def test_universeg_follows_its_support_and_is_led_astray_by_one_that_lies(tasks):
    model = hub.load("universeg", "nano")
    (kidney, its_queries), (muscle, _) = tasks["kidney_left"], tasks["gluteus_maximus_right"]
    right = dices(model, kidney, its_queries, 8).mean()
    wrong = dices(model, lying(kidney, muscle), its_queries, 8).mean()
    assert right > 0.5
    assert right - wrong > 0.3


def test_tyche_gives_candidates_that_differ_and_agree_with_the_task(tasks):
    model = hub.load("tyche", "nano")
    support, queries = tasks["gluteus_maximus_right"]
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        logits = model(queries.images[:1], support.images[None], support.masks[None], 6, generator=generator)
    found = (logits[0] > 0).float()
    truth = queries.masks[0, 0]
    best = max(float(2 * (mask * truth).sum() / (mask.sum() + truth.sum())) for mask in found)
    assert best > 0.5
    assert len({mask.sum().item() for mask in found}) > 1


def test_readme_quotes_the_cards():
    readme, card = ((path).read_text(encoding="utf-8") for path in (ROOT / "README.md", WEIGHTS / "universeg-nano.md"))
    quoted = re.search(r"never a task: Dice (\d\.\d+) with sixteen examples", readme)
    assert quoted and float(quoted[1]) == pytest.approx(first_number(card, "never a task, hospitals A to D, S=16"), abs=0.005)
    iris = (WEIGHTS / "iris-nano.md").read_text(encoding="utf-8")
    said = re.search(r"(0\.\d+) in 3-D on new people\s+for tasks of its training, (0\.\d+) for .*, and (0\.\d+) for", readme)
    for number, words in zip(said.groups(), (r"new people, S=16", r"hospitals A to D, S=16", r"T tuned on that one")):
        assert float(number) == pytest.approx(float(re.search(rf"{words}: (0\.\d+)", iris)[1]), abs=0.0051)
