"""The experiments behind the claims: what their figures mean, and that they run from end to end at a tiny size."""

from __future__ import annotations

import math

import pytest

from fmlab.lessons import claims
from fmlab.lessons.experiments import c05

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
