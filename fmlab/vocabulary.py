"""The structures of the course: id, name, system, what each is part of, colour, text prompt.

A label volume holds one id per voxel. A structure that has parts (the liver has vessels and tumours) owns the voxels that none
of its parts claims, so ``region("liver")`` - the liver as a radiologist means it - is the union of the liver and its parts.
"""

from __future__ import annotations

from dataclasses import dataclass


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
