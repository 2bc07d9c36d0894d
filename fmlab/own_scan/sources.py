"""What was used: every weight with its hash and licence, every method with its paper, every public data set with its citation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from fmlab.hub.models import WEIGHTS
from fmlab.hub.registry import registry
from fmlab.systems import system

METHODS: dict[str, tuple[str, str]] = {
    "full": ("FSEFT (full, decoder, linear probe, spatial adapter): Silva-Rodríguez, Dolz and Ben Ayed 2025",
             "10.48550/arXiv.2303.17051"),
    "bitfit": ("BitFit: Ben Zaken et al. 2022", "10.18653/v1/2022.acl-short.1"),
    "affine": ("Affine parameters of norms: Frankle et al. 2021", "10.48550/arXiv.2003.00152"),
    "lora": ("LoRA: Hu et al. 2022", "10.48550/arXiv.2106.09685"),
    "adaptformer": ("AdaptFormer: Chen et al. 2022", "10.48550/arXiv.2205.13535"),
    "cnn_adapter": ("Residual adapters: Rebuffi, Bilen and Vedaldi 2018", "10.1109/CVPR.2018.00847"),
    "lite_residual": ("TinyTL: Cai et al. 2020", "10.48550/arXiv.2007.11622"),
    "compacter": ("Compacter: Karimi Mahabadi et al. 2021", "10.48550/arXiv.2106.04647"),
    "sora": ("SoRA: Ding et al. 2023", "10.18653/v1/2023.emnlp-main.252"),
    "adalora": ("AdaLoRA: Zhang et al. 2023", "10.48550/arXiv.2303.10512"),
    "arena": ("ARENA: Baklouti et al. 2025", "10.48550/arXiv.2507.15793"),
}
METHODS |= dict.fromkeys(("decoder", "linear_probe", "spatial_adapter"), METHODS["full"])
"""Method of ``attach`` -> who to cite, and the DOI."""
PARTS = {
    "universal": (("3D U-Net: Çiçek et al. 2016", "10.1007/978-3-319-46723-8_49"),
                  ("nnU-Net: Isensee et al. 2021", "10.1038/s41592-020-01008-z"),
                  ("Masked loss for partial labels: Ulrich et al. 2023 (MultiTalent)", "10.48550/arXiv.2303.14444")),
    "sam": (("Segment Anything: Kirillov et al. 2023", "10.48550/arXiv.2304.02643"),),
    "fseft": (("Swin UNETR: Hatamizadeh et al. 2022", "10.1007/978-3-031-08999-2_22"), METHODS["full"]),
}
"""Model of the hub -> what it is made after."""
LIBRARIES = {"torch": "BSD-3-Clause", "monai": "Apache-2.0", "numpy": "BSD-3-Clause", "scipy": "BSD-3-Clause", "nibabel": "MIT",
             "pydicom": "MIT", "pynrrd": "MIT", "safetensors": "Apache-2.0"}


@dataclass(frozen=True)
class Source:
    """One line of the list. what: "weights", "method", "data" or "software". licence: as stated; doi: "" where there is none."""

    what: str
    title: str
    licence: str = ""
    doi: str = ""
    sha256: str = ""
    note: str = ""


def sources(models: Sequence[str], method: str | None, info: Mapping[str, object] = ()) -> list[Source]:
    """Everything that was used. models: of the hub, in nano size. method: of the adaptation, or None.

    info: of a Volume, which says its citation where it came from the registry.
    """
    found = [weights(name) for name in models]
    papers = [paper for name in models for paper in PARTS.get(name, ())] + ([METHODS[method]] if method else [])
    found += [Source("method", title, _licence_of(doi), doi) for title, doi in dict.fromkeys(papers)]
    found += data(info)
    found += [Source("software", f"{name} {installed(name)}", licence) for name, licence in LIBRARIES.items()]
    return [Source("software", f"fmlab {installed('fmlab')}", "Apache-2.0", note="cite it as CITATION.cff says"), *found]


def weights(name: str, label: str = "nano") -> Source:
    """A model's weights that ship, with licence and training data as its card states them, and the file's SHA-256."""
    file = WEIGHTS / f"{name}-{label}.safetensors"
    card = dict(line[2:].split(": ", 1) for line in file.with_suffix(".md").read_text(encoding="utf-8").splitlines()
                if line.startswith("- ") and ": " in line)
    return Source("weights", file.name, card["licence"].replace("that of fmlab", "that of fmlab, Apache-2.0"), "",
                  hashlib.sha256(file.read_bytes()).hexdigest(), f"trained on {card['data']}")


def data(info: Mapping[str, object]) -> list[Source]:
    """The registry's entry behind a scan, by its citation; nothing for a scan of the learner's own."""
    cited = dict(info).get("citation")
    for entry in registry():
        if cited and entry.citation == cited:
            return [Source("data", f"{entry.name}: {entry.citation}", entry.licence, entry.doi, note=entry.note)]
    return []


def _licence_of(doi: str) -> str:
    """The licence of a published code that the course's table of systems knows by this DOI; nothing of it was copied."""
    for key in ("fseft", "arena", "sam", "multitalent", "clip_driven", "nnunet"):
        one = system(key)
        if one.doi == doi and one.code_licence:
            stated = "none stated" if one.code_licence == "none" else one.code_licence
            return f"of its published code: {stated}; re-implemented here"
    return "none needed; re-implemented here from the paper"


def installed(name: str) -> str:
    """The version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"
