"""Label ids of other people's models and data sets, in our names. Facts only; ``vocabulary.to_vocabulary`` applies them.

Where a foreign class has no entry of its own in the vocabulary, it goes to what it is a part of: every vertebra to vertebrae
(S1 to sacrum), every rib to ribs, arm and shoulder bones and the skull to bone, the left atrial appendage to the left atrium.
What lies loose in the body (neck vessels, pulmonary veins, thyroid, face) goes to body: better an honest "body" than a wrong
organ. A class "prostate or uterus" goes to prostate, because the ids cannot tell the sexes apart.
"""

from __future__ import annotations

# One line a scheme: names in id order from 1. "rib_left_1..12" stands for twelve names, "-" for an id that is not used.
# A star (kidney*) marks a class that covers both sides; its voxels are told apart by place (see ``sides``).
_TABLE = """
totalsegmentator_v2: spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right adrenal_gland_left
    lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right lung_middle_lobe_right lung_lower_lobe_right esophagus trachea
    thyroid_gland small_bowel duodenum colon urinary_bladder prostate kidney_cyst_left kidney_cyst_right sacrum vertebrae_S1
    vertebrae_L5..1 vertebrae_T12..1 vertebrae_C7..1 heart aorta pulmonary_vein brachiocephalic_trunk subclavian_artery_right
    subclavian_artery_left common_carotid_artery_right common_carotid_artery_left brachiocephalic_vein_left
    brachiocephalic_vein_right atrial_appendage_left superior_vena_cava inferior_vena_cava portal_vein_and_splenic_vein
    iliac_artery_left iliac_artery_right iliac_vena_left iliac_vena_right humerus_left humerus_right scapula_left scapula_right
    clavicula_left clavicula_right femur_left femur_right hip_left hip_right spinal_cord gluteus_maximus_left
    gluteus_maximus_right gluteus_medius_left gluteus_medius_right gluteus_minimus_left gluteus_minimus_right autochthon_left
    autochthon_right iliopsoas_left iliopsoas_right brain skull rib_left_1..12 rib_right_1..12 sternum costal_cartilages
totalsegmentator_v1: spleen kidney_right kidney_left gallbladder liver stomach aorta inferior_vena_cava
    portal_vein_and_splenic_vein pancreas adrenal_gland_right adrenal_gland_left lung_upper_lobe_left lung_lower_lobe_left
    lung_upper_lobe_right lung_middle_lobe_right lung_lower_lobe_right vertebrae_L5..1 vertebrae_T12..1 vertebrae_C7..1
    esophagus trachea heart_myocardium heart_atrium_left heart_ventricle_left heart_atrium_right heart_ventricle_right
    pulmonary_artery brain iliac_artery_left iliac_artery_right iliac_vena_left iliac_vena_right small_bowel duodenum colon
    rib_left_1..12 rib_right_1..12 humerus_left humerus_right scapula_left scapula_right clavicula_left clavicula_right femur_left
    femur_right hip_left hip_right sacrum face gluteus_maximus_left gluteus_maximus_right gluteus_medius_left
    gluteus_medius_right gluteus_minimus_left gluteus_minimus_right autochthon_left autochthon_right iliopsoas_left
    iliopsoas_right urinary_bladder
totalsegmentator_mr: spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right adrenal_gland_left
    lung_left lung_right esophagus small_bowel duodenum colon urinary_bladder prostate sacrum vertebrae intervertebral_discs
    spinal_cord heart aorta inferior_vena_cava portal_vein_and_splenic_vein iliac_artery_left iliac_artery_right iliac_vena_left
    iliac_vena_right humerus_left humerus_right scapula_left scapula_right clavicula_left clavicula_right femur_left femur_right
    hip_left hip_right gluteus_maximus_left gluteus_maximus_right gluteus_medius_left gluteus_medius_right gluteus_minimus_left
    gluteus_minimus_right autochthon_left autochthon_right iliopsoas_left iliopsoas_right brain
universal_29: spleen kidney_right kidney_left gallbladder esophagus liver stomach aorta inferior_vena_cava
    portal_vein_and_splenic_vein pancreas adrenal_gland_right adrenal_gland_left duodenum urinary_bladder prostate liver_tumor
    kidney_tumor* kidney_cyst* celiac_trunk lung_right lung_left bone brain lung_tumor* pancreas_tumor hepatic_vessels liver_tumor
    colon_tumor
btcv: spleen kidney_right kidney_left gallbladder esophagus liver stomach aorta inferior_vena_cava portal_vein_and_splenic_vein
    pancreas adrenal_gland_right adrenal_gland_left
btcv_cervix: urinary_bladder uterus rectum small_bowel
amos22: spleen kidney_right kidney_left gallbladder esophagus liver stomach aorta inferior_vena_cava pancreas adrenal_gland_right
    adrenal_gland_left duodenum urinary_bladder prostate
flare22: liver kidney_right spleen pancreas aorta inferior_vena_cava adrenal_gland_right adrenal_gland_left gallbladder esophagus
    stomach duodenum kidney_left
lits: liver liver_tumor
kits19: kidney* kidney_tumor*
kits: kidney* kidney_tumor* kidney_cyst*
msd_liver: liver liver_tumor
msd_lung: lung_tumor*
msd_pancreas: pancreas pancreas_tumor
msd_hepatic_vessel: hepatic_vessels liver_tumor
msd_spleen: spleen
msd_colon: colon_tumor
chaos: liver
pancreas_ct: pancreas
multi_organ_ct: spleen - kidney_left gallbladder esophagus liver stomach - - - pancreas - - duodenum
word: liver spleen kidney_left kidney_right stomach gallbladder esophagus pancreas duodenum colon small_bowel adrenal_gland*
    rectum urinary_bladder femur_left femur_right
ct_org: liver urinary_bladder lung* kidney* bone brain
abdomenct_1k: liver kidney* spleen pancreas
abdomenct_12organ: liver kidney* spleen pancreas aorta inferior_vena_cava stomach gallbladder esophagus adrenal_gland_right
    adrenal_gland_left celiac_trunk
segthor: esophagus heart trachea aorta
structseg_thorax: lung_left lung_right heart esophagus trachea spinal_cord
"""

_PART_OF = {
    "vertebrae_S1": "sacrum",
    "atrial_appendage_left": "heart_atrium_left",
    "skull": "bone",
    "face": "body",
    "thyroid_gland": "body",
    "pulmonary_vein": "body",
}
_PREFIX = {
    "vertebrae_": "vertebrae",
    "rib_": "ribs",
    "humerus_": "bone",
    "scapula_": "bone",
    "clavicula_": "bone",
    "brachiocephalic_": "body",
    "subclavian_": "body",
    "common_carotid_": "body",
}

# Structures that some ids map to although the scheme draws them only in part, so that their absence proves nothing.
_IN_PART = {
    "totalsegmentator_v1": {"body", "bone"},
    "totalsegmentator_v2": {"body", "bone", "heart_atrium_left"},  # of the atrium only its appendage
    "totalsegmentator_mr": {"bone"},
    "word": {"femur_left", "femur_right"},  # the heads alone
}
# Structures that are complete because all their parts are drawn.
_BY_PARTS = {
    "totalsegmentator_v1": {"lung_left", "lung_right", "heart"},
    "totalsegmentator_v2": {"lung_left", "lung_right"},
}


def _expand(words: str) -> list[str]:
    """The names of one scheme in id order, ranges such as rib_left_1..12 or vertebrae_L5..1 written out."""
    names: list[str] = []
    for word in words.split():
        if ".." not in word:
            names.append(word)
            continue
        first, last = word.split("..")
        head = first.rstrip("0123456789")
        start, stop = int(first[len(head) :]), int(last)
        step = 1 if stop >= start else -1
        names += [f"{head}{number}" for number in range(start, stop + step, step)]
    return names


def _ours(foreign: str) -> str:
    """The vocabulary's name for a foreign class: its own entry, or what it is a part of."""
    if foreign in _PART_OF:
        return _PART_OF[foreign]
    return next((ours for prefix, ours in _PREFIX.items() if foreign.startswith(prefix)), foreign)


def _lines() -> dict[str, list[str]]:
    joined = _TABLE.strip().replace("\n    ", " ").splitlines()
    return {scheme: _expand(words) for scheme, words in (line.split(":") for line in joined)}


_NAMES = _lines()

MAPPINGS: dict[str, dict[int, str]] = {
    scheme: {i: _ours(name) for i, name in enumerate(names, 1) if name != "-" and not name.endswith("*")}
    for scheme, names in _NAMES.items()
}
"""Scheme -> foreign id -> our name, for the classes that have one name. Ids of classes that cover both sides are in ``SIDED``."""

SIDED: dict[str, dict[int, str]] = {
    scheme: {i: name[:-1] for i, name in enumerate(names, 1) if name.endswith("*")} for scheme, names in _NAMES.items()
}
"""Scheme -> foreign id -> stem: "kidney" stands for kidney_left and kidney_right, told apart by place."""

ANNOTATED: dict[str, frozenset[str]] = {
    scheme: frozenset(
        (
            {*MAPPINGS[scheme].values()}
            | {f"{stem}_{side}" for stem in SIDED[scheme].values() for side in ("left", "right")}
            | _BY_PARTS.get(scheme, set())
        )
        - _IN_PART.get(scheme, set())
    )
    for scheme in _NAMES
}
"""Scheme -> the structures that it draws wherever they are; all others it leaves at 0 even where they are there."""
