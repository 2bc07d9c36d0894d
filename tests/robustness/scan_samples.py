"""Small right scans, which the tests then damage."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import torch
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from fmlab.vocabulary import ID
from fmlab.volume import Volume

SHAPE = (7, 6, 5)
AFFINE = np.array([[0, 2.0, 0, -9], [1.5, 0, 0, 30], [0, 0, -3.0, 400], [0, 0, 0, 1]])


def hu(seed: int = 0) -> np.ndarray:
    """(X, Y, Z) int16, as a CT."""
    return np.random.default_rng(seed).integers(-1000, 1500, SHAPE).astype(np.int16)


def niftis(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of NIfTI files of several kinds; those that end in .gz are given unpacked."""
    scan = Volume(torch.from_numpy(hu().astype(np.float32))[None], np.diag([2.0, 2, 3, 1]), _labels(), {"liver"}, name="a")
    files = {"ours.nii.gz": scan.write(folder / "ours.nii.gz"), "labels.nii.gz": scan.write_labels(folder / "labels.nii.gz")}
    big = nib.Nifti1Header(endianness=">")
    big.set_data_dtype(np.float32)
    for name, image in {"short.nii": nib.Nifti1Image(hu(), AFFINE), "two.nii": nib.Nifti2Image(hu(), AFFINE),
                        "big.nii": nib.Nifti1Image(hu().astype(np.float32), AFFINE, big),
                        "four.nii": nib.Nifti1Image(np.stack([hu()] * 2, -1), AFFINE),
                        "flat.nii": nib.Nifti1Image(hu()[..., 0], AFFINE)}.items():
        nib.save(image, folder / name)
        files[name] = folder / name
    return {name: (gzip.decompress if name.endswith(".gz") else bytes)(path.read_bytes()) for name, path in files.items()}


def _labels() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:5, 2:5, 1:4] = ID["liver"]
    return labels


def nrrds(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of NRRD files, one per encoding."""
    header = {"space": "left-posterior-superior", "space directions": np.diag([1.0, 2, 3]), "space origin": np.zeros(3)}
    for encoding in ("raw", "gzip", "bzip2", "ascii"):
        nrrd.write(str(folder / f"{encoding}.nrrd"), hu(), header | {"encoding": encoding})
    return {f"{encoding}.nrrd": (folder / f"{encoding}.nrrd").read_bytes() for encoding in ("raw", "gzip", "bzip2", "ascii")}


def dicoms(folder: Path, implicit: bool = False, count: int = 3) -> dict[str, bytes]:
    """Name -> bytes of the slices of one small series."""
    series = generate_uid(entropy_srcs=[str(implicit)])
    return {f"IM{k}": _slice(folder / f"IM{k}", hu()[:, :, k], k, series, implicit).read_bytes() for k in range(count)}


def _slice(path: Path, pixels: np.ndarray, k: int, series: str, implicit: bool) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid(entropy_srcs=[series, str(k)])
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality, data.SeriesInstanceUID, data.PatientName = "CT", series, "Nobody^At All"
    data.ImagePositionPatient, data.ImageOrientationPatient = [-10, -20, 2.5 * k], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness, data.NumberOfFrames = [0.7, 0.9], 2.5, 1
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleSlope, data.RescaleIntercept = 1, 0
    data.PixelData = pixels.astype("<i2").tobytes()
    data.save_as(path, enforce_file_format=True)
    return path
