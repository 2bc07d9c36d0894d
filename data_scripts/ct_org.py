"""CT-ORG: ``python -m data_scripts.ct_org``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import Source, main

SOURCE = Source(
    name="ct_org",
    page="https://www.cancerimagingarchive.net/collection/ct-org/",
    files=(),
    licence="CC BY 3.0 (The Cancer Imaging Archive)",
    citation=(
        "Rister et al., CT-ORG, a new dataset for multiple organ segmentation in computed tomography, Scientific Data 2020"
    ),
    doi="10.1038/s41597-020-00715-8",
    layout=Layout((("{any}volume-{case}.nii.gz", "{any}labels-{case}.nii.gz"),)),
    checked=(
        "Page, file names, Aspera: constantinpape/torch-em. Licence: five repositories that use it and a public catalogue of "
        "September 2026."
    ),
    by_hand="Download it from the page with IBM Aspera Connect (no account is needed), which a script cannot drive.",
    note="Many scans are those of LiTS: never train on one and test on the other.",
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
