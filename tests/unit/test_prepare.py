"""Preparation: orientation, smoothing, crop, window, cache, resume, damage, bad cases, several processes, the demo."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data_scripts import demo, one_case, prepare
from data_scripts.layouts import Pair
from data_scripts.one_case import Job, Settings, antialiased, body_box
from data_scripts.prepare import jobs_of, main, prepare_all, prepared
from fmlab import phantom
from fmlab.errors import DataError, ScanError, SettingsError
from fmlab.templates import annotated_by
from fmlab.vocabulary import ID
from fmlab.volume import Volume
from fmlab.windows import SOFT_TISSUE

pytestmark = pytest.mark.filterwarnings("error::UserWarning")  # a repair that no test expects is a failure
REPOSITORY = Path(prepare.__file__).parents[1]
COARSE = Settings(spacing=12.0)


@pytest.fixture(autouse=True)
def own_cache(fresh_cache):
    """Every test has a cache of its own."""
    return fresh_cache


@pytest.fixture(scope="session")
def body() -> Volume:
    """A phantom of 8 mm in which only the spleen is drawn, as 1, like MSD Spleen."""
    volume = phantom.sample(3, spacing=8.0)
    return volume.with_labels((volume.labels == ID["spleen"]).to(torch.uint8))


def msd(folder: Path, body: Volume, cases: int = 2, letters: str = "LPS") -> Path:
    """Cases in the layout of MSD Spleen; each a little brighter than the one before."""
    for kind in ("imagesTr", "labelsTr"):
        (folder / "Task09_Spleen" / kind).mkdir(parents=True, exist_ok=True)
    for n in range(cases):
        image, labels = (folder / "Task09_Spleen" / kind / f"spleen_{n}.nii.gz" for kind in ("imagesTr", "labelsTr"))
        demo.write_turned(replace(body, image=body.image + n), image, labels, letters)
    return folder


def a_job(folder: Path, body: Volume, letters: str = "RAS", settings: Settings = COARSE) -> Job:
    source = msd(folder / f"source-{letters}", body, 1, letters)
    return replace(jobs_of("msd_spleen", source, settings)[0], folder=folder / letters)


def made(job: Job) -> Volume:
    one_case.make(job)
    return one_case.load(job.path)[0]


def same(a: Volume, b: Volume) -> bool:
    return torch.equal(a.image, b.image) and torch.equal(a.labels, b.labels) and np.allclose(a.affine, b.affine, atol=1e-4)


@pytest.mark.parametrize("letters", ["LPS", "PIR", "SAL"])
def test_every_orientation_gives_what_ras_gives(tmp_path, body, letters):
    straight, turned = made(a_job(tmp_path, body)), made(a_job(tmp_path, body, letters))
    assert same(straight, turned) and straight.spacing == pytest.approx((12, 12, 12))
    assert straight.structures == ("spleen",) and straight.annotated == annotated_by("msd_spleen") == {"spleen"}
    assert straight.name == "msd_spleen-spleen_0" and "CC BY-SA" in straight.info["licence"]
    assert (straight.info["orientation"], turned.info["orientation"]) == ("RAS", letters)


def test_structures_stay_where_they_are_in_the_body(tmp_path, body):
    after = made(a_job(tmp_path, body, "PIR", Settings(spacing=8.0)))
    drawn, kept = body.labels[0] == 1, after.mask("spleen")
    assert np.allclose(body.world(drawn.nonzero().double().mean(0)), after.world(kept.nonzero().double().mean(0)), atol=0.01)
    assert 0 < drawn.sum() == kept.sum()


def checkerboard(spacing: tuple[float, float, float]) -> Volume:
    """Voxels that alternate between -100 and 100 HU along the first axis."""
    image = torch.full((1, 40, 24, 24), 100.0)
    image[:, ::2] = -100
    return Volume(image, np.diag([*spacing, 1.0]))


def test_what_is_finer_than_the_new_voxels_is_smoothed_away():
    volume = checkerboard((1, 1, 1))
    plain, smooth = volume.resample(4.0), antialiased(volume, 4.0).resample(4.0)
    assert (plain.image[:, :-1] + 100).abs().max() < 1  # every fourth voxel: an alias, 100 HU beside the truth
    assert smooth.image[:, 2:-2].abs().max() < 1
    assert antialiased(volume, 4.0).image[0, 8:-8].std() < 1  # and not only at the samples
    assert torch.equal(one_case.prepare(volume, Settings(4.0, crop="none")).image, smooth.image)


def test_smoothing_keeps_level_ground_edges_and_axes_that_do_not_get_coarser():
    level = Volume(torch.full((1, 9, 9, 9), -1000.0), np.diag([1.0, 1, 1, 1]))
    assert (antialiased(level, 5.0).image + 1000).abs().max() < 1e-2  # no zeros from outside
    assert antialiased(checkerboard((8, 1, 1)), 8.0).image.std() > 99  # along the first axis nothing is lost
    volume = checkerboard((4, 4, 4))
    assert antialiased(volume, 4.0) is volume and antialiased(volume, 2.0) is volume
    point = Volume(torch.zeros(1, 41, 41, 41).index_put((torch.tensor(0),) + (torch.tensor(20),) * 3, torch.tensor(1000.0)),
                   np.diag([2.0, 2, 2, 1]))
    blurred = antialiased(point, 6.0).image[0].sum((1, 2))
    sigma = float((blurred * (torch.arange(41) - 20) ** 2).sum() / blurred.sum()) ** 0.5 * 2
    assert sigma == pytest.approx(np.sqrt(36 - 4) / 2.355, rel=0.05)  # mm; Cardoso et al. 2015


def test_the_crop_is_the_body_with_every_label(body):
    labels = body.labels.clone()
    labels[0, 0, 0, 0] = ID["liver"]  # far out in the air
    volume = body.with_labels(labels)
    start, stop = body_box(body)
    inner, outer = body.crop(start, stop), volume.crop(*body_box(volume))
    assert inner.image.numel() < 0.95 * body.image.numel()
    assert (inner.image > one_case.BODY_HU).sum() == (body.image > one_case.BODY_HU).sum()
    assert int((outer.labels > 0).sum()) == int((labels > 0).sum())
    assert np.allclose(inner.world((0, 0, 0)), body.world(start))
    speck = body.image.clone()
    speck[0, 0, 0, 0] = 500  # a piece of its own, such as a cable
    assert np.array_equal(body_box(replace(body, image=speck, labels=None)), body_box(replace(body, labels=None)))
    with pytest.raises(ScanError, match="no body"):
        body_box(replace(body, image=torch.full_like(body.image, -1000)))


def test_hu_are_kept_whole_or_go_through_a_window(tmp_path, body):
    plain = a_job(tmp_path, body, settings=Settings(12.0, crop="none"))
    windowed = replace(plain, settings=Settings(12.0, "soft_tissue", "none"), folder=tmp_path / "windowed")
    hu, values = made(plain), made(windowed)
    with np.load(plain.path) as a, np.load(windowed.path) as b:
        assert (a["image"].dtype, b["image"].dtype, a["labels"].dtype) == (np.int16, np.float16, np.uint8)
    assert values.image.min() == 0 and values.image.max() == 1 and values.info["window"] == "soft_tissue"
    assert (values.image - SOFT_TISSUE(hu.image)).abs().max() < 2e-3  # whole HU and half precision
    assert torch.equal(hu.labels, values.labels)


def test_a_window_is_refused_for_mr_and_nonsense_for_all():
    mr = Volume(torch.rand(1, 4, 4, 4), np.eye(4), modality="MR", name="knee")
    with pytest.raises(SettingsError, match="windows are for CT"):
        one_case.prepare(mr, Settings(window="wide"))
    assert one_case.prepare(mr, Settings(spacing=1.0)).shape == (4, 4, 4)
    for wrong in ({"spacing": 0.0}, {"spacing": float("nan")}, {"window": "lung"}, {"crop": "head"}):
        with pytest.raises(SettingsError):
            Settings(**wrong)


def test_mr_keeps_its_values_and_is_cropped_to_what_is_bright(tmp_path):
    image = torch.zeros(1, 20, 20, 20)
    image[:, 4:12, 5:15, 6:16] = torch.rand(8, 10, 10) * 0.5 + 0.5
    scan = Volume(image, np.diag([4.0, 4, 4, 1]), (image > 0.9).byte() * ID["liver"], modality="MR", name="knee")
    pair = Pair("knee", scan.write(tmp_path / "mr.nii.gz"), scan.write_labels(tmp_path / "labels.nii.gz"))
    after = made(Job("demo", pair, "fmlab", "MR", Settings(4.0), tmp_path))
    assert after.modality == "MR" and after.shape == (8 + 2 * 3, 10 + 2 * 3, 10 + 2 * 3)  # 10 mm are three voxels
    assert torch.equal(after.image, image[:, 1:15, 2:18, 3:19]) and after.annotated is None


def test_other_settings_do_not_collide_and_what_is_done_is_skipped(tmp_path, body, own_cache, capsys):
    folder = msd(tmp_path, body)
    run = ["msd_spleen", str(folder), "--workers", "1", "--spacing"]
    assert main([*run, "12"]) == 0
    assert "2 prepared, 0 were there" in capsys.readouterr().out
    times = {path: path.stat().st_mtime_ns for path in own_cache.rglob("*.npz")}
    assert main([*run, "12"]) == 0 and main([*run, "16"]) == 0
    assert "0 prepared, 2 were there" in capsys.readouterr().out
    assert times == {path: path.stat().st_mtime_ns for path in times} and len(list(own_cache.rglob("*.npz"))) == 4
    assert {path.parent.name for path in own_cache.rglob("*.npz")} == {"12mm-none-body", "16mm-none-body"}


def test_prepared_cases_are_a_cohort(tmp_path, body, own_cache):
    folder = msd(tmp_path, body)
    prepare_all(jobs_of("msd_spleen", folder, COARSE), 1)
    cohort = pickle.loads(pickle.dumps(prepared(own_cache / "prepared/msd_spleen/12mm-none-body")))
    assert cohort.names == cohort.patients == ("msd_spleen-spleen_0", "msd_spleen-spleen_1")
    assert tuple(volume.name for volume in cohort) == cohort.names and cohort[1].mask("spleen").any()
    assert float((cohort[1].image - cohort[0].image).median()) == 1
    with pytest.raises(DataError, match="no prepared case"):
        prepared(tmp_path)


def test_two_workers_make_what_one_makes(tmp_path, body):
    jobs = jobs_of("msd_spleen", msd(tmp_path, body, 3), COARSE, tmp_path / "one")
    assert [outcome.state for outcome in prepare_all(jobs, 1)] == ["prepared"] * 3
    spread = jobs_of("msd_spleen", tmp_path, COARSE, tmp_path / "two")
    assert [outcome.state for outcome in prepare_all(spread, 2)] == ["prepared"] * 3
    assert all(same(one_case.load(a.path)[0], one_case.load(b.path)[0]) for a, b in zip(jobs, spread))


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path, body, own_cache):
    folder = msd(tmp_path, body, 12)
    command = [sys.executable, "-m", "data_scripts.prepare", "msd_spleen", str(folder), "--spacing", "8", "--workers", "1"]
    running = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list(own_cache.rglob("*.npz")) and time.monotonic() < until:
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in own_cache.rglob("*.npz")}
    assert 0 < len(before) < 12
    outcomes = prepare_all(jobs_of("msd_spleen", folder, Settings(8.0)), 1)
    assert sum(outcome.state == "there" for outcome in outcomes) == len(before)
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    assert len(prepared(own_cache / "prepared/msd_spleen/8mm-none-body")) == 12


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"junk" * 99,
                                    lambda b: b[:300] + bytes([b[300] ^ 255]) + b[301:]])
def test_a_damaged_file_is_made_again_with_a_warning(tmp_path, body, damage):
    job = a_job(tmp_path, body)
    good = made(job)
    job.path.write_bytes(damage(job.path.read_bytes()))
    with pytest.raises(DataError, match="prepare it again"):
        one_case.load(job.path)
    with pytest.warns(UserWarning, match="spleen_0.npz is damaged; it is made again"):
        assert prepare_all([job], 1)[0].state == "prepared"
    assert same(good, one_case.load(job.path)[0])


def test_a_source_that_changed_is_prepared_again(tmp_path, body):
    job = a_job(tmp_path, body)
    made(job)
    demo.write_turned(replace(body, image=body.image * 0.5), job.pair.image, job.pair.labels, "RAS")
    with pytest.warns(UserWarning, match="made from another file"):
        assert prepare_all([job], 1)[0].state == "prepared"


def test_bad_cases_are_listed_and_stop_no_other(tmp_path, body, own_cache, capsys):
    folder = msd(tmp_path, body, 4) / "Task09_Spleen"
    cut, foreign = folder / "imagesTr/spleen_1.nii.gz", folder / "labelsTr/spleen_2.nii.gz"
    cut.write_bytes(cut.read_bytes()[:2000])
    demo.write_turned(body.with_labels(body.labels * 9), folder / "imagesTr/spleen_2.nii.gz", foreign, "LPS")
    assert main(["msd_spleen", str(folder), "--spacing", "12", "--workers", "1"]) == 1
    told = capsys.readouterr()
    assert "4 cases: 2 prepared, 0 were there, 2 failed" in told.out
    reasons = told.err.strip().splitlines()[-2:]
    assert reasons[0].startswith("msd_spleen-spleen_1: ") and "spleen_1.nii.gz" in reasons[0]
    assert reasons[1].startswith("msd_spleen-spleen_2: ") and "9" in reasons[1]
    assert not any(path.name.startswith(".") for path in own_cache.rglob("*"))


def test_what_nobody_foresaw_is_listed_too(tmp_path, body, monkeypatch):
    job = a_job(tmp_path, body)
    monkeypatch.setattr(one_case, "make", lambda job: [][1])
    (outcome,) = prepare_all([job], 1)
    assert outcome.state == "failed" and outcome.reason == "IndexError: list index out of range"


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["msd_splen", "."], "did you mean msd_spleen"), (["msd_spleen", "nowhere"], "not a folder"),
    (["msd_spleen", "{empty}"], "no labelled case"), (["msd_spleen", ".", "--spacing", "-1"], "between 0.5 and 20")])
def test_bad_input_ends_in_one_sentence(arguments, sentence, tmp_path, capsys):
    assert main([argument.format(empty=tmp_path) for argument in arguments]) == 1
    told = capsys.readouterr().err
    assert sentence in told and len(told.strip().splitlines()) == 1
    with pytest.raises(SystemExit):
        main(["msd_spleen"])


def test_the_demo_runs_on_a_turned_phantom_and_on_the_real_ct(own_cache, shared_data, monkeypatch, capsys):
    monkeypatch.setenv("FMLAB_SHARED", str(shared_data.parent))
    monkeypatch.setenv("FMLAB_PROFILE", "ci")
    assert main(["--demo", "--spacing", "8", "--workers", "1"]) == 0
    told = capsys.readouterr().out
    assert "PIR" in told and "totalsegmentator-ct " in told and "0 failed" in told and "after" in told
    volume = prepared(own_cache / "prepared/demo/8mm-none-body")[0]
    assert volume.name == "demo-phantom_7" and len(volume.structures) > 40
    assert main(["--demo", "--spacing", "8", "--workers", "1"]) == 0
    assert "0 prepared" in capsys.readouterr().out


def test_the_demo_needs_no_real_data(tmp_path, monkeypatch):
    monkeypatch.setenv("FMLAB_SHARED", str(tmp_path))
    monkeypatch.setenv("FMLAB_PROFILE", "ci")
    (job,) = demo.jobs(COARSE)
    assert job.pair.case == "phantom_7" and job.scheme == "fmlab"


def test_a_file_of_another_case_is_not_believed(tmp_path, body):
    jobs = jobs_of("msd_spleen", msd(tmp_path, body), COARSE)
    prepare_all(jobs, 1)
    os.replace(jobs[0].path, jobs[1].path)
    with pytest.warns(UserWarning, match="another file"):
        states = [outcome.state for outcome in prepare_all(jobs, 1)]
    assert states == ["prepared", "prepared"]
    assert json.loads(json.dumps(jobs[0].key)) == jobs[0].key and isinstance(jobs[0].pair, Pair)
