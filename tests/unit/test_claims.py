"""The claims ledger: claims as declared, runs that are never lost, verdicts that are computed, and how they are shown."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fmlab import cli
from fmlab.errors import ClaimError, FmlabError
from fmlab.lessons import claims, figure
from fmlab.lessons.claims import ledger, verdicts
from fmlab.lessons.claims.declared import read_table

ROOT = Path(__file__).resolve().parents[2]
DATE = "2026-11-24T10:00:00+00:00"


@pytest.fixture(autouse=True)
def shipped(tmp_path, monkeypatch, fresh_cache):
    """An empty shipped ledger and an empty cache of the test's own."""
    monkeypatch.setattr(ledger, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "shipped"


def run(seed: int = 0, values: dict | None = None, **changed: object) -> claims.Run:
    given = {"claim": "C05", "profile": "laptop", "hardware": "a CPU, 2 threads", "date": DATE, "version": "0.1.0"}
    return claims.Run(seed=seed, values=values or {f"body {k}": 0.1 + 0.01 * k for k in range(6)}, **(given | changed))


def spread(mean: float, seeds: int = 3, cases: int = 8, seed_sd: float = 0.0, case_sd: float = 0.02,
           start: int = 0) -> list[claims.Run]:
    """Runs whose true effect is ``mean``."""
    rng = np.random.default_rng(start)
    of_seed, of_case = rng.normal(0, seed_sd, seeds), rng.normal(0, case_sd, cases)
    noise = rng.normal(0, 0.01, (seeds, cases))
    return [run(s, {f"body {c}": mean + of_seed[s] + of_case[c] + noise[s, c] for c in range(cases)}) for s in range(seeds)]


# ---- the claims ----


def test_every_claim_is_there_exactly_once_and_says_what_would_show_it():
    found = claims.declared()
    assert [claim.id for claim in found] == [f"C{number:02d}" for number in range(1, 21)]
    assert all(claim.sentence.endswith(".") and len(claim.title) <= 45 and claim.lesson <= "19" for claim in found)
    assert len({claim.sentence for claim in found}) == len({claim.title for claim in found}) == 20
    assert claims.find("c05") is claims.find("C05") and claims.find("C05").lesson == "12"


def test_quoted_numbers_carry_a_doi_and_stand_in_our_notes():
    shared = ROOT.parent / "shared"  # absent outside of the course's workshop
    notes = "\n".join(path.read_text() for folder in ("design", "methods") for path in (shared / folder).glob("*.md"))
    quotes = [quote for claim in claims.declared() for quote in claim.quoted]
    assert quotes and all(re.fullmatch(r"10\.\d{4,9}/\S+", quote.doi) for quote in quotes)
    for number in {number for quote in quotes for number in re.findall(r"\d+\.\d+[KM]?", quote.numbers)} if notes else ():
        assert number in notes, f"{number} is quoted and nobody knows where from"


def test_the_table_has_no_place_for_a_verdict(tmp_path):
    row = 'id="C01"\ntitle="t"\nsentence="s"\nlesson="02"\neffect="e"\nunit="Dice"\n'
    (table := tmp_path / "claims.toml").write_text(f"[[claim]]\n{row}verdict='holds'\n")
    with pytest.raises(ClaimError, match=r"C01.*verdict"):
        read_table(table)


@pytest.mark.parametrize(("change", "said"), [
    ('id="C1"', "an id is like"), ('lesson="2"', "a lesson like"), ('effect=" "', "effect must be a text"),
    ("unit=3", "unit must be"), ('least="much"', "least is 'much'"), ("least=nan", "least is nan"),
    ('quoted=[{numbers="80.3", doi="MA-SAM"}]', "doi"), ('quoted=[{numbers="80.3"}]', "doi"),
    ('quoted=[{numbers="high", doi="10.1000/1"}]', "numbers"),
])
def test_a_wrong_row_of_the_table_is_named(tmp_path, change, said):
    row = {"id": '"C01"', "title": '"t"', "sentence": '"s"', "lesson": '"02"', "effect": '"e"', "unit": '"Dice"'}
    key, value = change.split("=", 1)
    (table := tmp_path / "claims.toml").write_text("[[claim]]\n" + "\n".join(f"{k}={v}" for k, v in (row | {key: value}).items()))
    with pytest.raises(ClaimError, match=said):
        read_table(table)


def test_a_table_that_is_broken_empty_or_double_is_refused(tmp_path):
    row = '[[claim]]\nid="C01"\ntitle="t"\nsentence="s"\nlesson="02"\neffect="e"\nunit="Dice"\n'
    for content, said in (("[[claim", "cannot be read"), ("", "no .*claim"), (row + row, "two claims")):
        (table := tmp_path / "claims.toml").write_text(content)
        with pytest.raises(ClaimError, match=said):
            read_table(table)


def test_an_unknown_claim_is_one_sentence():
    for ask in (claims.find, claims.verdict, claims.runs, claims.details):
        with pytest.raises(ClaimError, match="no claim 'C99'; there are C01 to C20"):
            ask("C99")


# ---- runs ----


def test_a_run_is_read_back_as_it_was_recorded(fresh_cache):
    one = run(3, {"body 7/liver": 0.25, "body 7/spleen": -0.125}, commit="abc", command="python -m x", details={"loss": [1, 2.5]})
    assert claims.record(one) == fresh_cache / "ledger" / "C05.jsonl"
    assert claims.runs("C05", "own") == (one,) and claims.runs("C05") == ()
    assert one.by_case() == {"body 7": 0.0625} and one.mean == 0.0625


def test_the_sources_are_kept_apart(shipped):
    claims.record(run(0), shipped)
    claims.record(run(1))
    assert [[one.seed for one in claims.runs("C05", source)] for source in ("shipped", "own", "all")] == [[0], [1], [0, 1]]
    with pytest.raises(ClaimError, match="no source 'mine'"):
        claims.runs("C05", "mine")


@pytest.mark.parametrize(("changed", "said"), [
    ({"values": {"a": math.nan}}, "effect nan for 'a'"), ({"values": {"a": math.inf}}, "effect inf"),
    ({"values": {"a": "0.1"}}, "effect '0.1'"), ({"values": {"a": True}}, "effect True"),
    ({"values": {"a": None}}, "effect None"), ({"values": []}, "no values"), ({"values": {}}, "no values"),
    ({"values": {3: 0.1}}, "case called 3"),
    ({"values": {"/liver": 0.1}}, "case called"), ({"seed": -1}, "seed -1"), ({"seed": 0.5}, "seed 0.5"),
    ({"seed": True}, "seed True"), ({"date": "yesterday"}, "date 'yesterday'"), ({"date": None}, "date None"),
    ({"date": "2026-11-24T10:00:00"}, "offset to UTC"), ({"profile": None}, "profile None"),
    ({"details": {"a": math.nan}}, "JSON"), ({"details": {"a": object()}}, "JSON"), ({"claim": "C21"}, "no claim 'C21'"),
])
def test_a_run_that_cannot_count_is_refused(changed, said):
    given = {"claim": "C05", "seed": 0, "values": {"a": 0.1}, "profile": "laptop", "hardware": "", "date": DATE, "version": ""}
    with pytest.raises(ClaimError, match=said):
        claims.Run(**(given | changed))


def test_now_says_where_and_when(monkeypatch):
    monkeypatch.setenv("FMLAB_PROFILE", "ci")
    one = claims.Run.now("C05", 1, {"a": np.float32(0.5)}, details={2: np.pi})
    assert one.profile == "ci" and one.version == "0.1.0" and one.values == {"a": 0.5} and one.details == {"2": math.pi}
    assert one.date.endswith("+00:00") and re.search(r"\w.*, \d+ threads?$", one.hardware)
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    assert not head or head.startswith(one.commit.removesuffix("+")) and one.commit


def test_without_git_or_a_clone_there_is_no_commit(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(ledger.subprocess, "run", missing)
    assert claims.Run.now("C05", 0, {"a": 0.1}).commit == ""


@pytest.mark.parametrize("wrong", [b"{ broken", b"[]", b"\xff\xfe", b'{"claim": "C05"}', b'{"claim": "C06", "seed": 1}', b"null",
                                   run(7).line().replace("0.1,", "NaN,", 1).encode(), run(7).line().encode()[:60]])
def test_a_corrupt_line_is_left_out_named_and_kept(fresh_cache, wrong):
    path = claims.record(run(0))
    path.write_bytes(path.read_bytes() + wrong)  # no newline after it: the run was cut short
    with pytest.warns(UserWarning, match=rf"Line 2 of {re.escape(str(path))}"):
        assert [one.seed for one in claims.runs("C05", "own")] == [0]
    claims.record(run(1))
    assert path.read_bytes().splitlines()[1] == wrong
    with pytest.warns(UserWarning, match="Line 2"):
        assert [one.seed for one in claims.runs("C05", "own")] == [0, 1]


def test_empty_lines_and_windows_line_ends_are_nothing_to_warn_of(recwarn):
    path = claims.record(run(0))
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\n\n")
    assert len(claims.runs("C05", "own")) == 1 and not recwarn.list


MANY = """
import sys, time
from pathlib import Path
from fmlab.lessons import claims
folder, first = Path(sys.argv[1]), int(sys.argv[2])
(folder / f"ready{first}").touch()
while len(list(folder.glob("ready*"))) < 2: time.sleep(0.005)
for seed in range(first, first + 40):
    claims.record(claims.Run("C05", seed, "ci", "", "2026-11-24T10:00:00+00:00", "", {"a": 0.1}), folder)
"""


def test_two_processes_lose_nothing(tmp_path):
    (folder := tmp_path / "own").mkdir()
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    workers = [subprocess.Popen([sys.executable, "-c", MANY, str(folder), str(first)], env=env) for first in (0, 100)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    seeds = [json.loads(line)["seed"] for line in (folder / "C05.jsonl").read_text().splitlines()]
    assert sorted(seeds) == [*range(40), *range(100, 140)]
    assert {path.name for path in folder.glob("*C05*")} <= {".C05.jsonl.lock", "C05.jsonl"}


def test_a_failed_write_leaves_what_was_there(monkeypatch):
    path = claims.record(run(0))
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fmlab.lessons.files.os.replace", full)
    with pytest.raises(ClaimError, match="No space left"):
        claims.record(run(1))
    assert path.read_bytes() == before


def test_a_file_that_cannot_be_read_or_written_is_one_sentence(fresh_cache):
    (fresh_cache / "ledger" / "C05.jsonl").mkdir(parents=True)  # a folder in its place fails for root too
    for ask in (lambda: claims.runs("C05", "own"), lambda: claims.record(run(0))):
        with pytest.raises(ClaimError, match="C05.jsonl"):
            ask()


# ---- verdicts ----


@pytest.mark.parametrize(("mean", "least", "expected"), [
    (0.10, 0.0, "holds"), (-0.10, 0.0, "does not hold"), (0.0, 0.0, "undecided"), (0.10, 0.2, "does not hold"),
    (0.30, 0.2, "holds"), (0.2, 0.2, "undecided"), (-0.10, -0.2, "holds"),
])
def test_all_three_outcomes_and_the_least_that_matters(mean, least, expected):
    claim = claims.Claim("C05", "t", "s.", "12", "e", "Dice", least)
    found = claims.judge(claim, spread(mean, case_sd=0.03, start=5))
    assert found.outcome == expected, found
    assert found.contradicts is (expected == "does not hold")
    assert found.effect.low < found.effect.mean < found.effect.high


def test_the_effect_is_the_mean_over_seeds_of_means_over_cases():
    unequal = [run(0, {"a": 1.0, "b": 2.0, "c": 6.0}), run(1, {"a": 1.0})]
    assert claims.judge(claims.find("C05"), unequal).effect.mean == 2.0
    by_structure = [run(0, {"a/liver": 0.0, "a/spleen": 1.0, "a/aorta": 2.0, "b/liver": 4.0})]
    found = claims.judge(claims.find("C05"), by_structure)
    assert found.effect.mean == 2.5 and found.effect.patients == 2


def test_without_runs_and_with_one_case_there_is_no_interval():
    nothing = claims.judge(claims.find("C05"), [])
    assert nothing.outcome == "not run yet" and nothing.reason == "not run yet (lesson 12)" and not nothing.contradicts
    one = claims.judge(claims.find("C05"), [run(seed, {"a/liver": 0.5, "a/spleen": 0.6}) for seed in range(3)])
    assert one.outcome == "undecided" and "n=1" in one.reason and not one.effect.has_interval


def test_one_seed_says_so_and_resamples_cases():
    found = claims.judge(claims.find("C05"), spread(0.1, seeds=1))
    assert found.outcome == "holds" and "One seed" in found.reason and found.size == "1 seed x 8 cases"
    assert "One seed" not in claims.judge(claims.find("C05"), spread(0.1, seeds=2)).reason


def test_a_seed_that_was_run_twice_counts_once():
    once, often = (claims.judge(claims.find("C05"), found).effect for found in (spread(0.1), spread(0.1) * 4))
    assert (often.mean, often.low, often.high) == pytest.approx((once.mean, once.low, once.high), rel=1e-12)


def test_equal_effects_have_an_interval_of_no_width():
    found = claims.judge(claims.find("C05"), [run(seed, {"a": 0.25, "b": 0.25}) for seed in range(3)])
    assert found.effect.low == pytest.approx(0.25) == found.effect.high and found.outcome == "holds"
    zero = claims.judge(claims.find("C05"), [run(seed, {"a": 0.0, "b": 0.0}) for seed in range(3)])
    assert zero.outcome == "does not hold"


def test_the_order_of_runs_and_cases_does_not_matter():
    found = spread(0.03, seeds=5, seed_sd=0.05)
    turned = [run(one.seed, dict(reversed(one.values.items()))) for one in reversed(found)]
    assert claims.judge(claims.find("C05"), found) == claims.judge(claims.find("C05"), turned)


def test_spread_over_seeds_makes_the_interval_wider():
    widths = []
    for seed_sd in (0.0, 0.05, 0.2):
        effect = claims.judge(claims.find("C05"), spread(0.1, seed_sd=seed_sd)).effect
        widths.append(effect.high - effect.low)
    assert widths[0] < 0.7 * widths[1] < 0.5 * widths[2]


@pytest.mark.parametrize(("seeds", "cases", "seed_sd", "case_sd", "noise"), [
    (3, 8, 1, 1, 1), (3, 8, 1, 0.1, 0.1), (5, 10, 0.1, 1, 0.5), (1, 8, 0, 1, 0),
])
def test_the_interval_covers_the_truth_about_95_times_in_100(seeds, cases, seed_sd, case_sd, noise):
    rng, hit, times = np.random.default_rng(1), 0, 400
    for _ in range(times):
        table = rng.normal(0, seed_sd, (seeds, 1)) + rng.normal(0, case_sd, (1, cases)) + rng.normal(0, noise, (seeds, cases))
        effect = verdicts.estimate(table, resamples=500)
        hit += effect.low <= 0 <= effect.high
    assert 0.91 <= hit / times <= 0.99  # 3 standard errors of 400 tries are 0.03; a plain percentile interval gives 0.73 to 0.92


def test_seeds_that_meet_different_cases_are_compared_too():
    rng = np.random.default_rng(0)
    apart = [run(seed, {f"seed {seed} body {c}": float(rng.normal(0.2, 0.05)) for c in range(5)}) for seed in range(3)]
    found = claims.judge(claims.find("C05"), apart)
    assert found.outcome == "holds" and found.effect.patients == 15
    assert claims.judge(claims.find("C05"), [run(seed, {f"{seed}": 0.1 + seed}) for seed in range(3)]).outcome == "undecided"


def test_a_typed_verdict_is_not_read(shipped):
    shipped.mkdir()
    lines = [json.dumps(json.loads(one.line()) | {"verdict": "holds", "outcome": "holds", "effect": 9}) for one in spread(-0.2)]
    (shipped / "C05.jsonl").write_text("\n".join(lines) + "\n")
    found = claims.verdict("C05")
    assert found.outcome == "does not hold" and found.contradicts and found.effect.mean < 0


def test_a_profile_can_be_asked_for_and_all_are_named():
    for seed in range(3):
        claims.record(run(seed, {"a": 0.4, "b": 0.5}, profile="laptop"))
        claims.record(run(seed, {"a": -0.4, "b": -0.5}, profile="ci", date="2026-11-26T01:00:00+02:00"))
    assert claims.verdict("C05", "own", "ci").outcome == "does not hold"
    both = claims.verdict("C05", "own")
    assert both.outcome == "undecided" and both.profiles == ("ci", "laptop") and both.seeds == (0, 1, 2, 0, 1, 2)
    assert "2026-11-24 to 2026-11-25" in both.evidence  # UTC


def test_runs_of_another_claim_cannot_speak():
    with pytest.raises(ClaimError, match="Runs of C06"):
        claims.judge(claims.find("C05"), [run(0, claim="C06")])


def test_every_claim_can_be_judged():
    for claim in claims.declared():
        found = claims.judge(claim, [run(seed, {"a": 1.0, "b": 1.1, "c": 1.2}, claim=claim.id) for seed in range(2)])
        assert claim.id in str(found) and found.outcome != "not run yet"


# ---- shown ----


def test_a_verdict_is_two_lines_and_a_box():
    text = str(claims.judge(claims.find("C05"), spread(-0.1)))
    assert text.startswith("C05 does not hold: ") and len(text.splitlines()) == 2 and "a finding" in text
    assert re.search(r"effect -0\.\d{3} \[-0\.\d{3}, -0\.\d{3}\] Dice, 3 seeds x 8 cases, profile laptop, 2026-11-24, a C", text)
    html = claims.judge(claims.find("C05"), spread(-0.1))._repr_html_()
    assert "C05: does not hold" in html and "contradicts the slides" in html
    assert "not run yet (lesson 12)" in claims.judge(claims.find("C05"), [])._repr_html_()


def test_the_commands_output():
    invoke = CliRunner().invoke
    nothing = invoke(cli.app, ["claims"])
    assert nothing.exit_code == 0 and all(f"C{n:02d} " in nothing.output for n in range(1, 21))
    assert nothing.output.count("not run yet  ") == 20 and "0 of 20" in nothing.output
    assert len(re.findall(r"^ +lesson \d\d$", nothing.output, re.M)) == 20
    for one in spread(-0.1):
        claims.record(one)
    own = invoke(cli.app, ["claims", "--own"]).output
    assert "does not hold" in own and "3 seeds x 8 cases" in own and "C05 contradicts the slides" in own and "1 of 20" in own
    assert "0 of 20" in invoke(cli.app, ["claims"]).output  # the learner's runs do not change what ships
    full = invoke(cli.app, ["claims", "c05", "--own"]).output
    assert full.count("\nrun ") == 3 and "a CPU, 2 threads" in full and DATE in full and "C05 does not hold" in full
    quoted = invoke(cli.app, ["claims", "C09"]).output
    assert "80.3" in quoted and "https://doi.org/10.48550/arXiv.2309.08842" in quoted and "not run yet (lesson 09)" in quoted
    assert isinstance(invoke(cli.app, ["claims", "C99"]).exception, FmlabError)


def test_a_forest_shows_what_was_run_by_unit_and_says_it_in_words():
    assert "no claim has been run" in claims.forest_alt() and claims.forest().texts
    for one in spread(-0.1):
        claims.record(one)
    for seed in range(3):
        claims.record(run(seed, {"a": 3.0, "b": 3.5, "c": 4.0}, claim="C18"))
    fig = claims.forest(source="own")
    assert [panel.get_xlabel().split("]")[0] for panel in fig.axes] == ["effect [Dice", "effect [points per decade"]
    assert [text.get_text() for panel in fig.axes for text in panel.texts] == ["does not hold", "holds"]
    picture = figure(fig, alt=claims.forest_alt(source="own"))
    assert "C05" in picture.alt and "does not hold" in picture.alt and "C18" in picture.alt and len(picture.png) > 1000
    asked = claims.forest(["C05", "C06"], "own")
    assert [text.get_text() for text in asked.axes[0].texts] == ["does not hold", "not run yet"]
    assert "not run yet (lesson 06)" in claims.forest_alt(["C05", "C06"], "own")
    assert claims.forest_alt("C05", "own").count("C0") == 1
    with pytest.raises(ClaimError, match="no claim"):
        claims.forest(["C77"])


# ---- packaging, and what ships ----


def test_the_wheel_carries_the_table_and_the_ledger():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["fmlab"] and wheel["exclude"] == ["*.lock"]
    for asset in ("fmlab/lessons/claims/claims.toml", "fmlab/lessons/ledger/C05.jsonl", "fmlab/lessons/ledger/README.md"):
        ignored = subprocess.run(["git", "check-ignore", "-q", asset], cwd=ROOT).returncode  # hatch leaves out what git ignores
        assert ignored == 1, f"{asset} is ignored by git, so no wheel would carry it"


def test_every_line_that_ships_is_a_run(recwarn):
    for path in claims.SHIPPED.glob("*.jsonl"):
        lines = path.read_bytes().splitlines()
        assert len(ledger._read(path)) == len(lines) and not recwarn.list, path
        assert all("verdict" not in json.loads(line) for line in lines)
