"""Pancreas and pancreatic tumours, of the Medical Segmentation Decathlon: ``python -m data_scripts.msd_pancreas``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import File, Source, main

SOURCE = Source(
    name="msd_pancreas",
    page="http://medicaldecathlon.com/",
    files=(
        File(
            "Task07_Pancreas.tar",
            ("https://msd-for-monai.s3-us-west-2.amazonaws.com/Task07_Pancreas.tar",),
            None,
            "md5:4f7080cfca169fa8066d17ce6eb061e4",
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
