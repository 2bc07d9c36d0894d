"""The tables and ledgers that fmlab reads: damaged or edited by hand, they are refused in a sentence, or read in part."""

from __future__ import annotations

import json
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from fuzzing import Fuzz, contents, mutated, odd_text

from fmlab.hub import registry
from fmlab.lessons import both, ranks
from fmlab.lessons.claims import ledger, overview
from fmlab.lessons.claims.declared import TABLE, read_table
from fmlab.lessons.experiments import pretrainings
from fmlab.systems import records as systems

_ODD = ["3", "-1", "true", "[]", "[[]]", "[1, 2]", "{}", '""', '"x"', '"../../etc/passwd"', '"C:\\\\aux.nii"', "nan", "inf",
        "1979-05-27", '"\\u0000"', '"http://["', '"javascript:alert(1)"', "[{}]", "{a = 1}", '"' + "x" * 300 + '"', "0x1F",
        "1" * 99]
_VALUE = re.compile(rb'([A-Za-z_0-9]+)(\s*=\s*)("(?:[^"\\\n]|\\.)*"|[\w.+-]+|\[[^\[\]\n]*\])')


def odd_toml(content: bytes, rng: np.random.Generator) -> bytes:
    """A table in which 1 to 3 values are odd, keys are gone, doubled or renamed, or bytes are broken."""
    if rng.random() < 0.01:
        return b"a = " + b"[" * 100_000
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        places = list(_VALUE.finditer(content))
        if not places:
            break
        place, kind = places[int(rng.integers(len(places)))], rng.random()
        key, between, value = place.groups()
        if kind < 0.15:  # another text of the same kind: what a person could have typed
            new = key + between + value.replace(b"a", b"e").replace(b"1", b"2")
        elif kind < 0.6:
            new = key + between + str(rng.choice(_ODD)).encode()
        elif kind < 0.75:
            new = str(rng.choice(["x", "name", '""', "é", "a.b"])).encode() + between + value
        elif kind < 0.85:
            new = b""
        else:
            new = place.group() + b"\n" + place.group()
        content = content[:place.start()] + new + content[place.end():]
    return mutated(content, rng) if rng.random() < 0.15 else content


def some_rows(path: Path, head: bytes, count: int) -> bytes:
    """The first rows of a table: damage then lies in one of few."""
    rows = path.read_bytes().split(b"\n" + head)
    return (b"\n" + head).join([b"", *rows[1:count + 1]])


@pytest.mark.parametrize(("family", "table", "head", "count", "read"), [
    ("data.toml", registry.TABLE, b"[[entry]]", 3, registry.read_registry),
    ("claims.toml", TABLE, b"[[claim]]", 3, read_table),
    ("systems", systems.TABLE, b"[[system]]", 3, systems.read_systems)])
def test_fuzz_table(tmp_path, family, table, head, count, read):
    content, fuzz, path = some_rows(table, head, count), Fuzz(family), tmp_path / "table.toml"
    for rng in fuzz:
        path.write_bytes(odd_toml(content, rng))
        found = fuzz.hold(lambda: read(path), tmp_path)
        if family == "data.toml" and isinstance(found, tuple):
            for entry in found:  # whatever is taken can be shown, and leads nowhere else
                assert "/" not in entry.folder and ".." not in entry.folder and entry.size > 0 and entry.name
                assert all(address.startswith("http") for file in entry.files for address in file.addresses)
    fuzz.tell()


@pytest.mark.parametrize("name", ["aux.nii", "CON", "lpt1.tar.gz", "a.", "a b", "a/b", "..", "x" * 300])
def test_a_registered_file_has_a_name_that_every_system_takes(tmp_path, name):
    content = some_rows(registry.TABLE, b"[[entry]]", 1).replace(b'"example_ct.nii.gz"', f'"{name}"'.encode())
    (tmp_path / "data.toml").write_bytes(content)
    with pytest.raises(registry.DataError, match="plain file"):
        registry.read_registry(tmp_path / "data.toml")


def test_files_that_one_disk_would_take_for_one_are_refused(tmp_path):
    content = some_rows(registry.TABLE, b"[[entry]]", 1)
    first = content.split(b"[[entry]]")[1]
    changed = first.replace(b"totalsegmentator-ct", b"other").replace(b'folder = "t', b'folder = "T').replace(b'"db', b'"00')
    (tmp_path / "data.toml").write_bytes(b"[[entry]]".join([b"", first, changed]))
    with pytest.raises(registry.DataError, match="two different sha256"):
        registry.read_registry(tmp_path / "data.toml")


# ---- ledgers and recordings ----


def lines_of(path: Path, count: int = 3) -> list:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:count]]


@pytest.mark.filterwarnings("ignore")
def test_fuzz_ledger(tmp_path, monkeypatch):
    """Lines that make no sense are left out; a run that is added later loses none of them."""
    fuzz, own = Fuzz("ledger"), tmp_path / "own"
    own.mkdir()
    monkeypatch.setattr(ledger, "SHIPPED", own)
    shipped = {claim: lines_of(Path(ledger.__file__).parents[1] / "ledger" / f"{claim}.jsonl") for claim in ("C05", "C07", "C12")}
    for rng in fuzz:
        claim = str(rng.choice(list(shipped)))
        path, texts = own / f"{claim}.jsonl", [odd_text(line, rng) if rng.random() < 0.5 else json.dumps(line).encode()
                                               for line in shipped[claim]]
        path.write_bytes(b"\n".join(texts) + (b"\n" if rng.random() < 0.8 else b""))
        found = fuzz.hold(lambda claim=claim: ledger.runs(claim), tmp_path)
        assert isinstance(found, tuple)
        for run in found:
            assert run.claim == claim and math.isfinite(run.mean) and run.line()
        before = path.read_bytes()
        if rng.random() < 0.1:
            ledger.record(ledger.Run(claim, 7, "ci", "here", "2026-11-28T00:00:00+00:00", "0", {"a": 1.0}), own)
            assert path.read_bytes().startswith(before) and ledger.runs(claim)[-1].seed == 7
        if rng.random() < 0.1:
            fuzz.hold(overview, tmp_path)
        path.unlink()
    fuzz.tell(both=False)


def test_a_ledger_says_which_line_it_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "SHIPPED", tmp_path)
    for line in ('{"claim": "C05"}', "[" * 10_000, '{"claim": "C05", "values": {"a": 1' + "0" * 400 + "}}"):
        (tmp_path / "C05.jsonl").write_text(line + "\n")
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            assert ledger.runs("C05") == ()
        assert "Line 1 of" in str(heard[0].message) and str(tmp_path) in str(heard[0].message)


@pytest.mark.filterwarnings("ignore")
def test_fuzz_recorded_runs(tmp_path):
    """What lessons 15, 17 and 18 show without training."""
    fuzz = Fuzz("recorded runs")
    stored = [(module, lines_of(module.STORED)) for module in (both, ranks, pretrainings) if module.STORED.is_file()]
    for rng in fuzz:
        module, rows = stored[int(rng.integers(len(stored)))]
        path = tmp_path / "stored.jsonl"
        path.write_bytes(b"\n".join(odd_text(row, rng) if rng.random() < 0.6 else json.dumps(row).encode() for row in rows))
        fuzz.hold(lambda module=module, path=path: module.recorded(path), tmp_path)
    fuzz.tell()


def test_the_package_itself_was_not_written_to(tmp_path):
    """The tests of this file read the package's tables and write only below tmp_path."""
    shipped = Path(ledger.__file__).parents[1] / "ledger"
    assert not [name for name in contents(shipped) if Path(name).suffix not in (".jsonl", ".md", ".lock")]
