"""AbdomenCT-1K: ``python -m data_scripts.abdomenct_1k``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import File, Source, main

SOURCE = Source(
    name="abdomenct_1k",
    page="https://github.com/JunMa11/AbdomenCT-1K",
    files=(
        File(
            "AbdomenCT-1K-ImagePart1.zip",
            ("https://zenodo.org/records/5903099/files/AbdomenCT-1K-ImagePart1.zip",),
            None,
            "sha256:3d0d8edd2a8777f8807c6715f633e2fea104f16a8514572664021ed88f97cd03",
        ),
        File(
            "AbdomenCT-1K-ImagePart2.zip",
            ("https://zenodo.org/records/5903846/files/AbdomenCT-1K-ImagePart2.zip",),
            None,
            "sha256:3178bd3021dfed0440c4dc269b7f3125b27b60aec96e81b210d7c4c55d0fe894",
        ),
        File(
            "AbdomenCT-1K-ImagePart3.zip",
            ("https://zenodo.org/records/5903769/files/AbdomenCT-1K-ImagePart3.zip",),
            None,
            "sha256:76bf789589a13ca1aef9b9c8b771f05c165e6d2013284bbfdb4c4656d4931c30",
        ),
        File(
            "Mask.7z",
            ("https://zenodo.org/records/5903769/files/Mask.7z",),
            None,
            "sha256:cefa7cab51fb0781876550b032278ca6a1ed2a8c776c8567410ea2b2a6984e50",
        ),
    ),
    licence="Not seen stated by us: read it on the Zenodo records before use.",
    citation="Ma et al., AbdomenCT-1K: Is Abdominal Organ Segmentation a Solved Problem?, TPAMI 2022",
    doi="10.1109/TPAMI.2021.3100536",
    layout=Layout((("{any}{case}_0000.nii.gz", "{any}Mask/{case}.nii.gz"),), case=r"Case_\d{5}"),
    checked=(
        "Addresses and sha256: constantinpape/torch-em on GitHub; md5 of the same files, as Zenodo gives them, in a public "
        "inventory. Licence: not found."
    ),
    by_hand=(
        "Unpack the labels in the folder of the download, `7z x Mask.7z -oMask`, which no Python package of ours can."
    ),
    note=(
        "Made of LiTS, KiTS19, MSD Spleen and Pancreas, and Pancreas-CT besides new scans: people are in several sets."
    ),
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
