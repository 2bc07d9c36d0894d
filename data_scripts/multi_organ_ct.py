"""Multi-organ abdominal CT references, the part on Pancreas-CT: ``python -m data_scripts.multi_organ_ct``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import File, Source, main

SOURCE = Source(
    name="multi_organ_ct",
    page="https://zenodo.org/records/1169361",
    files=(
        File(
            "label_tciapancreasct_multiorgan.tar.gz",
            ("https://zenodo.org/records/1169361/files/label_tciapancreasct_multiorgan.tar.gz",),
            None,
            "sha256:1790e252ba0732cc06ec727f00245c8d9c1d5f0bb9829fd3e9915863c5100c61",
        ),
    ),
    licence="CC BY 4.0 (the labels, Zenodo); the scans are those of Pancreas-CT, CC BY 3.0",
    citation="Gibson et al., Automatic Multi-organ Segmentation on Abdominal CT with Dense V-networks, IEEE TMI 2018",
    doi="10.5281/zenodo.1169361",
    layout=Layout((("{any}PANCREAS_{case}/*/*", "{any}label{case}.nii.gz"),), case=r"\d{4}"),
    checked="Address and sha256: constantinpape/torch-em on GitHub. Licence: kaiko-ai/eva and one more repository.",
    by_hand=(
        "The labels come without scans: put those of Pancreas-CT (data_scripts.pancreas_ct says how) below the folder of the "
        "download, without its labels."
    ),
    note=(
        "Outside the region of cropping.csv, on the same record, the labels may be incomplete. The other 47 scans are BTCV's."
    ),
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
