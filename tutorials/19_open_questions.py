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
#     title: "Open questions, and your own scan"
#     section: "3.B"
#     goals:
#       - choose weights without a validation set, and say what the choice costs
#       - judge a rule that picks a method before the task is tried, by its regret on tasks that it did not see
#       - tell a method from the way it was begun, on a network without attention
#       - say which of the course's findings a crosswise or repeated experiment would change
#       - take a scan of your own from a file to a corrected, adapted and honestly reported segmentation
#     prerequisites: ["lessons 08, 16 and 17", "lesson 15 helps"]
#     minutes: 90
#     seconds: 60
#     gigabytes: 2.5
#     download_mb: 0
#     hardware: 2 CPU cores
# ---

# %% [markdown]
# # 19 · Open questions, and your own scan

# %% [markdown]
# The slides end with questions that nobody has settled. Each of them is an experiment here, small enough for you to run:
#
# | question | experiment | section |
# |---|---|---|
# | How do I choose a model with no validation set? | six rules against somebody who knows the answer | 1 |
# | Which method, before I have tried? | a map from task to method, and its regret | 2 |
# | PEFT for convolutions? | adapters and LoRA on a U-Net, from two beginnings | 3 |
# | Are known and new organs a fair comparison? | the same organ, known to one model and new to another | 4 |
# | Supervised or self-supervised transfer? | what is stored, and what would change your mind | 5 |
#
# Then the course's last piece is yours: **a scan of your own** goes in, and a report comes out (sections 6 to 10). Nothing of it
# leaves this machine.

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 90 minutes alone, 120 in a room, as two sessions: questions first, then scans. 19-p2 is worth a vote by
# hand before it is run. Ask everybody to bring a CT that they may use (or the registered one), and let pairs swap reports and look
# for a sentence that claims too much. Exercise 3 is the hardest of the lesson; exercise 2 can be left out.
#
# **Typical misconceptions.** The oracle is thought to choose anew for each person. "Leave one out" is taken for a way to have more
# data. A map that is made and judged on the same tasks has no regret, which looks like a finding. "47 Dice, so adapters do not suit
# convolutions." More clicks are always better: on what is nearly right they are not. n = 1 with a small p-value over slices.

# %%
import tempfile
from pathlib import Path

import numpy as np

import fmlab
from fmlab import cohorts, metrics, own_scan
from fmlab.errors import DataError
from fmlab.lessons import check, claims, conv_peft, decision_map, figure, hint, predict, progress, quiz, show_source
from fmlab.lessons import selection_gap as gap
from fmlab.lessons.experiments import pretrainings
from fmlab.lessons.five_scans import scans, upper_abdomen
from fmlab.settings import profile
from fmlab.viewer import Canvas

# %% [markdown]
# ## 1. Choosing without a validation set
#
# You have $k$ labelled scans, and a training that keeps its weights $\theta^{(t)}$ now and then. Which do you deliver? A scan that
# is set aside to choose by does not teach. So look at less, or pay more:
#
# | rule | looks at | costs |
# |---|---|---|
# | last step | nothing | nothing |
# | plateau (FSEFT; ARENA) | the training loss | nothing |
# | held-out case | one labelled scan | a shot |
# | leave one out | each scan, by a training without it | $k$ trainings |
# | *oracle* | the test | your honesty |
#
# What a rule loses against the oracle, on $N$ test people, is its **selection gap**. The oracle takes *one* $t$ for all people, as a
# rule does:
#
# $$g = \max_t \frac{1}{N} \sum_n \mathrm{Dice}_n(\theta^{(t)}) - \frac{1}{N} \sum_n \mathrm{Dice}_n(\theta^{(\hat t)})$$
#
# **Exercise 1.** Write it.


# %%
def my_gap(dice, chosen):
    """dice: (marks, people), on the test; chosen: the mark that a rule took. Returns one number, 0 or more."""
    # solution
    means = dice.mean(1)
    return float(means.max() - means[chosen])


check("19-gap", my_gap)

# %%
# hint("19-gap")

# %% [markdown]
# **Exercise 2.** And the leave-one-out rule. Row $i$ of `dice` is case $i$, scored along a training that did not see it.


# %%
def my_left_out(dice):
    """dice: (cases, marks). Returns the number of the mark at which the training on all cases is to be stopped."""
    # solution
    return int(dice.mean(0).argmax())


check("19-loo", my_left_out)

# %%
# hint("19-loo")

# %%
show_source("fmlab.adaptation.selection.LeaveOneOut")

# %%
predict("19-p1", "Two labelled scans, known organs, a linear probe and full fine-tuning, weights kept six times. Which rule loses "
        "most against the oracle?",
        ["the last step: by then it has overfitted", "the plateau of the loss: the loss knows nothing of new people",
         "the held-out case: it gives away half of the scans", "leave one out: one scan is too few to choose by"])

# %%
stored = gap.recorded()
print(gap.table(stored))
figure(*gap.curves(stored))

# %%
predict("19-p1")

# %% [markdown]
# *What to see.* Look at the gaps *and* at the height of the curves: what is lost by choosing badly has to be seen beside what there
# is to gain. Where a curve is flat, the cheapest rule is as good as any, and a held-out case pays a shot to choose among equals. Where
# it falls, the last step is a gamble, and looking costs trainings. (The plateau rules cannot stop before epoch 31, and with two scans
# an epoch is two steps: here they hardly had a say.) Neither is a law: rate, steps and organs bend the curves. And how much may one
# believe a gap from two draws and three people? One adaptation of your own, smaller still:

# %%
small = gap.protocol(steps=profile().steps, marks=2, cubes=6)
mine = gap.adaptation("linear_probe", 7, scans(3, 2), small)
print(gap.table([mine]))
print("my rule and the package's choose", my_left_out(np.array(mine.left_out)), "and", mine.chosen(gap.RULES[4]))

# %% [markdown]
# ## 2. Which method, before I have tried?
#
# Every run of C13, C15, C16 and C17 is a task on which several methods were tried. Darker is worse than the best of its row:

# %%
every = decision_map.table().by_task()
figure(*decision_map.drawn(every))

# %% [markdown]
# A **decision map** looks at something that you know beforehand, here whether the structures are known to the base model, and names a
# method. **Regret** is what you lose by it:
#
# $$r = \frac{1}{T} \sum_{t=1}^{T} \Big( \max_m D_{tm} - D_{t\,\hat m(t)} \Big)$$
#
# where $\hat m(t)$ may look at all rows *but* $t$: the best mean over the others of its kind, or over all others where there is none of
# its kind.
#
# **Exercise 3.** Write it, each task left out in turn.


# %%
def my_regret(dice, known):
    """dice: (tasks, methods), known: (tasks,) bool. Returns the mean regret of the map, each task left out in turn."""
    # solution
    lost = []
    for t in range(len(dice)):
        others = np.arange(len(dice)) != t
        same = others & (known == known[t])
        method = dice[same if same.any() else others].mean(0).argmax()
        lost.append(dice[t].max() - dice[t, method])
    return float(np.mean(lost))


check("19-regret", my_regret)

# %%
# hint("19-regret")

# %%
predict("19-p2", "The map knows one thing of a task: known or new. Always the same method knows nothing. What is the map's regret?",
        ["far below that of every single method", "about that of the best single method, far below that of the worst",
         "above it: with so few tasks the map is made of noise"])

# %%
print(decision_map.told(every))

# %%
predict("19-p2")

# %% [markdown]
# *What to see.* First the column *tasks*: a method that was tried on one task only may look perfect. Then the size of things. The large
# regrets come from one mistake, a black box on new organs, and a map of two cells avoids it. Between methods that may change
# $\theta_f$ the differences are some thousandths, and no map made of a handful of tasks can order them. A published table in which one
# row is bold says little about *your* task; that some rows are far below says a lot.

# %% [markdown]
# ## 3. PEFT for convolutions
#
# LoRA, AdaptFormer and ARENA were made for attention, and many a hospital has a U-Net. Beside each $3\times3\times3$ convolution one
# may put a $1\times1\times1$ one ([residual adapters](https://doi.org/10.1109/CVPR.2018.00847)), or a LoRA of the kernel. FSEFT reports
# 47.55 Dice for such adapters, 5 shots on known organs, where a linear probe has 74.14
# ([FSEFT](https://doi.org/10.48550/arXiv.2303.17051)). Do adapters not suit convolutions?

# %%
predict("19-p3", "In that published code the adapters' new convolutions begin at random, and the norms stay frozen. Ours can begin at 0, "
        "or so. On the cubes of another person, before any step:",
        ["no difference: the adapters are small", "the random start is a little worse", "the random start breaks the network"])

# %%
cubes = conv_peft.people_cubes(8)
steps = profile().steps // 2
tried = [conv_peft.try_out(name, *cubes, steps=steps) for name in conv_peft.VARIANTS]
print(conv_peft.table(tried))

# %%
predict("19-p3")

# %% [markdown]
# *What to see.* The same layer, the same count, and a network that is itself or is not. Some steps do not mend it, and a table that
# calls the last row's relatives by one name, "CNN adapter", compares beginnings and not methods. What is open: how many ranks a
# kernel needs, whether norms should move with it, and what of this holds at full size. (One person teaches and one is tested: the
# column *before* needs no more, the column *after* would.)

# %% [markdown]
# ## 4. Known and new: a fair comparison?
#
# Known organs are livers and spleens; new ones are muscles and lobes. If a probe fails on the muscle, is that because the muscle is
# **new**, or because it is a **muscle**? C15 has two base models with exchanged roles, so that the same organs are known to one
# and new to the other:

# %%
print(decision_map.crosswise(claims.runs("C15")))
claims.verdict("C15")

# %% [markdown]
# *What to see.* Read along a row: same organs, same shots, same people. What is left between the columns is novelty (and another
# pre-training's luck). Read down: which method minds novelty, and which does not?

# %% [markdown]
# ## 5. Supervised or self-supervised transfer?
#
# Lesson 15 had C11, C12 and a picture of all of the course's pre-trainings, three seeds each. The same in numbers: mean over seeds,
# lowest and highest. The first four columns are the 16 structures of the training without further training, the last is new ones.

# %%
display(claims.verdict("C11"), claims.verdict("C12"))
print(pretrainings.table(pretrainings.recorded()))

# %% [markdown]
# *What to see.* Seeds of one pre-training differ, and so a single run of each, as most papers have it, orders them by luck. What would
# change your mind? A setting in which the order holds over seeds, with as much data on one side as people have without labels, and
# with the cost of drawing counted.

# %% [markdown]
# ## 6. Your own scan goes in
#
# From here on the scan is yours. Put the path of a CT (NIfTI, NRRD or a folder of DICOM slices) into the first line. It is read without
# its names: of a DICOM folder or a NIfTI header nothing goes on but voxels and their places. If you have none, a registered CT or a
# procedural body stands in.

# %%
my_scan = None  # "/path/to/scan.nii.gz" or a folder of DICOM slices

try:
    scan = own_scan.read_own(my_scan).volume if my_scan else cohorts.load("totalsegmentator-ct")
except DataError as missing:
    print(missing)
    scan = upper_abdomen(19, "E", 4.0)
own = own_scan.without_names(scan)
print(own, "\ninfo:", dict(own.info))

# %% [markdown]
# ## 7. Segmented zero-shot
#
# By the universal model, which never saw a patient. Scroll before you believe anything.

# %%
found = own_scan.zero_shot(own)
fmlab.view(found, plane="coronal")

# %% [markdown]
# ## 8. Corrected by clicks
#
# Choose structures that are clearly **wrong**: what is nearly right gets worse more easily than better. A left click says *this
# belongs to it*; with the minus sign, *this does not*. A small SAM answers what lies under your click, and only that piece changes.

# %%
wrong = ("kidney_right", "stomach")  # change these
corrector = own_scan.Corrector(found)
canvas = Canvas(own, corrector.ask, wrong, prepare=corrector.prepare, autosave=False, index=int(0.85 * own.shape[2]))
canvas

# %% [markdown]
# Without a hand on the mouse (a headless run, a printed page) a tireless person clicks who knows the reference. That flatters; with
# clicks of yours, these are not made.

# %%
clicks = own_scan.clicks_of(canvas.recording, own)
by_hand = bool(clicks)
if not by_hand and own.labels is not None:
    clicks = own_scan.simulated(found, own, [name for name in wrong if own.mask(name).any()], corrector, slices=2, clicks=3)
fixed = own_scan.correct(found, clicks, corrector)
for name in wrong:
    if own.labels is not None and own.mask(name).any():
        print(f"{name}: Dice {metrics.dice(found.mask(name), own.mask(name)):.2f} -> "
              f"{metrics.dice(fixed.mask(name), own.mask(name)):.2f} with {sum(c.structure == name for c in clicks)} clicks")

# %% [markdown]
# How six clicks reach beyond their two slices: what changed on a slice, as a change of the distance to the border, is carried on to its
# neighbours, less and less.

# %%
show_source("fmlab.own_scan.carrying.carried")

# %% [markdown]
# ## 9. Used as a shot
#
# The corrected scan is a labelled scan now, the first of your hospital. It is cut where each structure has about half on each side;
# one part teaches, and the other is what we look at.

# %%
cut = own_scan.best_cut(fixed, wrong)
lower, upper = own_scan.halves(fixed, cut)
shot = upper if 2 * sum(click.voxel(own)[2] >= cut for click in clicks) >= len(clicks) else lower
known = [name for name in wrong if shot.mask(name).any()]
learnt = own_scan.adapt_to(shot, known or wrong, "lora", steps=profile().steps // 2, cubes=6)
print(f"{learnt.adapter.count:,} numbers, loss {learnt.losses[0]:.2f} -> {learnt.losses[-1]:.2f}")
answer = own_scan.applied(learnt.model, own, learnt.structures)
fmlab.view(own, compare=[("corrected", fixed), ("adapted", answer)], plane="coronal")

# %% [markdown]
# ## 10. The report
#
# All of it at once, into a new folder: labels, clicks, adapter, numbers, and a page that loads nothing from anywhere. The same is done
# without a notebook by `fmlab report SCAN -o FOLDER --clicks FILE`; `canvas.save_recording` writes that file.

# %%
plan = own_scan.Plan("linear_probe", steps=profile().steps // 2, cubes=6, simulated=not by_hand)
page = own_scan.make_report(scan, Path(tempfile.mkdtemp()) / "report", clicks=clicks, plan=plan, found=found)
print(page, *sorted(each.name for each in page.parent.iterdir()), sep="\n  ")

# %% [markdown]
# *What to see.* Open it, and read it as somebody who wishes you no good. Where does it claim too much? It says **n = 1** wherever a
# number comes from one scan, gives an interval only where several people were tested (`--also SCAN --also-reference LABELS`), and
# lists each weight with its hash and licence. The adapter was trained on a patient; keep it as you keep the scan.

# %% [markdown]
# ## 11. Quiz

# %%
quiz("19-q1")

# %%
quiz("19-q2")

# %%
quiz("19-q3")

# %%
quiz("19-q4")

# %%
quiz("19-q5")

# %%
progress()

# %% [markdown]
# **You can now** take a foundation model from its paper to a scan of your own, and say at each step what is known, what was chosen, and
# what n was. That was the course. What is open above is open in the field: each of the five is a good question to take home.
