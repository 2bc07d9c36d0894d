"""NIH Pancreas-CT: ``python -m data_scripts.pancreas_ct``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import File, Source, main

SOURCE = Source(
    name="pancreas_ct",
    page="https://www.cancerimagingarchive.net/collection/pancreas-ct/",
    files=(
        File(
            "TCIA_pancreas_labels-02-05-2017-1.zip",
            ("https://www.cancerimagingarchive.net/wp-content/uploads/TCIA_pancreas_labels-02-05-2017-1.zip",),
            None,
            "sha256:cf8a553c37c80e3840ce7392987b308f7a98cd5f50019511b2ac0f3a54b0934b",
        ),
    ),
    licence="CC BY 3.0 (The Cancer Imaging Archive)",
    citation="Roth et al., Data From Pancreas-CT, The Cancer Imaging Archive 2016",
    doi="10.7937/K9/TCIA.2016.tNB1kqBU",
    layout=Layout((("{any}PANCREAS_{case}/*/*", "{any}label{case}.nii.gz"),), case=r"\d{4}"),
    checked=(
        "Address of labels and manifest, sha256: constantinpape/torch-em on GitHub. Licence: three repositories and a public "
        "catalogue of September 2026."
    ),
    by_hand=(
        "The scans come as DICOM: open https://www.cancerimagingarchive.net/wp-content/uploads/Pancreas-CT-20200910.tcia with"
        " the NBIA Data Retriever (no account) and save below the folder of the download."
    ),
    note="A case whose labels name another grid than its DICOM slices is refused and listed; we could not try one.",
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
