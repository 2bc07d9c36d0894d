"""WORD: ``python -m data_scripts.word``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import Source, main

SOURCE = Source(
    name="word",
    page="https://github.com/HiLab-git/WORD",
    files=(),
    licence="GPL-3.0, and for academic research only, not clinical or commercial use (README of its repository).",
    citation=(
        "Luo et al., WORD: A large scale dataset, benchmark and clinical applicable study for abdominal organ segmentation "
        "from CT image, Medical Image Analysis 2022"
    ),
    doi="10.1016/j.media.2022.102642",
    layout=Layout(
        (
            ("{top}imagesTr/{case}.nii.gz", "{top}labelsTr/{case}.nii.gz"),
            ("{top}imagesVal/{case}.nii.gz", "{top}labelsVal/{case}.nii.gz"),
        )
    ),
    checked="Steps, licence: README of HiLab-git/WORD. Folder names: constantinpape/torch-em.",
    by_hand=(
        "Ask as the README says: permission for the download, and the password by e-mail from your institution's address; "
        "unpack it yourself."
    ),
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
