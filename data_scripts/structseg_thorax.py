"""StructSeg 2019, thoracic organs at risk: ``python -m data_scripts.structseg_thorax``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import Source, main

SOURCE = Source(
    name="structseg_thorax",
    page="https://structseg2019.grand-challenge.org/",
    files=(),
    licence="Held by the challenge's organisers; not seen stated.",
    citation="StructSeg 2019: Automatic Structure Segmentation for Radiotherapy Planning Challenge",
    doi="",
    layout=Layout((("{top}{case}/data.nii.gz", "{top}{case}/label.nii.gz"),)),
    checked=(
        "Page: lists of data sets on GitHub. File name data.nii.gz: code that reads them; label.nii.gz: from memory, not "
        "seen."
    ),
    by_hand="Register on the page, ask for access, and download task 3, Thoracic_OAR.",
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
