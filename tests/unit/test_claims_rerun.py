"""``fmlab claims --rerun``: what it costs is said before, runs go into the own ledger, and both verdicts stand side by side."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from fmlab import cli
from fmlab.errors import ClaimError
from fmlab.lessons import claims
from fmlab.lessons.claims import ledger, rerun

DATE = "2026-11-24T10:{:02d}:00+00:00"


@pytest.fixture(autouse=True)
def shipped(tmp_path, monkeypatch, fresh_cache):
    """A shipped ledger of the test's own, which holds three seeds of C05, and an empty cache."""
    monkeypatch.setattr(ledger, "SHIPPED", tmp_path / "shipped")
    for seed in range(3):
        claims.record(stored(seed), tmp_path / "shipped")
    return tmp_path / "shipped" / "C05.jsonl"


def stored(seed: int = 0, minute: int | None = None, **changed: object) -> claims.Run:
    date = DATE.format(4 * seed if minute is None else minute)
    given = {"claim": "C05", "seed": seed, "profile": "laptop", "hardware": "a CPU, 2 threads", "version": "0.1.0", "date": date,
             "commit": "abc", "values": {"a": 0.10, "b": 0.12, "c": 0.11}}
    return claims.Run(**(given | changed))


@pytest.fixture
def runs(monkeypatch):
    """An experiment that takes no time and contradicts the shipped runs; a seed in ``broken`` is interrupted once."""
    done = SimpleNamespace(seeds=[], given=[], broken=set())

    def run(seed, setting=None, folder=None, command=""):
        if seed in done.broken:
            done.broken.remove(seed)
            raise KeyboardInterrupt
        done.seeds.append(seed)
        done.given.append((setting, folder))
        return claims.Run.now("C05", seed, {"a": -0.10, "b": -0.12, "c": -0.11}, command=command)

    module = SimpleNamespace(run=run, Setting=lambda precision: precision, PRECISION="float32", FOLDER="shared")
    monkeypatch.setattr(rerun, "import_module", lambda name: module)
    return done


def told(*arguments, **options) -> tuple[str, list[str]]:
    lines: list[str] = []
    return rerun.rerun(*arguments, tell=lines.append, **options), lines


def test_runs_go_into_the_own_ledger_and_the_shipped_one_is_left_alone(runs, shipped, fresh_cache):
    before = shipped.read_bytes()
    said, lines = told("c05", [0, 1])
    assert shipped.read_bytes() == before
    own = claims.runs("C05", "own")
    assert [(run.seed, run.command) for run in own] == [(seed, f"fmlab claims --rerun C05 --seeds {seed}") for seed in (0, 1)]
    assert all(run.seconds is not None and run.seconds >= 0 for run in own)
    assert runs.given[0] == ("float32", fresh_cache / "trainings" / "shared")
    assert len(lines) == 5 and str(fresh_cache / "ledger" / "C05.jsonl") in lines[-1]


def test_both_verdicts_stand_side_by_side(runs):
    said, _ = told("C05", [0, 1])
    rows = {line[:12].strip(): line[12:].split("  ") for line in said.splitlines()}
    assert re.search(r"verdict +holds +does not hold", said) and "3 seeds x 3 cases" in said and "2 seeds x 3 cases" in said
    assert re.search(r"seed 0 +0\.110 +-0\.110", said) and re.search(r"seed 1 +0\.110 +-0\.110", said) and "seed 2" not in rows
    assert "Yours: The 95% interval lies nowhere above 0." in said


def test_what_it_costs_is_told_before_anything_runs(runs):
    runs.broken.add(0)
    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        rerun.rerun("C05", [0, 1], tell=lines.append)
    price = "C05, 2 seeds: 8 min by the time between the ends of stored runs (a CPU, 2 threads)"
    assert not runs.seeds and lines[0].startswith(price)


def test_what_was_stopped_goes_on_with_the_seed_that_is_missing(runs):
    runs.broken.add(1)
    with pytest.raises(KeyboardInterrupt):
        told("C05", [0, 1])
    assert [run.seed for run in claims.runs("C05", "own")] == [0]
    _, lines = told("C05", [0, 1])
    assert runs.seeds == [0, 1] and "seed 0: in your ledger since" in lines[0] and "1 seed:" in lines[1]
    told("C05", [0, 1])
    assert runs.seeds == [0, 1]
    told("C05", [1], again=True)
    assert runs.seeds == [0, 1, 1]


def test_a_seed_of_another_profile_or_version_is_not_the_same(runs, monkeypatch):
    claims.record(stored(0, profile="ci"))
    claims.record(stored(1, version="0.0.9"))
    told("C05", [0, 1])
    assert runs.seeds == [0, 1]


def test_a_seed_that_is_asked_for_twice_runs_once(runs):
    told("C05", [2, 2])
    assert runs.seeds == [2]


def test_the_price_is_that_of_the_own_machine_if_it_is_known(shipped):
    assert rerun.price("C05", 3).startswith("C05, 3 seeds: 12 min by the time between the ends")
    claims.record(stored(3, 59, seconds=100.0), shipped.parent)
    assert rerun.price("C05", 1).startswith("C05, 1 seed: 2 min by the time that stored runs took (a CPU, 2 threads)")
    claims.record(stored(3, seconds=20.0, hardware="mine"))
    claims.record(stored(4, seconds=30.2, hardware="mine"))
    assert rerun.price("C05", 2).startswith("C05, 2 seeds: 40 s to 61 s by the time that stored runs took (mine)")


def test_ends_of_other_commits_or_machines_say_nothing_of_the_time(shipped):
    shipped.unlink()
    for seed, changed in enumerate(({"commit": "a"}, {"commit": "b"}, {"commit": "b", "hardware": "another"}, {"commit": ""})):
        claims.record(stored(seed, **changed), shipped.parent)
    assert rerun.seconds("C05") is None and "not known" in rerun.price("C05", 1)


@pytest.mark.parametrize(("took", "said"), [(0.2, "1 s"), (8, "8 s"), (89, "89 s"), (120, "2 min"), (5399, "90 min"),
                                            (9000, "2.5 h")])
def test_durations_in_words(took, said):
    assert rerun.duration(took) == said


@pytest.mark.parametrize(("words", "seeds"), [([], [0]), (["0", "1"], [0, 1]), (["0,2"], [0, 2]), (["3 4"], [3, 4])])
def test_seeds_as_they_are_typed(words, seeds):
    assert rerun.seeds_of(words) == seeds


@pytest.mark.parametrize("word", ["x", "-1", "1.5", "C05", "²"])
def test_a_word_that_is_no_seed_is_refused(word):
    with pytest.raises(ClaimError, match="is no seed"):
        rerun.seeds_of(["0", word])


def test_the_command_takes_seeds_with_spaces(runs):
    done = CliRunner().invoke(cli.app, ["claims", "--rerun", "C05", "--seeds", "0", "1"])
    assert done.exit_code == 0 and runs.seeds == [0, 1] and "your own" in done.output
    assert done.output.index("C05, 2 seeds:") < done.output.index("seed 0 ...")


@pytest.mark.parametrize("words", [["--rerun", "C99"], ["--rerun", "C05", "--seeds", "x"], ["--seeds", "1"], ["C05", "--again"]])
def test_what_cannot_be_run_is_one_sentence_and_runs_nothing(runs, words):
    assert isinstance(CliRunner().invoke(cli.app, ["claims", *words]).exception, ClaimError)
    assert not runs.seeds and not claims.runs("C05", "own")


@pytest.mark.parametrize("seed", [-1, True, 0.5])
def test_a_seed_is_a_whole_number(runs, seed):
    with pytest.raises(ClaimError, match="is no seed"):
        told("C05", [seed])


def test_every_claim_has_an_experiment_or_is_refused_by_name(monkeypatch):
    assert set(rerun.EXPERIMENTS) <= {claim.id for claim in claims.declared()} and len(rerun.EXPERIMENTS) >= 19
    monkeypatch.delitem(rerun.EXPERIMENTS, "C14")
    with pytest.raises(ClaimError, match="C14 has no experiment"):
        rerun.rerun("C14")


@pytest.mark.parametrize("seconds", [-1, True, "8", float("inf"), float("nan")])
def test_seconds_of_a_run_are_a_number_or_none(seconds):
    with pytest.raises(ClaimError, match="seconds"):
        stored(seconds=seconds)
