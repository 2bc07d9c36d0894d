"""The registry's table, seeding the cache from a folder, and verifying it; nothing here may touch the network."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fmlab.errors import DataError
from fmlab.hub import data, registry
from fmlab.vocabulary import MAPPINGS

pytestmark = pytest.mark.usefixtures("no_network", "fresh_cache")
CT = "totalsegmentator-ct"


def test_every_row_says_what_a_user_must_know():
    for entry in data.registry():
        assert entry.holds and entry.licence and entry.citation and entry.size > 0, entry.name
        assert not entry.having("labels") or entry.scheme in MAPPINGS, entry.name
        assert entry.kind != "scan" or entry.patient, entry.name
        for file in entry.files:
            assert file.addresses or (not file.address_checked and entry.note), f"{entry.name}: why has {file.name} no address?"


def test_the_registry_knows_every_shared_file(shared_data):
    listed = dict(reversed(line.split(maxsplit=1)) for line in (shared_data / "SHA256SUMS").read_text().splitlines())
    known = {file.sha256: file for entry in data.registry() for file in entry.files}
    for name, sha in listed.items():
        assert sha in known, name
        assert known[sha].size == (shared_data / name).stat().st_size


def test_labels_of_two_readers_share_one_image():
    first, second = data.find(CT), data.find("totalsegmentator-ct-v1-labels")
    assert first.having("image") == second.having("image") and first.patient == second.patient
    assert first.having("labels")[0].sha256 != second.having("labels")[0].sha256


def test_an_unknown_name_suggests_near_ones():
    with pytest.raises(DataError, match="totalsegmentator-ct.*fmlab data list"):
        data.fetch("totalsegmentator_ct")


def test_a_seeded_cache_needs_no_network_and_no_consent(shared_data):
    new = data.seed_cache(shared_data)
    assert len(new) == len(set(new)) == len((shared_data / "SHA256SUMS").read_text().splitlines())
    assert {data.status(entry) for entry in data.registry()} == {"cached"}
    assert data.fetch(CT) == data.paths(CT, "image")[0]
    assert data.fetch("lung-xray").is_dir()
    assert data.seed_cache(shared_data) == ()  # nothing is copied twice
    assert {check.state for check in data.verify()} == {"right"}


def test_seeding_knows_files_by_content_not_by_name(shared_data, tmp_path):
    stick = tmp_path / "stick" / "deep"
    stick.mkdir(parents=True)
    shutil.copy(shared_data / "totalsegmentator/example_ct.nii.gz", stick / "renamed.bin")
    (stick / "example_seg_v1.nii.gz").write_bytes(b"right name, wrong bytes")
    assert [path.name for path in data.seed_cache(tmp_path / "stick")] == ["example_ct.nii.gz"]
    assert data.status(data.find(CT)) == "partial" and data.status(data.find("mni-icbm152")) == "absent"


def test_seeding_from_no_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="not a folder"):
        data.seed_cache(tmp_path / "nowhere")


def test_verify_moves_a_corrupt_file_aside_and_keeps_it(shared_data):
    data.seed_cache(shared_data / "totalsegmentator")
    image, labels = data.paths(CT)
    damaged = bytearray(image.read_bytes())
    damaged[1000] ^= 1  # one bit, same length
    image.write_bytes(damaged)
    checks = {(check.entry, check.file): check for check in data.verify()}
    assert checks[CT, labels.name].state == "right"
    assert checks["mni-icbm152", "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"].state == "absent"
    for entry in (CT, "totalsegmentator-ct-v1-labels"):  # both hold the image, and it is moved once
        check = checks[entry, image.name]
        assert check.state == "corrupt" and check.moved.read_bytes() == bytes(damaged) and "corrupt" in str(check)
    assert not image.exists() and len(list(image.parent.glob("*.corrupt-*"))) == 1
    data.seed_cache(shared_data)
    assert {check.state for check in data.verify(CT)} == {"right"}


def test_seeding_replaces_a_corrupt_file_but_keeps_it_aside(shared_data):
    place = data.paths(CT, "image")[0]
    place.parent.mkdir(parents=True)
    place.write_bytes(b"damaged")
    data.seed_cache(shared_data)
    assert data.verify(CT)[0].state == "right"
    assert [path.read_bytes() for path in place.parent.glob("*.corrupt-*")] == [b"damaged"]


def test_a_set_without_address_says_how_to_bring_it():
    with pytest.raises(DataError, match="no address is known for 1.jpg.*fmlab data seed"):
        data.fetch("lung-xray", confirm=True)


def test_the_notice_shows_terms_and_note():
    text = data.notice(data.find(CT))
    for fact in (CT, "2.3 MB", "Apache-2.0", "https://doi.org/10.1148/ryai.230024", "model's output"):
        assert fact in text


def spoiled(tmp_path: Path, old: str, new: str) -> Path:
    text = registry.TABLE.read_text()
    assert old in text
    table = tmp_path / "data.toml"
    table.write_text(text.replace(old, new, 1))
    return table


@pytest.mark.parametrize(("old", "new", "match"), [
    ('kind = "scan"', 'kind = "film"', "kind is 'film'"),
    ('modality = "CT"', 'modality = "PET"', "modality is 'PET'"),
    ('licence = "', 'license = "', "licence.*license"),
    ('name = "totalsegmentator-mr"', 'name = "totalsegmentator-ct"', "two entries"),
    ('folder = "mni"', 'folder = "../mni"', "no plain file or folder name"),
    ('name = "1.jpg"', 'name = "../1.jpg"', "no plain file or folder name"),
    ('name = "1.jpg"', 'name = "/1.jpg"', "no plain file or folder name"),
    ('sha256 = "dbd3', 'sha256 = "zzz3', "64 hex digits"),
    ('sha256 = "dbd3', 'sha256 = "dbd4', "two different sha256"),
    ('size = 2206612', 'size = -1', "number of bytes above zero"),
    ('role = "image"', 'role = "photo"', "role must be one of"),
    ('role = "image"', 'role = "mask"', "exactly one file of role image"),
    ('source = "https://', 'source = "file://', "not http or https"),
    ('address_checked = false, at = ""', 'address_checked = true, at = ""', "without an address"),
    ('kind = "scan"', 'kind = scan', "cannot be read"),
])
def test_a_wrong_row_is_named(tmp_path, old, new, match):
    with pytest.raises(DataError, match=match):
        registry.read_registry(spoiled(tmp_path, old, new))
