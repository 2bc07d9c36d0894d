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
#     title: "Prompt-driven"
#     section: "3.A"
#     goals:
#       - say where a task enters DoDNet, UniSeg and Hermes, and show it on their features
#       - write the question that DoDNet's controller reads, and the exchange between image and questions in Hermes
#       - choose a prompt at inference, and say what it decides and what it cannot know
#       - tell which of the three answers depend on what else is asked, and why
#       - count what one more task costs each of them, and compare it with a text
#     prerequisites: ["lesson 12", "lesson 13"]
#     minutes: 60
#     seconds: 50
#     gigabytes: 1.5
#     download_mb: 3.1
#     hardware: 2 CPU cores
# ---

# %% [markdown]
# # 14 · Prompt-driven

# %% [markdown]
# Three of our four hospitals draw livers, and one of these leaves the vessels out. Lesson 12 trained on all four and masked
# what each had left out. The systems of this lesson need no mask. They turn the matter round: a scan is asked *its own
# hospital's question*, and nothing else. The network is told who asks:
#
# $$\hat Y = f_\theta(X,\ t) \qquad t \in \{A, B, C, D\}$$
#
# How does one say $t$ to a network? Three answers:
#
# | | what stands for the task | where it enters |
# |---|---|---|
# | [DoDNet](https://doi.org/10.1109/CVPR46437.2021.00125), 2021 | a one-hot code | after the decoder |
# | [UniSeg](https://doi.org/10.1007/978-3-031-43898-1_49), 2023 | a map, made of a learned one and the image | before the decoder |
# | [Hermes](https://doi.org/10.48550/arXiv.2306.02416), 2024 | a token for each structure | at five levels |
#
# They share a question that no training answers: a new scan comes, from a hospital that is none of the four. **Whom do you
# ask?**

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 60 minutes alone, 80 in a room. Draw the three networks as three empty U's on the board and let the
# room put the arrow "task" into each before section 5; the figure there settles it. 14-p3 is the one that surprises: most
# people take a prompt for an instruction ("draw hips"), where it is a question ("are there hips?") that was hardly
# ever answered with no. Section 8 is the antithesis of 13-p2; ask for the difference before it runs. Without network section 11
# uses a body of hospital E.
#
# **Typical misconceptions.** A prompt is taken for an instruction, where it is a question that was hardly ever answered with
# no. All three are believed to see the task from the first layer on. "A liver is a liver": ask whose rules it follows. A
# one-hot code is thought to know which tasks are related.

# %%
import numpy as np
import torch
from torch.nn import functional as F

import fmlab
from fmlab import cohorts, hub, metrics, phantom
from fmlab.errors import DataError
from fmlab.lessons import asked_by, check, claims, figure, hint, predict, pretexts, progress, quiz, show_source
from fmlab.lessons.asked_by import answer, segment
from fmlab.lessons.other_texts import drawn_in
from fmlab.pretraining.hermes_priors import NULL
from fmlab.pretraining.hospitals import ASKED, HOSPITALS, MOST, TOKENS, asks
from fmlab.settings import profile

# %% [markdown]
# ## 1. Four questions
#
# All three networks were trained on the same bodies of the same hospitals, with cubes of one size (UniSeg for more steps); their
# voxels are coarse, and all their numbers are in `fmlab/hub/weights/`. These are the questions that they know:

# %%
models = {name: hub.load(name.lower(), "nano") for name in ("DoDNet", "UniSeg", "Hermes")}
for hospital, asked in ASKED.items():
    print(f"{hospital}, {len(asked):2d} structures:", ", ".join(asked))
print(f"{sum(map(len, ASKED.values()))} questions about {len(asks())} structures; a liver is asked for by",
      ", ".join(hospital for hospital in HOSPITALS if "liver" in ASKED[hospital]))

# %% [markdown]
# One person, scanned and drawn at A and at D: another scanner, other noise. Each network is asked in its own way:

# %%
scans = {at: phantom.sample(6014, at, profile().spacing, phase="portal", field_of_view="upper abdomen")
         for at in "AD"}
x = torch.cat([pretexts.cube_of(scans[at]) for at in "AD"])  # two cubes, from the middle of two scans
asked_as_a = {"DoDNet": HOSPITALS.index("A"), "UniSeg": HOSPITALS.index("A"), "Hermes": list(TOKENS["A"])}
with torch.no_grad():
    for name, asked in asked_as_a.items():
        print(f"{name} is asked {asked} and answers {tuple(models[name](x, asked).shape)}")
print(f"A uses {len(ASKED['A'])} of the {MOST} outputs of DoDNet and UniSeg; UniSeg's softmax has a background before them")

# %% [markdown]
# ## 2. DoDNet: a code
#
# $$\theta_t = W\,[\,\mathrm{GAP}(h);\ \mathrm{onehot}(t)\,] + b \qquad \hat Y = \sigma(((Z * \theta_{t1}) * \theta_{t2}) *
# \theta_{t3})$$
#
# That is the dynamic head of lesson 13, and older than it. $h$ is the deepest level and $Z$ what the decoder made. The
# controller reads one vector: what the image is like, and who asks.
#
# **Exercise 1.** Write that vector, for a batch in which each scan has a hospital of its own. In go `deep`, the deepest level (norm
# and ReLU are done), `task`, the hospital of each scan as a number from 0, and `tasks`, how many hospitals there are. Out comes a
# row for each scan: first the mean of each channel over the voxels, then the one-hot code.


# %%
def my_question(deep, task, tasks):
    """deep (B, C, X, Y, Z), task (B,) of numbers from 0 to tasks - 1, tasks: a number. Returns (B, C + tasks)."""
    # solution
    return torch.cat([deep.mean((2, 3, 4)), F.one_hot(task, tasks).to(deep.dtype)], 1)


check("14-question", my_question)

# %%
# hint("14-question")

# %%
show_source("fmlab.pretraining.dodnet.DoDNet.theta")

# %% [markdown]
# What does the code do? We take two different cubes, and for each of them the head that it gets for D, minus the head for A.

# %%
with torch.no_grad():
    deep = models["DoDNet"].deep_and_features(x)[0]
    theta_a, theta_d = (models["DoDNet"].theta(deep, torch.tensor([HOSPITALS.index(t)] * 2)) for t in "AD")
moved = theta_d - theta_a
column = models["DoDNet"].controller.weight.detach()[:, -len(HOSPITALS):].flatten(1)
print(f"from A to D the head changes by up to {float(moved.abs().max()):.6f}")
print(f"this change differs between the two cubes by {float((moved[0] - moved[1]).abs().max()):.6f}")
print(f"and from column D minus column A of W by {float((moved[0] - (column[:, 3] - column[:, 0])).abs().max()):.6f}")

# %% [markdown]
# *What to see.* A one-hot code times a matrix is a *column* of that matrix. DoDNet's prompt is a table with a row of learned
# numbers for each task. They are added to what the image says, and are the same for every image.
#
# ## 3. UniSeg: a map
#
# $$F = \mathrm{FUSE}([h, P]) \qquad \hat Y = \mathrm{softmax}(\mathrm{decoder}(h,\ F_t))$$
#
# The **universal prompt** $P$ is learned, and has one map for each task, of the size of the deepest level $h$. Three convolutions,
# FUSE, look at it beside the image and give $F$, again one map for each task. Then the map $F_t$ of the asked task is picked out.

# %%
show_source("fmlab.pretraining.uniseg.UniSeg.fuse")

# %%
with torch.no_grad():
    maps = models["UniSeg"].fuse(models["UniSeg"].encode(x)[1])
moved = maps[:, 3] - maps[:, 0]
print(f"F {tuple(maps.shape)}: scans, tasks, and the deepest level")
print(f"D's map minus A's has the size {float(moved[0].norm()):.2f}; from one cube to the other it changes by "
      f"{float((moved[0] - moved[1]).norm() / moved[0].norm()):.2%} of that")

# %% [markdown]
# *What to see.* By the formula the prompt is made anew for each image. Whether a trained network *does* so is another matter, and
# the last number is the answer for ours. Near 0 % the map is a constant for each task, like DoDNet's column. Nothing in the loss
# asks FUSE to listen to the image, and the decoder, which gets $h$ anyway, has no need of it.
#
# In the published code the *first* scan's task picks the map for the whole batch, so a batch must be of one task. Ours picks
# `F[n, task[n]]`, the same trap as in your exercise.
#
# ## 4. Hermes: a conversation
#
# One token $p$ for each structure of each hospital, and ten for the modality. At five levels they meet the image's features $h$:
#
# $$p \leftarrow p + \mathrm{att}(p, h) \qquad h \leftarrow h + \mathrm{att}(h, p) \qquad \mathrm{att}(q, c) =
# \mathrm{softmax}\big(q c^\top\!/\sqrt{C}\big)\, c$$
#
# First the questions look at the image, then the image listens to the questions, *which by now know it*. At the end the tokens
# are called **posteriors**. Each makes a prototype for its question, and $\mathrm{logits}_k = z \cdot
# \mathrm{prototype}(p_k)$.
#
# **Exercise 2.** Write the exchange, without the learned projections, norms and feed-forward layers. In go the `features` $h$ (a
# row for each voxel) and the `priors` $p$ (a row for each question). Out come both as they are afterwards, in this order.


# %%
def my_exchange(features, priors):
    """features (B, N, C) and priors (B, P, C). Returns (features, priors) of the same shapes."""
    # solution
    def heard(queries, context):
        weights = (queries @ context.transpose(1, 2) / queries.shape[-1] ** 0.5).softmax(-1)
        return queries + weights @ context

    priors = heard(priors, features)
    return heard(features, priors), priors


check("14-exchange", my_exchange)

# %%
# hint("14-exchange")

# %%
show_source("fmlab.pretraining.hermes_priors.Exchange")

# %% [markdown]
# ## 5. Where does the task enter?

# %%
predict("14-p1", "One cube, asked by A and by D. How many of the three networks have the same features at the deepest "
        "level, before the decoder, for both questions?",
        ["none: the question changes what is looked for", "one", "two", "all three: only the output differs"])

# %%
parted = {name: asked_by.differences(model, x[:1], "A", "D") for name, model in models.items()}
figure(asked_by.who_differs(parted), alt="How far the features of the same cube differ between two questions, level "
       f"by level, for three networks. {asked_by.in_words(parted)}.")

# %%
for name, model in models.items():
    one = asked_by.operations(lambda: answer(model, x[:1], "A"))
    every = asked_by.operations(lambda: asked_by.everybody(model, x[:1]))
    print(f"{name}: {one / 1e9:.2f} GFLOP for A's question, {every / one:.2f} times that for all four")

# %%
predict("14-p1")

# %% [markdown]
# *What to see.* A hollow mark is a difference of exactly 0.
#
# - **DoDNet** sees the same in any case, and only says something else of it: a task costs its head.
# - **UniSeg** shares its encoder, but the whole decoder works for one task: four questions are four decoders' work.
# - **Hermes** knows the task before its encoder has finished. In exchange one pass hears all questions *together*. (Section 8
#   shows what that means.)
#
# The earlier a task enters, the more of the network can specialise for it, and the less can be shared. Which is better is no
# matter of principle. A task that is only *another name for the same thing* may come late; one that looks at another modality
# should come early: UniSeg and Hermes were made for CT, MR and PET, and DoDNet for CT.
#
# ## 6. Whose liver?
#
# A, B and D each draw liver and spleen. We ask all three about both scans of our person.

# %%
predict("14-p2", "Table of Dice: rows are the scan's hospital, with its own labels, and columns are the prompt's. "
        "Whose prompt gives the best value of each row?",
        ["that of the scan's own hospital", "the same hospital's in both rows", "nobody's: all prompts do equally well"])

# %%
found = {name: {at: {by: segment(model, scan, by) for by in "ABD"} for at, scan in scans.items()}
         for name, model in models.items()}
both = ["liver", "spleen"]
dice = {name: np.array([asked_by.agreement(by_prompt, scans[at], both) for at, by_prompt in rows.items()])
        for name, rows in found.items()}
figure(asked_by.tables(dice, "AD", "ABD"), caption="Best prompt: " + asked_by.best_prompts(dice, "AD", "ABD"),
       alt="Mean Dice of liver and spleen; rows are the scan's hospital, columns the prompt's. " + "; ".join(
           f"{name}: {values.round(2).tolist()}" for name, values in dice.items()))

# %%
scan = scans["A"]
vessels, total = scan.mask("hepatic_vessels"), float(scan.mask("liver").sum() * scan.voxel_ml)
without = total - float(vessels.sum() * scan.voxel_ml)
print(f"A's scan: a liver of {total:.0f} ml by A's rules, and of {without:.0f} ml by B's, who leaves the vessels out")
for name, rows in found.items():
    for by, liver in ((by, cut.mask("liver")) for by, cut in rows["A"].items()):
        print(f"{name}, {by}'s prompt: {float(liver.sum() * scan.voxel_ml):.0f} ml, with "
              f"{float(liver[vessels].float().mean()):.0%} of the vessels")

# %%
fmlab.view(scan, compare=[(f"DoDNet, {by}'s prompt", cut) for by, cut in found["DoDNet"]["A"].items()], plane="coronal",
           show=both)

# %%
predict("14-p2")

# %% [markdown]
# *What to see.* Go along a row: one image, three answers, and nothing but the prompt has changed. (Compare the columns of one
# network, and not the networks: their budgets were small, and suited them differently.) Is D's own prompt the best one for D's
# scan? A prompt carries more than a list of structures:
#
# - its hospital's **rules**. Does B's liver leave the vessels out? At voxels as coarse as ours hardly more than a hint of them can
#   be drawn, so look at the percentages before you say so;
# - its **habits**. D's livers were mostly cut off at the end of a chest, so D's prompt may have learned what a liver looks like
#   *there*, and a weak column would come of that. Our two scans show an upper abdomen.
#
# So for a scan from elsewhere, ask the hospital whose **scans** are like yours, and not the first that has the name on its list.
# `asks(["D", "A"])` is a table for this: structure by structure the first hospital that draws it. (MultiTalent of lesson 12 keeps
# each data set's liver apart, too, as outputs of one network. The question "whose?" comes up there as well.)
#
# ## 7. Asking for what is not there

# %%
predict("14-p3", "A scan of a chest. You ask C, who draws hips. What do you get for the hips?",
        ["empty maps: the image shows none", "a bit of something, somewhere", "an error", "whole hips: they were asked for"])

# %%
chest = phantom.sample(6021, "D", profile().spacing, field_of_view="chest")
absent = [name for name in ASKED["C"] if not chest.mask(name).any()]
print("C asks for", len(absent), "structures that this scan does not show:", ", ".join(absent))
for model_name, model in models.items():
    cut = segment(model, chest, "C")
    drawn = [name for name in absent if cut.mask(name).any()]
    where = [f"{name}: {drawn_in(cut.mask(name), chest, list(asks()))}" for name in drawn]
    print(f"{model_name}:", "; ".join(where) or "none of them is drawn")

# %%
predict("14-p3")

# %% [markdown]
# *What to see.* A prompt is a question and not a statement: it may be answered by "nowhere", *if that was ever the answer in
# the training*. C's scans show an abdomen and a pelvis, now and then a whole torso. So "nowhere" was the right answer to "where are
# hips?" only in cubes from upper parts, and never about a chest scan by D. What is drawn above (if anything is; what has less than
# 10 ml in all was taken off) lies where something looks a bit like it. Nothing in any of the three networks checks that a question
# suits a scan. Whoever asks has to know the field of view.
#
# Worse is the wrong list of *names*. The outputs of DoDNet and UniSeg belong to nobody; here is output number 3 of one network,
# on one scan, for all four codes:

# %%
for hospital in HOSPITALS:
    mine = ASKED[hospital][3]
    print(f"output 3, asked by {hospital}, who calls it {mine:12s}",
          drawn_in(segment(models["DoDNet"], scan, hospital).mask(mine), scan, list(asks())))

# %% [markdown]
# Give the code of D and read the answer by A's list, and a lung is called a kidney. All array shapes fit, and no error comes.
#
# ## 8. Hermes: a list of any length

# %%
predict("14-p4", "Hermes is asked for the liver alone, and then for all that A draws. Does its liver change? "
        "(For CLIP-driven, lesson 13, not by one bit.)",
        ["no: each question has a token of its own", "yes, a little", "yes, greatly"])

# %%
liver, own = TOKENS["A"][ASKED["A"].index("liver")], list(TOKENS["A"])
lists = {"all that A draws": own, "the same, backwards": own[::-1], "liver alone": [liver],
         "liver and spleen": [liver, TOKENS["A"][ASKED["A"].index("spleen")]],
         "everybody's": list(range(models["Hermes"].tasks)), f"A's, filled up to {MOST}": own + [NULL] * (MOST - len(own))}
with torch.no_grad():
    logits = {what: models["Hermes"](x[:1], numbers)[0, numbers.index(liver)] for what, numbers in lists.items()}
print(f"{'the list':20s}  the liver's logits move by at most  on average  voxels that change sides")
for what, z in logits.items():
    gap, turned = (z - logits["all that A draws"]).abs(), (z > 0) != (logits["all that A draws"] > 0)
    print(f"{what:20s} {float(gap.max()):35.6f} {float(gap.mean()):11.6f} {int(turned.sum()):25d}")

# %%
predict("14-p4")

# %% [markdown]
# *What to see.* The order is nothing (but rounding): your `my_exchange` treats the priors as a set, and so does each level. The
# list, though, matters. In one exchange no question hears another; but the *features* hear all of them, and at the next level every
# question reads these features. So "is there a liver?" is asked of somebody who was also asked about other things, as a
# radiologist is.
#
# The last row is a trap. Where a batch mixes a hospital with a long list and one with a short one, the short one is filled up
# with a token that asks for nothing. Its *loss* has weight 0, but it takes part in the attention like any other. Our Hermes was
# trained with all lists filled up to the longest. So this row is what it knows, and the others are lists that it never heard in
# training.
#
# ## 9. The price of one more hospital
#
# Hospital F comes, and you have a trained model. How many numbers have to be learned anew, and which old ones do not fit any
# more? We count on the networks as published, for one task more. (A tensor of another shape cannot be loaded as it is.)

# %%
published = {"DoDNet": ("dodnet", {"tasks": 8}), "UniSeg": ("uniseg", {"tasks": 12}), "Hermes": ("hermes", {"tasks": 73}),
             "CLIP-driven": ("clip_driven", {"classes": (*hub.build("clip_driven", size="nano").classes, "sternum")})}
for name, (built, more) in published.items():
    count, new, changed = asked_by.one_more(built, **more)
    print(f"{name:12s} {count:11,d} parameters, {new:6,d} more; {changed:2d} old tensors have another shape")

# %% [markdown]
# *What to see.* DoDNet's controller gets a column, Hermes a row in each of five tables: what was learned stays, and the new row
# can be trained alone. UniSeg mixes all $N$ maps in FUSE, whose layers have widths that depend on $N$: it begins anew there.
# (Its U-Net stays, and downstream that is what is handed on, without any prompt.) CLIP-driven needs no new number at all, as
# lesson 13 found; its row comes from a text encoder.
#
# Is text the better prompt, then? It gives you a row *for nothing*, but not what the row means to the network, which takes
# scans and training in each of the four. And there is one thing that the name "liver" cannot say: *whose*. Tasks of one
# hospital each can contradict one another and stay right; a text has to be made to say "a liver, without its vessels, as drawn
# at B".
#
# ## 10. The claim
#
# What is such a pre-training worth to a task that comes later? Hermes was trained on 2,438 volumes of eleven data sets, and its
# authors fine-tuned it with 1 % to 100 % of a new data set's labels. Claim **C12**: the more labels there are, the less it
# adds. Ours is an experiment of the same form with a universal model of this course and structures that it has never been asked
# for.

# %%
print(claims.details("C12"))

# %%
figure(claims.forest(["C12"]), alt=claims.forest_alt(["C12"])) if claims.runs("C12") else print("Nobody has run C12 yet.")

# %%
figure(*pretexts.transfer_curves(["C12"]))

# %% [markdown]
# How to read it: the claim is about the *gap* between the curves, on the left and on the right, and not about either curve. A
# gap that stays says that the pre-training taught something which labels do not teach; one that closes, that it saved labels.
# Look first whether there is a gap on the left at all. Procedural bodies are more alike than patients are, so one drawn person
# already shows most of what there is to learn, and where nothing is gained nothing can shrink: an experiment can be too easy to
# decide a claim.
# Run it on your machine: `claims.record(c12.run(seed=7))` with `fmlab.lessons.experiments.c12`.
#
# ## 11. A real CT
#
# A patient from nobody's hospital. Whom do you ask?

# %%
try:
    patient = cohorts.load("totalsegmentator-ct")
except DataError as missing:
    print(missing)
    patient = phantom.sample(8, "E", profile().spacing)
several = [name for name in asks() if sum(name in asked for asked in ASKED.values()) > 1]
cuts = {first: segment(models["Hermes"], patient, asks([first])) for first in "AD"}
scores = {first: {s.structure: s.dice for s in metrics.evaluate(cut, patient, list(asks())) if s.scored}
          for first, cut in cuts.items()}
print(f"{'Dice':14s}", *(f"{first} first" for first in scores))
print(f"{'mean of all':14s}", *(f"{np.mean(list(there.values())):7.2f}" for there in scores.values()))
for name in several:
    if all(name in there for there in scores.values()):
        print(f"{name:14s}", *(f"{there[name]:7.2f}" for there in scores.values()))

# %%
fmlab.view(patient, compare=[(f"Hermes, {first} first", cut) for first, cut in cuts.items()], plane="coronal")

# %% [markdown]
# *What to see.* The networks have seen procedural bodies alone, so do not expect much of a patient. Look at what changes from one
# table to the other: the structures printed are on more than one list, and all else is asked of the same hospital in both.
#
# ## 12. Quiz

# %%
quiz("14-q1")

# %%
quiz("14-q2")

# %%
quiz("14-q3")

# %%
quiz("14-q4")

# %%
quiz("14-q5")

# %% [markdown]
# ## 13. Your own scan
#
# A CT in Hounsfield units, and who is to be asked first. It stays on this machine.

# %%
my_scan = None  # "/path/to/scan.nii.gz"
ask_first = ["D", "A"]  # whose scans are like yours?

if my_scan:
    my_cut = segment(models["Hermes"], fmlab.Volume.read(my_scan), asks(ask_first))
fmlab.view(my_cut) if my_scan else print("No scan of your own yet: put its path above.")

# %%
progress()

# %% [markdown]
# **You can now** read any prompt-driven segmenter by three questions: what stands for the task, where does it enter, and what
# does one more cost? Next: *15 · Self-supervised or supervised?*, where nobody draws anything.
