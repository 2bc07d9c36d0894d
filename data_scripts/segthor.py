"""SegTHOR: ``python -m data_scripts.segthor``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import Source, main

SOURCE = Source(
    name="segthor",
    page="https://competitions.codalab.org/competitions/21145",
    files=(),
    licence="Signed agreement with the organisers.",
    citation="Lambert et al., SegTHOR: Segmentation of Thoracic Organs at Risk in CT images, 2019",
    doi="10.48550/arXiv.1912.05950",
    layout=Layout((("{top}Patient_{case}/Patient_{case}.nii.gz", "{top}Patient_{case}/GT.nii.gz"),)),
    checked="Page, agreement, file names: constantinpape/torch-em.",
    by_hand="Register on the page and send the signed user agreement; the organisers answer with the download.",
    note=(
        "A copy by others is on Zenodo, record 16663661, as CC BY 4.0; whether its uploaders may is for you to judge."
    ),
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
