"""The pre-trained models of one protocol: file and card, what the supervised ones segment, how the others do their pretext."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors import safe_open
from torch.utils.data import default_collate

from data_scripts import pretraining_cards
from fmlab import cohorts, hub, metrics
from fmlab.hub.models import WEIGHTS
from fmlab.inference import segment
from fmlab.lessons.experiments.transfer_curves import SOURCES
from fmlab.pretraining import nano
from fmlab.pretraining.hospitals import HOSPITALS
from fmlab.pretraining.transfer import COURSE, transfer
from fmlab.training.order import seeded

SELF_SUPERVISED = [name for name in nano.METHODS if name not in nano.SUPERVISED]
UNSEEN = 8800  # no one's seed


@pytest.fixture(scope="module")
def body():
    return cohorts.phantoms(1, "F", nano.SPACING, UNSEEN, 1)[0]


@pytest.mark.parametrize("name", nano.METHODS)
def test_card_tells_the_same_as_the_file(name):
    path = WEIGHTS / f"{name}-nano.safetensors"
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    with safe_open(path, framework="pt") as file:
        said = json.loads(file.metadata()["fmlab"])
    assert path.stat().st_size < 6e6 and f"{path.stat().st_size / 1e6:.1f} MB" in card
    assert said["name"] == name and said["config"] == json.loads(json.dumps(dict(nano.METHODS[name].config)))
    for key, value in said["notes"].items():
        assert f"- {key}: {value}" in card
    assert f"--steps {nano.METHODS[name].steps}" in said["notes"]["command"] and "licence" in card
    parts = ["Dice per structure"] if name in nano.SUPERVISED else ["Pretext"]
    assert all(part in card for part in parts)


def test_the_twin_of_the_base_model_knows_what_the_other_does_not(body):
    path = WEIGHTS / "fseft-swapped.safetensors"
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert f"{path.stat().st_size / 1e6:.1f} MB" in card
    ventricle = next(line for line in card.splitlines() if line.startswith("| heart_ventricle_left"))
    assert float(ventricle.split("|")[2].split()[0]) > 0.5  # a part wins over its whole, the heart, which it knows too
    one, other = hub.load("fseft", "nano"), hub.load("fseft", "swapped")
    assert {*one.structures} - {*other.structures} == {*nano.EXCHANGED}
    assert {*other.structures} - {*one.structures} == {*nano.NOVEL} and len(one.structures) == len(other.structures)
    found = segment(other, body, spacing=nano.SPACING, side=nano.SIDE, overlap=0.25)
    assert metrics.dice(found.mask("sternum"), body.mask("sternum")) > 0.4


@pytest.mark.parametrize("name", nano.SUPERVISED)
def test_supervised_models_find_a_liver_in_a_person_of_another_hospital(name, body):
    model = pretraining_cards.asked(hub.load(name, "nano"))
    found = segment(model, body, spacing=nano.SPACING, side=nano.SIDE, overlap=0.25)
    assert metrics.dice(found.mask("liver"), body.mask("liver")) > 0.4


@pytest.mark.parametrize("name", SELF_SUPERVISED)
def test_pretexts_are_done_better_than_by_an_untrained_network(name):
    data = nano.METHODS[name].data(nano.bodies(dict.fromkeys(HOSPITALS, 1), UNSEEN, 1))
    with seeded(0):
        batch = default_collate([data[i] for i in range(4)])
        fresh = hub.build(name, **nano.METHODS[name].config).eval()
    found = []
    for model in (hub.load(name, "nano"), fresh):
        with seeded(1), torch.no_grad():
            found.append(float(nano.METHODS[name].objective(model, batch)))
    assert found[0] < 0.9 * found[1]


@pytest.mark.parametrize("arm", SOURCES)
def test_weights_are_handed_on_whole(arm):
    name, of, parts = SOURCES[arm]
    model = hub.build("universal", structures=nano.NOVEL)
    assert transfer(model, hub.load(name, "nano"), of, arm=parts, fed=COURSE).share == 1


def test_readme_quotes_the_card_of_the_base_model():
    said = (WEIGHTS.parents[2] / "README.md").read_text(encoding="utf-8").split("<!-- fseft: ")[1].split("<!-- fseft: end")[0]
    card = (WEIGHTS / "fseft-nano.md").read_text(encoding="utf-8")
    rows = {cells[0].rstrip(" *"): cells[-1] for line in card.splitlines() if line.startswith("| ")
            for cells in [[cell.strip() for cell in line.strip("|").split("|")]]}
    for figure in ("0.776", "0.767", "0.784", "4.2 MB"):
        assert figure in card and figure in said
    real = re.search(r"real CT (.*) for the liver, (.*) for\s+the aorta and (.*) for the spleen", said).groups()
    assert real == (rows["liver"], rows["aorta"], rows["spleen"])
