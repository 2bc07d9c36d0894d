"""``fmlab segment``: any file in, labels out in the same places and the same order of axes, names beside them, nothing lost."""

from __future__ import annotations

import json
import os

import nibabel as nib
import nrrd
import numpy as np
import pytest
import torch
from pydicom.uid import generate_uid
from test_dicom_files import write_slice
from threshold_model import OBLIQUE, Thresholds, scan
from typer.testing import CliRunner

from fmlab import cli, grids, hub, inference, scan_files, segment_scan
from fmlab.errors import FmlabError, ModelError, ScanError, VocabularyError
from fmlab.segment_scan import segment_file
from fmlab.vocabulary import ID
from fmlab.volume import Volume

NAMES = ["lung_left", "liver", "spleen"]


@pytest.fixture(autouse=True)
def model(monkeypatch) -> Thresholds:
    """What ``hub.load`` gives in these tests."""
    stand_in = Thresholds()

    def load(name, weights="nano"):
        if weights != "nano":
            raise ModelError(f"There are no weights {weights!r}.")
        return stand_in

    monkeypatch.setattr(hub, "load", load)
    return stand_in


@pytest.fixture
def ct(tmp_path):
    """A scan on disk, asymmetric, oblique, in RAS order."""
    return scan(affine=OBLIQUE).write(tmp_path / "ct.nii.gz")


def turned(volume: Volume, codes: str, path):
    """The scan as a NIfTI whose axes run as ``codes`` say."""
    image = nib.Nifti1Image(volume.image[0].numpy().astype(np.int16), volume.affine)
    turn = nib.orientations.ornt_transform(*(nib.orientations.axcodes2ornt(c) for c in ("RAS", codes)))
    nib.save(image.as_reoriented(turn), path)
    return path


# --- orientation and formats -------------------------------------


@pytest.mark.parametrize("affine", [np.diag([4.0, 4, 5, 1]), OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("codes", ["RAS", "LPS", "SPR", "AIL", "IRP", "PSL"])
def test_any_orientation(codes, affine, tmp_path):
    volume = scan(affine=affine)
    path = turned(volume, codes, tmp_path / "ct.nii.gz")
    segment_file(path, tmp_path / "out.nii.gz", progress=False)
    given, found = nib.load(path), nib.load(tmp_path / "out.nii.gz")
    assert found.shape == given.shape and np.allclose(found.affine, given.affine, atol=1e-4)
    assert "".join(nib.aff2axcodes(found.affine)) == codes and found.get_data_dtype() == np.uint8
    expected = inference.segment(Thresholds(), volume)
    straight = nib.as_closest_canonical(found)
    assert np.array_equal(np.asanyarray(straight.dataobj), expected.labels[0].numpy()) and len(expected.structures) == 3
    again = Volume.read(path, labels=tmp_path / "out.nii.gz")  # one grid, and the file says what it knows
    assert again.structures == expected.structures and again.annotated == set(NAMES)
    bright = again.image[0][again.mask("liver")]
    assert ((bright > 80) & (bright < 260)).float().mean() > 0.9  # in place, not only in order


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("codes", ["LPS", "SPR", "AIL", "RAS", "ILA"])
def test_from_ras_is_the_way_back(codes, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 99, (4, 5, 6)).astype(np.int16)
    turn = nib.orientations.ornt_transform(*(nib.orientations.axcodes2ornt(c) for c in ("RAS", codes)))
    foreign = nib.Nifti1Image(values, OBLIQUE).as_reoriented(turn)
    back, affine = grids.from_ras(*grids.to_ras(np.asanyarray(foreign.dataobj), foreign.affine), codes)
    assert np.array_equal(back, foreign.dataobj) and np.allclose(affine, foreign.affine)


def test_nrrd_gives_nifti(tmp_path):
    volume = scan(affine=np.diag([4.0, 4, 5, 1]))
    values = volume.image[0].numpy().astype(np.int16)[::-1, ::-1]  # as ITK writes it: left, back, head
    header = {"space": "left-posterior-superior", "space directions": np.diag([4.0, 4, 5]),
              "space origin": [-4.0 * (values.shape[0] - 1), -4.0 * (values.shape[1] - 1), 0]}
    nrrd.write(str(tmp_path / "ct.nrrd"), values, header)
    segment_file(tmp_path / "ct.nrrd", tmp_path / "out.nii.gz", progress=False)
    again = Volume.read(tmp_path / "ct.nrrd", labels=tmp_path / "out.nii.gz")
    assert torch.equal(again.labels, inference.segment(Thresholds(), volume).labels)
    assert grids.orientation(nib.load(tmp_path / "out.nii.gz").affine) == "LPS"


def test_a_folder_of_dicom_slices_gives_nifti(tmp_path):
    volume, series = scan(), generate_uid()
    (folder := tmp_path / "series").mkdir()
    pixels = volume.image[0].numpy().astype(np.int16)[::-1, ::-1]  # DICOM counts towards left and back
    for z in range(pixels.shape[2]):
        write_slice(folder, f"{z:03d}", pixels[..., z].T, (0, 0, 4.0 * z), series, PixelSpacing=[4.0, 4.0], SliceThickness=4.0)
    result = segment_file(folder, tmp_path / "out.nii.gz", progress=False)
    assert torch.equal(result.volume.labels, inference.segment(Thresholds(), volume).labels)
    again = Volume.read(folder, labels=tmp_path / "out.nii.gz")
    assert torch.equal(again.labels, result.volume.labels) and again.structures == tuple(NAMES)


# --- what is written ---------------------------------------------


def test_the_names_beside_the_labels(ct, tmp_path):
    result = segment_file(ct, tmp_path / "out.nii.gz", structures=["spleen", "liver"], progress=False)
    said = json.loads((tmp_path / "out.json").read_text())
    assert result.names == tmp_path / "out.json" and result.labels == tmp_path / "out.nii.gz"
    assert said["scan"] == str(ct) and said["model"] == "universal, nano" and "not for diagnosis" in said["note"]
    assert list(said["labels"]) == [str(ID["liver"]), str(ID["spleen"])]
    voxels = np.asanyarray(nib.load(result.labels).dataobj)
    for name in ("liver", "spleen"):
        ml = (voxels == ID[name]).sum() * result.volume.voxel_ml
        assert said["labels"][str(ID[name])] == {"name": name, "ml": pytest.approx(ml, abs=0.01)} and ml > 1
        assert f"{name:<20}{ml:9.1f}" in str(result)
    assert set(np.unique(voxels)) == {0, ID["liver"], ID["spleen"]} and "Dice" not in str(result)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ct.nii.gz", "out.json", "out.nii.gz"]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
def test_the_ending_is_taken_off_whole(suffix, ct, tmp_path):
    segment_file(ct, tmp_path / f"a.b{suffix}", progress=False)
    assert (tmp_path / "a.b.json").exists()


@pytest.mark.parametrize("there", ["out.nii.gz", "out.json"])
def test_what_is_there_stays_unless_said_otherwise(there, ct, tmp_path, model):
    (tmp_path / there).write_text("mine")
    with pytest.raises(ScanError, match=f"{there} exist already .*--overwrite"):
        segment_file(ct, tmp_path / "out.nii.gz", progress=False)
    assert (tmp_path / there).read_text() == "mine" and model.sides == [] and len(list(tmp_path.iterdir())) == 2
    segment_file(ct, tmp_path / "out.nii.gz", overwrite=True, progress=False)
    assert Volume.read(ct, labels=tmp_path / "out.nii.gz").structures == tuple(NAMES)
    assert json.loads((tmp_path / "out.json").read_text())["labels"]


def test_the_input_is_never_replaced(ct, tmp_path, model):
    before = ct.read_bytes()
    drawn = inference.segment(Thresholds(), Volume.read(ct)).write_labels(tmp_path / "drawn.nii.gz")
    for output, reference in ((ct, None), (drawn, drawn), (tmp_path / "." / "ct.nii.gz", None)):
        with pytest.raises(ScanError, match="choose another name"):
            segment_file(ct, output, reference=reference, overwrite=True, progress=False)
    assert ct.read_bytes() == before and model.sides == []


@pytest.mark.parametrize(("output", "said"), [
    ("out.nrrd", "end the name with .nii.gz"), ("out", "end the name"), (".", "end the name"),
    ("nowhere/out.nii.gz", "does not exist; make it first"),
])
def test_a_place_that_will_not_do(output, said, ct, tmp_path, model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / output, segment_scan.Path(output)):
        with pytest.raises(ScanError, match=said):
            segment_file(ct, path, progress=False)
    assert model.sides == [] and [path.name for path in tmp_path.iterdir()] == ["ct.nii.gz"]


@pytest.mark.parametrize("change", [{"weights": "mega"}, {"structures": ["pancreas"]}, {"structures": ["livr"]},
                                    {"scan": "nowhere.nii.gz"}, {"reference": "nowhere.nii.gz"}, {"scheme": "btc"}])
def test_refusals_leave_nothing(change, ct, tmp_path, model):
    options = {"scan": ct, "reference": ct, "progress": False} | change
    if "scheme" not in change and "reference" not in change:
        del options["reference"]
    options |= {key: tmp_path / options[key] for key in ("scan", "reference") if key in options}
    with pytest.raises((ScanError, ModelError, VocabularyError)):
        segment_file(output=tmp_path / "out.nii.gz", **options)
    assert model.sides == [] and [path.name for path in tmp_path.iterdir()] == ["ct.nii.gz"]


@pytest.mark.parametrize("fails", ["labels", "names"])
def test_half_written_files_are_never_left(fails, ct, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    if fails == "labels":
        monkeypatch.setattr(scan_files.nib, "save", full)
    else:
        whole = os.replace
        monkeypatch.setattr(segment_scan.os, "replace", lambda a, b: full() if str(b).endswith(".json") else whole(a, b))
    with pytest.raises(FmlabError, match="No space left"):
        segment_file(ct, tmp_path / "out.nii.gz", progress=False)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == ({"ct.nii.gz"} if fails == "labels" else {"ct.nii.gz", "out.nii.gz"})
    if fails == "names":
        assert Volume.read(ct, labels=tmp_path / "out.nii.gz").structures == tuple(NAMES)


# --- against a reference -----------------------------------------


def test_a_reference_of_ours_needs_no_scheme(ct, tmp_path):
    drawn = inference.segment(Thresholds(), Volume.read(ct), ["liver", "spleen"])
    reference = drawn.write_labels(tmp_path / "drawn.nii.gz")
    result = segment_file(ct, tmp_path / "out.nii.gz", reference=reference, progress=False)
    assert {score.structure: score.status for score in result.scores} == {
        "lung_left": "not annotated", "liver": "ok", "spleen": "ok"}
    said = json.loads(result.names.read_text())["labels"]
    assert said[str(ID["liver"])]["dice"] == 1.0 and "dice" not in said[str(ID["lung_left"])]
    assert "Dice" in str(result) and " 1.000" in str(result) and str(result).count("     -") == 1
    assert torch.equal(result.volume.labels, inference.segment(Thresholds(), Volume.read(ct)).labels)  # not the reference's


def test_a_reference_of_others_needs_its_scheme(ct, tmp_path, model):
    volume = Volume.read(ct)
    drawn = inference.segment(Thresholds(), volume)
    foreign = np.zeros(volume.shape, np.uint8)
    foreign[drawn.mask("liver").numpy()], foreign[drawn.mask("spleen").numpy()] = 6, 1  # BTCV's ids
    foreign[:, :, :11] = 0
    nib.save(nib.Nifti1Image(foreign, volume.affine), tmp_path / "btcv.nii.gz")
    with pytest.raises(ScanError, match="does not say what its ids mean; name it by --scheme, one of .*btcv"):
        segment_file(ct, tmp_path / "out.nii.gz", reference=tmp_path / "btcv.nii.gz", progress=False)
    assert model.sides == []
    result = segment_file(ct, tmp_path / "out.nii.gz", reference=tmp_path / "btcv.nii.gz", scheme="btcv", progress=False)
    dice = {score.structure: score.dice for score in result.scores if score.scored}
    assert set(dice) == {"liver", "spleen"} and all(0.4 < value < 0.9 for value in dice.values())
    with pytest.raises(VocabularyError, match="belong to the scheme"):
        segment_file(ct, tmp_path / "b.nii.gz", reference=tmp_path / "btcv.nii.gz", scheme="chaos", progress=False)


def test_a_reference_on_another_grid_is_refused(ct, tmp_path, model):
    other = inference.segment(Thresholds(), scan((30, 26, 20), OBLIQUE)).write_labels(tmp_path / "other.nii.gz")
    model.sides.clear()
    with pytest.raises(ScanError, match="another grid"):
        segment_file(ct, tmp_path / "out.nii.gz", reference=other, progress=False)
    assert model.sides == []


# --- the command -------------------------------------------------


def test_the_command(ct, tmp_path):
    invoke = CliRunner().invoke
    out = tmp_path / "out.nii.gz"
    done = invoke(cli.app, ["segment", str(ct), "-o", str(out), "--structures", "liver, spleen"])
    assert done.exit_code == 0, done.output
    assert "liver" in done.output and str(out) in done.output and "lung" not in done.output
    assert Volume.read(ct, labels=out).annotated == {"liver", "spleen"}
    again = invoke(cli.app, ["segment", str(ct), "-o", str(out)])
    assert again.exit_code == 1 and isinstance(again.exception, ScanError)  # ``cli.main`` makes one sentence of it
    done = invoke(cli.app, ["segment", str(ct), "-o", str(out), "--overwrite"])
    assert done.exit_code == 0 and "lung_left" in done.output
    reference = tmp_path / "reference.nii.gz"
    out.rename(reference)
    done = invoke(cli.app, ["segment", str(ct), "-o", str(out), "--reference", str(reference), "--overwrite"])
    assert done.exit_code == 0 and "1.000" in done.output
    assert invoke(cli.app, ["segment", str(ct)]).exit_code == 2  # no output named


def test_a_refusal_is_one_sentence_and_code_2(ct, tmp_path, monkeypatch, capsys):
    bad = Volume(scan().image + 1024, np.diag([4.0, 4, 4, 1]), name="bad").write(tmp_path / "bad.nii.gz")
    monkeypatch.setattr(cli.sys, "argv", ["fmlab", "segment", str(bad), "-o", str(tmp_path / "out.nii.gz")])
    with pytest.raises(SystemExit) as left:
        cli.main()
    said = capsys.readouterr().err.strip().splitlines()
    assert left.value.code == 2 and said[-1].startswith("fmlab: bad runs from 24 to") and "Traceback" not in "".join(said)
