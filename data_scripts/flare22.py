"""FLARE22, the 50 labelled cases: ``python -m data_scripts.flare22``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import File, Source, main

SOURCE = Source(
    name="flare22",
    page="https://zenodo.org/records/7860267",
    files=(
        File(
            "FLARE22Train.zip",
            ("https://zenodo.org/records/7860267/files/FLARE22Train.zip",),
            None,
            "sha256:d57e201dc9002bd4a6fc1f5e0d4525285f46bcc5be1a3c8f12543151e6675154",
        ),
    ),
    licence=(
        "Not clear: repositories that use it say CC BY 4.0 and CC BY-NC-SA 4.0; read the Zenodo record before use."
    ),
    citation=(
        "Ma et al., Unleashing the Strengths of Unlabeled Data in Pan-cancer Abdominal Organ Quantification: the FLARE22 "
        "Challenge, 2023"
    ),
    doi="10.48550/arXiv.2308.05862",
    layout=Layout((("{top}images/{case}_0000.nii.gz", "{top}labels/{case}.nii.gz"),)),
    checked="Address and sha256: constantinpape/torch-em on GitHub. Licence: kaiko-ai/eva and torch-em disagree.",
    note="The scans are from MSD Pancreas: never train on one and test on the other.",
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
