"""Sources of real data: consistent facts, layouts that find pairs, downloads over loopback, sets that need an account."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from loopback_server import CONTENT, SHA, cut, refuse, whole
from PIL import Image
from test_dicom_files import generate_uid, write_slice

from data_scripts import layouts, sources
from data_scripts.layouts import Layout, Pair
from data_scripts.sources import File
from fmlab import schemes
from fmlab.errors import DataError, ScanError
from fmlab.hub.download import Patience
from fmlab.schemes import MAPPINGS, SIDED
from fmlab.templates import TEMPLATES
from fmlab.vocabulary import ID

HASTE = Patience(attempts=2, stall=0.4, pause=0.0, chunk=4096, spare=0)
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
ALL = sorted(TEMPLATES)


def a_case(pattern: str, case: str) -> str:
    """A path that fits a pattern."""
    return pattern.replace("{any}", "some/").replace("{top}", "deep/er/").replace("{case}", case).replace("*", "x")


def an_example(layout: Layout) -> str:
    """A case name that the layout's expression accepts."""
    names = ("case7", "amos_0123", "Case_00007", "Organ12_0003", "case_00123", "0042")
    return next(name for name in names if re.fullmatch(layout.case, name))


@pytest.mark.parametrize("name", ALL)
def test_every_template_has_a_consistent_source(name):
    source = sources.find(name)
    assert source.name == name and source.name in MAPPINGS and source.modality == ("MR" if name.endswith("_mr") else "CT")
    assert source.page.startswith(("https://", "http://medicaldecathlon.com")) and source.checked.endswith(".")
    assert source.licence and source.citation and source.doi in (TEMPLATES[name].doi, "")
    known = TEMPLATES[name].licence
    assert not known or known.split(" (")[0].split(",")[0].lower() in source.licence.lower()
    assert source.open_files or source.by_hand
    assert len({file.name for file in source.files}) == len(source.files)
    for file in source.files:
        assert all(address.startswith("https://") and " " not in address for address in file.addresses)
        assert file.checksum is None or re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", file.checksum)
        assert file.size is None or file.size > 10**6
        assert not Path(file.name).is_absolute() and ".." not in file.name


@pytest.mark.parametrize("name", ALL)
def test_every_layout_finds_its_pairs_in_a_made_up_tree(name, tmp_path):
    source = sources.find(name)
    for number, (image, labels) in enumerate(source.layout.pairs):
        folder, case = tmp_path / str(number), an_example(source.layout)
        for pattern in (image, labels):
            path = folder / a_case(pattern, case)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch() if "." in path.name else path.mkdir(exist_ok=True)
        (folder / "__MACOSX" / a_case(image, case)).parent.mkdir(parents=True, exist_ok=True)
        pairs = source.pairs(folder)
        assert pairs == (Pair(case, folder / a_case(image, case), folder / a_case(labels, case), source.layout.kind),)


def test_msd_checksums_are_those_of_the_installed_monai():
    from monai.apps.datasets import DecathlonDataset

    for name in (name for name in ALL if name.startswith("msd_")):
        (file,) = sources.find(name).files
        task = file.name.removesuffix(".tar")
        assert file.addresses == (DecathlonDataset.resource[task],) and file.checksum == f"md5:{DecathlonDataset.md5[task]}"


def test_only_ct_of_amos_and_only_what_is_labelled(tmp_path):
    for path in ("imagesTr/amos_0001", "labelsTr/amos_0001", "imagesTr/amos_0507", "labelsTr/amos_0507", "imagesTr/amos_0002",
                 "imagesVa/amos_0003", "labelsVa/amos_0003", "labelsVa/._amos_0004"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / f"{path}.nii.gz").touch()
    assert [pair.case for pair in sources.find("amos22").pairs(tmp_path)] == ["amos_0001", "amos_0003"]


def test_folders_that_cannot_be_a_data_set_are_refused(tmp_path):
    layout = sources.find("btcv").layout
    with pytest.raises(DataError, match="not a folder"):
        layouts.find_pairs(layout, tmp_path / "nowhere")
    with pytest.raises(DataError, match="no labelled case"):
        layouts.find_pairs(layout, tmp_path)
    for copy in ("a", "b"):
        for path in ("Training/img/img0001.nii.gz", "Training/label/label0001.nii.gz"):
            (tmp_path / copy / path).parent.mkdir(parents=True)
            (tmp_path / copy / path).touch()
    with pytest.raises(DataError, match="twice"):
        layouts.find_pairs(layout, tmp_path)
    with pytest.raises(DataError, match="did you mean msd_spleen"):
        sources.find("msd_splen")


@pytest.mark.parametrize("scheme", ["totalsegmentator_v1", "totalsegmentator_v2", "totalsegmentator_mr"])
def test_masks_are_named_as_the_schemes_name_them(scheme):
    names = dict(enumerate(schemes._NAMES[scheme], 1))
    assert not SIDED[scheme] and {i: layouts.structure_of(name) for i, name in names.items()} == MAPPINGS[scheme]


def a_scan(path: Path, values: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 2, 3, 1])), path)
    return path


def test_a_folder_of_masks_becomes_one_label_map(tmp_path):
    (tmp_path / "segmentations").mkdir()
    ct = a_scan(tmp_path / "ct.nii.gz", np.random.default_rng(0).normal(0, 300, (8, 7, 6)).round().astype(np.int16))
    masks = np.zeros((4, 8, 7, 6), np.uint8)
    masks[0, :4], masks[1, 1:3], masks[2, 6:], masks[3, 5] = 1, 1, 1, 1
    for name, mask in zip(("kidney_left", "kidney_cyst_left", "vertebrae_T9", "rib_left_4"), masks):
        a_scan(tmp_path / "segmentations" / f"{name}.nii.gz", mask)
    volume = layouts.read(Pair("s0001", ct, tmp_path / "segmentations", "masks"), "totalsegmentator_v2")
    assert volume.annotated == schemes.ANNOTATED["totalsegmentator_v2"] and volume.name == "s0001"
    assert volume.structures == tuple(sorted(volume.structures, key=ID.get))
    drawn = volume.labels[0]
    assert (drawn[1:3] == ID["kidney_cyst_left"]).all() and (drawn[0] == ID["kidney_left"]).all()
    assert (drawn[6:] == ID["vertebrae"]).all() and (drawn[5] == ID["ribs"]).all() and (drawn[4] == 0).all()
    a_scan(tmp_path / "segmentations" / "liver_of_a_dragon.nii.gz", masks[0])
    with pytest.raises(ScanError, match="no structure"):
        layouts.read(Pair("s0001", ct, tmp_path / "segmentations", "masks"), "totalsegmentator_v2")


@pytest.mark.parametrize("upwards", [1, -1])
def test_png_slices_belong_to_the_dicom_slices_of_their_number(tmp_path, upwards):
    dicoms, pictures = tmp_path / "DICOM_anon", tmp_path / "Ground"
    dicoms.mkdir()
    pictures.mkdir()
    uid, liver = generate_uid(), np.zeros((12, 4, 5), bool)
    pixels = np.random.default_rng(1).integers(-900, 100, (12, 4, 5)).astype(np.int16)
    liver[2, 1:3, 2:4], liver[9, 0, 0] = True, True
    pixels[liver] = 120  # so that a misplaced picture shows
    for n in range(12):
        write_slice(dicoms, f"i{n:04d},0000b.dcm", pixels[n], (-10.0, -20.0, 5.0 + upwards * 2.5 * n), uid)
        Image.fromarray(liver[n].astype(np.uint8) * 255).save(pictures / f"liver_GT_{n:03d}.png")
    volume = layouts.read(Pair("1", dicoms, pictures, "slices"), "chaos")
    assert int(volume.mask("liver").sum()) == 5 and (volume.image[0][volume.mask("liver")] == 120).all()
    assert volume.annotated == {"liver"}
    next(pictures.iterdir()).unlink()
    with pytest.raises(ScanError, match="11 pictures for 12"):
        layouts.read(Pair("1", dicoms, pictures, "slices"), "chaos")


def served(server, *acts, checksum: str | None = MD5, size: int | None = None, name: str = "scans.bin") -> sources.Source:
    """MSD Spleen with one file, from the loopback server."""
    file = File(name, (server.url("/f", *acts),), size, checksum)
    return replace(sources.find("msd_spleen"), files=(file,))


@pytest.mark.parametrize(("checksum", "said"),
                         [(MD5, "md5 is right"), ("sha256:" + SHA, "sha256 is right"), (None, "no checksum")])
def test_fetch_asks_for_the_size_downloads_once_and_checks(server, tmp_path, capsys, checksum, said):
    source = served(server, whole(), checksum=checksum)
    assert sources.fetch(source, tmp_path, True, patience=HASTE) == tmp_path
    assert (tmp_path / "scans.bin").read_bytes() == CONTENT
    told = capsys.readouterr().out
    for fact in ("CC BY-SA 4.0", "Antonelli", "size not published", said):
        assert fact in told
    asked = len(server.seen)
    sources.fetch(source, tmp_path, patience=HASTE)
    assert len(server.seen) == asked and not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("checksum", ["md5:" + "0" * 32, "sha256:" + "0" * 64])
def test_wrong_bytes_are_dropped(server, tmp_path, checksum):
    with pytest.raises(DataError, match="other bytes"):
        sources.fetch(served(server, whole(), checksum=checksum), tmp_path, True, patience=HASTE)
    assert [path for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []


def test_a_broken_download_is_resumed_by_the_next_call(server, tmp_path):
    source = served(server, cut(50_000), refuse(404), size=len(CONTENT))
    with pytest.raises(DataError, match="50.0 kB are kept"):
        sources.fetch(source, tmp_path, True, patience=HASTE)
    again = replace(source, files=(source.files[0]._replace(addresses=(server.url("/g", whole()),)),))
    sources.fetch(again, tmp_path, True, patience=HASTE)
    assert (tmp_path / "scans.bin").read_bytes() == CONTENT and server.ranges()[-1] == "bytes=50000-"


def test_a_server_that_does_not_answer_is_one_sentence(server, tmp_path):
    with pytest.raises(DataError, match="answered 404.*--from"):
        sources.fetch(served(server, refuse(404)), tmp_path, True, patience=HASTE)


def an_archive(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for kind in ("images", "labels"):
            archive.writestr(f"Task09_Spleen/{kind}Tr/spleen_2.nii.gz", "voxels")
    return path


def test_an_archive_is_unpacked_once_and_its_cases_are_found(server, tmp_path):
    content = an_archive(tmp_path / "sent.zip").read_bytes()
    source = served(server, whole(content), checksum="md5:" + hashlib.md5(content).hexdigest(), name="Task09_Spleen.zip")
    folder = sources.fetch(source, tmp_path / "to", True, patience=HASTE)
    assert [pair.case for pair in source.pairs(folder)] == ["spleen_2"]
    asked = len(server.seen)
    (folder / "Task09_Spleen.zip").unlink()  # what is unpacked is enough
    sources.fetch(source, tmp_path / "to", patience=HASTE)
    assert len(server.seen) == asked


def test_a_brought_archive_is_checked_and_unpacked(tmp_path, capsys):
    archive = an_archive(tmp_path / "Task09_Spleen.tar")
    source = sources.find("msd_spleen")
    assert sources.main(source, ["--from", str(archive), "--folder", str(tmp_path / "to")]) == 1
    assert "other bytes than its owner published" in capsys.readouterr().err
    other = an_archive(tmp_path / "mine.zip")  # another name: nothing to compare with
    assert sources.main(source, ["--from", str(other), "--folder", str(tmp_path / "to")]) == 0
    assert "1 labelled scans" in capsys.readouterr().out
    assert sources.main(source, ["--from", str(tmp_path / "to")]) == 0
    for wrong, reason in ((tmp_path / "nothing", "is not there"), (__file__, "unpack it yourself")):
        assert sources.main(source, ["--from", str(wrong)]) == 1
        assert reason in capsys.readouterr().err


def test_terms_are_shown_and_a_no_sends_nothing(server, tmp_path, monkeypatch):
    shown, source = [], served(server, whole())
    with pytest.raises(DataError, match="declined"):
        sources.fetch(source, tmp_path, lambda text: shown.append(text))
    assert "CC BY-SA 4.0" in shown[0] and str(tmp_path) in shown[0]
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(DataError, match="--yes"):
        sources.fetch(source, tmp_path)
    assert server.seen == []


@pytest.mark.parametrize("name", [name for name in ALL if not sources.find(name).open_files])
def test_sets_by_hand_say_what_to_do_and_ask_for_no_secret(name, fresh_cache, capsys, monkeypatch, no_network):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("the user was asked for something"))
    source = sources.find(name)
    assert sources.main(source, ["--yes"]) == 1
    told = capsys.readouterr()
    assert source.by_hand in told.out and source.page in told.out and "--from PATH" in told.err


def test_a_file_that_is_there_with_other_bytes_is_not_overwritten(server, tmp_path):
    source = served(server, whole(), name="x.zip")
    (tmp_path / "x.zip").write_text("mine")
    with pytest.raises(DataError, match="move it away"):
        sources.fetch(source, tmp_path, True, patience=HASTE)
    assert (tmp_path / "x.zip").read_text() == "mine" and server.seen == []


def test_a_script_lists_its_files_from_a_shell(tmp_path):
    repository = Path(sources.__file__).parents[1]
    done = subprocess.run([sys.executable, "-m", "data_scripts.kits19", "--list"], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0 and "master_00000.nii.gz" in done.stdout and "CC BY-NC-SA" in done.stdout
