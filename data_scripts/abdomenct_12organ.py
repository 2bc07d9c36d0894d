"""AbdomenCT-12organ, 50 cases of AbdomenCT-1K: ``python -m data_scripts.abdomenct_12organ``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import Source, main

SOURCE = Source(
    name="abdomenct_12organ",
    page="https://github.com/JunMa11/AbdomenCT-1K",
    files=(),
    licence="Not seen stated by us: ask its owners.",
    citation="Ma et al., AbdomenCT-1K: Is Abdominal Organ Segmentation a Solved Problem?, TPAMI 2022",
    doi="10.1109/TPAMI.2021.3100536",
    layout=Layout((("{any}{case}_0000.nii.gz", "{any}{case}.nii.gz"),), case=r"Organ12_\d{4}"),
    checked="File names: lists of the CLIP-driven model's and related repositories. Address and licence: not found.",
    by_hand="Look on the page for the 50 cases with 12 organs; we found no address of the owners.",
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
