"""The promptable weights that ship: small, with all that makes them again; they listen to clicks; README quotes the cards."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from fmlab import hub
from fmlab.interactive import nano
from fmlab.interactive.boxes import tight_box
from fmlab.interactive.clicking import AskSam, AskVolume, box_dice, dice_after
from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.scenes import body_scenes

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "fmlab" / "hub" / "weights"
FILES = {"sam": "sam-nano", "sam_textures": "sam-textures", "sam_med3d": "sam_med3d-nano"}  # recipe -> file
STRUCTURES = ("liver", "spleen", "stomach", "heart", "urinary_bladder")


@pytest.fixture(scope="module")
def person():
    """Whom no training saw, on the finer grid."""
    return next(iter(nano.bodies({"A": 1}, nano.FINE, 7000)))


def notes(file: str) -> dict:
    with safe_open(WEIGHTS / f"{file}.safetensors", framework="pt") as stored:
        return json.loads(stored.metadata()["fmlab"])["notes"]


@pytest.mark.parametrize("recipe", FILES)
def test_weights_are_small_and_say_how_they_were_made(recipe):
    said = notes(FILES[recipe])
    assert (WEIGHTS / f"{FILES[recipe]}.safetensors").stat().st_size < 6e6
    assert re.fullmatch(rf"python -m data_scripts.train_course_weights {recipe} --steps \d+ --seed \d+", said["command"])
    assert said["seconds"] < 75 * 60
    if recipe == "sam_textures":
        assert "no body" in said["data"]
    else:
        assert all(name in said["data"] for name in nano.HELD_OUT)


@pytest.mark.parametrize("file", FILES.values())
def test_card_tells_the_same_as_the_file(file):
    card = (WEIGHTS / f"{file}.md").read_text(encoding="utf-8")
    assert all(f"- {key}: {value}" in card for key, value in notes(file).items())
    assert "not for diagnosis" in card.lower() and "licence" in card


def test_sam_listens_to_clicks_and_boxes(person):
    predictor, after, boxes = SamPredictor(hub.load("sam", "nano").requires_grad_(False)), [], []
    for scene in body_scenes([person], STRUCTURES):
        predictor.set_image(scene.image)
        after.append(dice_after(AskSam(predictor), scene.mask, 5))
        boxes.append(box_dice(predictor, scene.mask, tight_box(scene.mask)))
    one, five = np.mean(after, axis=0)[[0, 4]]
    assert one > 0.6 and five > one + 0.05 and np.mean(boxes) > 0.65


def test_sam_med3d_finds_a_structure_of_a_whole_scan_from_one_click(person):
    ask = AskVolume(nano.clickable(hub.load("sam_med3d", "nano").requires_grad_(False), person))
    dices = {name: dice_after(ask, person.mask(name).numpy(), 1)[0] for name in STRUCTURES}
    assert np.mean(list(dices.values())) > 0.45, dices


def row(file: str, group: str) -> list[float]:
    """Dice after 1, 3, 5 and 10 clicks in the middle of the largest error, and by a box in 2-D, of a group of the card."""
    card = (WEIGHTS / f"{file}.md").read_text(encoding="utf-8").split("## Clicks anywhere")[0]
    line = next(line for line in card.splitlines() if line.startswith(f"| {group} |"))
    return [float(cell.split()[0]) for cell in line.strip("| ").split("|")[2:]]


def test_readme_quotes_the_cards():
    said = (ROOT / "README.md").read_text(encoding="utf-8").split("<!-- sam: ")[1].split("<!-- sam: end")[0]
    flat, solid = ({group: row(file, group) for group in ("seen, ABCD", "never pointed at, ABCD", "real CT")}
                   for file in ("sam-nano", "sam_med3d-nano"))
    quoted = [float(number) for number in re.findall(r"\b0\.\d\d\b", said)]
    assert quoted == [flat["seen, ABCD"][i] for i in (0, 2, 4)] + [flat["never pointed at, ABCD"][2], flat["real CT"][2]] + [
        solid["seen, ABCD"][0], solid["seen, ABCD"][2], solid["never pointed at, ABCD"][2], solid["real CT"][2]]
