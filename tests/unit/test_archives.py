"""Unpacking: honest archives come out whole; dangerous or broken ones leave nothing anywhere."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fmlab.errors import DataError
from fmlab.hub.archives import extract

Row = tuple[str, bytes]


def a_zip(path: Path, *rows: Row, **options: object) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in rows:
            info = zipfile.ZipInfo("placeholder")
            info.filename, info.compress_type = name, zipfile.ZIP_DEFLATED  # past ZipInfo's own tidying
            info.external_attr = int(options.get("mode", 0)) << 16
            archive.writestr(info, content)
    return path


def a_tar(path: Path, *rows: Row, kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    """A tar.gz of plain files, then, if kind is not a file, a last member of that kind called "trap"."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in rows:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        if kind != tarfile.REGTYPE:
            info = tarfile.TarInfo("sub/trap")
            info.type, info.linkname = kind, link
            archive.addfile(info)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Archives lie in the test's folder; they are unpacked to cache/out, and everything else must stay as it was."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "cache" / "out"


def refused(archive: Path, place: Path, match: str, **options: int) -> None:
    """extract says no, and nothing is left in the cache or beside it."""
    before = {path: path.read_bytes() for path in place.parents[1].rglob("*") if path.is_file()}
    with pytest.raises(DataError, match=match):
        extract(archive, place, **options)
    assert list(place.parent.iterdir()) == []
    assert {path: path.read_bytes() for path in place.parents[1].rglob("*") if path.is_file()} == before


MAKERS = pytest.mark.parametrize("make", [a_zip, a_tar], ids=["zip", "tar"])
GOOD = (("case1/image.nii", b"voxels"), ("./case1/deep/labels.nii", b"ids"), ("read me.txt", b""))


@MAKERS
def test_an_honest_archive_comes_out_whole(make, tmp_path, place):
    assert extract(make(tmp_path / "a", *GOOD), place) == place
    found = {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert found == {"case1/image.nii": b"voxels", "case1/deep/labels.nii": b"ids", "read me.txt": b""}
    assert os.listdir(place.parent) == ["out"]


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz", ""])
def test_every_kind_of_tar_is_told_by_its_content(suffix, tmp_path, place):
    with tarfile.open(tmp_path / "noname", f"w:{suffix}") as archive:
        archive.add(Path(__file__), "sub/me.py")
        archive.add(Path(__file__).parent, "empty", recursive=False)
    extract(tmp_path / "noname", place)
    assert (place / "sub/me.py").read_bytes() == Path(__file__).read_bytes() and (place / "empty").is_dir()


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path, place):
    inner = a_zip(tmp_path / "inner.zip", ("x", b"x"))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(inner, "inner.zip")
    assert [path.name for path in extract(tmp_path / "a.tar", place).iterdir()] == ["inner.zip"]


@MAKERS
@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/tmp/fmlab-evil.txt", "C:/evil.txt", "..\\evil.txt",
                                  "\\\\host\\evil", "a/..", ".."])
def test_a_path_that_leaves_the_folder_is_refused(make, name, tmp_path, place):
    refused(make(tmp_path / "a", ("fine.txt", b"fine"), (name, b"evil")), place, "leaves the folder")
    assert not Path("/tmp/fmlab-evil.txt").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("link", ["../../secret.txt", "/etc/passwd", "../../../../etc/passwd", "C:/x", "a/../../../secret.txt"])
def test_a_link_out_of_the_folder_is_refused(kind, link, tmp_path, place):
    refused(a_tar(tmp_path / "a", ("fine", b""), kind=kind, link=link), place, "outside the folder")


@pytest.mark.parametrize(("kind", "link"), [(tarfile.SYMTYPE, "../case1/image.nii"), (tarfile.LNKTYPE, "case1/image.nii")])
def test_a_link_inside_the_archive_becomes_a_copy(kind, link, tmp_path, place):
    extract(a_tar(tmp_path / "a", *GOOD, kind=kind, link=link), place)
    trap = place / "sub" / "trap"
    assert trap.read_bytes() == b"voxels" and not trap.is_symlink() and trap.stat().st_nlink == 1


@pytest.mark.parametrize("link", ["nowhere", "trap"])
def test_a_link_to_nothing_or_to_itself_is_refused(link, tmp_path, place):
    refused(a_tar(tmp_path / "a", kind=tarfile.SYMTYPE, link=link), place, "does not hold")


def test_writing_through_a_link_is_impossible(tmp_path, place):
    with tarfile.open(tmp_path / "a", "w") as archive:
        door = tarfile.TarInfo("door")
        door.type, door.linkname = tarfile.SYMTYPE, "."
        archive.addfile(door)
        info = tarfile.TarInfo("door/evil")
        archive.addfile(info, io.BytesIO())
    refused(tmp_path / "a", place, "door")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(kind, tmp_path, place):
    refused(a_tar(tmp_path / "a", kind=kind), place, "device or a pipe")


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(mode, tmp_path, place):
    refused(a_zip(tmp_path / "a", ("trap", b"/etc/passwd"), mode=mode), place, "link or a device")


@MAKERS
def test_a_bomb_stops_at_the_limit(make, tmp_path, place):
    bomb = make(tmp_path / "a", ("one", bytes(600_000)), ("two", bytes(600_000)))
    assert bomb.stat().st_size < 10_000
    refused(bomb, place, "unpacks to more than 1.0 MB", limit=1_000_000)
    extract(bomb, place, limit=1_200_000)


def test_a_zip_that_lies_about_a_size_is_broken_or_stopped(tmp_path, place):
    bomb = bytearray(a_zip(tmp_path / "a", ("one", bytes(600_000))).read_bytes())
    for at in (bomb.find(b"PK\x03\x04") + 22, bomb.find(b"PK\x01\x02") + 24):
        bomb[at:at + 4] = (10).to_bytes(4, "little")
    (tmp_path / "a").write_bytes(bomb)
    refused(tmp_path / "a", place, "broken|more than", limit=1000)


@MAKERS
def test_too_many_files_are_refused(make, tmp_path, place):
    refused(make(tmp_path / "a", *((str(i), b"") for i in range(20))), place, "more than 10 files", most_files=10)


@MAKERS
def test_two_members_of_one_name_are_refused(make, tmp_path, place):
    refused(make(tmp_path / "a", ("same", b"1"), ("./same", b"2")), place, "same name")


@MAKERS
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:40] + bytes(40) + b[80:], lambda b: b"",
                                    lambda b: b"no archive" * 9])
def test_a_broken_archive_leaves_nothing(make, damage: Callable[[bytes], bytes], tmp_path, place):
    archive = make(tmp_path / "a", ("image", os.urandom(5000)), ("labels", os.urandom(5000)))
    archive.write_bytes(damage(archive.read_bytes()))
    refused(archive, place, "broken|cannot be unpacked")


def test_a_gz_that_is_no_tar_is_refused(tmp_path, place):
    (tmp_path / "a").write_bytes(gzip.compress(b"just text" * 100))
    refused(tmp_path / "a", place, "broken")


def test_a_folder_that_is_there_is_never_touched(tmp_path, place):
    place.mkdir()
    (place / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="already there"):
        extract(a_zip(tmp_path / "a", *GOOD), place)
    assert os.listdir(place) == ["mine.txt"]


def test_an_archive_that_is_missing_is_a_data_error(tmp_path, place):
    refused(tmp_path / "nothing.zip", place, "cannot be unpacked")
