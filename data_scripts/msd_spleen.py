"""Spleen, of the Medical Segmentation Decathlon: ``python -m data_scripts.msd_spleen``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import File, Source, main

SOURCE = Source(
    name="msd_spleen",
    page="http://medicaldecathlon.com/",
    files=(
        File(
            "Task09_Spleen.tar",
            ("https://msd-for-monai.s3-us-west-2.amazonaws.com/Task09_Spleen.tar",),
            None,
            "md5:410d4a301da4e5b2f6f86ec3ddba524e",
        ),
    ),
    licence="CC BY-SA 4.0 (medicaldecathlon.com)",
    citation="Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 2022",
    doi="10.1038/s41467-022-30695-9",
    layout=Layout((("{top}imagesTr/{case}.nii.gz", "{top}labelsTr/{case}.nii.gz"),)),
    checked=(
        "Address and md5: monai.apps.datasets.DecathlonDataset of the installed MONAI. Licence: medicaldecathlon.com."
    ),
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
