"""Six hospitals, A to F: what differs between them is the course's domain shift."""

from __future__ import annotations

from dataclasses import dataclass

from fmlab.errors import SettingsError


@dataclass(frozen=True)
class Centre:
    """A hospital's scanner, patients and annotation protocol.

    phases: contrast phases with their share. view: field of view, see ``VIEWS``. habitus: mean build in standard deviations.
    noise: HU. kernel: "soft" or "sharp". slice_mm: slice thickness. offset: HU calibration error. hardening: strength of beam
    hardening. annotated: structures that this hospital draws. rules: names of its habits, see ``protocol``.
    """

    name: str
    phases: tuple[tuple[str, float], ...]
    view: str
    habitus: float
    noise: float
    kernel: str
    slice_mm: float
    offset: float
    hardening: float
    lesion_rate: float
    annotated: tuple[str, ...]
    rules: tuple[str, ...] = ()


# Fields of view: (lowest, highest) z in canonical mm, the L5/S1 disc being zero.
VIEWS: dict[str, tuple[float, float]] = {
    "torso": (-180, 468),
    "abdomen": (-160, 288),
    "chest": (130, 468),
    "pelvis": (-180, 100),
    "upper abdomen": (40, 300),
}

_ORGANS = (
    "liver",
    "gallbladder",
    "spleen",
    "kidney_left",
    "kidney_right",
    "pancreas",
    "stomach",
    "duodenum",
    "aorta",
    "inferior_vena_cava",
    "esophagus",
    "adrenal_gland_left",
    "adrenal_gland_right",
)
_GUT = ("stomach", "duodenum", "small_bowel", "colon", "rectum", "esophagus")
_LUNGS = (
    "lung_upper_lobe_left",
    "lung_lower_lobe_left",
    "lung_upper_lobe_right",
    "lung_middle_lobe_right",
    "lung_lower_lobe_right",
)
_HEART = ("heart_myocardium", "heart_atrium_left", "heart_ventricle_left", "heart_atrium_right", "heart_ventricle_right")
_BONES = ("vertebrae", "ribs", "sternum", "sacrum", "hip_left", "hip_right", "femur_left", "femur_right")
_MUSCLES = tuple(
    f"{m}_{side}"
    for m in ("iliopsoas", "autochthon", "gluteus_maximus", "gluteus_medius", "gluteus_minimus")
    for side in ("left", "right")
)
_PELVIS = ("urinary_bladder", "prostate", "uterus", "rectum")
_VESSELS = (
    "aorta",
    "inferior_vena_cava",
    "portal_vein_and_splenic_vein",
    "hepatic_vessels",
    "iliac_artery_left",
    "iliac_artery_right",
    "iliac_vena_left",
    "iliac_vena_right",
    "pulmonary_artery",
    "superior_vena_cava",
)

CENTRES: dict[str, Centre] = {
    centre.name: centre
    for centre in (
        Centre(
            "A", (("portal", 1.0),), "abdomen", 0.0, 11, "soft", 5.0, 0, 0.7, 0.15, _ORGANS + ("portal_vein_and_splenic_vein",)
        ),
        Centre(
            "B",
            (("arterial", 0.3), ("portal", 0.7)),
            "abdomen",
            0.3,
            14,
            "soft",
            3.0,
            4,
            0.9,
            0.45,
            (
                "liver",
                "liver_tumor",
                "spleen",
                "pancreas",
                "pancreas_tumor",
                "kidney_left",
                "kidney_right",
                "kidney_tumor_left",
                "kidney_tumor_right",
                "kidney_cyst_left",
                "kidney_cyst_right",
            ),
            ("vessels outside liver",),
        ),
        Centre(
            "C",
            (("none", 0.8), ("portal", 0.2)),
            "abdomen",
            0.5,
            14,
            "soft",
            3.0,
            -3,
            1.2,
            0.10,
            _GUT + _PELVIS + _BONES + _MUSCLES + ("colon_tumor", "spinal_cord"),
            ("rectum begins at the sacral promontory",),
        ),
        Centre(
            "D",
            (("none", 0.5), ("arterial", 0.5)),
            "chest",
            -0.2,
            16,
            "sharp",
            1.5,
            0,
            0.5,
            0.25,
            _LUNGS
            + _HEART
            + _BONES[:3]
            + (
                "trachea",
                "esophagus",
                "aorta",
                "pulmonary_artery",
                "superior_vena_cava",
                "lung_tumor_left",
                "lung_tumor_right",
                "liver",
                "spleen",
                "spinal_cord",
            ),
        ),
        Centre(
            "E",
            (("late", 0.5), ("none", 0.5)),
            "torso",
            1.1,
            24,
            "sharp",
            2.0,
            8,
            1.6,
            0.20,
            tuple(dict.fromkeys(_ORGANS + _GUT + _LUNGS + _PELVIS + _BONES + _VESSELS)),
        ),
        Centre(
            "F",
            (("arterial", 0.5), ("late", 0.5)),
            "torso",
            -0.8,
            9,
            "soft",
            7.0,
            -6,
            0.6,
            0.20,
            tuple(dict.fromkeys(_ORGANS + _LUNGS + _HEART + _BONES + _MUSCLES + _VESSELS)),
            ("vessels outside liver",),
        ),
    )
}


def centre(name: str) -> Centre:
    """The centre called A, B, C, D, E or F."""
    if name not in CENTRES:
        raise SettingsError(f"There is no centre {name!r}; choose one of {', '.join(CENTRES)}.")
    return CENTRES[name]
