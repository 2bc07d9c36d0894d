"""Colours of the structures, and how far apart they look: to normal sight, to deuteranopes and to protanopes.

The table was made by ``data_scripts/make_palette.py`` and is kept here so that a structure keeps its colour for good.
Okabe and Ito's colours go to the organs met most often; bones are light, body, fat and trunk muscle muted.
"""

from __future__ import annotations

import numpy as np

VISIONS = ("normal", "deuteranopia", "protanopia")

# Linear-RGB matrices for complete dichromacy: Machado, Oliveira & Fernandes 2009, doi:10.1109/TVCG.2009.113, severity 1.0.
_SIMULATION = {
    "normal": np.eye(3),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
}
_RGB_TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])

MAJOR: tuple[str, ...] = (
    "liver",
    "spleen",
    "kidney_left",
    "kidney_right",
    "stomach",
    "pancreas",
    "gallbladder",
    "duodenum",
    "colon",
    "small_bowel",
    "urinary_bladder",
    "aorta",
    "inferior_vena_cava",
    "portal_vein_and_splenic_vein",
    "heart",
    "lung_left",
    "lung_right",
    "esophagus",
    "vertebrae",
    "liver_tumor",
)
"""The twenty structures that lessons show most; any two of them look clearly different to all three kinds of sight."""

_TOUCHING_TABLE = """
liver: stomach gallbladder kidney_right duodenum colon inferior_vena_cava adrenal_gland_right heart lung_lower_lobe_right
    esophagus hepatic_vessels liver_tumor portal_vein_and_splenic_vein pancreas ribs lung_right lung_middle_lobe_right
hepatic_vessels: liver_tumor portal_vein_and_splenic_vein inferior_vena_cava
stomach: spleen pancreas duodenum colon esophagus small_bowel lung_lower_lobe_left heart
spleen: kidney_left colon pancreas lung_lower_lobe_left adrenal_gland_left ribs lung_left
kidney_left: kidney_medulla_left kidney_tumor_left kidney_cyst_left adrenal_gland_left iliopsoas_left colon pancreas
    autochthon_left
kidney_right: kidney_medulla_right kidney_tumor_right kidney_cyst_right adrenal_gland_right iliopsoas_right colon duodenum
    autochthon_right
kidney_tumor_left: kidney_cyst_left kidney_medulla_left
kidney_tumor_right: kidney_cyst_right kidney_medulla_right
kidney_cyst_left: kidney_medulla_left
kidney_cyst_right: kidney_medulla_right
pancreas: duodenum portal_vein_and_splenic_vein pancreas_tumor inferior_vena_cava small_bowel celiac_trunk aorta colon
pancreas_tumor: duodenum portal_vein_and_splenic_vein
duodenum: gallbladder inferior_vena_cava small_bowel colon aorta
gallbladder: colon
colon: small_bowel rectum colon_tumor urinary_bladder uterus iliopsoas_left iliopsoas_right
small_bowel: urinary_bladder uterus colon_tumor iliopsoas_left iliopsoas_right
rectum: prostate uterus sacrum colon_tumor urinary_bladder
urinary_bladder: prostate uterus
aorta: inferior_vena_cava vertebrae esophagus celiac_trunk pulmonary_artery iliac_artery_left iliac_artery_right trachea
    superior_vena_cava lung_lower_lobe_left heart lung_left heart_ventricle_left heart_atrium_left
inferior_vena_cava: adrenal_gland_right vertebrae iliac_vena_left iliac_vena_right heart_atrium_right heart
superior_vena_cava: heart_atrium_right pulmonary_artery trachea lung_upper_lobe_right heart
pulmonary_artery: heart heart_ventricle_right heart_atrium_left trachea lung_upper_lobe_left lung_upper_lobe_right
iliac_artery_left: iliac_vena_left iliopsoas_left iliac_artery_right
iliac_artery_right: iliac_vena_right iliopsoas_right
iliac_vena_left: iliac_vena_right iliopsoas_left
iliac_vena_right: iliopsoas_right
heart: heart_myocardium heart_atrium_left heart_ventricle_left heart_atrium_right heart_ventricle_right lung_left lung_right
    esophagus lung_upper_lobe_left lung_lower_lobe_left lung_middle_lobe_right
heart_myocardium: heart_ventricle_left heart_ventricle_right heart_atrium_left lung_upper_lobe_left
heart_atrium_left: heart_atrium_right heart_ventricle_left esophagus
heart_atrium_right: heart_ventricle_right lung_middle_lobe_right
heart_ventricle_left: heart_ventricle_right
lung_left: lung_upper_lobe_left lung_lower_lobe_left lung_tumor_left lung_right ribs
lung_right: lung_upper_lobe_right lung_middle_lobe_right lung_lower_lobe_right lung_tumor_right ribs
lung_upper_lobe_left: lung_lower_lobe_left lung_tumor_left lung_upper_lobe_right
lung_lower_lobe_left: lung_tumor_left
lung_upper_lobe_right: lung_middle_lobe_right lung_lower_lobe_right lung_tumor_right trachea
lung_middle_lobe_right: lung_lower_lobe_right lung_tumor_right
lung_lower_lobe_right: lung_tumor_right
trachea: esophagus
vertebrae: intervertebral_discs spinal_cord ribs autochthon_left autochthon_right esophagus iliopsoas_left iliopsoas_right
intervertebral_discs: spinal_cord sacrum
ribs: costal_cartilages muscle autochthon_left autochthon_right
costal_cartilages: sternum
sacrum: hip_left hip_right gluteus_maximus_left gluteus_maximus_right
hip_left: femur_left iliopsoas_left gluteus_medius_left gluteus_minimus_left
hip_right: femur_right iliopsoas_right gluteus_medius_right gluteus_minimus_right
autochthon_left: autochthon_right
gluteus_maximus_left: gluteus_medius_left gluteus_maximus_right
gluteus_maximus_right: gluteus_medius_right
gluteus_medius_left: gluteus_minimus_left
gluteus_medius_right: gluteus_minimus_right
muscle: subcutaneous_fat autochthon_left autochthon_right
body: subcutaneous_fat muscle
"""


def _pairs(table: str) -> tuple[tuple[str, str], ...]:
    lines = table.strip().replace("\n    ", " ").splitlines()
    return tuple((one, other) for one, others in (line.split(":") for line in lines) for other in others.split())


TOUCHING: tuple[tuple[str, str], ...] = _pairs(_TOUCHING_TABLE)
"""Pairs of structures that lie against each other in bodies, so that their outline is told by colour alone."""


def to_lab(rgb: np.ndarray, vision: str = "normal") -> np.ndarray:
    """sRGB 0..255 (..., 3) to CIE L*a*b* under D65 (..., 3), as seen with one of ``VISIONS``."""
    scaled = np.asarray(rgb, dtype=np.float64) / 255.0
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ _SIMULATION[vision].T, 0.0, 1.0)
    ratio = seen @ _RGB_TO_XYZ.T / _RGB_TO_XYZ.sum(axis=1)
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """CIEDE2000 colour difference of L*a*b* colours (..., 3), broadcast: about 1 is just seen side by side, 10 at a glance.

    Source: Sharma, Wu & Dalal 2005, doi:10.1002/col.20070, equations 2 to 22.
    """
    light1, a1, b1 = np.moveaxis(np.asarray(one, dtype=np.float64), -1, 0)
    light2, a2, b2 = np.moveaxis(np.asarray(other, dtype=np.float64), -1, 0)
    mean7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(mean7 / (mean7 + 25.0**7))
    chroma1, chroma2 = np.hypot(stretch * a1, b1), np.hypot(stretch * a2, b2)
    hue1, hue2 = (np.degrees(np.arctan2(b, stretch * a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    grey = chroma1 * chroma2 == 0
    turn = np.where(grey, 0.0, (hue2 - hue1 + 180) % 360 - 180)
    turn = np.where(hue2 - hue1 == 180, 180.0, turn)
    hue_step = 2 * np.sqrt(chroma1 * chroma2) * np.sin(np.radians(turn / 2))
    light, chroma = (light1 + light2) / 2, (chroma1 + chroma2) / 2
    wide = np.abs(hue1 - hue2) > 180
    hue = np.where(grey, hue1 + hue2, (hue1 + hue2) / 2 + np.where(wide, np.where(hue1 + hue2 < 360, 180, -180), 0))
    weight_hue = (
        1
        - 0.17 * np.cos(np.radians(hue - 30))
        + 0.24 * np.cos(np.radians(2 * hue))
        + 0.32 * np.cos(np.radians(3 * hue + 6))
        - 0.20 * np.cos(np.radians(4 * hue - 63))
    )
    from_50 = (light - 50) ** 2
    step_light = (light2 - light1) / (1 + 0.015 * from_50 / np.sqrt(20 + from_50))
    step_chroma = (chroma2 - chroma1) / (1 + 0.045 * chroma)
    step_hue = hue_step / (1 + 0.015 * chroma * weight_hue)
    chroma7 = chroma**7
    rotation = -2 * np.sqrt(chroma7 / (chroma7 + 25.0**7)) * np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    return np.sqrt(step_light**2 + step_chroma**2 + step_hue**2 + rotation * step_chroma * step_hue)


def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The least CIEDE2000 difference of two sRGB colours (..., 3), 0..255, over all of ``VISIONS``."""
    return np.min([difference(to_lab(one, vision), to_lab(other, vision)) for vision in VISIONS], axis=0)


_COLOURS = """
body:6B6470 subcutaneous_fat:D2C08C muscle:9A4F45 bone:4BF0D2
vertebrae:E1FFF0 intervertebral_discs:1EE1FF ribs:FFFFB4 costal_cartilages:D2A5B4
sternum:FFFFD2 sacrum:F0FF4B hip_left:69F0E1 hip_right:4BC3B4
femur_left:D2B44B femur_right:E1FFE1 spinal_cord:9678A5 brain:E19696
lung_left:D21E4B lung_right:A500FF lung_upper_lobe_left:8769F0 lung_lower_lobe_left:78F0C3
lung_upper_lobe_right:2DA569 lung_middle_lobe_right:F0F078 lung_lower_lobe_right:3CE1E1 trachea:2DA5B4
esophagus:F06978 heart:78C3D2 heart_myocardium:2D965A heart_atrium_left:1E7896
heart_ventricle_left:4BA5FF heart_atrium_right:D2A587 heart_ventricle_right:A54B87 aorta:E69F00
pulmonary_artery:00FF96 superior_vena_cava:B40FD2 inferior_vena_cava:C31EA5 portal_vein_and_splenic_vein:D2C378
celiac_trunk:C33CD2 iliac_artery_left:3C96C3 iliac_artery_right:96D2A5 iliac_vena_left:D28787
iliac_vena_right:E10F1E liver:D55E00 hepatic_vessels:3C8769 gallbladder:009E73
spleen:56B4E9 kidney_left:0072B2 kidney_right:9678FF kidney_medulla_left:E17896
kidney_medulla_right:4BB4C3 adrenal_gland_left:B44B0F adrenal_gland_right:E1D25A pancreas:CC79A7
stomach:F0E442 duodenum:5AFFFF small_bowel:2D785A colon:00FFB4
rectum:D23C3C urinary_bladder:966987 prostate:5A96E1 uterus:FF96D2
iliopsoas_left:F06900 iliopsoas_right:A55A96 autochthon_left:D2963C autochthon_right:69C3E1
gluteus_maximus_left:A55A5A gluteus_maximus_right:D269D2 gluteus_medius_left:78C3FF gluteus_medius_right:F05A3C
gluteus_minimus_left:B4B469 gluteus_minimus_right:0F5AFF liver_tumor:87C3A5 kidney_tumor_left:FFD287
kidney_tumor_right:87692D kidney_cyst_left:A5873C kidney_cyst_right:96A55A pancreas_tumor:B4785A
lung_tumor_left:E1C30F lung_tumor_right:A57896 colon_tumor:4BF0FF
"""

COLOURS: dict[str, tuple[int, int, int]] = {
    name: (int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16))
    for name, code in (entry.split(":") for entry in _COLOURS.split())
}
"""Name -> (red, green, blue), 0..255, for every structure of the vocabulary."""
