# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   fmlab:
#     title: "Welcome: scans, labels, metrics"
#     section: "-"
#     goals:
#       - scroll through a CT and say which side, which plane and which tissue you see
#       - turn a voxel index into a place in the body, and find an affine that lies
#       - write the Dice coefficient, and say when it misleads you and what to use instead
#       - compare two readers of the same scan, and ask who drew the "truth"
#     prerequisites: [Python with numpy, no medicine]
#     minutes: 50
#     seconds: 25
#     gigabytes: 1.0
#     download_mb: 3.1
#     hardware: 2 CPU cores
# ---

# %% [markdown]
# # 00 · Welcome: scans, labels, metrics

# %% [markdown]
# A **scan** is a box of numbers. A **label map** is a second box that says, for each number, which organ it belongs to. A
# **segmentation model** turns the first into the second. This whole course is about that one arrow, so this first lesson is about
# its two ends: what is in the boxes, and how to tell a good answer from one that only looks good.
#
# **How a lesson works.** You read a little, *predict*, run a cell (Shift+Enter), and look. Now and then you write a short function
# yourself and `check` it: a wrong answer gets a message about the idea behind it, not just a cross. Nothing you do leaves this
# machine, and nothing you write is overwritten.

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 50 minutes alone, 75 in a room. The three predictions are worth a show of hands before anybody runs the cell;
# let pairs disagree about 00-p2 (the shift) in particular. Students without network: `fmlab data seed FOLDER` fills the cache from a
# stick. Everything also runs without the real scan; then sections 2, 4 and 8 use a second body.
#
# **Typical misconceptions.** Dice is read as a grade that organs of all sizes share (00-p2 cures it: one voxel costs the
# adrenal gland half of its score); a missed structure is left out of the mean, as if nothing had been to find; and left and
# right are exchanged by whoever forgets that an axial slice is seen from the feet. `P + R` of two bool masks is taken for a
# sum of counts.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

import fmlab
from fmlab import cohorts, metrics, phantom
from fmlab.errors import DataError
from fmlab.lessons import check, figure, hint, predict, progress, quiz, show_source
from fmlab.settings import profile
from fmlab.vocabulary import structure

# %% [markdown]
# ## 1. A body made of nothing but a seed
#
# Scans of patients are private, large and licensed, and you may have no network. So fmlab brings its own body: give it a number,
# and it draws a person (sex, age, build, pose), paints the anatomy, and puts it into a simulated CT scanner. The same seed gives the
# same body on every computer. It is not a patient, but it has what makes scans hard: organs that press on each other, noise,
# contrast agent, fat people and thin ones. You will train on it all through the course.

# %%
body = phantom.sample(seed=7, centre="A", spacing=profile().spacing)
print(body)
print("who:", {key: body.info[key] for key in ("sex", "age", "phase", "lesions")})

# %% [markdown]
# Before you look: radiologists draw an axial slice as if you stood at the patient's feet and looked up.

# %%
predict("00-p1", "The liver is on the patient's right. Where will you see it in an axial slice?",
        ["on the left of the picture", "on the right of the picture"])

# %% [markdown]
# Click on the picture, then scroll with the wheel or the arrow keys. **A C S** change the plane, **1 2 3 4** the window, **F** and **O**
# the fill and the outlines. The marks R, L, A, P, S, I say where right, left, anterior, posterior, superior and inferior are.
# Find the liver, the two kidneys, and the vertebra at the level of the kidneys.

# %%
fmlab.view(body, index=int(body.shape[2] * 0.6))

# %%
predict("00-p1")

# %% [markdown]
# The liver lies on the **left of the picture**: you look up from the feet, so the patient's right is on your left.

# %% [markdown]
# ## 2. A real scan
#
# Now a real one: an abdominal CT of a man without contrast agent, from the TotalSegmentator repository (Apache-2.0; 3.1 MB
# with the two further files of sections 3 and 8). Each cell asks before it downloads; say no, or be offline, and the lesson goes on
# with a second body.
#
# **Its labels are the output of another model**, not of a radiologist. Keep that in mind for every number below.

# %%
try:
    real = cohorts.load("totalsegmentator-ct")
    print(real, real.info["licence"], sep="\n")
except DataError as missing:
    print(missing)
    real = phantom.sample(seed=8, centre="C", spacing=profile().spacing)

fmlab.view(real, index=int(real.shape[2] * 0.78))

# %% [markdown]
# *What to see* in the real scan. Scroll down to the hips: the left one is made of metal, and bright streaks fly off it. The colon is
# full of stool and gas. The liver is hardly brighter than the spleen: without contrast agent they look alike. Our body is tidier than
# this man; `fmlab/phantom/README.md` says by how much, in numbers.
#
# ### The numbers are a physical scale
# CT numbers are in **Hounsfield units**: water is 0 HU, air is −1000 HU. What you see depends on the *window*, the range that goes from
# black to white. Press 2 (lung) and 3 (bone) in the viewer above.

# %%
def mean_hu(scan, name):
    """Mean density of a structure in HU."""
    return float(scan.image[0][scan.mask(name)].mean())


for name in ["lung_lower_lobe_right", "urinary_bladder", "liver", "vertebrae"]:
    print(f"{name:24s} body {mean_hu(body, name):6.0f} HU    real {mean_hu(real, name):6.0f} HU")

# %% [markdown]
# ## 3. Where is a voxel? RAS and the affine
#
# An array knows the index $(i, j, k)$ of a voxel. The patient lies in millimetres. A 4×4 matrix, the **affine** $A$, leads from one to
# the other:
#
# $$\begin{pmatrix} x \\ y \\ z \end{pmatrix} = A_{3\times 3} \begin{pmatrix} i \\ j \\ k \end{pmatrix} + t$$
#
# fmlab works in **RAS**: $x$ grows towards the patient's right, $y$ towards the front (anterior), $z$ towards the head (superior). Files come in any orientation; `Volume.read` turns all of them into RAS and keeps the affine right.

# %%
print(real.affine)
print("spacing in mm:", real.spacing)

# %% [markdown]
# **Exercise 1.** Write `my_world`: index in, millimetres out.


# %%
def my_world(ijk, affine):
    """Place in mm (three numbers) of the voxel with index ijk, from the 4x4 affine."""
    # solution
    return affine[:3, :3] @ np.asarray(ijk) + affine[:3, 3]


check("00-world", my_world)

# %% [markdown]
# Stuck? Run the next cell without its `#`; each run gives one hint more.

# %%
# hint("00-world")

# %%
show_source("fmlab.volume.Volume.world")

# %% [markdown]
# ### An affine that lies
# The repository of our real scan holds a smaller file too: a slab of 30 slices cut out of the same CT. (Offline, we cut a slab out of
# the body and make the same mistake.) Both files carry an affine. Do they agree about where the slab is? We slide the slab along the
# scan and look for the place where the pictures are equal.

# %%
try:
    slab = cohorts.load("totalsegmentator-ct-slab")
except DataError:
    cut = real.crop((0, 0, real.shape[2] // 2), real.shape)
    slab = fmlab.Volume(cut.image, real.affine, name="slab with the affine of the whole scan")

depth = slab.shape[2]
places = range(real.shape[2] - depth + 1)
difference = [float((real.image[..., k : k + depth] - slab.image).abs().mean()) for k in places]
found = int(np.argmin(difference))
print("the affine says the slab begins at  z =", slab.world((0, 0, 0))[2].round(1), "mm")
print("the picture says it begins at       z =", real.world((0, 0, found))[2].round(1), "mm")
print("mean difference of the two there:", round(min(difference), 2), "HU")

# %% [markdown]
# *What to see.* The affine is wrong by more than 20 cm: the slab was cut and the origin was not moved. Every number inside the slab is
# right, every organ has the right size and shape, and yet a label map placed *by its affine* would put the upper belly into the pelvis.
# No metric computed on arrays can notice. Whoever crops must move the origin: `Volume.crop` does.
#
# ### Other scans
# The course knows more open scans by name (`fmlab data list`): "totalsegmentator-mr", "mni-icbm152", "pyradiomics-brain" and
# "pyradiomics-breast" are MR, whose values have no unit: no window is right for two of them. A scan of your own comes by
# `fmlab.Volume.read(path)`; it stays on this machine.

# %%
name = "totalsegmentator-mr"
try:
    other = cohorts.load(name)
except DataError as missing:
    print(missing)
    other = real
print(other.name, other.modality, f"values {other.image.min():.0f} to {other.image.max():.0f}", other.shape, other.spacing)
fmlab.view(other, plane="coronal")

# %% [markdown]
# ## 4. How large is an organ?
#
# **Exercise 2.** The volume in ml of a mask, from its voxels and the spacing. (1 ml is 1 cm³.)


# %%
def my_volume(mask, spacing):
    """Volume in ml of a bool mask (X, Y, Z); spacing: voxel size in mm along each axis."""
    # solution
    return int(mask.sum()) * float(np.prod(spacing)) / 1000


check("00-volume", my_volume)

# %%
# hint("00-volume")

# %%
for name in ["liver", "spleen", "kidney_left", "adrenal_gland_left"]:
    ours, theirs = (my_volume(scan.mask(name), scan.spacing) for scan in (body, real))
    print(f"{name:20s} body: {ours} ml   real: {theirs} ml")

# %% [markdown]
# An adult's liver has about 1500 ml, an adrenal gland 5. Remember the factor of 300 between them for what comes next.

# %% [markdown]
# ## 5. Dice: how much do two masks overlap?
#
# The field's favourite number. For a prediction $P$ and a reference $R$:
#
# $$\mathrm{Dice}(P, R) = \frac{2\,|P \cap R|}{|P| + |R|}$$
#
# 1 is perfect, 0 has nothing in common.
#
# **Exercise 3.** Write it for bool masks. One thing to decide: if *both* are empty, there is nothing to measure. Return `nan`.


# %%
def my_dice(prediction, reference):
    """Dice of two bool masks of one shape; nan if both are empty."""
    # solution
    total = int(prediction.sum()) + int(reference.sum())
    return 2 * int((prediction & reference).sum()) / total if total else float("nan")


check("00-dice", my_dice)

# %%
# hint("00-dice")

# %%
show_source("fmlab.metrics.dice")

# %% [markdown]
# ### Dice and size
# Take a perfect mask and push it sideways, a voxel at a time: the same error for every organ.

# %%
predict("00-p2", "Liver and adrenal gland are both shifted by one voxel. Whose Dice falls more?",
        ["the liver's: more voxels are wrong", "the adrenal gland's",
         "both the same: the error is the same"])


# %%
def shifted(mask, voxels):
    """The mask pushed along x; what leaves on one side comes in, empty, on the other."""
    out = torch.zeros_like(mask)
    out[voxels:] = mask[: mask.shape[0] - voxels]
    return out


# %%
organs = ["liver", "spleen", "gallbladder", "adrenal_gland_right"]
steps, step, tolerance = np.arange(4), body.spacing[0], 1.25 * body.spacing[0]
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
for style, name in zip(["o-", "s--", "^-.", "D:"], organs):
    mask = body.mask(name)
    pushed = [shifted(mask, int(n)) for n in steps]
    left.plot(steps * step, [metrics.dice(p, mask) for p in pushed], style, label=name)
    right.plot(steps * step, [metrics.nsd(p, mask, body.spacing, tolerance) for p in pushed], style)
left.set(xlabel="shift in mm", ylabel="score", title="Dice", ylim=(0, 1.03))
right.set(xlabel="shift in mm", title=f"NSD, {tolerance:g} mm tolerance")
left.legend(frameon=False)
figure(fig, alt="Score against shift in mm for four organs. Dice: the liver falls slowest, the adrenal "
                "gland by far fastest. NSD: all stay at 1 within the tolerance, then fall in no order of size.")

# %%
predict("00-p2")

# %% [markdown]
# *What to see.* One voxel costs the liver about a tenth and the adrenal gland about half of its score; spleen and gallbladder lie
# between, close together, because shape counts beside size: what matters is how much surface there is per volume. A low Dice on a small
# structure may be an excellent boundary; "0.95 on the liver, 0.60 on the tumour" does not say that tumours are done worse. **NSD**, the
# normalised surface distance, asks another question: which share of the two *surfaces* lies within a tolerance (in mm) of the other?
# Within the tolerance all organs score 1, whatever their size. Choose the tolerance by what two humans would disagree about, and never
# below the voxel size: with 4 mm voxels a tolerance of 2 mm forgives nothing.

# %% [markdown]
# ## 6. Far away: HD95
#
# The Hausdorff distance is the *worst* distance between two surfaces; **HD95** the 95th percentile, in mm. Dice hardly sees a
# small island at the wrong end of the body. Let us plant one.

# %%
liver = body.mask("liver")
island = liver.clone()
i, j, k = torch.nonzero(body.mask("femur_left"))[0].tolist()
island[i : i + 3, j : j + 3, k : k + 3] = True
for what, mask in [("and a bit of thigh", island), ("shifted one voxel", shifted(liver, 1))]:
    distances = metrics.surface_distances(mask.numpy(), liver.numpy(), body.spacing)
    print(f"liver, {what:20s} Dice {metrics.dice(mask, liver):.3f}", end="   ")
    print(f"HD95 {metrics.hd95(mask, liver, body.spacing):4.1f} mm   worst {max(map(max, distances)):5.1f} mm")

# %% [markdown]
# *What to see.* Dice prefers the island, and so does HD95, which forgives the worst 5 % of the surface; only the worst distance sees
# it. A surgeon may not. No single number is the truth: look at the picture.

# %% [markdown]
# ## 7. The empty and the missed
#
# A model segments the gallbladder in four patients. In one it finds nothing.

# %%
predict("00-p3", "HD95 has no value where nothing was predicted, so a library averages the other "
        "three. What does the miss do to the mean?",
        ["it gets worse", "it gets better, or stays as good", "it is not defined any more"])

# %%
gallbladder = structure("gallbladder").id
cases = {}
for seed in range(4):
    patient = phantom.sample(seed, spacing=profile().spacing, field_of_view="upper abdomen")
    labels = patient.labels.clone()
    labels[labels == gallbladder] = 0
    if seed < 3:  # found 1, 2 and 3 voxels too far to the right; the fourth is missed
        labels[0][shifted(patient.mask("gallbladder"), seed + 1)] = gallbladder
    found = patient.with_labels(labels)
    cases[f"patient {seed}"] = metrics.evaluate(found, patient, ["gallbladder"], tolerance)
values = np.array([scores[0].hd95 for scores in cases.values()])
print("HD95 of each patient:", values.round(1), "mm")
print("mean of the three that were found:", values[:3].mean().round(1), "mm")
metrics.summarise(cases)

# %%
predict("00-p3")

# %% [markdown]
# *What to see.* The fourth patient was the hardest case: had the model found it as badly as the third, the mean would be worse than it is
# after missing it. Leave a miss out, and missing makes a model better. That is how several libraries behave by default. fmlab counts a miss as Dice 0, NSD 0 and an HD95 of the scan's diagonal, and
# writes it under the table. Two empty masks are "absent" and count for nothing. `help(fmlab.metrics)` has the whole table of rules.
# Note the interval: with four patients it is very wide, and that too is the truth.

# %% [markdown]
# ## 8. Two readers
#
# The same real scan was labelled twice, by two versions of TotalSegmentator. Neither is "the truth"; their disagreement is what
# a model trained on one of them can reach against the other. (Offline: two resolutions of the same body.)

# %%
try:
    second = cohorts.load("totalsegmentator-ct-v1-labels")
except DataError:
    coarse = phantom.sample(seed=8, centre="C", spacing=1.5 * profile().spacing)
    second = real.with_labels(coarse)
common = sorted(real.annotated & second.annotated)
scores = metrics.evaluate(second, real, common, tolerance=3.0)
scores = sorted((s for s in scores if s.status == "ok"), key=lambda s: s.dice)
for s in [*scores[:6], *scores[-3:]]:
    print(f"{s.structure:22s} Dice {s.dice:.2f}   NSD {s.nsd:.2f}   HD95 {s.hd95:4.1f} mm", end="   ")
    print(f"volume {s.volume_error:+6.1f} ml")

# %%
fmlab.view(real, compare=[("second reader", second)], index=int(real.shape[2] * 0.12), height=360)

# %% [markdown]
# *What to see.* With the real scan: large organs agree to a few per cent; the pancreas does not; and the left femur, the one with
# the metal, is where the two readers part. Look for it near the bottom of the scan (try *Swipe*). Which of the two is right? Offline:
# it is the thin and small structures on which two resolutions of the same body disagree.

# %% [markdown]
# ## 9. Quiz

# %%
quiz("00-q1")

# %%
quiz("00-q2")

# %%
quiz("00-q3")

# %%
quiz("00-q4")

# %% [markdown]
# ## 10. Your own scan
#
# NIfTI, NRRD, or a folder of DICOM slices. It stays on this machine.

# %%
my_scan = None  # "/path/to/scan.nii.gz"

if my_scan:
    mine = fmlab.Volume.read(my_scan)
    print(mine, mine.affine, sep="\n")
fmlab.view(mine) if my_scan else print("No scan of your own yet: put its path above.")

# %%
progress()

# %% [markdown]
# **You can now** read a scan, doubt an affine, and write and doubt a metric. Next: *01 · A map of foundation models*.
