"""Seven pre-trainings side by side: what is handed on to a new task, the record, its table and its figure."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data_scripts import compare_pretrainings, pretraining_cards
from fmlab import hub
from fmlab.errors import LessonError, ModelError
from fmlab.lessons.experiments import pretrainings
from fmlab.lessons.experiments.pretrainings import NAMES, NEW_TASK, PLACES, SHORT, Compared
from fmlab.pretraining import nano


def line(method: str, seed: int, zero_shot: float, novel: float) -> Compared:
    places = dict.fromkeys(PLACES, zero_shot) if zero_shot else {}
    return Compared(method, seed, 800, places, {"phantom-F-1": novel, "phantom-F-2": novel}, "none")


@pytest.mark.parametrize("method", NEW_TASK)
def test_a_prompt_driven_network_is_handed_on_but_for_its_prompt(method):
    theirs = hub.build(method, **nano.METHODS[method].config)
    model = pretrainings.begun(method, 0, theirs, (), ())
    state, given = model.network.state_dict(), theirs.state_dict()
    if method == "uniseg":  # its first up-sampling had the task's map as one channel more
        given["tu.0.weight"] = given["tu.0.weight"][:-1]
    new = {key for key, value in state.items() if key not in given or not torch.equal(given[key], value)}
    assert all(key.startswith(("controller.", "seg_outputs.")) or "task_prior" in key for key in new)
    with torch.no_grad():
        logits = model(torch.rand(1, 1, nano.SIDE, nano.SIDE, nano.SIDE))
    assert logits.shape == (1, len(nano.NOVEL), *(nano.SIDE,) * 3) and model.structures == nano.NOVEL


def test_weights_of_another_size_are_refused():
    with pytest.raises(ModelError, match="Only .* of dodnet match"):
        pretrainings.begun("dodnet", 0, hub.build("hermes", **nano.METHODS["hermes"].config), (), ())


def test_the_record_is_read_as_it_was_kept(tmp_path):
    path = tmp_path / "kept.jsonl"
    for each in (line("mae", 1, 0, 0.5), line("clip_driven", 0, 0.7, 0.6), line("mae", 0, 0, 0.3)):
        pretrainings.record(each, path)
    found = pretrainings.recorded(path)
    assert [(each.method, each.seed) for each in found] == [("clip_driven", 0), ("mae", 0), ("mae", 1)]
    with pytest.raises(LessonError, match="compare_pretrainings"):
        pretrainings.recorded(tmp_path / "none.jsonl")
    path.write_text('{"method": "mae"}\n')
    with pytest.raises(LessonError, match="cannot be read"):
        pretrainings.recorded(path)


def test_what_ships_has_three_seeds_of_each():
    found = pretrainings.recorded()
    assert [(each.method, each.seed) for each in found] == [(name, seed) for name in NAMES for seed in range(3)]
    for each in found:
        assert set(each.zero_shot) == (set(PLACES) if each.method in (*nano.SUPERVISED, SHORT) else set())
        assert each.steps == {"scratch": 0, "uniseg": 2000}.get(each.method, nano.STEPS)
        values = [*each.zero_shot.values(), *each.novel.values()]
        assert all(0 <= dice <= 1 for dice in values) and set(each.novel) == set(found[0].novel) and len(each.novel) == 6


@pytest.mark.parametrize("method", [name for name in NAMES if name not in (SHORT, "scratch")])
def test_the_card_has_what_ships(method):
    card = (Path(hub.__file__).parent / "weights" / f"{method}-nano.md").read_text()
    assert "\n".join(pretraining_cards.seeds_section(method)) in card


def test_table_and_figure_say_mean_and_range_over_seeds():
    found = [line("clip_driven", 0, 0.7, 0.6), line("clip_driven", 1, 0.5, 0.8), line("mae", 0, 0, 0.3),
             line("scratch", 0, 0, 0.1)]
    head, first, second, third = pretrainings.table(found).splitlines()
    assert "real CT" in head and "0.60 [0.50, 0.70]" in first and "0.70 [0.60, 0.80]" in first
    assert second.split()[1:5] == ["-"] * 4 and "0.30" in second
    figure, told = pretrainings.compared(found)
    left, right = figure.axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["clip_driven", "mae", "scratch"]
    assert "clip_driven, unseen hospitals, as it is: 0.60" in told and "mae, unseen hospitals" not in told
    assert "mae, new structures, fine-tuned: 0.30" in told


def test_only_what_is_missing_is_made(tmp_path, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(compare_pretrainings, "one", lambda name, seed: made.append((name, seed)) or line(name, seed, 0, 0.5))
    path = tmp_path / "kept.jsonl"
    for _ in range(2):
        compare_pretrainings.main(["mae", SHORT, "--seeds", "0", "1", "--file", str(path)])
    assert made == [("mae", 0), (SHORT, 0), ("mae", 1), (SHORT, 1)] and "new structures 0.500" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        compare_pretrainings.main(["dino"])


def test_every_name_can_be_made():
    assert {name for name in NAMES if name not in (SHORT, "scratch")} == {*nano.METHODS} - {"fseft"}
    assert {*NAMES} - {SHORT} == {*pretrainings.U_NETS, *NEW_TASK}
