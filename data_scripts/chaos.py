"""CHAOS, the CT part: ``python -m data_scripts.chaos``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import File, Source, main

SOURCE = Source(
    name="chaos",
    page="https://zenodo.org/records/3431873",
    files=(
        File(
            "CHAOS_Train_Sets.zip",
            ("https://zenodo.org/records/3431873/files/CHAOS_Train_Sets.zip",),
            890_771_694,
            "sha256:535f7d3417a0e0f0d9133fb3d962423d2a9cf3f103e4f09a3d8a1daf87d5d2fc",
        ),
    ),
    licence="CC BY-NC-SA 4.0 (Zenodo)",
    citation=(
        "Kavur et al., CHAOS Challenge: combined (CT-MR) healthy abdominal organ segmentation, Medical Image Analysis 2021"
    ),
    doi="10.1016/j.media.2020.101950",
    layout=Layout((("{top}CT/{case}/DICOM_anon", "{top}CT/{case}/Ground"),), kind="slices"),
    checked=(
        "Address and sha256: constantinpape/torch-em on GitHub; the same sha256, the size, the md5 "
        "df21053002a1cc86df918a87da3b2c19 and the licence: a public record of a download. Licence also: MIC-DKFZ/nnUNet."
    ),
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
