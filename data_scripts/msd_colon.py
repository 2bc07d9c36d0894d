"""Colon cancer, of the Medical Segmentation Decathlon: ``python -m data_scripts.msd_colon``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import File, Source, main

SOURCE = Source(
    name="msd_colon",
    page="http://medicaldecathlon.com/",
    files=(
        File(
            "Task10_Colon.tar",
            ("https://msd-for-monai.s3-us-west-2.amazonaws.com/Task10_Colon.tar",),
            None,
            "md5:bad7a188931dc2f6acf72b08eb6202d0",
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
