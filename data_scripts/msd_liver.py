"""Liver and liver tumours, of the Medical Segmentation Decathlon: ``python -m data_scripts.msd_liver``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import File, Source, main

SOURCE = Source(
    name="msd_liver",
    page="http://medicaldecathlon.com/",
    files=(
        File(
            "Task03_Liver.tar",
            ("https://msd-for-monai.s3-us-west-2.amazonaws.com/Task03_Liver.tar",),
            28_925_891_584,
            "md5:a90ec6c4aa7f6a3d087205e23d4e6397",
        ),
    ),
    licence="CC BY-SA 4.0 (medicaldecathlon.com)",
    citation="Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 2022",
    doi="10.1038/s41467-022-30695-9",
    layout=Layout((("{top}imagesTr/{case}.nii.gz", "{top}labelsTr/{case}.nii.gz"),)),
    checked=(
        "Address and md5: monai.apps.datasets.DecathlonDataset of the installed MONAI. Licence: medicaldecathlon.com. Size: a"
        " public log of a download of this address."
    ),
    note="The scans are those of LiTS under other numbers: never train on one and test on the other.",
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
