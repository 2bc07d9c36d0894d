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
#     title: "A map of foundation models"
#     section: "1"
#     goals:
#       - place a system on the three axes by rules about facts, and say where the rules are arguable
#       - find your way in a table of all systems of this course, and compare two of them
#       - tell code from weights, and "no licence" from "free", before you build on a model
#       - read a number of training images with its unit
#       - say how little of a partially labelled assembly is known, and which pairs nobody ever drew together
#     prerequisites: ["lesson 00"]
#     minutes: 50
#     seconds: 10
#     gigabytes: 1.0
#     download_mb: 2.3
#     hardware: 2 CPU cores
# ---

# %% [markdown]
# # 01 · A map of foundation models

# %% [markdown]
# A **foundation model** is trained once, on much and on many things, so that others can build on it for tasks that it was not
# trained for. For segmentation it gives features and something that turns them into masks:
#
# $$Z = \theta_f(X) \qquad \hat Y = \sigma(\theta_c(Z))$$
#
# There are dozens by now, and each paper compares with five. The slides sort them by the **data** that they learnt from (this
# section), and by how they are **used** (lessons 05 to 11):
#
# | axis | question | ends |
# |---|---|---|
# | **A** | how wide is what it has seen? | generalist … specialised |
# | **B** | slices or volumes? | 2-D … 3-D |
# | **C** | do words go in beside images? | images alone … images and text |
#
# Before you read on: think of three models that you know, and of one that you would like to use. Where are they?

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 50 minutes alone, 60 in a room; no training, every cell takes a second. Section 1 works best on the
# wall: print the map (section 2 makes the page), let each pair place three cards, and only then run the cell. Two quarrels are
# worth their time. *Is Hermes multimodal?* (Two meanings of one word.) *Is MedSAM specialised?* (Beside SAM yes, beside FLAIR
# no: the axis is a scale, and claims C01 and C02 cut it at different places.) At 01-p2 ask who has put somebody's weights into a
# product.

# %%
import tempfile
from pathlib import Path

import numpy as np
from IPython.display import HTML

from fmlab import Volume, cohorts, systems, templates
from fmlab.errors import FmlabError
from fmlab.lessons import check, figure, hint, predict, progress, quiz, show_source, system_map
from fmlab.lessons.system_explorer import compare, explore
from fmlab.phantom.visits import any_visit
from fmlab.systems import FREE, LISTED, ancestors, system

# %% [markdown]
# ## 1. Three axes, three rules
#
# A place on a map should follow from facts, not from taste. For each system the package's table says which **images** it was
# trained on last, in what it **learnt** ("2-D", "3-D" or "2-D and 3-D"), what one call **reads**, and which **text** goes in:

# %%
for key in ("clip", "medsam", "flair", "ma_sam", "hermes", "segvol"):
    one = system(key)
    print(f"{one.name:7s} images: {', '.join(one.images):12s} learnt: {one.learnt:12s} reads: {one.reads}  text: {one.text or '-'}")

# %% [markdown]
# **Exercise 1.** Write the rules.
#
# - **A** is `"natural images"` where `"photographs"` are among the images; of the rest, `"one field"` for a single kind of image
#   (`("many",)` is not one), and `"medical images"` for several.
# - **B** is `"2-D"` for what reads 2-D. What reads 3-D is `"3-D"` where it learnt in 3-D only, and else `"2-D to 3-D"`.
# - **C** is `"images and text"` where any words go in, and else `"images"`.


# %%
def my_place(images, learnt, reads, text):
    """Where a system stands on A, B and C. images: words; learnt, reads: "2-D" ...; text: "" for none. Returns three strings."""
    # solution
    one_field = len(images) == 1 and "many" not in images
    breadth = "natural images" if "photographs" in images else "one field" if one_field else "medical images"
    depth = "2-D" if reads == "2-D" else "3-D" if learnt == "3-D" else "2-D to 3-D"
    return breadth, depth, "images and text" if text else "images"


check("01-place", my_place)

# %%
# hint("01-place")

# %%
show_source("fmlab.systems.place")

# %%
figure(*system_map.the_map(x="B", y="A"))

# %% [markdown]
# *What to see.* Where is it crowded, and which cells are **empty**? Nobody is at *natural images, 3-D*: there are no volumes of
# cats. So what is generalist begins flat, and somebody has to carry it into the third dimension; that is the thin column in the
# middle. Words go in (hollow marks) wherever there are captions or reports, and seldom where there are masks.
#
# *Where the rules are arguable.* **MedSAM** is specialised beside SAM and a generalist beside FLAIR: A is a scale, and who says
# "specialised beats generalist" should say where the cut is. **Hermes** learnt from CT, MR and PET. A radiologist calls that
# multimodal; on axis C it is not, as no words go in. And the last row, **one task**, holds what is no foundation model: networks
# that are trained anew for each data set, among them the one that all others have to beat.
#
# Try other axes: `"C"`, `"usage"`, `"year"`, `"amount"`, `"parameters"`.

# %%
figure(*system_map.the_map(x="year", y="usage"))

# %% [markdown]
# ## 2. Find your way
#
# The table as a filter. Every field works by keyboard; where there is no kernel you see the whole table. What is empty says *not
# seen*: we did not find it, which is not the same as "no".

# %%
explore()

# %% [markdown]
# Four questions, two minutes each. (a) You have volumes, and a radiologist who would click. What is there? (b) Which systems
# take words *and* volumes? (c) Who does in-context segmentation of volumes, and can you download it? (d) Which generalists were
# taught by masks alone?
#
# Two systems side by side; what differs is bold:

# %%
compare("sam", "sam_med3d")

# %%
page = systems.save_page(Path(tempfile.mkdtemp()) / "map.html")  # or .md; it never overwrites a file unless you say so
print(f"for the wall, A3 landscape: {page}, {page.stat().st_size // 1000} kB")

# %% [markdown]
# ## 3. What is inside what?
#
# Few begin from nothing. `begins` names the system of the table whose weights one starts with:

# %%
for one in systems.systems():
    if one.begins:
        print(f"{one.name:28s} <- {' <- '.join(ancestor.name for ancestor in ancestors(one.key))}")
heirs = [one.name for one in systems.systems() if any("photographs" in ancestor.images for ancestor in ancestors(one.key))]
print(f"\nphotographs are inside {', '.join(heirs)}")

# %% [markdown]
# *What to see.* "Generalist against specialised" is seldom a duel of strangers: the medical SAMs **are** SAM, trained further.
# FLAIR begins with ImageNet's weights, which are no system of this table. And the first ancestor's habits come along: the Swin
# UNETR of those years reads two of eight neighbours twice and two never, where it merges patches, and whoever loads a descendant
# has to keep that mistake (`fmlab.backbones.swin_unetr` does).

# %% [markdown]
# ## 4. How much did it see?

# %%
predict("01-p1", f"CLIP learnt from {system('clip').amount:,} pictures, FSEFT from {system('fseft').amount:,} scans. Counted in "
        "pixels and voxels, how much has CLIP seen?",
        ["200,000 times as much", "some hundred times as much", "about as much"])

# %%
figure(*system_map.amounts())

# %%
pixels = system("clip").amount * 224 * 224  # as CLIP sees a picture
voxels = system("fseft").amount * 512 * 512 * 200  # a usual abdominal CT
ratio = system("clip").amount / system("fseft").amount
print(f"pieces: {ratio:,.0f} to 1     pixels to voxels: {pixels:.1e} to {voxels:.1e}, {pixels / voxels:,.0f} to 1")

# %%
predict("01-p1")

# %% [markdown]
# *What to see.* The order of the list is the order of its **unit**. A scan is hundreds of pictures, if not independent ones:
# a slice differs little from its neighbour. And a picture with a caption teaches less about edges than one with a mask. So a
# number of images says how large a training was only beside its unit, its kind, and who taught.

# %% [markdown]
# ## 5. May I use it?

# %%
table = systems.systems()
free_code = sum(one.code_licence in FREE for one in table)
there = sum(one.has_weights for one in table)
predict("01-p2", f"Of {len(table)} systems, {free_code} have their code under Apache-2.0 or MIT, and of {there} one can download "
        "weights. Of how many may you put the weights to work, in a clinic or a firm?",
        ["about as many as have free code", "about half of those", "fewer than ten"])

# %% [markdown]
# **Exercise 2.** Which systems can you put to work for a given kind of input and use? A system has `has_weights`,
# `weights_licence`, `code_licence`, `reads`, `usage` and more; `FREE` is `("Apache-2.0", "MIT")`. Return their keys, in the order
# given.


# %%
def my_usable(systems, reads, usage):
    """Keys of the systems whose weights can be had and are free, that read "2-D" or "3-D" as asked, and are used so."""
    # solution
    return [one.key for one in systems
            if one.has_weights and one.weights_licence in FREE and one.reads == reads and usage in one.usage]


check("01-usable", my_usable)

# %%
# hint("01-usable")

# %%
show_source("fmlab.systems.usable")

# %%
free = [one.name for one in table if one.has_weights and one.weights_licence in FREE]
print(f"weights that one may use at work: {len(free)} of {len(table)}: {', '.join(free)}\n")
for usage in ("zero-shot", "transfer", "in-context", "interactive"):
    for reads in ("2-D", "3-D"):
        print(f"{usage:12s} {reads}: {', '.join(systems.usable(table, reads, usage)) or 'nobody'}")

# %%
predict("01-p2")

# %% [markdown]
# *What to see.* Code is generous, weights are not. Some are for research only; of more than half of the medical ones nobody says
# anything, and then all rights are reserved. (Also, a licence is not an approval: none of these is a medical device.) The gaps
# in this list are where a small model of your own, or a careful letter to the authors, is worth most. What fmlab ships is
# Apache-2.0.

# %% [markdown]
# ## 6. What the volumes were drawn by: seventeen data sets
#
# The universal models of section 3 of the slides are fed by an *assembly* of public data sets. These are the CLIP-driven model's
# ([Liu et al. 2023](https://doi.org/10.1109/ICCV51070.2023.01934)): fourteen to train on, 3,410 scans by its abstract, and three
# to test on. What its released list really holds is in the third column:

# %%
HTML(system_map.seventeen())

# %% [markdown]
# Now the **partial-label matrix**, data set by structure. $w_{nk} = 1$ says that whoever drew scan $n$ looked for structure $k$.
# The released list has sixteen rows, since it names LiTS twice (as MSD's liver), and fifty scans of AbdomenCT-1K once more with
# twelve organs.

# %%
predict("01-p3", "Each scan has one row of this matrix, over all structures that anybody draws. What share of it is known?",
        ["about a half", "about a third", "about a sixth"])

# %%
figure(*system_map.matrix())

# %% [markdown]
# **Exercise 3.** In what share of the **scans** is each structure known? `w` (D, K) has a row for each data set, `scans` (D,)
# says how many scans each one has.


# %%
def my_known_share(w, scans):
    """Share of scans in which each structure is known: (K,). w: (D, K) of 0/1; scans: (D,) numbers."""
    # solution
    return scans @ w / scans.sum()


check("01-known", my_known_share)

# %%
# hint("01-known")

# %%
show_source("fmlab.systems.known_share")

# %%
names, w, n = templates.annotated_structures(LISTED), templates.template_matrix(LISTED), systems.scans(LISTED)
share = systems.known_share(w, n)
order = np.argsort(-share)
print(f"{n.sum():,} scans, {len(names)} structures: {share.mean():.0%} of the entries are known")
print("most known: ", ", ".join(f"{names[k]} {share[k]:.0%}" for k in order[:5]))
print("least known:", ", ".join(f"{names[k]} {share[k]:.0%}" for k in order[-5:]))

# %%
predict("01-p3")

# %% [markdown]
# *What to see.* A single data set, AbdomenCT-1K, makes up a third of all scans and decides which five organs are "well
# annotated". Train on everything, and what you weigh is whose scans there are most of. And the sum hides a fact that matters
# more:

# %%
figure(*system_map.pairs())

# %% [markdown]
# *What to see.* White: no scan shows both. No one has ever told a network, in one scan, that a voxel is *colon tumour and
# therefore not kidney tumour*, and no test can measure whether it knows. Lesson 12 trains on such a matrix, and meets a full
# bladder that the network takes for a heart.
#
# One more trap is invisible in every picture of this kind: the rows **share patients**. AbdomenCT-1K was put together from LiTS,
# KiTS, MSD and Pancreas-CT. Train on one row and test on another one, and you may test on the same people.

# %% [markdown]
# ## 7. Your own data on this map
#
# Which row would your labels add? For a labelled scan of your own put the paths and the scheme of its ids into the first lines
# (it stays on this machine). Otherwise we take one real CT with TotalSegmentator's labels, or, without it, a procedural body.

# %%
my_scan, my_labels = None, None  # "/path/to/scan.nii.gz", "/path/to/labels.nii.gz"
my_scheme = "totalsegmentator_v2"  # what the ids mean: a key of fmlab.schemes.ANNOTATED

try:
    scan = Volume.read(my_scan, labels=my_labels, scheme=my_scheme) if my_scan else cohorts.load("totalsegmentator-ct")
except FmlabError as missing:
    print(missing)
    scan = any_visit(9, "E", 8.0)
row = np.array([templates.covers(scan.annotated or (), name) for name in names])
never = np.triu(systems.together(w, n) == 0, 1)
print(f"your row knows {row.sum()} of {len(names)} structures; the fullest of the sixteen knows {w.sum(1).max()}")
both = (never & np.outer(row, row)).sum()
print(f"pairs that none of {n.sum():,} scans has together: {never.sum()}; this one scan has {both} of them")

# %% [markdown]
# *What to see.* One densely drawn scan tells something that thousands of partly drawn ones cannot. That is the case for
# TotalSegmentator's and AbdomenAtlas's way, where every scan gets every label, mostly from a model: more known entries, and a
# model's mistakes among them.
#
# ## 8. Quiz

# %%
quiz("01-q1")

# %%
quiz("01-q2")

# %%
quiz("01-q3")

# %%
quiz("01-q4")

# %%
quiz("01-q5")

# %%
progress()

# %% [markdown]
# **You can now** place a model that you read about tonight: what it saw, in what unit, in how many dimensions, with or without
# words, how it is used, whose weights are inside, and whether you may use it. Next: *02 · Generalist or specialised?*, where
# axis A is put to the test.
