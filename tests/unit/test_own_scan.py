"""A learner's own scan: no name gets through, nothing is overwritten, a click does what it means, one case has no interval."""

from __future__ import annotations

import gzip
import json
import re

import nibabel as nib
import nrrd
import numpy as np
import pytest
import torch
from pydicom.uid import generate_uid
from test_dicom_files import write_slice
from threshold_model import Thresholds, scan
from typer.testing import CliRunner

from fmlab import cli, hub, metrics
from fmlab.errors import DataError, FmlabError, ModelError, PromptError, ScanError, VocabularyError
from fmlab.own_scan import (
    Click,
    Corrector,
    Plan,
    best_cut,
    clicks_of,
    correct,
    halves,
    make_report,
    making,
    page,
    pictures,
    read_clicks,
    read_own,
    sources,
    zero_shot,
)
from fmlab.own_scan.carrying import carried, signed_distance, weights
from fmlab.own_scan.correcting import REACH, mended
from fmlab.own_scan.shot import KNOWN, base, worth_learning
from fmlab.viewer import Canvas
from fmlab.vocabulary import ID
from fmlab.volume import Volume

NAMES = ("Mustermann", "Erika", "HOSP-4711-X", "19640812")
PERSON = "Mustermann^Erika HOSP-4711-X 19640812"
QUICK = Plan("linear_probe", steps=2, cubes=2)
real_load = hub.load


@pytest.fixture
def small(monkeypatch, fresh_cache):
    """The universal model is a stand-in that knows three ranges of HU; the others are the course's own."""
    def load(name, weights="nano", **config):
        return Thresholds() if name == "universal" else real_load(name, weights, **config)

    monkeypatch.setattr(hub, "load", load)
    return fresh_cache


def labelled(shape=(30, 26, 22)) -> Volume:
    volume = scan(shape)
    labels = np.zeros(volume.shape, np.uint8)
    for name, (low, high) in {"lung_left": (-900, -700), "liver": (100, 250), "spleen": (300, 600)}.items():
        labels[(volume.image[0].numpy() > low) & (volume.image[0].numpy() < high)] = ID[name]
    return volume.with_labels(labels, ("lung_left", "liver", "spleen"))


def with_names(volume: Volume, path, labels: bool = False):
    """A NIfTI whose header says whose it is, wherever there is room."""
    values = (volume.labels if labels else volume.image)[0].numpy().astype(np.uint8 if labels else np.int16)
    image = nib.Nifti1Image(values, volume.affine)
    header = image.header
    header["descrip"], header["aux_file"] = PERSON.encode(), b"Mustermann_Erika.hdr"
    header["intent_name"], header["db_name"] = b"Erika 19640812", b"HOSP-4711-X"
    comment = {"fmlab": {"name": PERSON, "modality": "CT", "annotated": ["lung_left", "liver", "spleen"], "note": PERSON}}
    for code, text in (("comment", PERSON), ("comment", json.dumps(comment)), ("afni", f"<p>{PERSON}</p>")):
        header.extensions.append(nib.nifti1.Nifti1Extension(code, text.encode()))
    path.parent.mkdir(exist_ok=True)
    nib.save(image, path)
    return path


def as_dicom(volume: Volume, folder):
    """The same as a folder of slices, with names in tags, private ones too, and in the files' names."""
    folder.mkdir()
    series, values = generate_uid(), volume.image[0].numpy().astype(np.int16)
    step = volume.spacing
    for k in range(values.shape[2]):
        path = write_slice(folder, f"{NAMES[0]}_{k}.dcm", values[:, :, k].T, (0.0, 0.0, k * step[2]), series, PatientName=PERSON,
                           PatientID=NAMES[2], PatientBirthDate=NAMES[3], InstitutionName=NAMES[2], StudyDescription=PERSON,
                           ImageComments=PERSON, SeriesDescription=PERSON, ReferringPhysicianName=PERSON,
                           PixelSpacing=[step[1], step[0]], SliceThickness=step[2])
    import pydicom

    data = pydicom.dcmread(path)
    data.private_block(0x0011, "fmlab", create=True).add_new(0x01, "LO", PERSON)
    data.save_as(path)
    return folder


def as_nrrd(volume: Volume, path):
    path.parent.mkdir(exist_ok=True)
    header = {"space": "right-anterior-superior", "space directions": volume.affine[:3, :3].T,
              "space origin": volume.affine[:3, 3], "content": PERSON, "patient": PERSON}
    nrrd.write(str(path), volume.image[0].numpy().astype(np.int16), header)
    return path


def recorded(volume: Volume, path):
    """A canvas' recording on a scan that is called by the patient's name."""
    from dataclasses import replace

    canvas = Canvas(replace(volume, labels=None, name=PERSON), Corrector(volume).ask, ("liver", "spleen"),
                    prepare=Corrector(volume).prepare, autosave=False, index=11)
    canvas.point(12, 8)
    canvas.point(3, 3, label=0)
    canvas.point(20, 22)
    canvas.undo()
    canvas.save_recording(path)
    return path


def written(*folders) -> dict[str, bytes]:
    """Name of each file below the folders -> its bytes, unpacked where it is packed, pictures of a page beside it."""
    found = {}
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            content = path.read_bytes()
            found[str(path.relative_to(folder.parent))] = content
            if content.startswith(b"\x1f\x8b"):
                found[f"{path.name}, unpacked"] = gzip.decompress(content)
    return found


# --- names -------------------------------------------------------


@pytest.mark.parametrize("kind", ["nifti", "dicom", "nrrd"])
def test_no_name_of_a_patient_is_in_anything_that_is_written(kind, small, tmp_path, capsys):
    volume = labelled()
    source = tmp_path / NAMES[0]
    if kind == "nifti":
        path = with_names(volume, source / f"{NAMES[0]}_{NAMES[1]}.nii.gz")
    else:
        path = as_dicom(volume, source) if kind == "dicom" else as_nrrd(volume, source / f"{NAMES[0]}.nrrd")
    (tmp_path / "in").mkdir()
    there = volume if kind == "nrrd" else read_own(path).volume.with_labels(volume.labels, volume.annotated)
    if kind == "dicom":  # written in LPS, so the labels have to be turned as the scan is
        there = zero_shot(read_own(path).volume)
    reference = with_names(there, tmp_path / "in" / f"{NAMES[1]}.nii.gz", labels=True)
    clicks = recorded(there, tmp_path / "in" / f"{NAMES[2]}.json")
    make_report(path, tmp_path / "report", reference, "fmlab", clicks, plan=QUICK)
    files = written(tmp_path / "report", small)
    assert {"report.html", "numbers.json", "clicks.json", "adapter.safetensors", "labels-zero-shot.nii.gz",
            "labels-corrected.nii.gz", "labels-adapted-part.nii.gz"} == {p.name for p in (tmp_path / "report").iterdir()}
    for name, content in [*files.items(), ("output", capsys.readouterr().out.encode())]:
        for word in (*NAMES, str(tmp_path)):
            for text in (word, word.upper(), word.lower()):
                assert text not in name, name
                assert text.encode() not in content and text.encode("utf-16-le") not in content, (name, word)
    text = files["report/report.html"].decode()
    assert not re.search(r"(?:src|href)=\"(?!data:|https://doi\.org/)", text) and "<script" not in text and "url(" not in text
    header = nib.load(tmp_path / "report" / "labels-corrected.nii.gz").header
    assert not bytes(header["descrip"]).strip(b"\0") and not bytes(header["aux_file"]).strip(b"\0")
    assert len(header.extensions) == 1


def test_the_planted_names_would_have_been_found(tmp_path):
    """The search of the test above finds each of them in the learner's own file."""
    with_names(labelled(), tmp_path / "in" / "ct.nii.gz")
    packed = written(tmp_path / "in")["ct.nii.gz, unpacked"]
    assert all(word.encode() in packed for word in NAMES)


def test_a_scan_is_read_under_a_neutral_name_without_its_path(tmp_path):
    own = read_own(with_names(labelled(), tmp_path / NAMES[0] / "ct.nii.gz"))
    assert own.volume.name == "scan" and own.volume.labels is None and own.reference is None
    assert not any(word in repr(own) + str(own.volume.info) for word in (*NAMES, str(tmp_path)))


@pytest.mark.parametrize("name", ["", "../out", ".hidden", "a/b", "a b"])
def test_a_name_that_leads_elsewhere_is_refused(name, tmp_path):
    with pytest.raises(ScanError, match="will not do as a name"):
        Plan(name=name)


# --- what is refused, and nothing lost ---------------------------


def test_what_is_in_a_folder_stays_and_a_failure_leaves_nothing(small, tmp_path, monkeypatch):
    path = with_names(labelled(), tmp_path / "in" / "ct.nii.gz")
    before = path.read_bytes()
    (full := tmp_path / "full").mkdir()
    (full / "thesis.txt").write_text("mine")
    for folder, words in ((full, "not empty"), (full / "thesis.txt", "is a file"), (tmp_path / "no" / "such", "does not exist")):
        with pytest.raises(ScanError, match=words):
            make_report(path, folder, plan=QUICK)

    def broken(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(making, "_json", broken)
    with pytest.raises(ScanError, match="No space left"):
        make_report(path, tmp_path / "new", plan=QUICK, tell=lambda line: None)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "fmlab-cache") == ["full", "in"]
    assert (full / "thesis.txt").read_text() == "mine" and path.read_bytes() == before


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"clicks": [Click("liver", (9000, 0, 0), True)]}, PromptError, "outside the scan"),
    ({"reference": "labels"}, ScanError, "does not say what its ids mean"),
    ({"plan": {"method": "magic"}}, ModelError, "No method is called"),
    ({"plan": {"structures": ("lever",)}}, VocabularyError, "lever"),
])
def test_bad_requests_are_refused_before_any_work(change, error, words, tmp_path, monkeypatch):
    monkeypatch.setattr(making, "zero_shot", lambda *args: pytest.fail("it began to work"))
    volume = labelled()
    path = volume.write(tmp_path / "ct.nii.gz")
    labels = tmp_path / "labels.nii.gz"
    nib.save(nib.Nifti1Image(volume.labels[0].numpy(), volume.affine), labels)
    with pytest.raises(error, match=words):
        if "plan" in change:
            change = {"plan": Plan(**change["plan"])}
        make_report(path, tmp_path / "out", **({"reference": labels} if "reference" in change else change), tell=print)
    assert not (tmp_path / "out").exists()


def test_what_is_no_ct_is_refused(tmp_path):
    volume = scan()
    flat = Volume(volume.image.clamp(0, 255), volume.affine, modality="MR", name="x")
    flat.write(tmp_path / "mr.nii.gz")
    with pytest.raises(ScanError, match="CT in HU"):
        read_own(tmp_path / "mr.nii.gz")


def test_odd_scans_are_told(tmp_path):
    thick = Volume(scan((30, 26, 10)).image, np.diag([4.0, 4, 9, 1]))
    told = " ".join(read_own(thick.write(tmp_path / "thick.nii.gz")).findings)
    assert "9 mm" in told and "10 voxels" in told and "field of view is 90 mm" in told
    assert read_own(scan((40, 40, 40)).write(tmp_path / "plain.nii.gz")).findings == ()


# --- clicks ------------------------------------------------------


def test_a_recording_gives_its_clicks_in_mm_without_what_was_undone(small, tmp_path):
    volume = labelled()
    clicks = read_clicks(recorded(volume, tmp_path / "r.json"), volume)
    assert [(c.structure, c.inside, c.axis) for c in clicks] == [("liver", True, "axial"), ("liver", False, "axial")]
    assert clicks[0].voxel(volume) == (8, 26 - 1 - 12, 11)
    again = tmp_path / "list.json"
    again.write_text(json.dumps([{"structure": c.structure, "mm": c.mm, "inside": c.inside} for c in clicks]))
    assert read_clicks(again, volume) == clicks


@pytest.mark.parametrize("content", ['{"a": 1}', '[{"structure": "liver"}]',
                                     '[{"structure": "liver", "mm": [0, 0], "inside": true}]',
                                     '[{"structure": "liver", "mm": [0, 0, 0], "inside": "no"}]', "[1]", "nonsense",
                                     '[{"structure": "liver", "mm": [0, 0, 0], "inside": true, "axis": "up"}]',
                                     '[{"structure": "Mustermann", "mm": [0, 0, 0], "inside": true}]'])
def test_files_that_hold_no_clicks_are_refused(content, tmp_path):
    (path := tmp_path / "clicks.json").write_text(content)
    with pytest.raises(FmlabError):
        read_clicks(path, labelled())


def test_a_recording_of_another_grid_is_refused(small, tmp_path):
    recording = json.loads(recorded(labelled(), tmp_path / "r.json").read_text())
    with pytest.raises(ScanError, match="recording was made on"):
        clicks_of(recording, labelled((30, 26, 30)))


def square(*boxes, shape=(40, 40)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for top, bottom, left, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


def test_a_click_takes_the_piece_under_it_and_no_other():
    seen = square((0, 10, 0, 10), (30, 38, 30, 38))
    after = mended(square((5, 10, 0, 10)), [((2, 2), 1)], lambda place: seen, (1.0, 1.0))
    assert np.array_equal(after, square((0, 10, 0, 10)))
    without = mended(seen, [((2, 2), 0)], lambda place: seen, (1.0, 1.0))
    assert np.array_equal(without, square((30, 38, 30, 38)))


def test_a_click_never_undoes_another_one_and_reaches_no_further_than_it_can_mean():
    everything = np.ones((40, 40), bool)
    clicks = [((10, 10), 1), ((10, 30), 0), ((30, 10), 1), ((20, 20), 0)]
    after = mended(np.zeros((40, 40), bool), clicks, lambda place: everything, (1.0, 1.0))
    assert all(after[place] == bool(label) for place, label in clicks)
    wide = mended(np.zeros((40, 40), bool), clicks[:1], lambda place: everything, (1.0, 4.0))
    rows, columns = np.nonzero(wide)
    assert np.hypot(rows - 10, 4 * (columns - 10)).max() <= REACH < np.hypot(39 - 10, 0) + 2


def test_a_click_where_the_model_sees_nothing_still_counts():
    nothing = np.zeros((40, 40), bool)
    assert mended(nothing, [((20, 20), 1)], lambda place: nothing, (1.0, 1.0)).sum() == np.sum(
        np.hypot(*np.ogrid[-20:20, -20:20]) <= 5)


def test_mending_leaves_the_mask_that_it_was_given():
    mask = square((5, 10, 0, 10))
    mended(mask, [((2, 2), 1)], lambda place: ~mask, (1.0, 1.0))
    assert np.array_equal(mask, square((5, 10, 0, 10)))


# --- from slices to the volume -----------------------------------


def test_weights_are_one_on_a_clicked_slice_and_nothing_far_from_it():
    w = weights(40, [10, 14, 34], 2.0, 10.0)
    assert np.array_equal(w[[10, 14, 34]], np.eye(3)) and not w[[0, 5, 20, 24, 28]].any()
    assert w[12] == pytest.approx([0.5, 0.5, 0]) and w[13].sum() == pytest.approx(1) and w[8, 0] == pytest.approx(0.6)


def test_a_mended_slice_is_kept_its_neighbours_follow_and_far_ones_stay():
    before = np.zeros((30, 30, 30), bool)
    before[10:20, 10:20, :] = True
    new = square((8, 22, 8, 22), shape=(30, 30))
    after = carried(before, {15: new}, "axial", (2.0, 2.0, 2.0), fade=10)
    area = after.sum((0, 1))
    assert area[15] == 14 * 14 and area[15] >= area[16] >= area[18] >= area[20] == 100 < area[17] and area[14] == area[16]
    assert np.array_equal(after[:, :, :10], before[:, :, :10])
    assert np.array_equal(carried(before, {}, "axial", (2.0,) * 3), before)
    gone = carried(before, {15: np.zeros_like(new)}, "axial", (2.0,) * 3, fade=10)
    assert not gone[:, :, 14:17].any() and gone[:, :, 0].any()


def test_signed_distances_are_positive_inside_and_in_mm():
    d = signed_distance(square((10, 20, 10, 20)), (3.0, 1.0))
    assert d[10, 15] == 3 and d[15, 10] == 1 and d[9, 15] == -3 and (signed_distance(square(), (1, 1)) < 0).all()


def test_corrected_labels_are_taken_from_others_and_returned_to_nobody(small):
    found = labelled()
    place = tuple(found.world((15, 6, 11)))
    fixed = correct(found, [Click("spleen", place, True)])
    assert fixed.labels[0, 15, 6, 11] == ID["spleen"] and found.labels[0, 15, 6, 11] != ID["spleen"]
    assert fixed.annotated == found.annotated and torch.equal(found.labels, labelled().labels)
    liver = tuple(int(i) for i in found.mask("liver").nonzero()[200])
    less = correct(found, [Click("liver", tuple(found.world(liver)), False)])
    assert less.labels[0][liver] == 0 and less.mask("liver").sum() < found.mask("liver").sum()
    assert torch.equal(less.mask("spleen"), found.mask("spleen"))


def test_the_canvas_and_the_list_of_its_clicks_agree(small, tmp_path):
    found = labelled()
    corrector = Corrector(found)
    canvas = Canvas(found, corrector.ask, ("liver",), prepare=corrector.prepare, autosave=False, index=11)
    canvas.point(4, 4)
    canvas.point(12, 8, label=0)
    fixed = correct(found, clicks_of(canvas.recording, found), corrector)
    assert np.array_equal(canvas.mask("liver")[:, :, 11], fixed.mask("liver").numpy()[:, :, 11])


# --- the shot ----------------------------------------------------


def test_the_cut_leaves_each_structure_on_both_sides():
    volume = labelled()
    names = ("liver", "spleen")
    lower, upper = halves(volume, cut := best_cut(volume, names))
    for name in names:
        share = float(lower.mask(name).sum() / volume.mask(name).sum())
        assert 0.35 < share < 0.65
    assert lower.shape[2] == cut and lower.shape[2] + upper.shape[2] == volume.shape[2]
    assert np.allclose(upper.world((0, 0, 0)), volume.world((0, 0, cut)))
    with pytest.raises(DataError, match="no two parts"):
        halves(volume, 0)


def test_what_one_side_lacks_is_not_learnt():
    volume = labelled()
    bare = volume.with_labels(torch.where(volume.mask("liver"), volume.labels[0], 0), volume.annotated)
    assert worth_learning([volume, bare]) == ("liver",)
    with pytest.raises(DataError, match="spleen"):
        worth_learning([volume, bare], ("spleen",))
    assert set(KNOWN) == set(base().structures)


# --- the report --------------------------------------------------


def test_a_second_scan_with_labels_gives_one_number_and_two_give_intervals(small, tmp_path):
    volume, sides = labelled(), []
    for number in range(2):
        other = scan((30, 26, 22), balls=[((0.32, 0.6, 0.5), 0.2 - 0.02 * number, 170.0), ((0.72, 0.6, 0.5), 0.16, 450.0)])
        labels = np.zeros(other.shape, np.uint8)
        labels[(other.image[0] > 100) & (other.image[0] < 250)], labels[other.image[0] > 300] = ID["liver"], ID["spleen"]
        full = other.with_labels(labels, ("liver", "spleen", "lung_left"))
        sides.append((full.write(tmp_path / f"o{number}.nii.gz"), full.write_labels(tmp_path / f"l{number}.nii.gz")))
    path, quiet = volume.write(tmp_path / "ct.nii.gz"), {"plan": QUICK, "tell": lambda line: None}
    one = make_report(path, tmp_path / "one", others=sides[:1], **quiet).read_text()
    two = make_report(path, tmp_path / "two", others=sides, **quiet).read_text()
    assert "n = 1: one scan has no interval" in one and not re.search(r"\d \[0\.", one)
    assert "n = 2: the intervals" in two and re.search(r"\d \[\d\.\d\d, \d\.\d\d\]", two)
    assert (tmp_path / "two" / "labels-adapted-3.nii.gz").exists()


def test_the_report_says_what_it_is_and_what_it_took(small, tmp_path):
    volume = labelled()
    path, labels = volume.write(tmp_path / "ct.nii.gz"), volume.write_labels(tmp_path / "labels.nii.gz")
    done = CliRunner().invoke(cli.app, ["report", str(path), "-o", str(tmp_path / "out"), "--reference", str(labels), "--method",
                                        "linear_probe", "--steps", "2", "--structures", "liver,spleen", "--name", "case-1"],
                              catch_exceptions=False)
    assert done.exit_code == 0 and done.stdout.strip().endswith("report.html")
    text = (tmp_path / "out" / "report.html").read_text()
    for words in ("Report on case-1", "not for diagnosis", "n = 1", "part of the person who taught", "prefers-color-scheme: dark",
                  "@media print", "fseft-nano.safetensors", "10.48550/arXiv.2303.17051", "No click was made", "SHA-256",
                  "--method linear_probe", "Nothing unusual" if not read_own(path).findings else "To know about it"):
        assert words in text, words
    numbers = json.loads((tmp_path / "out" / "numbers.json").read_text())
    assert numbers["structures"] == ["liver", "spleen"] or numbers["structures"] == ["spleen", "liver"]
    assert numbers["ml"]["zero-shot"]["liver"] == pytest.approx(float(volume.mask("liver").sum()) * volume.voxel_ml, rel=0.2)
    adapter = hub.load("fseft", "nano")
    from fmlab.adaptation import load

    assert load(adapter, tmp_path / "out" / "adapter.safetensors").structures == tuple(numbers["structures"])


def test_labels_come_out_on_the_grid_and_axes_of_the_file(small, tmp_path):
    volume = scan()
    image = nib.Nifti1Image(volume.image[0].numpy().astype(np.int16), volume.affine)
    turn = nib.orientations.ornt_transform(*(nib.orientations.axcodes2ornt(c) for c in ("RAS", "LPS")))
    nib.save(image.as_reoriented(turn), tmp_path / "lps.nii.gz")
    make_report(tmp_path / "lps.nii.gz", tmp_path / "out", plan=QUICK, tell=lambda line: None)
    found, given = nib.load(tmp_path / "out" / "labels-zero-shot.nii.gz"), nib.load(tmp_path / "lps.nii.gz")
    assert found.shape == given.shape and np.allclose(found.affine, given.affine)
    again = Volume.read(tmp_path / "out" / "labels-zero-shot.nii.gz", modality="other")
    assert metrics.dice(again.image[0].numpy() == ID["liver"], labelled().mask("liver").numpy()) > 0.9


def test_a_course_of_the_loss_is_drawn_where_there_is_one():
    assert pictures.losses_svg([1.0] * 5) == ""
    drawn = pictures.losses_svg([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert "from 0.80 to 0.60" in drawn and drawn.count(",") >= 3 and "step 7" in drawn


def test_uneven_lists_of_further_scans_are_refused(tmp_path):
    with pytest.raises(ScanError, match="one for each"):
        making.paired([tmp_path], [tmp_path, tmp_path])


def test_every_method_and_model_has_somebody_to_cite():
    from fmlab.adaptation import METHODS

    assert set(sources.METHODS) == set(METHODS)
    found = sources.sources(("universal", "sam", "fseft"), "lora")
    assert all(one.licence for one in found) and all(one.doi.startswith("10.") for one in found if one.what == "method")
    assert all(len(one.sha256) == 64 and "trained on" in one.note for one in found if one.what == "weights")
    assert page.grouped(found)[0][0] == "Weights"


def test_a_public_scan_is_cited_and_nobody_elses():
    from fmlab.hub.registry import registry

    entry = registry()[0]
    assert sources.data({"citation": entry.citation})[0].licence == entry.licence
    assert sources.data({"citation": PERSON}) == [] and sources.data({}) == []
