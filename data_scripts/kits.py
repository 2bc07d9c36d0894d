"""KiTS21: ``python -m data_scripts.kits``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import File, Source, main

SOURCE = Source(
    name="kits",
    page="https://github.com/neheller/kits21",
    files=tuple(
        File(
            f"case_{n:05d}/imaging.nii.gz",
            (
                f"https://kits19.sfo2.digitaloceanspaces.com/master_{n:05d}.nii.gz",
                f"https://huggingface.co/datasets/neheller/KiTS-Challenge-Imaging/resolve/main/images/case_{n:05d}.nii.gz",
            ),
        )
        for n in range(300)
    ),
    licence="CC BY-NC-SA (the data; the repository's code is MIT)",
    citation=(
        "Heller et al., The KiTS21 Challenge: Automatic segmentation of kidneys, renal tumors, and renal cysts in "
        "corticomedullary-phase CT, 2023"
    ),
    doi="10.48550/arXiv.2307.01984",
    layout=Layout((("{any}{case}/imaging.nii.gz", "{any}{case}/aggregated_MAJ_seg.nii.gz"),), case=r"case_\d{5}"),
    checked=(
        "First image address: neheller/kits23, kits23/download.py; second: repositories on GitHub. Labels: listing of "
        "neheller/kits21. Licence: README of neheller/kits23. Sizes and checksums: not found."
    ),
    by_hand=(
        "The labels are in the repository: `git clone https://github.com/neheller/kits21` inside the folder of the download."
    ),
    note="The majority of three readers is used (aggregated_MAJ_seg). The people of KiTS19 are among them.",
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
