"""BTCV, abdomen: ``python -m data_scripts.btcv``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import File, Source, main

SOURCE = Source(
    name="btcv",
    page="https://www.synapse.org/#!Synapse:syn3193805",
    files=(
        File("RawData.zip", ()),
    ),
    licence="Terms of Synapse, after registration; no licence is stated.",
    citation="Landman et al., Multi-Atlas Labeling Beyond the Cranial Vault: Workshop and Challenge, 2015",
    doi="10.7303/syn3193805",
    layout=Layout((("{top}Training/img/img{case}.nii.gz", "{top}Training/label/label{case}.nii.gz"),)),
    checked=(
        "Page, steps, archive and file names: constantinpape/torch-em, MIC-DKFZ/nnUNet. Licence: a public catalogue found "
        "none."
    ),
    by_hand="Register at Synapse, join the challenge on the page, and download Abdomen/RawData.zip under Files.",
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
