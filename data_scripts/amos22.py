"""AMOS22, the CT part: ``python -m data_scripts.amos22``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import File, Source, main

SOURCE = Source(
    name="amos22",
    page="https://zenodo.org/records/7155725",
    files=(
        File(
            "amos22.zip",
            ("https://zenodo.org/records/7155725/files/amos22.zip",),
            None,
            "sha256:d2fbf2c31abba9824d183f05741ce187b17905b8cca64d1078eabf1ba96775c2",
        ),
    ),
    licence="CC BY 4.0 (Zenodo)",
    citation=(
        "Ji et al., AMOS: A Large-Scale Abdominal Multi-Organ Benchmark for Versatile Medical Image Segmentation, NeurIPS "
        "2022"
    ),
    doi="10.48550/arXiv.2206.08023",
    layout=Layout(
        (
            ("{top}imagesTr/{case}.nii.gz", "{top}labelsTr/{case}.nii.gz"),
            ("{top}imagesVa/{case}.nii.gz", "{top}labelsVa/{case}.nii.gz"),
        ),
        case=r"amos_0[0-4]\d\d",  # numbers from 500 on are MR
    ),
    checked=(
        "Address and sha256: constantinpape/torch-em on GitHub (computed by its authors). Licence: neuro-ml/amid and a public"
        " catalogue of September 2026."
    ),
    note="The archive holds CT and MR; only the CT is prepared.",
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
