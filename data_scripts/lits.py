"""LiTS: ``python -m data_scripts.lits``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import Source, main

SOURCE = Source(
    name="lits",
    page="https://competitions.codalab.org/competitions/17094",
    files=(),
    licence="Terms of the challenge, to be read after registration (not readable without).",
    citation="Bilic et al., The Liver Tumor Segmentation Benchmark (LiTS), Medical Image Analysis 2023",
    doi="10.1016/j.media.2022.102680",
    layout=Layout((("{top}volume-{case}.nii", "{top}segmentation-{case}.nii"),)),
    checked=(
        "Page and file names: neuro-ml/amid, kaiko-ai/eva. Licence: a public catalogue could not read it either; third "
        "parties disagree."
    ),
    by_hand=(
        "Register on the page, join, and download Training_Batch1.zip and Training_Batch2.zip under Participate; unpack both "
        "in one folder."
    ),
    note="MSD Liver has the same scans and needs no account.",
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
