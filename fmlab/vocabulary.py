"""The structures of the course: id, name, system, what each is part of, colour, text prompt.

A label volume holds one id per voxel. A structure that has parts (the liver has vessels and tumours) owns the voxels that none
of its parts claims, so ``region("liver")`` - the liver as a radiologist means it - is the union of the liver and its parts.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
import torch

from fmlab.errors import VocabularyError
from fmlab.palette import COLOURS
from fmlab.schemes import ANNOTATED, MAPPINGS, SIDED
from fmlab.sides import left_side


@dataclass(frozen=True)
class Structure:
    """One row of the vocabulary.

    id: value in a label volume (1..255; 0 is outside the body). name: snake_case, the public data sets' usual spelling.
    system: organ system. part_of: name of the structure it belongs to, or "" at the top. prompt: words for a text encoder.
    """

    id: int
    name: str
    system: str
    part_of: str
    prompt: str


_TABLE = """
 1 body                          body            -                 the body
 2 subcutaneous_fat              body            body              subcutaneous fat
 3 muscle                        muscle          body              muscle of the trunk wall
 4 bone                          skeleton        body              bone
 5 vertebrae                     skeleton        bone              vertebrae
 6 intervertebral_discs          skeleton        body              intervertebral discs
 7 ribs                          skeleton        bone              ribs
 8 costal_cartilages             skeleton        body              costal cartilages
 9 sternum                       skeleton        bone              sternum
10 sacrum                        skeleton        bone              sacrum
11 hip_left                      skeleton        bone              left hip bone
12 hip_right                     skeleton        bone              right hip bone
13 femur_left                    skeleton        bone              left femur
14 femur_right                   skeleton        bone              right femur
15 spinal_cord                   nervous         body              spinal cord
16 brain                         nervous         body              brain
17 lung_left                     respiratory     body              left lung
18 lung_right                    respiratory     body              right lung
19 lung_upper_lobe_left          respiratory     lung_left         upper lobe of the left lung
20 lung_lower_lobe_left          respiratory     lung_left         lower lobe of the left lung
21 lung_upper_lobe_right         respiratory     lung_right        upper lobe of the right lung
22 lung_middle_lobe_right        respiratory     lung_right        middle lobe of the right lung
23 lung_lower_lobe_right         respiratory     lung_right        lower lobe of the right lung
24 trachea                       respiratory     body              trachea
25 esophagus                     digestive       body              esophagus
26 heart                         cardiovascular  body              heart
27 heart_myocardium              cardiovascular  heart             myocardium
28 heart_atrium_left             cardiovascular  heart             left atrium of the heart
29 heart_ventricle_left          cardiovascular  heart             left ventricle of the heart
30 heart_atrium_right            cardiovascular  heart             right atrium of the heart
31 heart_ventricle_right         cardiovascular  heart             right ventricle of the heart
32 aorta                         cardiovascular  body              aorta
33 pulmonary_artery              cardiovascular  body              pulmonary artery
34 superior_vena_cava            cardiovascular  body              superior vena cava
35 inferior_vena_cava            cardiovascular  body              inferior vena cava
36 portal_vein_and_splenic_vein  cardiovascular  body              portal vein and splenic vein
37 celiac_trunk                  cardiovascular  body              celiac trunk
38 iliac_artery_left             cardiovascular  body              left iliac artery
39 iliac_artery_right            cardiovascular  body              right iliac artery
40 iliac_vena_left               cardiovascular  body              left iliac vein
41 iliac_vena_right              cardiovascular  body              right iliac vein
42 liver                         digestive       body              liver
43 hepatic_vessels               digestive       liver             vessels of the liver
44 gallbladder                   digestive       body              gallbladder
45 spleen                        lymphatic       body              spleen
46 kidney_left                   urinary         body              left kidney
47 kidney_right                  urinary         body              right kidney
48 kidney_medulla_left           urinary         kidney_left       medulla of the left kidney
49 kidney_medulla_right          urinary         kidney_right      medulla of the right kidney
50 adrenal_gland_left            endocrine       body              left adrenal gland
51 adrenal_gland_right           endocrine       body              right adrenal gland
52 pancreas                      digestive       body              pancreas
53 stomach                       digestive       body              stomach
54 duodenum                      digestive       body              duodenum
55 small_bowel                   digestive       body              small bowel
56 colon                         digestive       body              colon
57 rectum                        digestive       colon             rectum
58 urinary_bladder               urinary         body              urinary bladder
59 prostate                      reproductive    body              prostate
60 uterus                        reproductive    body              uterus
61 iliopsoas_left                muscle          body              left iliopsoas muscle
62 iliopsoas_right               muscle          body              right iliopsoas muscle
63 autochthon_left               muscle          body              left autochthonous back muscle
64 autochthon_right              muscle          body              right autochthonous back muscle
65 gluteus_maximus_left          muscle          body              left gluteus maximus muscle
66 gluteus_maximus_right         muscle          body              right gluteus maximus muscle
67 gluteus_medius_left           muscle          body              left gluteus medius muscle
68 gluteus_medius_right          muscle          body              right gluteus medius muscle
69 gluteus_minimus_left          muscle          body              left gluteus minimus muscle
70 gluteus_minimus_right         muscle          body              right gluteus minimus muscle
71 liver_tumor                   lesion          liver             tumor in the liver
72 kidney_tumor_left             lesion          kidney_left       tumor in the left kidney
73 kidney_tumor_right            lesion          kidney_right      tumor in the right kidney
74 kidney_cyst_left              lesion          kidney_left       cyst in the left kidney
75 kidney_cyst_right             lesion          kidney_right      cyst in the right kidney
76 pancreas_tumor                lesion          pancreas          tumor in the pancreas
77 lung_tumor_left               lesion          lung_left         tumor in the left lung
78 lung_tumor_right              lesion          lung_right        tumor in the right lung
79 colon_tumor                   lesion          colon             tumor in the colon
"""


def _parse(row: str) -> Structure:
    number, name, system, part_of, prompt = row.split(maxsplit=4)
    return Structure(int(number), name, system, "" if part_of == "-" else part_of, prompt)


STRUCTURES: tuple[Structure, ...] = tuple(_parse(row) for row in _TABLE.strip().splitlines())
ID: dict[str, int] = {s.name: s.id for s in STRUCTURES}
NAME: dict[int, str] = {s.id: s.name for s in STRUCTURES}

MAPPINGS["fmlab"] = dict(NAME)
SIDED["fmlab"] = {}
ANNOTATED["fmlab"] = frozenset()  # our ids alone do not say what was looked for; a file written by ``Volume.write_labels`` does

PALETTE: np.ndarray = np.zeros((256, 3), dtype=np.uint8)
"""(256, 3) uint8: row i is the colour of label id i; black where the vocabulary has no id."""
for _structure in STRUCTURES:
    PALETTE[_structure.id] = COLOURS[_structure.name]
PALETTE.setflags(write=False)


def structure(name_or_id: str | int) -> Structure:
    """The row of a structure, by name or id. Raises VocabularyError, naming the nearest names, if there is none."""
    if isinstance(name_or_id, (int, np.integer)) and not isinstance(name_or_id, bool):
        if int(name_or_id) not in NAME:
            raise VocabularyError(f"No structure has the id {name_or_id}; ids run from 1 to {max(NAME)}.")
        return STRUCTURES[int(name_or_id) - 1]
    if name_or_id not in ID:
        near = difflib.get_close_matches(str(name_or_id), ID, n=3, cutoff=0.5)
        advice = f"did you mean {', '.join(near)}?" if near else "fmlab.vocabulary.STRUCTURES lists them all."
        raise VocabularyError(f"No structure is called {name_or_id!r}; {advice}")
    return STRUCTURES[ID[name_or_id] - 1]


def parts(name: str) -> tuple[str, ...]:
    """The structures directly part of this one, in id order; () for a structure without parts."""
    whole = structure(name).name
    return tuple(s.name for s in STRUCTURES if s.part_of == whole)


def region(name: str) -> tuple[int, ...]:
    """Ids of a structure and of everything that is part of it, at any depth, ascending; ``region("body")`` is every id."""
    found, fresh = [structure(name).id], parts(name)
    while fresh:
        found += [ID[part] for part in fresh]
        fresh = tuple(deeper for part in fresh for deeper in parts(part))
    return tuple(sorted(found))


def colour(name_or_id: str | int) -> tuple[int, int, int]:
    """Red, green and blue, 0..255 each. Raises VocabularyError as ``structure`` does."""
    return COLOURS[structure(name_or_id).name]


def present_ids(labels: torch.Tensor, where: str = "the labels") -> tuple[int, ...]:
    """Vocabulary ids that occur in a label tensor of any shape, ascending, without 0.

    Raises VocabularyError, saying ``where``, if a value is neither 0 nor an id.
    """
    found = _values(labels)
    strange = [value for value in found if value != 0 and value not in NAME]
    if strange:
        raise VocabularyError(
            f"{where}: label ids {_some(strange)} are not in the vocabulary (1 to {max(NAME)}); "
            "name the scheme they come from, such as scheme='totalsegmentator_v2'."
        )
    return tuple(int(value) for value in found if value != 0)


def to_vocabulary(labels: torch.Tensor | np.ndarray, scheme: str) -> torch.Tensor:
    """Labels in another scheme's ids, (..., X, Y, Z) in RAS order, to vocabulary ids: uint8, same shape; 0 stays 0.

    Ids that cover both sides (``SIDED``: the kidney of KiTS, the lung of CT-ORG) are parted by ``sides.left_side``; lesions stay
    with the organ they touch. Raises VocabularyError for an unknown scheme or for ids that the scheme does not have.
    """
    if scheme not in MAPPINGS:
        raise VocabularyError(f"No label scheme is called {scheme!r}; choose one of {', '.join(sorted(MAPPINGS))}.")
    foreign = torch.as_tensor(labels)
    known = {0, *MAPPINGS[scheme], *SIDED[scheme]}
    strange = [value for value in _values(foreign) if value not in known]
    if strange:
        raise VocabularyError(
            f"Label ids {_some(strange)} do not belong to the scheme {scheme!r} (ids up to {max(known)}); "
            "check the file, or name the scheme it was made with."
        )
    table = torch.zeros(max(known) + 1, dtype=torch.uint8, device=foreign.device)
    for number, name in MAPPINGS[scheme].items():
        table[number] = ID[name]
    ours = torch.index_select(table, 0, foreign.flatten().int()).view(foreign.shape)
    if SIDED[scheme]:
        if foreign.ndim < 3:
            raise VocabularyError(
                f"The scheme {scheme!r} needs three axes to tell left from right; the labels have shape {tuple(foreign.shape)}."
            )
        for one, own in zip(foreign.reshape(-1, *foreign.shape[-3:]), ours.view(-1, *ours.shape[-3:]), strict=True):
            _part_sides(one.cpu().numpy(), own, SIDED[scheme])
    return ours


def _part_sides(foreign: np.ndarray, ours: torch.Tensor, sided: dict[int, str]) -> None:
    """Fill the ids that cover both sides into ``ours`` (X, Y, Z), in place, one organ with its lesions at a time."""
    for organ in sorted({stem.removesuffix("_tumor").removesuffix("_cyst") for stem in sided.values()}):
        ids = {number: stem for number, stem in sided.items() if stem.startswith(organ)}
        mask, known = np.isin(foreign, list(ids)), ours.cpu().numpy()
        left = left_side(mask, paired=organ in ids.values(), middle=_between(known, f"{organ}_left", f"{organ}_right"))
        for number, stem in ids.items():
            here = foreign == number
            ours[torch.from_numpy(here & left)] = ID[f"{stem}_left"]
            ours[torch.from_numpy(here & ~left)] = ID[f"{stem}_right"]


def _between(known: np.ndarray, left: str, right: str) -> float | None:
    """The index along X halfway between two organs whose sides are known already; None unless both are there."""
    places = [np.nonzero(known == ID[name])[0] for name in (left, right)]
    return None if any(len(p) == 0 for p in places) else float(sum(p.mean() for p in places)) / 2


def _values(labels: torch.Tensor) -> list[float]:
    """The values that occur, ascending; small whole numbers are counted rather than sorted, ten times faster on a whole scan."""
    whole = labels.numel() > 0 and not labels.dtype.is_floating_point
    if whole and labels.min() >= 0 and int(labels.max()) < 65536:  # int: as uint8, 65536 would be 0
        small = labels if labels.dtype is torch.uint8 else labels.int()
        return torch.bincount(small.flatten()).nonzero().flatten().tolist()
    return torch.unique(labels).tolist()


def _some(values: list[float], most: int = 6) -> str:
    """The first few values for an error message."""
    return ", ".join(f"{v:g}" for v in values[:most]) + (f" and {len(values) - most} more" if len(values) > most else "")
