"""C19: what its effect means, and that it runs from end to end at a tiny size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data_scripts import run_claims
from fmlab import hub
from fmlab.interactive import nano
from fmlab.interactive.crowd import CROWD, EXPERT
from fmlab.interactive.sam import Sam
from fmlab.lessons import claims
from fmlab.lessons.experiments import c19
from fmlab.vocabulary import ID
from fmlab.volume import Volume


def made_up(expert, crowd, interpolated=0.0):
    """Scores of one person, in which every way has coverage and slice Dice of 1."""
    ways = {EXPERT.name: expert, "merged": crowd, "merged, interpolated": interpolated}
    ways |= {who.name: crowd for who in CROWD} | {f"{who.name}, interpolated": interpolated for who in CROWD}
    return {way: [1.0, 1.0, dice] for way, dice in (ways | {f"missed {share}": crowd for share in c19.MISSED}).items()}


def test_nine_tenths_of_the_experts_dice_is_where_it_turns():
    effects = c19.effects({"good": made_up(0.8, 0.76), "even": made_up(0.8, 0.72), "poor": made_up(0.8, 0.5)})
    assert effects == {"good": pytest.approx(0.04), "even": pytest.approx(0), "poor": pytest.approx(-0.22)}


def test_the_crowd_counts_as_its_members_mean():
    scores = made_up(1.0, 0.9)
    scores[CROWD[0].name] = [1.0, 1.0, 0.3]
    assert c19.effects({"one": scores})["one"] == pytest.approx(-0.2)


def test_the_summary_has_each_remedy_apart():
    told = c19.summary(made_up(1.0, 0.5, interpolated=0.95))
    assert [told[what] for what in ("as they come", "merged", "missed 0.2")] == pytest.approx([-0.4] * 3)
    assert [told[what] for what in ("interpolated", "merged, interpolated")] == pytest.approx([0.05] * 2)


def test_runs_from_end_to_end(tmp_path, monkeypatch):
    labels = torch.zeros(1, 24, 20, 14, dtype=torch.uint8)
    labels[:, 12:20, 6:16, 2:12], labels[:, 3:8, 5:10, 4:9] = ID["liver"], ID["spleen"]
    names = frozenset({"liver", "spleen"})
    bodies = [Volume(40.0 * (labels > 0), np.diag([4.0, 4.0, 4.0, 1.0]), labels=labels, annotated=names, modality="CT", name=name)
              for name in "ab"]
    monkeypatch.setattr(nano, "bodies", lambda *given, **named: bodies)
    torch.manual_seed(0)
    small = Sam(size=32, patch=8, channels=32, depth=1, heads=2, everywhere=(0,), window=3, prompt_channels=32, decoder_heads=2,
                mlp=32, hidden=32)
    monkeypatch.setattr(hub, "load", lambda name, label: small)
    run = c19.run(2, c19.Setting(structures=("liver", "spleen")), command="a test")
    assert run.claim == "C19" and set(run.values) == {"a", "b"}
    assert run.details["mean"][EXPERT.name][0] <= 1
    assert set(run.details["effect"]) >= {"as they come", "interpolated", "missed 0.5"}
    claims.record(run, tmp_path)


def test_it_can_be_run_by_its_name():
    assert run_claims.EXPERIMENTS["C19"] == "fmlab.lessons.experiments.c19"
