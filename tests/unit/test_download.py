"""The downloader against a server on loopback that misbehaves in every way we could think of."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from loopback_server import CONTENT, SHA, cut, ignores_range, refuse, stall, whole, without_length, wrong_place

from fmlab.errors import DataError
from fmlab.hub import download
from fmlab.hub.download import Download, Patience

HASTE = Patience(attempts=3, stall=0.4, pause=0.0, chunk=4096, spare=0)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "scan.nii.gz.part"


def take(part: Path, *addresses: str, sha256: str = SHA, size: int = len(CONTENT)) -> Path:
    """Run the downloader as pooch does; returns the finished file."""
    final = part.with_name("final")
    Download(addresses, part, size, sha256, HASTE)(addresses[0], final, None)
    return final


def test_a_file_arrives_whole_and_the_part_is_gone(server, part, capsys):
    assert take(part, server.url("/f", whole())).read_bytes() == CONTENT
    assert not part.exists()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and lines[0].startswith("scan.nii.gz: 200 kB in") and "sha256 is right" in lines[0]


def test_a_cut_connection_is_resumed_where_it_broke(server, part):
    assert take(part, server.url("/f", cut(50_000), cut(60_000), whole())).read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=50000-", "bytes=110000-"]


def test_a_server_that_always_cuts_but_always_gives_something_is_finished(server, part):
    assert take(part, server.url("/f", cut(20_000))).read_bytes() == CONTENT  # ten requests: more than `attempts`
    assert len(server.seen) == 10


def test_a_stall_counts_as_a_cut(server, part):
    assert take(part, server.url("/f", stall(65_536), whole())).read_bytes() == CONTENT
    assert len(server.seen) == 2 and server.ranges()[1] is not None


def test_a_server_that_stalls_for_ever_ends_in_an_error_that_keeps_the_part(server, part):
    with pytest.raises(DataError, match="fell silent.*(timed out|Timeout).*are kept"):
        take(part, server.url("/f", stall(65_536), stall(0)))
    assert CONTENT.startswith(part.read_bytes()) and part.stat().st_size > 0
    assert not part.with_name("final").exists()


def test_an_old_part_is_continued_in_a_later_run(server, part):
    part.write_bytes(CONTENT[:123_456])
    assert take(part, server.url("/f", whole())).read_bytes() == CONTENT
    assert server.ranges() == ["bytes=123456-"]


def test_a_whole_part_needs_no_request(server, part):
    part.write_bytes(CONTENT)
    assert take(part, server.url("/f", refuse(404))).read_bytes() == CONTENT
    assert server.seen == []


def test_a_part_of_another_file_is_found_out_and_fetched_afresh(server, part):
    part.write_bytes(b"x" * 100_000)
    assert take(part, server.url("/f", whole())).read_bytes() == CONTENT
    assert server.ranges() == ["bytes=100000-", None]


def test_a_part_longer_than_the_file_is_dropped(server, part):
    part.write_bytes(CONTENT + b"more")
    assert take(part, server.url("/f", whole())).read_bytes() == CONTENT
    assert server.ranges() == [None]


def test_a_server_that_ignores_range_sends_all_again(server, part):
    assert take(part, server.url("/f", cut(50_000), ignores_range())).read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=50000-"]


def test_a_server_that_ignores_range_and_always_cuts_comes_to_an_end(server, part):
    with pytest.raises(DataError, match="could not be fetched"):
        take(part, server.url("/f", ignores_range(after=50_000)))
    assert len(server.seen) <= 1 + HASTE.attempts


def test_a_206_for_another_place_is_not_glued_on(server, part):
    part.write_bytes(CONTENT[:50_000])
    assert take(part, server.url("/f", wrong_place)).read_bytes() == CONTENT
    stubborn = server.url("/stubborn", *[cut(50_000), wrong_place] * 4)
    with pytest.raises(DataError, match="another part than was asked for"):
        take(part, stubborn)


def test_wrong_bytes_are_refused_and_dropped(server, part):
    with pytest.raises(DataError, match="other bytes than registered"):
        take(part, server.url("/f", whole(CONTENT[::-1])))
    assert list(part.parent.iterdir()) == []


def test_wrong_bytes_at_one_address_are_saved_by_a_mirror(server, part):
    first, mirror = server.url("/bad", whole(CONTENT[::-1])), server.url("/good", whole())
    assert take(part, first, mirror).read_bytes() == CONTENT


@pytest.mark.parametrize("other", [CONTENT[:-1], CONTENT + b"!", b"<html>please log in</html>"])
def test_a_file_of_another_length_is_refused(server, part, other):
    with pytest.raises(DataError, match=f"{len(other)} bytes where 200000 are registered"):
        take(part, server.url("/f", whole(other)))
    assert list(part.parent.iterdir()) == []


def test_a_shorter_file_is_found_out_in_the_middle_of_a_resume(server, part):
    part.write_bytes(CONTENT[:150_000])
    with pytest.raises(DataError, match="100000 bytes where 200000"):
        take(part, server.url("/f", whole(CONTENT[:100_000])))


def test_a_stream_without_length_that_never_ends_fills_no_disk(server, part, monkeypatch):
    write, written = download._write, []
    monkeypatch.setattr(download, "_write", lambda out, chunk: (written.append(len(chunk)), write(out, chunk)))
    with pytest.raises(DataError, match="more than the registered"):
        take(part, server.url("/f", without_length(CONTENT * 20)))
    assert list(part.parent.iterdir()) == [] and sum(written) <= len(CONTENT)


def test_a_stream_without_length_that_is_right_is_taken(server, part):
    assert take(part, server.url("/f", without_length(CONTENT))).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 403, 410])
def test_not_found_is_final_for_an_address(server, part, status):
    with pytest.raises(DataError, match=f"answered {status}"):
        take(part, server.url("/f", refuse(status)))
    assert len(server.seen) == 1 and list(part.parent.iterdir()) == []


def test_a_busy_server_is_asked_again(server, part):
    assert take(part, server.url("/f", refuse(503), refuse(429), whole())).read_bytes() == CONTENT


def test_a_mirror_continues_what_the_first_address_began(server, part):
    first, mirror = server.url("/f", cut(70_000), refuse(404)), server.url("/m", whole())
    assert take(part, first, mirror).read_bytes() == CONTENT
    assert server.seen[-1] == ("/m", "bytes=70000-")


def test_every_address_is_named_when_all_fail(server, part):
    with pytest.raises(DataError, match="/one answered 404.*/two answered 403"):
        take(part, server.url("/one", refuse(404)), server.url("/two", refuse(403)))


def test_no_server_at_all_is_said_plainly(part):
    with pytest.raises(DataError, match="Check the network"):
        take(part, "http://127.0.0.1:9/f")


def test_too_little_room_is_said_before_anything_is_asked(server, part, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(DataError, match="200 kB.*1.0 kB free"):
        take(part, server.url("/f", whole()))
    assert server.seen == [] and not part.exists()


def test_a_disk_that_fills_up_keeps_the_part_and_the_next_run_goes_on(server, part, monkeypatch):
    class SmallDisk:
        def __init__(self, path: Path, mode: str) -> None:
            self.file, self.name = open(path, mode, buffering=0), str(path)

        def write(self, chunk: memoryview) -> int:
            room = 90_000 - self.file.tell()
            if room <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(chunk[:room])

        def __enter__(self) -> SmallDisk:
            return self

        def __exit__(self, *args: object) -> None:
            self.file.close()

    address = server.url("/f", whole())
    with monkeypatch.context() as patch:
        patch.setattr(download, "_open_part", SmallDisk)
        with pytest.raises(DataError, match="the disk is full.*kept"):
            take(part, address)
    assert part.read_bytes() == CONTENT[:90_000]
    assert take(part, address).read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=90000-"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full (Linux)")
def test_the_systems_own_full_device(server, part):
    part.symlink_to("/dev/full")
    with pytest.raises(DataError, match="the disk is full"):
        take(part, server.url("/f", whole()))
