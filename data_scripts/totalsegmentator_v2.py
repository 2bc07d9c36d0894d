"""TotalSegmentator, version 2: ``python -m data_scripts.totalsegmentator_v2``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import File, Source, main

SOURCE = Source(
    name="totalsegmentator_v2",
    page="https://zenodo.org/records/10047292",
    files=(
        File(
            "Totalsegmentator_dataset_v201.zip",
            ("https://zenodo.org/records/10047292/files/Totalsegmentator_dataset_v201.zip",),
            23_581_218_285,
            "sha256:741dbc911a768e2ac2671c66d55332f7302ad624c915a57d08b142d8bdf0ca26",
        ),
    ),
    licence="CC BY 4.0 (Zenodo)",
    citation=(
        "Wasserthal et al., TotalSegmentator: Robust Segmentation of 104 Anatomic Structures in CT Images, Radiology: "
        "Artificial Intelligence 2023"
    ),
    doi="10.1148/ryai.230024",
    layout=Layout((("{top}{case}/ct.nii.gz", "{top}{case}/segmentations"),), kind="masks"),
    checked=(
        "Address and sha256: constantinpape/torch-em on GitHub. Size and md5 fe250e5718e0a3b5df4c4ea9d58a62fe: three other "
        "repositories. Licence: a public catalogue of September 2026."
    ),
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
