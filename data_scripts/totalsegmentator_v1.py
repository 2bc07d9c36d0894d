"""TotalSegmentator, version 1: ``python -m data_scripts.totalsegmentator_v1``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import File, Source, main

SOURCE = Source(
    name="totalsegmentator_v1",
    page="https://zenodo.org/records/6802614",
    files=(
        File("Totalsegmentator_dataset.zip", ("https://zenodo.org/records/6802614/files/Totalsegmentator_dataset.zip",)),
    ),
    licence="CC BY 4.0 (Zenodo)",
    citation=(
        "Wasserthal et al., TotalSegmentator: Robust Segmentation of 104 Anatomic Structures in CT Images, Radiology: "
        "Artificial Intelligence 2023"
    ),
    doi="10.1148/ryai.230024",
    layout=Layout((("{top}{case}/ct.nii.gz", "{top}{case}/segmentations"),), kind="masks"),
    checked=(
        "Address: neuro-ml/amid and others on GitHub. Size and checksum: not found. Licence: a public catalogue of September "
        "2026."
    ),
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
