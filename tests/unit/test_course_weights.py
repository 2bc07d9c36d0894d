"""The weights that ship: they are what their card says, and the card and the README say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from safetensors import safe_open

from data_scripts import cards, train_course_weights
from data_scripts.course_evaluation import Evaluation, real_ct
from fmlab import hub, metrics
from fmlab.hub.data import seed_cache
from fmlab.pretraining.universal import UNIVERSAL

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "fmlab" / "hub" / "weights" / "universal-nano.safetensors"


def card_rows(text: str) -> dict[str, list[str]]:
    """Structure -> cells of the card's table."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {row[0].removesuffix(" *"): row[1:] for row in rows[2:]}


@pytest.fixture(scope="module")
def card() -> str:
    return WEIGHTS.with_suffix(".md").read_text(encoding="utf-8")


def test_weights_ship_small_with_all_that_is_needed_to_make_them_again():
    assert WEIGHTS.stat().st_size < 6e6
    with safe_open(WEIGHTS, framework="pt") as file:
        said = json.loads(file.metadata()["fmlab"])
    assert said["name"] == "universal"
    assert {"command", "data", "hardware", "seconds", "loss", "precision"} <= said["notes"].keys()
    assert "--seed 0" in said["notes"]["command"] and f"--steps {train_course_weights.STEPS}" in said["notes"]["command"]


def test_card_tells_command_hardware_and_licence(card):
    for words in ("command: python -m data_scripts.train_course_weights universal", "hardware:", "licence", "Not for diagnosis"):
        assert words.lower() in card.lower()
    assert set(card_rows(card)) <= set(UNIVERSAL)
    assert card.count(" * |") == 20


def test_card_says_what_the_model_does_on_the_real_ct(card, shared_data, fresh_cache):
    seed_cache(shared_data)
    found = real_ct(hub.load("universal", "nano"))
    said = {name: cells[3] for name, cells in card_rows(card).items() if cells[3] != "-"}
    assert set(said) == set(found)
    for name, dice in found.items():
        assert float(said[name]) == pytest.approx(dice, abs=0.015), name  # threads and processors round differently


def test_readme_quotes_the_card(card):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = card_rows(card)
    quoted = re.findall(r"^\| ([a-z_]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", readme, flags=re.MULTILINE)
    assert len(quoted) >= 8
    for name, *numbers in quoted:
        assert numbers == [cell.split()[0] for cell in rows[name][:4]], name


def made_up() -> Evaluation:
    def score(name, dice):
        return metrics.Score(name, dice, dice, 1.0, 0.0, 10.0, "ok", 2.0)

    summary = metrics.summarise({f"body {i}": [score("liver", 0.8 + 0.1 * i), score("spleen", 0.5)] for i in range(2)})
    return Evaluation({"A-D": summary, "E": summary, "F": summary}, {"liver": 0.7}, ("liver",))


def test_card_rounds_nothing_up_and_leaves_gaps_where_nothing_was_measured(tmp_path):
    weights = tmp_path / "x.safetensors"
    weights.write_bytes(b"0" * 1000)
    text = cards.card(weights, {"command": "c"}, made_up())
    rows = card_rows(text)
    assert rows["liver"][0].startswith("0.85 [") and rows["liver"][3:] == ["0.70", "0.8"]
    assert rows["spleen"][3] == "-"
    assert "0.850 on unseen bodies" in text


def test_unknown_loss_and_model_are_refused(capsys):
    for arguments in (["universal", "--loss", "hinge"], ["enormous"]):
        with pytest.raises(SystemExit):
            train_course_weights.main(arguments)
    assert "invalid choice" in capsys.readouterr().err


def test_training_script_makes_weights_and_card(fresh_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(train_course_weights.course, "COUNTS", {"A": 1, "C": 1})
    monkeypatch.setattr(train_course_weights.course, "SIDE", 16)
    monkeypatch.setattr(train_course_weights.course, "SPACING", 12.0)
    monkeypatch.setattr(train_course_weights.course, "training_bodies",
                        lambda: train_course_weights.course.assembly({"A": 1, "C": 1}, 12.0, workers=1))
    monkeypatch.setattr(train_course_weights, "evaluate", lambda model: made_up())
    assert train_course_weights.main(["universal", "--steps", "2", "--output", str(tmp_path), "--precision", "float32"]) == 0
    assert hub.load("universal", tmp_path / "universal-nano.safetensors").structures == UNIVERSAL
    weights, card = tmp_path / "universal-nano.safetensors", tmp_path / "universal-nano.md"
    before, text = weights.read_bytes(), card.read_text()
    assert "--steps 2 --seed 0" in text
    card.unlink()
    assert train_course_weights.main(["universal", "--card-only", "--output", str(tmp_path)]) == 0
    assert card.read_text() == text and weights.read_bytes() == before


def test_there_is_no_card_without_weights(tmp_path, capsys):
    assert train_course_weights.main(["iris", "--card-only", "--output", str(tmp_path)]) == 1
    assert "no weights" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
