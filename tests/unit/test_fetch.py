"""fetch: consent, pooch, locks, interruptions and archives, through a registry of one entry on a loopback server."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from loopback_server import CONTENT, Act, cut, refuse, slowly, whole

from fmlab.errors import DataError
from fmlab.hub import data, download, registry
from fmlab.hub.download import Patience

HASTE = Patience(attempts=3, stall=0.4, pause=0.0, chunk=4096, spare=0)


def a_registry(folder: Path, address: str, content: bytes = CONTENT, name: str = "scan.nii.gz", role: str = "image",
               extra: str = "") -> Path:
    """A registry of one entry, "thing", with one file at this address."""
    source, _, at = address.rpartition("/")
    sha = hashlib.sha256(content).hexdigest()
    table = folder / "registry.toml"
    table.write_text(f'''
[[entry]]
name = "thing"
kind = "{'scan' if role == 'image' else 'images'}"
holds = "random bytes"
modality = "CT"
scheme = ""
patient = "nobody"
licence = "CC0-1.0"
citation = "Nobody, 2026"
doi = ""
source = "{source}"
folder = "things"
note = ""
[[entry.files]]
role = "{role}"
name = "{name}"
size = {len(content)}
sha256 = "{sha}"
address_checked = true
at = "{at}"
{extra}
''')
    return table


@pytest.fixture
def thing(server, fresh_cache, tmp_path, monkeypatch) -> Callable[..., Path]:
    """Register "thing" as served by the acts; returns where fetch will put it."""
    def register(*acts: Act, **options: object) -> Path:
        entries = registry.read_registry(a_registry(tmp_path, server.url("/f", *acts), **options))
        monkeypatch.setattr(data, "registry", lambda: entries)
        monkeypatch.setattr(data, "PATIENCE", HASTE)
        return fresh_cache / "data" / "things" / entries[0].files[0].name
    return register


def visible(folder: Path) -> list[str]:
    """Names in a folder, without the locks."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_fetch_downloads_once_and_then_needs_no_server(server, thing):
    place = thing(cut(50_000), whole())
    assert data.status(data.registry()[0]) == "absent"
    assert data.fetch("thing", confirm=True) == place and place.read_bytes() == CONTENT
    assert visible(place.parent) == ["scan.nii.gz"] and data.status(data.registry()[0]) == "cached"
    asked = len(server.seen)
    assert data.fetch("thing") == place and len(server.seen) == asked


def test_a_failed_fetch_leaves_no_file_under_the_final_name(server, thing):
    place = thing(cut(50_000), refuse(404))
    with pytest.raises(DataError, match="answered 404"):
        data.fetch("thing", confirm=True)
    assert visible(place.parent) == ["scan.nii.gz.part"] and data.status(data.registry()[0]) == "partial"


def test_ctrl_c_leaves_a_part_that_is_resumed(server, thing, monkeypatch):
    place, write, calls = thing(whole()), download._write, []

    def interrupted(out: object, chunk: bytes) -> None:
        write(out, chunk)
        calls.append(len(chunk))
        if len(calls) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            data.fetch("thing", confirm=True)
    assert visible(place.parent) == ["scan.nii.gz.part"]
    assert data.fetch("thing", confirm=True).read_bytes() == CONTENT
    assert server.ranges() == [None, f"bytes={sum(calls)}-"]


def test_a_corrupt_cached_file_is_moved_aside_and_fetched_again(thing):
    place = thing(whole())
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT[:-1] + b"?")
    with pytest.warns(UserWarning, match="was corrupt"):
        data.fetch("thing", confirm=True)
    assert place.read_bytes() == CONTENT
    assert [path.read_bytes()[-1:] for path in place.parent.glob("*.corrupt-*")] == [b"?"]


def test_a_folder_that_cannot_be_written_is_a_clear_error(thing, fresh_cache):
    thing(whole())
    fresh_cache.write_text("a file where the cache should be")
    with pytest.raises(DataError, match="cannot be written"):
        data.fetch("thing", confirm=True)


def test_two_processes_at_once_fetch_one_file(server, thing, tmp_path):
    place = thing(slowly)
    program = ("import sys; from fmlab.hub import data, registry\n"
               "entries = registry.read_registry(sys.argv[1]); data.registry = lambda: entries\n"
               "print(data.fetch('thing', confirm=True))")
    jobs = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "registry.toml")], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [job.communicate(timeout=120) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], answers
    assert place.read_bytes() == CONTENT and visible(place.parent) == ["scan.nii.gz"]
    assert server.ranges() == [None]  # the second waited and found the file


def test_threads_at_once_fetch_one_file(server, thing):
    place, found = thing(slowly), []
    threads = [threading.Thread(target=lambda: found.append(data.fetch("thing", confirm=True))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [place] * 3 and place.read_bytes() == CONTENT and server.ranges() == [None]


def test_a_fetched_archive_is_unpacked_beside_itself_once(thing, tmp_path, server):
    bundle = tmp_path / "bundle.zip"
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("case1/image.txt", "voxels")
    content = bundle.read_bytes()
    place = thing(whole(content), content=content, name="bundle.zip", role="archive", extra="unpacked = 1000")
    folder = data.fetch("thing", confirm=True)
    assert folder == place.parent and (folder / "bundle/case1/image.txt").read_text() == "voxels"
    data.fetch("thing")
    assert len(server.seen) == 1


def test_an_archive_larger_than_registered_is_refused(thing, tmp_path):
    bundle = tmp_path / "bundle.zip"
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(10**6))
    content = bundle.read_bytes()
    place = thing(whole(content), content=content, name="bundle.zip", role="archive", extra="unpacked = 1000")
    with pytest.raises(DataError, match="unpacks to more than 1.0 kB"):
        data.fetch("thing", confirm=True)
    assert visible(place.parent) == ["bundle.zip"]


def test_the_terms_are_shown_and_a_no_sends_nothing(server, thing):
    shown = []
    thing(whole())
    with pytest.raises(DataError, match="declined"):
        data.fetch("thing", confirm=lambda text: shown.append(text))
    assert server.seen == []
    for fact in ("thing", "random bytes", "200 kB", "CC0-1.0", "Nobody, 2026", "127.0.0.1"):
        assert fact in shown[0]


@pytest.mark.parametrize(("answer", "fetched"), [("y", True), ("Yes", True), ("n", False), ("", False)])
def test_at_a_terminal_the_user_is_asked(server, thing, monkeypatch, capsys, answer, fetched):
    thing(whole())
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    if fetched:
        data.fetch("thing")
    else:
        pytest.raises(DataError, data.fetch, "thing")
    assert bool(server.seen) is fetched and "CC0-1.0" in capsys.readouterr().out


@pytest.mark.parametrize("front_end", [True, False])
def test_a_notebook_is_asked_and_a_headless_one_told(server, thing, monkeypatch, front_end):
    def ask(prompt: str) -> str:
        if not front_end:
            raise NotImplementedError  # what ipykernel's StdinNotImplementedError is
        return "yes"

    thing(whole())
    kernel = type("Shell", (), {"kernel": object()})()
    monkeypatch.setitem(sys.modules, "IPython", type("Module", (), {"get_ipython": staticmethod(lambda: kernel)}))
    monkeypatch.setattr("builtins.input", ask)
    if front_end:
        assert data.fetch("thing").read_bytes() == CONTENT
    else:
        with pytest.raises(DataError, match="fmlab data get thing --yes"):
            data.fetch("thing")


@pytest.mark.parametrize("terminal", [False, True])
def test_where_nobody_can_answer_the_error_says_how_to_agree(server, thing, monkeypatch, terminal):
    def no_answer(prompt: str) -> str:
        raise EOFError

    thing(whole())
    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"isatty": lambda self: terminal})())
    monkeypatch.setattr("builtins.input", no_answer)
    with pytest.raises(DataError, match="fmlab data get thing --yes"):
        data.fetch("thing")
    assert server.seen == []
