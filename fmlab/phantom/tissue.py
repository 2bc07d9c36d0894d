"""Density of every material in HU, by contrast phase, and how it differs from person to person.

Sources of the means: liver, spleen, pancreas, kidney and vessels by phase follow the ranges usual in multi-phase CT (timing and
size of enhancement: Bae, Radiology 2010;256:32-61, doi:10.1148/radiol.10090908); spongy bone against age follows Pickhardt et
al., Ann Intern Med 2013;158:588-595, doi:10.7326/0003-4819-158-8-201304160-00003.
"""

from __future__ import annotations

import numpy as np

from fmlab.phantom.person import Person

PHASES = ("none", "arterial", "portal", "late")

# material: HU without contrast, arterial (about 30 s), portal (70 s), late (5 min); spread between people in HU
_TABLE = """
air             -1000 -1000 -1000 -1000   0
gas              -960  -960  -960  -960  12
strand            -25    10    15     5  12
skin               -5     0     5     5   6
fat              -108  -108  -106  -106   5
visceral_fat     -102  -102   -98   -99   6
muscle             52    56    64    62   5
postural_muscle    48    51    58    56   5
cortical_bone     640   640   640   640  70
spongy_bone       140   142   148   146  20
marrow            -35   -35   -32   -32  20
disc               82    84    88    88   8
cartilage         110   112   116   116  15
cord               32    34    38    38   4
lung             -835  -832  -828  -830  20
vessel             10    60    50    30  15
gut_wall           34    62    78    66   6
fluid              12    12    14    14   6
stool              25    25    25    25  18
liver              57    66   108    88   8
portal_vein        40    70   165   105   0
vein               40    60   130   105   0
artery             42   300   160   108   0
left_blood         42   280   150   105   0
right_blood        42   210   145   104   0
myocardium         45   100   105    85   7
spleen             48   110   118    88   7
kidney_cortex      34   160   175   130   9
kidney_medulla     30    62   150   135   9
urine               6     6    10    45   5
adrenal            18    55    68    52   8
pancreas           40   100    92    72   9
bile                8     8    10    10   5
prostate           40    58    72    76   6
uterus             48    95   118   108   9
hypovascular       36    44    66    64   7
hypervascular      40   110    90    72   9
cyst                6     6     7     7   4
lung_nodule        30    55    62    55  10
"""
_ROWS = {row.split()[0]: [float(v) for v in row.split()[1:]] for row in _TABLE.strip().splitlines()}

_BLOOD = frozenset({"portal_vein", "vein", "artery", "left_blood", "right_blood"})


def densities(person: Person, phase: str) -> dict[str, float]:
    """HU of each material for one person in one phase: means, individual spread, fatty liver, bone loss with age."""
    column = PHASES.index(phase)
    rng = person.rng("tissue")
    strength = float(np.exp(rng.normal(0, 0.12)))  # cardiac output and dose scale the whole enhancement
    blood = 4 * float(np.clip(rng.normal(), -2, 2))  # haematocrit: the same in every vessel
    hu = {}
    for name, row in _ROWS.items():
        own = float(np.clip(rng.normal(), -2, 2))
        if name in _BLOOD:
            hu[name] = row[0] + blood + strength * (row[column] - row[0]) * float(np.exp(0.08 * own))
        else:
            hu[name] = row[0] + row[4] * own + strength * (row[column] - row[0])
    steatosis = float(rng.choice([0.0, rng.uniform(5, 45)], p=[0.72, 0.28]))
    hu["liver"] -= steatosis
    loss = np.clip((person.age - 30) / 50, 0, 1.1)
    hu["spongy_bone"] += 55 - 110 * loss
    hu["cortical_bone"] -= 120 * loss
    hu["muscle"] -= 8 * loss
    hu["postural_muscle"] -= (6 + 22 * loss) * float(rng.uniform(0.3, 1.5))  # back and buttocks turn to fat first
    hu["pancreas"] -= 26 * loss * float(rng.uniform(0.4, 1.4))  # lobules with fat between them
    return hu
