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
#     title: "Annotating with a model"
#     section: "2.C"
#     goals:
#       - say what a crowd's mistakes cost, and why the mean Dice of the annotated slices hides the greatest of them
#       - compute slice coverage and the Dice of a volume from its slices, and merge several people's boxes
#       - annotate for five minutes against the clock, and read from the recording what each structure cost and what came of it
#       - let a model choose the next slice, and compare it with a baseline that deserves the name
#       - tell what a net learns from labels that a crowd and SAM made
#     prerequisites: ["lesson 08", "what Dice is (lesson 00)"]
#     minutes: 75
#     seconds: 70
#     gigabytes: 1.2
#     download_mb: 4.5
#     hardware: 2 CPU cores
# ---

# %% [markdown]
# # 11 · Annotating with a model

# %% [markdown]
# A network for a new organ needs a hundred scans in which somebody has outlined it. A radiologist's hour is dear; a box is drawn
# in seconds, and a box is all that SAM needs. So: let people without medical training draw boxes, let SAM make masks of them, and
# train a network on the masks. A study of 2024 did just this (Kulkarni et al., arXiv:2403.15218), and published its boxes:
#
# | Dice on whole volumes of BTCV | spleen | right kidney | left kidney | liver |
# |---|---|---|---|---|
# | masks: the crowd's boxes, through SAM | .797 | .777 | .742 | .733 |
# | a net trained on such masks | .80 | .78 | .78 | .84 |
# | the same net, trained on experts' masks | .88 | .87 | .87 | .94 |
#
# Where do those tenths go? We cannot ask that crowd any more. We make one of our own, whose mistakes we know.

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 75 minutes alone, 100 in a room. Section 5 is the heart of a room: all annotate the same body at the
# same time, then compare coverage and Dice at the board; the winner is usually not who drew the best boxes. Before it, let nobody
# see section 4 (interpolation), or everybody skips slices on purpose, which is the right thing to do and worth discovering. 11-p2
# is a trap on purpose. Exercise 3 can be left out when time is short. No human being clicked the stored recording: it is a
# simulated person, and says so.
#
# **Typical misconceptions.** Bad boxes are feared, and missing slices cost more. The mean over annotated slices is taken for
# the Dice of the volume. Uncertainty sounds cleverer than even spacing, and hardly beats it along an axis. Interpolation is
# believed to heal the ends of an organ, where there is nothing to interpolate.

# %%
from dataclasses import replace

import numpy as np

from fmlab import cohorts, hub
from fmlab.errors import DataError
from fmlab.interactive import crowd, effort, nano, next_slice, pictures
from fmlab.interactive.coverage import slice_scores
from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.sliced import SlicedVolume
from fmlab.lessons import check, claims, crowd_nets, figure, five_minutes, hint, predict, progress, quiz, show_source
from fmlab.lessons.ask_sam import ask_sam
from fmlab.lessons.crowd_figures import choice_curves, effect_by_missed
from fmlab.lessons.prompted import prompted
from fmlab.viewer import Canvas

# %% [markdown]
# ## 1. Three mistakes
#
# Whoever draws boxes may draw them badly, leave slices out, or take another organ for the right one. A person is four numbers:
# `noise`, how far off each side of a box is, as a share of the box; `missed`, the share of slices left out; `ends`, the share not
# recognised at either end of the organ; `wrong`, how often another organ is boxed instead.

# %%
model = hub.load("sam", "nano")
body = next(iter(nano.bodies({"A": 1}, nano.FINE, 7000)))
people = (crowd.EXPERT, *crowd.CROWD)
print(*people, sep="\n")
rng = np.random.default_rng(4)
boxes = {who: {name: who.boxes(body, name, rng, crowd.ORGANS) for name in crowd.ORGANS} for who in people}

# %%
name = "kidney_left"
k = next(k for k in crowd.slices_of(body, name)[9:] if all(k in boxes[who][name] for who in people))
picture, outline = pictures.grey(body, "axial", k), pictures.drawn(body, name, "axial", k)
sliced, given = SlicedVolume(model, body), [boxes[who][name][k] for who in people]
found = [sliced.answers({k: box}).masks[0] for box in given]
told = [replace(Prompts.of(2), box=box) for box in given]
fig = prompted([picture] * len(people), found, told, [outline] * len(people), [who.name for who in people])
left, top, right, bottom = given[0].tolist()
for ax in fig.axes:
    ax.set(xlim=(left - 14, right + 14), ylim=(bottom + 14, top - 14))
figure(fig, alt=f"The left kidney in axial slice {k}, four times, its outline dashed: a box by each of "
                f"{', '.join(who.name for who in people)}, and SAM's mask of each box.")

# %% [markdown]
# *What to see.* The dotted box is the person's, the solid line is what SAM makes of it, the dashed one is the truth. SAM looks at
# the picture, too: its masks differ less than the boxes do. (It is a small SAM, and even an expert's boxes give no masterpieces.
# What we measure below is how much worse it gets.)

# %%
predict("11-p1", "The hurried person's boxes are off by 15 % of their sides, and she leaves out a third of the slices. Which costs more "
        "Dice, on the whole volume?", ["the bad boxes", "the slices left out", "about the same"])

# %% [markdown]
# ## 2. What counts is the volume
#
# **Exercise 1.** You have the Dice of each slice, the pixels found in it, and the true ones. What is the Dice of the volume?
# And its **coverage**: of the slices that show the structure, which share has an answer at all?
#
# $$\mathrm{Dice}_s = \frac{2\,|P_s \cap R_s|}{|P_s| + |R_s|} \qquad\qquad \mathrm{Dice} = \frac{2 \sum_s |P_s \cap R_s|}{\sum_s |P_s|
# + |R_s|}$$


# %%
def my_volume(dice, found, true):
    """Of each slice: dice (S,), NaN where found and truth are empty; pixels found (S,) and true (S,).

    Returns (coverage, Dice of the volume)."""
    # solution
    weight = found + true
    good = weight > 0
    return (found[true > 0] > 0).mean(), (dice * weight)[good].sum() / weight[good].sum()


check("11-volume", my_volume)

# %%
# hint("11-volume")

# %%
show_source("fmlab.interactive.coverage.whole")


# %%
def scored(given):
    """Coverage, mean Dice of the slices with an answer, and Dice of the volume, each a mean over the organs."""
    rows = [slice_scores(sliced.mask(given[name]), body.mask(name).numpy()) for name in crowd.ORGANS]
    return np.mean([(row.coverage, row.answered_dice, row.volume_dice) for row in rows], axis=0)


print(f"{'':10s} coverage  Dice of answered slices  Dice of the volume")
for who in people:
    print("{:10s} {:8.2f} {:24.2f} {:19.2f}".format(who.name, *scored(boxes[who])))

# %%
predict("11-p1")

# %%
best, half = scored(boxes[crowd.EXPERT])[2], replace(crowd.HURRIED, missed=0, ends=0)
for who in (replace(half, name="bad boxes only"), replace(crowd.HURRIED, name="gaps only", noise=0), crowd.HURRIED):
    given = {name: who.boxes(body, name, np.random.default_rng(5)) for name in crowd.ORGANS}
    print(f"{who.name:15s} Dice of the volume {scored(given)[2] - best:+.2f} against the expert")

# %% [markdown]
# *What to see.* The middle column tells these people apart far less than the last one does. A slice without an answer has Dice 0, and
# a mean over the answered ones never hears of it. The study's tables have both numbers: 0.79 to 0.89 for the slices with a
# prediction, 0.68 to 0.79 for the volumes. (Our crowd leaves out slices so that the two differ about as much; how the real crowd
# erred we do not know.)

# %% [markdown]
# ## 3. Several people
#
# The usual remedy for unreliable people is more people. But how do you merge a box, another box, and nothing?
#
# **Exercise 2.** One box a slice: the median, side by side, of those who drew.


# %%
def my_merge(boxes):
    """boxes (A, 4) of A people, a row of NaN for who drew nothing. Returns one box (4,), NaN where nobody drew."""
    # solution
    there = boxes[~np.isnan(boxes).any(1)]
    return np.median(there, axis=0) if len(there) else np.full(4, np.nan)


check("11-merge", my_merge)

# %%
# hint("11-merge")

# %%
show_source("fmlab.interactive.crowd.merged")

# %% [markdown]
# ## 4. The slices in between
#
# The cheaper remedy needs nobody: an organ looks much the same in the next slice. Two ways to get from slice to slice: draw a
# line from each box to the next one (**interpolation**), or let SAM's mask of one slice give the box of the next (**following**),
# until it no longer trusts itself.

# %%
remedies = {"as they come": lambda given: given, "interpolated": crowd.interpolated, "followed": sliced.followed}
merged = {name: crowd.merged([boxes[who][name] for who in crowd.CROWD]) for name in crowd.ORGANS}
answers = {who.name: boxes[who] for who in crowd.CROWD} | {"merged": merged}
print(f"Dice of the volume (the expert has {best:.2f})\n{'':10s}", *(f"{what:>14s}" for what in remedies))
for who, given in answers.items():
    dices = [scored({name: remedy(given[name]) for name in crowd.ORGANS})[2] for remedy in remedies.values()]
    print(f"{who:10s}", *(f"{dice:14.2f}" for dice in dices))

# %% [markdown]
# *What to see.* Interpolation gives back a good part of what the gaps had cost, for no time of anybody's. Merging costs three
# times the boxes, and beats two of the three people alone: it fills gaps, and outvotes the wrong organs, which interpolation
# cannot see. What neither knows is where a structure ends beyond the last box: look at the ends yourself. Following gets lost,
# and does harm: every step inherits the error of the one before, and nothing but the predicted IoU says when to stop; our small
# SAM's tells a good mask from a poor one only roughly.

# %% [markdown]
# ## 5. Five minutes
#
# Your turn. Four structures, one body, five minutes. Drag a box; correct by clicks, right click for "not this". `n` is the next
# class, the wheel turns slices (after a click on the picture). You will not get everything: decide what to leave out.
#
# Ready? Run this cell, also if it ran before: the clock above the picture starts, or goes on where you were. Your work is kept; to
# begin anew, run `canvas.autosave.path.unlink()` in a cell of your own, and then this one.

# %%
ask, prepare = ask_sam(SamPredictor(model), body)
canvas = Canvas(body, ask, crowd.ORGANS, index=70, prepare=prepare, title="five minutes", minutes=5)
canvas

# %% [markdown]
# When time is up, run this one. (Where nothing was drawn in time, it takes a stored recording of a simulated person.)

# %%
played = five_minutes.in_time(canvas.recording, minutes=5)
print("Done by", played.get("by", "you"))
replayed = Canvas(body, ask, crowd.ORGANS, prepare=prepare, autosave=False)
replayed.replay(played)
rows = five_minutes.report(played, replayed, body)
print(*rows, sep="\n")

# %% [markdown]
# *What to see.* Who draws a box for every organ in turn has good slices, and few of them. Now the same five minutes, interpolated:

# %%
for row in rows:
    filled = crowd.interpolated(five_minutes.boxes_of(replayed, row.name))
    after = slice_scores(sliced.mask(filled), body.mask(row.name).numpy())
    print(f"{row.name:14s} coverage {row.coverage:.2f} to {after.coverage:.2f}, Dice {row.dice:.2f} to {after.volume_dice:.2f}")

# %% [markdown]
# ### Time saved?
# That depends on what you compare with, and on whom. Here is a model of a person in seconds, to be argued with. A box and an
# outline are measured on photographs (its docstring says by whom), a click and a turn are guesses. Put in your own seconds.

# %%
pace = effort.DEFAULT
print(f"Seconds: a box {pace.box:.0f}, a click {pace.click:.0f}, a turn {pace.turn:.0f}, an outline {pace.outline:.0f}")
slices = sum(len(crowd.slices_of(body, name)) for name in crowd.ORGANS)
ways = {"every slice outlined by hand": pace.seconds(outlines=slices, turns=slices),
        "a box in every slice": pace.seconds(boxes=slices, turns=slices),
        "a box in every third, interpolated": pace.seconds(boxes=slices // 3, turns=slices)}
for what, seconds in ways.items():
    print(f"{what:36s} {seconds / 60:5.0f} minutes for {slices} outlines")
each = sum(row.seconds for row in rows) / max(1, sum(row.boxes + row.clicks for row in rows))
print(f"the recording above: {each:.1f} seconds a prompt, all in all")

# %% [markdown]
# ## 6. Which slice next?
#
# Suppose you have boxed the first and the last slice of the liver, all others are interpolated, and you have patience for four
# more boxes. Where? **Active learning** says: where the model is least sure. One measure of that is the entropy of its mask,
#
# $$H_s = -\sum_{i \in s} p_i \log p_i + (1 - p_i) \log (1 - p_i)$$
#
# **Exercise 3.** Choose the next slice: of those without annotation the one with the largest entropy.


# %%
def my_next(p, done):
    """p (S, H, W), probabilities; done (S,) bool: annotated already. Returns the number of the next slice."""
    # solution
    q = np.clip(p, 1e-12, 1 - 1e-12)
    h = -(q * np.log(q) + (1 - q) * np.log(1 - q)).sum((1, 2))
    return np.where(done, -np.inf, h).argmax()


check("11-next", my_next)

# %%
# hint("11-next")

# %%
predict("11-p2", "Against entropy: the predicted IoU, a random slice, and the middle of the longest gap. After four further boxes, "
        "which order do you expect?",
        ["entropy clearly first", "all about the same", "evenly spaced clearly first", "entropy clearly last"])

# %%
curves = {}
for what, policy in next_slice.POLICIES.items():
    each = [next_slice.annotate(sliced, body.mask("liver").numpy(), boxes[crowd.EXPERT]["liver"], policy, 6,
                                np.random.default_rng(seed)) for seed in range(2 if what == "at random" else 1)]
    curves[what] = np.mean(each, axis=0)
choice_curves(curves, "the liver of one body")

# %%
predict("11-p2")

# %% [markdown]
# *What to see.* One box in the middle is worth more than all that follow. Even spacing, which looks at nothing, asks for it at
# once; the predicted IoU asks for it late, the entropy not within four boxes. Neighbouring slices are alike, and several unsure
# ones in a row tell the same story. One body decides nothing, but whoever shows you that active learning beats *random*, ask for
# *evenly spaced*.

# %% [markdown]
# ## 7. What a net makes of it
#
# Now the end of the chain: a small net, trained on slices of a few bodies. Same slices, same net, same steps; the labels are the
# truth, or what a hurried crowd and SAM made. A slice that was left out becomes a lesson: "nothing here".

# %%
predict("11-p3", "A third of the crowd's training slices wrongly say \"no liver here\". How good will its net be on new people?",
        ["as good as the other one: errors average out", "worse, by some hundredths or a tenth", "useless"])

# %%
train_on, test_on = list(nano.bodies({"A": 2, "C": 2}, nano.FINE, 6000)), list(nano.bodies({"A": 1, "C": 1}, nano.FINE, 7100))
made = {"truth": [], "crowd": []}
for person in train_on:
    made["truth"].append(person.mask("liver").numpy())
    made["crowd"].append(SlicedVolume(model, person).mask(crowd.HURRIED.boxes(person, "liver", rng)))
for what, labels in made.items():
    net = crowd_nets.trained(train_on, labels, "liver")
    dices = [crowd_nets.net_dice(net, person, "liver") for person in test_on]
    against = [slice_scores(label, truth).volume_dice for label, truth in zip(labels, made["truth"])]
    print(f"{what:6s} Dice of its labels {np.mean(against):.2f}, of the net on new people {np.mean(dices):.2f}")

# %%
predict("11-p3")

# %% [markdown]
# *What to see.* One short training on four bodies decides nothing, and neither net is good; but the order is that which the study
# found with nnU-Net on whole data sets (table above). Labels that are wrong in one direction do not average out.

# %% [markdown]
# ## 8. The claim
#
# *With box prompts people without medical training annotate well.* We have to say what "well" is: at least nine tenths of what
# an expert's boxes give, on whole volumes. All of it is with simulated people, so the answer depends on their mistakes:

# %%
display(claims.verdict("C19"))
runs = [run.details for run in claims.runs("C19")]
for what in ("as they come", "interpolated", "merged", "merged, interpolated") if runs else ():
    print(f"{what:22s}", *(f"{run['effect'][what]:+.3f}" for run in runs), "  (one number a seed)")

# %%
effect_by_missed(runs)

# %% [markdown]
# *What to see.* Above the grey line non-experts annotate "well". Boxes that are off by a tenth cost little. What decides is how
# many slices are left out, and whether somebody fills the gaps: as they come, this crowd's labels miss the mark, which
# contradicts the slides; interpolated they just miss it, and three people merged pass it.

# %% [markdown]
# ## 9. A real CT
#
# The expert's and the hurried person's boxes on a patient, whose scan the small SAM never saw.

# %%
try:
    scan = cohorts.load("totalsegmentator-ct")
except DataError as missing:
    print(missing)
    scan = next(iter(nano.bodies({"E": 1}, nano.FINE, 7000)))
looked, truth = SlicedVolume(model, scan), scan.mask("liver").numpy()
for who in (crowd.EXPERT, crowd.HURRIED):
    drawn = who.boxes(scan, "liver", np.random.default_rng(0))
    for what, given in (("as they come", drawn), ("interpolated", crowd.interpolated(drawn))):
        row = slice_scores(looked.mask(given), truth)
        print(f"liver, {who.name:8s} {what:13s} coverage {row.coverage:.2f}, Dice of the volume {row.volume_dice:.2f}")

# %% [markdown]
# *What to see.* A patient's liver behaves as the computed ones did: the hurried person loses much, and interpolation gives back a
# part of it, for nothing.

# %% [markdown]
# ## 10. Quiz

# %%
quiz("11-q1")

# %%
quiz("11-q2")

# %%
quiz("11-q3")

# %%
quiz("11-q4")

# %%
quiz("11-q5")

# %% [markdown]
# ## 11. Your own scan
#
# Any NIfTI or DICOM folder; nothing leaves this machine. Your annotation is kept as you go, `save` writes it on the scan's grid.

# %%
my_scan = None  # "scan.nii.gz"

if my_scan:
    from fmlab.volume import Volume

    own = Volume.read(my_scan)
    ask, prepare = ask_sam(SamPredictor(model), own)
    display(Canvas(own, ask, ("my structure",), prepare=prepare))
else:
    print("No scan of your own yet: put its path above.")

# %%
progress()

# %% [markdown]
# **You can now** say what an annotation is worth and what it costs, where its mistakes hide, and which of them a little
# arithmetic heals. Next: *12 · Partial labels*: what to do when each hospital has drawn other organs.
