"""KiTS19: ``python -m data_scripts.kits19``."""

import sys

from data_scripts.layouts import Layout
from data_scripts.sources import File, Source, main

SOURCE = Source(
    name="kits19",
    page="https://github.com/neheller/kits19",
    files=tuple(
        File(
            f"case_{n:05d}/imaging.nii.gz",
            (
                f"https://kits19.sfo2.digitaloceanspaces.com/master_{n:05d}.nii.gz",
                f"https://huggingface.co/datasets/neheller/KiTS-Challenge-Imaging/resolve/main/images/case_{n:05d}.nii.gz",
            ),
        )
        for n in range(210)
    )
    + tuple(
        File(
            f"case_{n:05d}/segmentation.nii.gz",
            (f"https://raw.githubusercontent.com/neheller/kits19/master/data/case_{n:05d}/segmentation.nii.gz",),
        )
        for n in range(210)
    ),
    licence="CC BY-NC-SA (the data; the repository's code is MIT)",
    citation=(
        "Heller et al., The KiTS19 Challenge Data: 300 Kidney Tumor Cases with Clinical Context, CT Semantic Segmentations, "
        "and Surgical Outcomes, 2019"
    ),
    doi="10.48550/arXiv.1904.00445",
    layout=Layout((("{any}{case}/imaging.nii.gz", "{any}{case}/segmentation.nii.gz"),), case=r"case_\d{5}"),
    checked=(
        "First image address: neheller/kits23, kits23/download.py. Second, and labels: repositories on GitHub that fetch "
        "them. Licence: README of neheller/kits23. Sizes and checksums: not found."
    ),
    note="Its people are in KiTS21 too.",
)

if __name__ == "__main__":
    sys.exit(main(SOURCE))
