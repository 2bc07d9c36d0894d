"""TotalSegmentator MRI, version 2: ``python -m data_scripts.totalsegmentator_mr``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import File, Source, main

SOURCE = Source(
    name="totalsegmentator_mr",
    page="https://zenodo.org/records/14710732",
    files=(
        File(
            "TotalsegmentatorMRI_dataset_v200.zip",
            ("https://zenodo.org/records/14710732/files/TotalsegmentatorMRI_dataset_v200.zip",),
            5_100_514_630,
            "md5:54638f4cb883ce3b34225195358c398f",
        ),
    ),
    licence="CC BY-NC-SA 2.0 (version 2.0.0 on Zenodo)",
    citation=(
        "Akinci D'Antonoli et al., TotalSegmentator MRI: Robust Sequence-independent Segmentation of Multiple Anatomic "
        "Structures in MRI, Radiology 2025"
    ),
    doi="10.1148/radiol.241613",
    layout=Layout((("{top}{case}/mri.nii.gz", "{top}{case}/segmentations"),), kind="masks"),
    modality="MR",
    checked=(
        "Address, size and md5: three repositories on GitHub. Licence: a public catalogue of September 2026 and one "
        "repository; others say otherwise of other versions."
    ),
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
