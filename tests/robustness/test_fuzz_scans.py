"""``Volume.read`` on damaged, hostile and odd files: a Volume that is one, or one sentence; and never terabytes of memory."""

from __future__ import annotations

import gzip
import os
import struct
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from fuzzing import Fuzz, examples, mutated, sentence, soon
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from scan_samples import AFFINE, SHAPE, dicoms, hu, niftis, nrrds

from fmlab import grids
from fmlab.errors import ScanError
from fmlab.volume import Volume

pytestmark = pytest.mark.filterwarnings("ignore")  # readers warn of what they then refuse


def sound(volume: object) -> None:
    """What was taken is a scan: finite, in RAS order, on a proper grid."""
    if isinstance(volume, Volume):
        assert torch.isfinite(volume.image).all() and grids.orientation(volume.affine) == "RAS" and min(volume.spacing) > 0
        assert volume.image.shape[1:] == volume.shape and 0 not in volume.shape


def save_mutated(folder: Path, files: dict[str, bytes], rng: np.random.Generator) -> Path:
    """One of the files, damaged before or after its compression."""
    name = str(rng.choice(list(files)))
    path = folder / name
    if not name.endswith(".gz"):
        path.write_bytes(mutated(files[name], rng))
    elif rng.random() < 0.6:
        path.write_bytes(gzip.compress(mutated(files[name], rng), 1))
    else:
        path.write_bytes(mutated(gzip.compress(files[name], 1), rng))
    return path


def test_fuzz_nifti(tmp_path):
    files, fuzz = niftis(tmp_path), Fuzz("nifti")
    for rng in fuzz:
        path = save_mutated(tmp_path, files, rng)
        sound(fuzz.hold(lambda path=path: Volume.read(path), tmp_path))
        path.unlink()
    fuzz.tell()


def test_fuzz_nrrd(tmp_path):
    files, fuzz = nrrds(tmp_path), Fuzz("nrrd")
    for rng in fuzz:
        path = save_mutated(tmp_path, files, rng)
        sound(fuzz.hold(lambda path=path: Volume.read(path), tmp_path))
    fuzz.tell()


def test_fuzz_label_map(tmp_path):
    files, fuzz = niftis(tmp_path), Fuzz("label map")
    for rng in fuzz:
        path, other = save_mutated(tmp_path, {"labels.nii.gz": files["labels.nii.gz"]}, rng), rng.random() < 0.5
        sound(fuzz.hold(lambda p=path, o=other: Volume.read(tmp_path / "ours.nii.gz", p, resample_labels=o), tmp_path))
    fuzz.tell()


def test_fuzz_dicom(tmp_path):
    fuzz = Fuzz("dicom")
    for folder in ("explicit", "implicit"):
        (tmp_path / folder).mkdir()
    series = {folder: dicoms(tmp_path / folder, folder == "implicit") for folder in ("explicit", "implicit")}
    for rng in fuzz:
        folder = tmp_path / str(rng.choice(list(series)))
        files = series[folder.name]
        wrong = str(rng.choice(list(files)))
        (folder / wrong).write_bytes(mutated(files[wrong], rng, head=900))
        if rng.random() < 0.05:
            (folder / wrong).unlink()
        sound(fuzz.hold(lambda folder=folder: Volume.read(folder), tmp_path))
        (folder / wrong).write_bytes(files[wrong])
    fuzz.tell()


_NUMBERS = st.sampled_from([0, 1, -1, 2, 3, 5, 7, 16, 255, 2**15 - 1, -2**15])
_FLOATS = st.sampled_from([0.0, 1.0, -1.0, 2.5, 352.0, float("nan"), float("inf"), 1e30, -1e30, 1e-30, 1e8])
_WORDS = st.sampled_from([b"", b"n+1\0", b"ni1\0", b"\xff\xfe", b"x" * 80])


_FIELDS = nib.Nifti1Header.template_dtype


@st.composite
def headers(draw) -> nib.Nifti1Header:
    """A NIfTI-1 header in which up to three fields hold what a writer would never put there; sometimes other axes or voxels."""
    header = nib.Nifti1Image(hu(), AFFINE).header
    for name in draw(st.lists(st.sampled_from(_FIELDS.names), max_size=3)):
        field = header.structarr[name]
        value = draw({"i": _NUMBERS, "u": _NUMBERS, "f": _FLOATS}.get(field.dtype.kind, _WORDS))
        if field.shape:
            field[draw(st.integers(0, field.size - 1))] = value
        else:
            header.structarr[name] = np.array(value).astype(field.dtype)
    if draw(st.integers(0, 3)) == 0:
        header.structarr["dim"][0] = draw(st.integers(0, 7))
    if draw(st.integers(0, 3)) == 0:
        header.structarr["datatype"] = draw(st.sampled_from([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1536, 77]))
    return header


def test_fuzz_nifti_header(tmp_path):
    fuzz, path = Fuzz("nifti header"), tmp_path / "a.nii"

    @examples("nifti header")
    @given(headers(), st.sampled_from([4000, 4000, 800, 420, 0]))
    def run(header, length):
        path.write_bytes(header.binaryblock + bytes(4) + (bytes(range(256)) * 16)[:length])
        sound(fuzz.hold(lambda: Volume.read(path), tmp_path))

    run()
    fuzz.tell()


_CELLS = st.one_of(st.floats(width=64), st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e-300, 1e300, 2.0]))


def test_fuzz_affine():
    """Any 16 numbers, and grids that are turned, mirrored, sheared or nearly flat: by hand, and from the order of a file."""
    fuzz = Fuzz("affine")

    @examples("affine")
    @given(nps.arrays(np.float64, (4, 4), elements=_CELLS), st.booleans(), st.integers(0, 2**16))
    def run(cells, proper, seed):
        affine = cells
        if proper:
            rng = np.random.default_rng(seed)
            turn = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.choice([0.01, 0.5, 1, 100], 3)
            affine = np.eye(4)
            affine[:3, :3], affine[:3, 3] = turn + rng.choice([0, 0, 0.3]), rng.normal(size=3) * 100
        fuzz.hold(lambda: _ordered(affine))
        fuzz.hold(lambda: Volume(torch.zeros(1, *SHAPE), affine))

    run()
    fuzz.tell()


def _ordered(affine: np.ndarray) -> None:
    values, moved = grids.to_ras(hu(), grids.checked_affine(affine, "here"))
    sound(Volume(torch.from_numpy(values.astype(np.float32))[None], moved))


def test_fuzz_no_scan(tmp_path):
    """Noise, other people's files and nothing, under every name that is read."""
    fuzz = Fuzz("no scan")
    contents = [b"", b"\0", b"<html>404</html>", b"\x1f\x8b", b"NRRD0004\n", b"NRRD0004\ntype: short\n\n", b"PK\x03\x04",
                b"\0" * 128 + b"DICM", b"\x5c\x01\0\0" + bytes(400)]
    for rng in fuzz:
        content = contents[int(rng.integers(len(contents)))] if rng.random() < 0.4 else b""
        content += rng.bytes(int(rng.integers(0, 600))) if rng.random() < 0.7 else b""
        folder = tmp_path / "series"
        folder.mkdir(exist_ok=True)
        for path in (tmp_path / f"a{rng.choice(['.nii', '.nii.gz', '.nrrd', '.nhdr', '.dcm', '', '.NII'])}", folder / "IM0"):
            path.write_bytes(gzip.compress(content) if path.suffix == ".gz" and rng.random() < 0.5 else content)
            read = path if path.parent == tmp_path else folder
            assert isinstance(fuzz.hold(lambda read=read: Volume.read(read), tmp_path), ScanError)
    fuzz.tell(both=False)


# ---- a small file that claims to be large ----


def refused_without_memory(path: Path, match: str) -> None:
    """Refused in a sentence, and nothing near the claimed size was ever asked of the system."""
    tracemalloc.start()
    try:
        with soon(), pytest.raises(ScanError, match=match) as caught:
            Volume.read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    sentence(caught.value)
    assert peak < 100e6, f"{peak / 1e9:.1f} GB were asked for"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_small_nifti_may_not_claim_terabytes(tmp_path, name, kind):
    image = kind(hu(), AFFINE)
    image.header.structarr["dim"][:4] = (3, 32767, 32767, 32767)
    content = image.header.binaryblock + bytes(4) + hu().tobytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    refused_without_memory(tmp_path / name, "claims .*TB")


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
def test_a_small_nrrd_may_not_claim_terabytes(tmp_path, encoding):
    path = tmp_path / "a.nrrd"
    path.write_bytes(nrrds(tmp_path)[f"{encoding}.nrrd"].replace(b"sizes: 7 6 5", b"sizes: 30000 30000 30000"))
    refused_without_memory(path, "claims .*TB")


def test_a_small_dicom_slice_may_not_claim_gigabytes(tmp_path):
    dicoms(tmp_path)
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        at = content.index(b"\x28\x00\x10\x00US\x02\x00") + 8  # Rows, then Columns
        content = content[:at] + struct.pack("<H", 65535) + content[at + 2:]
        at = content.index(b"\x28\x00\x11\x00US\x02\x00") + 8
        path.write_bytes(content[:at] + struct.pack("<H", 65535) + content[at + 2:])
    refused_without_memory(tmp_path, "cannot be decoded|claims")


def test_a_sparse_file_larger_than_the_memory_is_refused_before_it_is_read(tmp_path):
    image = nib.Nifti1Image(hu(), AFFINE)
    image.header.structarr["dim"][:4] = (3, 20000, 20000, 20000)
    path = tmp_path / "a.nii"
    path.write_bytes(image.header.binaryblock + bytes(4))
    os.truncate(path, 352 + 2 * 20000**3)  # the disk holds nothing of it
    refused_without_memory(path, "memory")


# ---- what is no file, and names ----


def refused(path: object, match: str) -> None:
    with soon(), pytest.raises(ScanError, match=match) as caught:
        Volume.read(path)
    sentence(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")
def test_pipes_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "zero.nii").symlink_to("/dev/zero")
    for name in ("pipe.nii", "zero.nii"):
        refused(tmp_path / name, "neither a file nor a folder")
    os.mkfifo(tmp_path / "IM0")
    refused(tmp_path, "holds no DICOM slices")


@pytest.mark.parametrize("data", ["/dev/zero", "pipe", "gone.raw", "LIST", "."])
def test_a_detached_nrrd_names_no_device(tmp_path, data):
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
    head = "NRRD0004\ntype: short\ndimension: 3\nspace: LPS\nsizes: 2 2 2\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
    (tmp_path / "a.nhdr").write_text(f"{head}encoding: raw\nendian: little\ndata file: {data}\n")
    refused(tmp_path / "a.nhdr", "data file")


def test_a_detached_nrrd_beside_its_header_is_read(tmp_path):
    head = "NRRD0004\ntype: short\ndimension: 3\nspace: LPS\nsizes: 2 2 2\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
    (tmp_path / "a.nhdr").write_text(f"{head}encoding: raw\nendian: little\ndata file: a.raw\n")
    (tmp_path / "a.raw").write_bytes(np.arange(-400, 400, 100, dtype="<i2").tobytes())
    assert Volume.read(tmp_path / "a.nhdr").shape == (2, 2, 2)


@pytest.mark.parametrize("lines", [10**15, -5])
def test_lines_to_skip_are_no_endless_loop(tmp_path, lines):
    content = nrrds(tmp_path)["raw.nrrd"].replace(b"sizes:", f"line skip: {lines}\nsizes:".encode())
    (tmp_path / "a.nrrd").write_bytes(content)
    refused(tmp_path / "a.nrrd", "a.nrrd")


@pytest.mark.parametrize("name", ["x" * 300 + ".nii", "é" * 200 + ".nii.gz", "a\0b.nii", "C:\\scans\\a.nii", "a.nii/b.nii",
                                  "\\\\server\\share\\a.nii", "", "aux.nii", "CON"])
def test_names_that_are_no_files(tmp_path, name):
    (tmp_path / "a.nii").write_bytes(b"")
    refused(tmp_path / name, "")


@pytest.mark.parametrize("annotated", [5, "liver", [["liver"]], [{}], [None], {"liver": 1}, True])
def test_an_odd_comment_in_a_label_map_is_passed_over(tmp_path, annotated):
    from fmlab.scan_files import write_nifti

    niftis(tmp_path)
    labels = np.zeros(SHAPE, np.uint8)
    path = write_nifti(tmp_path / "odd.nii.gz", labels, np.diag([2.0, 2, 3, 1]), {"annotated": annotated, "name": [1]}, False)
    assert isinstance(Volume.read(tmp_path / "ours.nii.gz", path), Volume)
