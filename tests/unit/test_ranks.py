"""Ranks of lesson 18: the runs are kept and read as they were, compared in pairs, and what the lesson says of them is so."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from fmlab import hub
from fmlab.adaptation import arena, attach, fewshot
from fmlab.adaptation.adapting import adapt
from fmlab.adaptation.results import Result
from fmlab.backbones.caching import weights_hash
from fmlab.errors import LessonError
from fmlab.lessons import ranks
from fmlab.lessons.ranks import ARENA, LORA_12, LORA_24, NONE, RANDOM, Arm

PEOPLE = "abcde"


def arm(name: str, dice: list[float], organ: str = "colon", seed: int = 0, **others) -> Arm:
    task = {"structures": [organ], "seed": seed}
    return Arm(name, "h", Result(task, dict(zip(PEOPLE, dice)), 10, 1.0, 2, "none"), **{"ranks": 8, "left": 8, "effective": 2.0,
                                                                                     **others})


@pytest.fixture
def few():
    return [arm(LORA_24, [0.5, 0.6, 0.7, 0.6, 0.5]), arm(LORA_12, [0.4, 0.5, 0.6, 0.5, 0.4]),
            arm(ARENA, [0.51, 0.62, 0.69, 0.61, 0.5], left=5, start=(0.1, -0.5), end=(0.0, -0.4)),
            arm(LORA_24, [0.8, 0.8, 0.8, 0.8, 0.8], "aorta"), arm(LORA_12, [0.8, 0.9, 0.8, 0.9, 0.8], "aorta"),
            arm(ARENA, [0.8, 0.8, 0.8, 0.8, 0.9], "aorta", left=7)]


def test_runs_are_read_as_they_were_kept(few, tmp_path):
    for each in few:
        ranks.record(each, tmp_path / "new" / "runs.jsonl")
    assert ranks.recorded(tmp_path / "new" / "runs.jsonl") == few


@pytest.mark.parametrize("text", [None, "{", '{"name": "x"}\n'])
def test_a_file_that_is_none_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "runs.jsonl").write_text(text)
    with pytest.raises(LessonError, match="record_ranks"):
        ranks.recorded(tmp_path / "runs.jsonl")


def test_a_missing_arm_is_named_with_those_there_are(few):
    with pytest.raises(LessonError, match="SoRA.*LoRA, R = 24, LoRA, R = 12, ARENA"):
        ranks.named(few, "SoRA")
    with pytest.raises(LessonError, match="on the liver"):
        ranks.named(few, ARENA, "liver")


def test_differences_are_of_the_same_people_organs_and_seeds(few):
    found = ranks.difference(few, LORA_12, LORA_24)
    assert found.mean == pytest.approx((-0.1 + 0.04) / 2) and found.low < found.mean < found.high
    alone = ranks.difference([*few, arm(LORA_24, [0.0] * 5, seed=1)], LORA_12, LORA_24)  # a seed that the other has not
    assert alone == found


def test_table_has_a_row_an_arm_and_no_difference_to_itself(few):
    lines = ranks.table(few, LORA_24).splitlines()
    assert len(lines) == 4 and "less LoRA, R = 24" in lines[0]
    row = next(line for line in lines if line.startswith(ARENA))
    assert "6 of 8" in row and "[" in row.split("6 of 8")[1]
    assert next(line for line in lines[1:] if line.startswith(LORA_24)).count("[") == 1


def test_best_ranks_are_shares_of_the_redraws_in_each_draw(few):
    found = ranks.best_ranks([*few, arm(LORA_24, [0.1] * 5, seed=1), arm(LORA_12, [0.2] * 5, seed=1)])
    assert list(found) == ["colon, draw 1", "aorta, draw 1", "colon, draw 2"]
    assert found["colon, draw 1"] == {LORA_24: (pytest.approx(0.58), 1.0), LORA_12: (pytest.approx(0.48), 0.0)}
    assert found["colon, draw 2"][LORA_12] == (pytest.approx(0.2), 1.0)
    assert sum(share for _, share in found["aorta, draw 1"].values()) == pytest.approx(1)
    assert 0.85 < found["aorta, draw 1"][LORA_12][1] < 0.97  # 1 - (3/5)^5 of the redraws have one of the two better people


def test_agreement_by_chance_is_that_of_dice():
    first = np.random.default_rng(0).integers(4, size=(20000, 3))
    assert ranks.agree_by_chance(4, 3) == pytest.approx((first == first[:, :1]).all(1).mean(), abs=0.01)
    assert ranks.agree_by_chance(4, 1) == 1


def test_alike_counts_gates_that_both_closed():
    assert ranks.alike([0, 0, 1, 2], [0, 3, 0, 2]) == (1, 1.0)
    assert ranks.alike(torch.zeros(4), [0.0] * 4) == (4, 4.0)


def test_seen_is_power_and_false_alarm():
    assert ranks.seen(1.57, 5, 5) < 0.35  # the lesson's "about a quarter"
    assert ranks.seen(1.57, 5, 400, experiments=200) > 0.95
    alarm = ranks.seen(0, 5, 5)
    assert 0.05 < alarm < 0.13 and ranks.seen(0, 50, 5) == alarm  # no gain has no scale
    assert ranks.seen(0, 5, 200, experiments=1000) == pytest.approx(0.025, abs=0.015)


def test_deviations_are_of_paired_differences_in_points(few):
    found = ranks.deviations(few)
    assert found["colon"] == pytest.approx(100 * np.std([0.01, 0.02, -0.01, 0.01, 0.0], ddof=1))


def test_fates_say_in_words_what_became_of_the_gates():
    fig, alt = ranks.fates({"one": ((0.1, -0.5, 0.2), (0.0, -0.4, 0.1), 0.15), "two": ((0.9,), (0.0,), 0.15)})
    assert len(fig.axes) == 2
    assert "one: 1 of 3 closed, 1 of them among the 1 that began below 0.15" in alt
    assert "two: 1 of 1 closed, 0 of them among the 0" in alt


# ---- the real thing, with two steps

@pytest.fixture(scope="module")
def tiny():
    return replace(ranks.protocol("colon", steps=2), pool=1, shots=(1,), cubes=2)


@pytest.fixture(scope="module")
def ran(tiny):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fewshot, "scored", lambda model, setting, cohort: {"a": 0.5, "b": float(ranks.ranks_of(model)[1])})
        patch.setitem(ranks.ARMS, "lambda = 0", ("arena", {"step": "none", "rank": 2}))
        patch.setitem(ranks.ARMS, ARENA, ("arena", {"lam": 20.0, "rank": 2}))  # so that two steps close some
        return list(ranks.run(tiny, 0, [NONE, LORA_12, ARENA, "lambda = 0"]))


def test_a_run_has_every_arm_and_random_closing_leaves_as_many_as_arena(ran):
    zero, lora, closed, free, random = ran
    assert [each.name for each in ran] == [NONE, LORA_12, ARENA, "lambda = 0", RANDOM]
    assert (zero.result.count, zero.result.step, zero.ranks, zero.effective) == (0, 0, 0, 0.0)
    assert lora.ranks == lora.left == 12 * 6 and not lora.start
    assert 0 < closed.left < closed.ranks == free.left == 6 * 6
    assert random.left == closed.left == random.result.dice["b"] and random.end != closed.end
    assert random.start == free.start == closed.start  # one seed, one draw
    assert random.result.dice["b"] < free.result.dice["b"]  # tested after closing
    assert {each.organ for each in ran} == {"colon"} and len({each.base for each in ran}) == 1


def test_what_can_be_taken_off_is_what_the_training_took(tiny):
    adapter = attach(fewshot.base(), "arena", tiny.structures, rank=1)
    own, rates = adapter.model.after_step, []
    adapter.model.after_step = lambda lr: (rates.append(lr), own(lr))
    adapt(adapter, ranks.support_of(tiny, 0), tiny.budget)
    assert len(rates) == 2 and ranks.taken_off(tiny) == pytest.approx(arena.LAMBDA * sum(rates))


def test_a_hundred_steps_have_the_budget_of_five_published_shots():
    from fmlab.lessons import gates

    assert ranks.taken_off(ranks.protocol("colon")) == pytest.approx(gates.available(5, 1e-3), rel=0.1)


def test_slopes_are_gradients_on_the_gates_cube_by_cube(tiny):
    adapter, shots = attach(fewshot.base(), "arena", tiny.structures, rank=1), ranks.support_of(tiny, 0)
    assert not ranks.slopes(adapter.model, shots, every=1).any()  # B = 0
    for layer in arena.gated(adapter.model):
        torch.nn.init.normal_(layer.B, std=0.1)
    found = ranks.slopes(adapter.model, shots, every=1)
    assert found.shape == (2, 3 * 6) and found.any(1).all()
    assert ranks.slopes(adapter.model, shots, every=2).shape == (1, 3 * 6)


def test_adaloras_ranks_are_its_singular_values():
    model = attach(hub.build("fseft"), "adalora", ["liver"], rank=3, target=2).model
    assert ranks.ranks_of(model) == (18, 0)  # E begins as 0


# ---- what ships

@pytest.fixture(scope="module")
def shipped():
    return ranks.recorded()


def test_the_runs_that_ship_are_of_the_weights_that_ship(shipped):
    """After new weights: delete the file and run python -m data_scripts.record_ranks."""
    assert {each.base for each in shipped} == {weights_hash(fewshot.base().backbone)}


def test_every_organ_that_ships_has_every_arm(shipped):
    groups = {(each.organ, each.draw) for each in shipped}
    assert {organ for organ, draw in groups if draw == 0} == {*ranks.ORGANS}
    for organ, draw in groups:
        names = [each.name for each in shipped if (each.organ, each.draw) == (organ, draw)]
        assert sorted(names) == sorted({*ranks.ARMS, RANDOM} - ({*ranks.ONCE} if draw else set()))
    for each in shipped:
        assert each.result.step == (0 if each.name == NONE and each.organ not in ranks.NEW else ranks.STEPS)
        assert len(each.result.dice) == 5


def test_what_the_lesson_says_of_the_runs_that_ship(shipped):
    """Sections 5 and 6, in words; where this fails the text has to be written anew."""
    found = {name: ranks.named(shipped, name) for name in dict.fromkeys(each.name for each in shipped)}
    dice = {name: np.mean([list(each.result.dice.values()) for each in own]) for name, own in found.items()
            if name not in (NONE, *ranks.ONCE)}
    assert max(dice.values()) - min(dice.values()) < 0.01
    assert np.mean([each.effective for each in found[LORA_24]]) < 8  # far below 24
    for each in found[ARENA]:
        size, shut = np.abs(each.start), np.array(each.end) == 0
        near = size <= ranks.taken_off(ranks.protocol(each.organ))
        assert (shut & near).sum() > 0.8 * shut.sum()  # nearly all crosses lie left of the line
        assert (near & ~shut).any()  # and not all that lie there are crosses
    ends = {(each.organ, each.draw): each.end for each in found[ARENA]}
    for one, other in combinations(ends, 2):
        both, luck = ranks.alike(ends[one], ends[other])
        assert both > 2 * luck if one[1] == other[1] else both < luck + 3, (one, other)  # the draw is what they have in common
    for control in ("lambda = 0", RANDOM, "gates frozen as drawn"):
        apart = ranks.difference(shipped, ARENA, control)
        assert apart.low < 0 < apart.high and apart.high - apart.low < 0.01
    first, second = (ranks.best_ranks(shipped)[f"gluteus_maximus_right, draw {n}"] for n in (1, 2))
    assert first[LORA_24][1] < 0.1 and second[LORA_24][1] > 0.9  # another draw, another answer
