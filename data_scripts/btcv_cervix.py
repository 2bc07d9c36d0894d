"""BTCV, cervix: ``python -m data_scripts.btcv_cervix``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import File, Source, main

SOURCE = Source(
    name="btcv_cervix",
    page="https://www.synapse.org/#!Synapse:syn3193805",
    files=(
        File("CervixRawData.zip", (), None, "md5:4ef26f4bc567dbb3041e955d18cd36a5"),
    ),
    licence="Terms of Synapse, after registration; no licence is stated.",
    citation="Landman et al., Multi-Atlas Labeling Beyond the Cranial Vault: Workshop and Challenge, 2015",
    doi="10.7303/syn3193805",
    layout=Layout((("{top}Training/img/{case}-Image.nii.gz", "{top}Training/label/{case}-Mask.nii.gz"),)),
    checked=(
        "Page, steps, archive and file names: constantinpape/torch-em, MIC-DKFZ/nnUNet. Licence: a public catalogue found "
        "none. md5: a repository that fetches it."
    ),
    by_hand="Register at Synapse, join the challenge on the page, and download Cervix/CervixRawData.zip under Files.",
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
