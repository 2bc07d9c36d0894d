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
#     title: "Few shots, known organs: freeze or tune?"
#     section: "3.B, 3.C"
#     goals:
#       - say of a way to fine-tune what is trained, what is frozen, and how it begins
#       - write a linear probe that begins zero-shot, the spatial adapter, and LoRA with its merge
#       - use a frozen model's features again instead of computing them again
#       - count what a method trains, find out which of it is dead, and read a published count with care
#       - compare methods with one and five labelled scans, person by person, against no training at all
#     prerequisites: ["lesson 05 or 12", "a convolution and an attention layer seen once"]
#     minutes: 75
#     seconds: 120
#     gigabytes: 2.0
#     download_mb: 0
#     hardware: 2 CPU cores
# ---

# %% [markdown]
# # 16 · Few shots, known organs: freeze or tune?

# %% [markdown]
# Hospital F has a foundation model, and **five labelled scans** of organs that the model knows already. What would you do with them?
# "Fine-tune, all of it: more parameters learn more." Here is what you would minimise, over a **support set** of $k$ scans:
#
# $$\min_{\theta} \; \sum_{n=1}^{k} \mathcal{L}_{SEG}\big(Y_n, \sigma(\theta_c(\theta_f(X_n)))\big)$$
#
# and the question is what $\theta$ should be:
#
# | way | $\theta$ | what becomes of $\theta_f$ |
# |---|---|---|
# | full fine-tuning | $\theta_f, \theta_c$ | all of it is trained |
# | selective PEFT: BitFit, Affine | $\theta_c$ and a choice of $\theta_f$ | the rest is frozen |
# | additive PEFT: LoRA, AdaptFormer | $\theta_c$ and new tensors inside of $\theta_f$ | frozen, and something beside it |
# | black box: linear probe, spatial adapter | $\theta_c$, and new tensors *behind* $\theta_f$ | never touched; it need not even be yours |
#
# [Silva-Rodríguez, Dolz and Ben Ayed](https://doi.org/10.48550/arXiv.2303.17051) tried them all on such hospitals and called it
# FSEFT. This lesson does so with a model of the course. (Organs that the model does *not* know are another story, in lesson 17.)

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 75 minutes alone, 90 in a room. Collect the answers to 16-p3 on a board before anybody runs section 7, with
# reasons: "more parameters learn more" will be there. Exercise 3 is the one to insist on, as lesson 18 builds on it. If time is
# short, leave out section 8. Whoever wants more shots, seeds or methods changes two lines of section 7; what was done is kept.
#
# **Typical misconceptions.** "More trained numbers learn more", and "few numbers need little memory": activations decide,
# and they follow the first trained layer. A probe of a known organ is expected to begin at Dice 0, where it begins as the
# model. A and B of LoRA are both set to 0 "to be neutral", and nothing is ever learnt.

# %%
import tempfile
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

import fmlab
from fmlab import Volume, cohorts, hub, metrics, randomise
from fmlab.adaptation import attach, fewshot, results
from fmlab.adaptation.adapting import Budget, adapt
from fmlab.adaptation.black_box import Features, Head

# %%
from fmlab.adaptation.shots import Shots
from fmlab.errors import DataError, TrainingError
from fmlab.inference import segment
from fmlab.lessons import check, claims, figure, hint, predict, progress, quiz, seconds, show_source
from fmlab.lessons import five_scans as five
from fmlab.lessons import what_it_costs as price
from fmlab.lessons.experiments import c14
from fmlab.phantom.visits import any_visit
from fmlab.pretraining.patches import Patches
from fmlab.pretraining.universal import UNIVERSAL
from fmlab.settings import profile

# %% [markdown]
# ## 1. A model, and a hospital that it has not seen
#
# The course's base model is a Swin UNETR made small. It was trained on hospitals A to D, and knows 16 structures. Hospital F has
# another scanner, thicker slices and slimmer patients. `pool` are people who may be labelled, `test` are those whom we are judged by.
# First, no training at all:

# %%
model = fewshot.base()
pool, test = five.scans(5, profile().cases)
reading = {"spacing": 8.0, "side": 32, "overlap": 0.25, "crumb_ml": 0}  # voxels in mm, cubes in voxels
found = {body.name: segment(model, body, **reading) for body in test}
summary = metrics.summarise({body.name: metrics.evaluate(found[body.name], body, model.structures) for body in test})
figure(*five.by_organ(summary))

# %%
fmlab.view(test[0], compare=[("zero-shot", found[test.names[0]])], plane="coronal")

# %% [markdown]
# *What to see.* Filled are the five organs of this lesson, $K = 5$. They are good already, with not one label of F. "Known" is no
# promise, though: look at the colon. And an interval over so few people is a rough one.
#
# So whatever we train has something to lose. That is the difference to training from scratch, and it decides how a method ought to
# begin: **where the base model stands**.

# %% [markdown]
# ## 2. Behind the model: probe and spatial adapter
#
# The smallest $\theta$ is the head alone. It reads the features $Z = \theta_f(X)$, $C$ numbers in each voxel:
#
# $$\hat Y = \sigma(\theta_c(Z)) \qquad \theta_c = (W, b), \quad W \in \mathbb{R}^{K \times C}$$
#
# A *new* head begins at random, and takes its time. But for a known organ the model has a row in its own head.
#
# **Exercise 1.** Write the probe with this start.


# %%
def my_probe(z, weight, bias, rows):
    """z (B, C, X, Y, Z); the model's head, weight (N, C) and bias (N,); rows (K,): which of the N. Returns logits (B, K, X, Y, Z)."""
    # solution
    return torch.einsum("bcxyz,kc->bkxyz", z, weight[rows]) + bias[rows][:, None, None, None]


check("16-probe", my_probe)

# %%
# hint("16-probe")

# %%
show_source("fmlab.adaptation.heads.head_for")

# %%
probe = attach(deepcopy(model), "linear_probe", five.KNOWN)
everything = sum(weight.numel() for weight in probe.model.parameters())
print(f"The probe trains {probe.count} numbers, of {everything:,} in the model.")

# %% [markdown]
# A probe sees one voxel at a time. If F's drawing differs from the model's by *where a border runs*, one would like to look at the
# neighbours. The **spatial adapter** does, with two convolutions before the head:
#
# $$\hat Y = \sigma\big(\theta_c(Z + W_2 * \mathrm{relu}(W_1 * Z))\big)$$
#
# **Exercise 2.** Write what stands inside of $\theta_c$. What has $W_2$ to be at the start?


# %%
def my_spatial(z, w1, w2):
    """Z + W2 * relu(W1 * Z); z (B, C, X, Y, Z), kernels w1, w2 (C, C, k, k, k), no biases. Returns the shape of z."""
    # solution
    inside = F.conv3d(z, w1, padding="same").relu()
    return z + F.conv3d(inside, w2, padding="same")


check("16-spatial", my_spatial)

# %%
# hint("16-spatial")

# %%
show_source("fmlab.adaptation.spatial_adapter.SpatialAdapter")

# %% [markdown]
# *What to see.* $W_2 = 0$: the adapter begins as the probe, which begins as the base model. $W_1$ is random; were it 0 as well,
# neither would ever get a gradient.

# %% [markdown]
# ## 3. Look once
#
# Behind a frozen $\theta_f$ the features of a cube never change. So compute them once, and keep them. An epoch of the probe over a
# scan's cubes, twice:

# %%
cubes = Shots(pool[:1], five.KNOWN, cubes=8)
kept, head = Features(probe.model, cubes), Head(probe.model)


def epoch():
    for n in range(len(kept)):
        F.binary_cross_entropy_with_logits(head(kept[n]["image"][None]), kept[n]["target"][None].float()).backward()


first, second = seconds(epoch, repeats=1), seconds(epoch, repeats=1)
print(f"The first epoch took {first:.2f} s, the second {second:.3f} s: {first / second:.0f} times less.")
print(f"theta_f has run {kept.runs} times for {2 * len(kept)} looks at a cube.")

# %% [markdown]
# *What to see.* After the first epoch $\theta_f$ may be switched off, or lie behind somebody's API. There is a price: what is kept
# cannot be augmented. And with many cubes and few steps, where each cube is met once, nothing is saved.

# %% [markdown]
# ## 4. Inside the model: LoRA
#
# An attention layer makes queries, keys and values with one matrix, $W_0 \in \mathbb{R}^{3d \times d}$: the *fused qkv*.
# [LoRA](https://doi.org/10.48550/arXiv.2106.09685) freezes it and learns a difference of low rank $r$ beside it:
#
# $$y = W_0 x + b_0 + s \, B A \, x \qquad A \in \mathbb{R}^{r \times d}, \quad B \in \mathbb{R}^{3d \times r}$$
#
# $A$ begins at random and $B$ at 0. There is no relu between them; so afterwards $W_0 + s B A$ is one matrix, and the adapted model
# costs what the base model costs.
#
# **Exercise 3.** Write both: the answer $y$, and the merged weight.


# %%
def my_lora(x, w0, b0, A, B, scale):
    """x (..., d), w0 (out, d), b0 (out,), A (r, d), B (out, r), scale: a number. Returns y (..., out) and the merged (out, d)."""
    # solution
    y = F.linear(x, w0, b0) + scale * F.linear(F.linear(x, A), B)
    return y, w0 + scale * B @ A


check("16-lora", my_lora)

# %%
# hint("16-lora")

# %%
show_source("fmlab.adaptation.lora.LoRALinear")

# %% [markdown]
# `attach` puts a method into a model: it freezes, adds, and says what it did. We train for a moment on one scan, and merge.

# %%
lora = attach(deepcopy(model), "lora", five.KNOWN, rank=4)
adapt(lora, cubes, Budget(steps=max(4, profile().steps // 4)))
print(lora.report(), end="\n\n")
name, A = next((name, weight) for name, weight in lora.trainable.items() if name.endswith("qkv.A"))
print(f"{name} is {tuple(A.shape)}")
with torch.no_grad():
    x = cubes[0]["image"][None]
    before, after = lora.model(x), lora.merge()(x)
print(f"merged, the logits differ by at most {float((before - after).abs().max()):.1g}, of {float(before.std()):.1f} in size")

# %% [markdown]
# *What to see.* We asked for rank **4**, and $A$ has **12** rows. So has FSEFT's published code, which gave the published numbers: it
# multiplies by three, for q, k and v, and then lets all three share *one* factorisation. What is called rank 4 is of rank up to 12,
# at twice the numbers of three separate pairs (`variant="paper"` has those). Compare LoRAs by what they train, not by what they
# are called.

# %% [markdown]
# ## 5. What do the printed counts count?
#
# The published Swin UNETR, with a head for one organ. Shapes are enough to count, so nothing is downloaded.

# %%
big = hub.build("fseft", size="published", structures=1)
index = big.backbone.swinViT.layers4[0].blocks[0].attn.relative_position_index  # which row of the table a pair of tokens reads
big.to("meta")  # shapes without numbers
for method, (printed, _) in c14.PRINTED.items():
    ours = attach(deepcopy(big), method).count
    print(f"{method:16s} {ours:>12,} ours {printed:>14,.0f} printed   {abs(ours - printed) / printed:.2%} apart")

# %% [markdown]
# *What to see.* All agree, up to digits that were cut off, but one. LoRA's printed 68.1K cannot be had by any rank: each rank of
# the fused layers costs $4 \cdot 1440$ numbers. Now to one that agrees.

# %%
predict("16-p1", "BitFit tunes the biases: of attention and of the MLPs, 210,739 numbers with the head, as printed. How many of them "
        "are biases, of a layer, that can change the output at all?",
        ["all but a few: it is called BitFit", "about half", "about one in twenty"])

# %%
bitfit = attach(deepcopy(big), "bitfit")
kinds = price.kinds(bitfit)
print(*(f"{count:>9,}  {kind}" for kind, count in kinds.items()), sep="\n")
keys = kinds["swinViT.layers*.*.blocks.*.attn.qkv.bias"] // 3
rows = 2 * 24 * price.unreached(index, 6**3)  # stage 4: two blocks of 24 heads, 6 x 6 x 6 tokens of a cube of 96
biases = sum(count for kind, count in kinds.items() if kind.endswith(".bias") and "head" not in kind)
print(f"\n{rows:,} entries of tables that no pair of tokens reads, and {keys:,} biases of keys, can never learn.")
print(f"Biases that can: {biases - keys:,} of {bitfit.count:,}, {(biases - keys) / bitfit.count:.1%}.")

# %%
predict("16-p1")

# %% [markdown]
# *What to see.* The code takes each tensor with "bias" in its name. So it takes the *tables of relative positions*, whose full name is
# `relative_position_bias_table`: they are nearly all of it. They may well be worth training, but that is not BitFit. And a bias of the
# **keys** is dead whatever one does: a query $q$ weighs key $k$ by $q \cdot (k + b) = q \cdot k + q \cdot b$; the last term is the same
# for all keys, and the softmax takes it out.
#
# `report` finds such numbers without theory, by gradients in double precision that are exactly nothing. On our small model:

# %%
print(attach(deepcopy(model), "bitfit", five.KNOWN).report())

# %% [markdown]
# ## 6. What does it cost?
#
# A count of trained numbers is a measure of what has to be *stored*: five hospitals, five small files, one base model. Is it a measure
# of what the training needs?

# %%
predict("16-p2", "LoRA trains less than a hundredth of the model's numbers. For the backward pass, activations have to be kept. How much "
        "of full fine-tuning's does LoRA keep?",
        ["about a hundredth", "about a tenth", "more than half"])

# %%
tried = ("linear_probe", "spatial_adapter", "affine", "bitfit", "adaptformer", "lora", "full")
spent = price.costs(model, tried, five.KNOWN, x, repeats=2)
print(*(f"{cost.method:16s} a file of {cost.file / 1e3:,.0f} kB" for cost in spent), sep="\n")
figure(*price.drawn(spent))

# %%
predict("16-p2")

# %% [markdown]
# *What to see.* A hundred times fewer numbers, and a memory that shrinks by less than half, as long as the training has to go *back
# through* the network: the gradient for LoRA in the first block has to pass all the layers behind it. That is the point of
# [TinyTL](https://doi.org/10.48550/arXiv.2007.11622): what fits on a small machine is decided by activations, not by parameters.
# The black boxes do not go back through $\theta_f$ at all, and are given $Z$; the probe has nothing else to keep.

# %% [markdown]
# ## 7. One scan, five scans
#
# The same steps, cubes and people for all methods, each with a learning rate of its own, and the weights after the last step. (With
# no scan to spare, there is nothing to choose weights by; lesson 19 asks what that costs.)

# %%
predict("16-p3", "One labelled scan of hospital F. Who is best on people who were not in it?",
        ["full fine-tuning: it has a million numbers to adapt", "LoRA: it reaches into the model, gently",
         "the linear probe: there is little that it could break", "nobody is better than no training at all"])

# %%
methods = ("linear_probe", "lora", "full")  # more: "spatial_adapter", "affine", "bitfit", "adaptformer"
protocol = fewshot.Protocol(five.KNOWN, shots=(1, 5), seeds=(0,), cubes=8, budget=Budget(steps=profile().steps, marks=1))
folder = tempfile.mkdtemp()  # what was done is kept there: a second run does what is missing
raced = fewshot.run(protocol, methods, folder, (pool, test))
print("\n", results.table(raced), "\n\nless full fine-tuning:\n", results.table(raced, against="full", digits=3), sep="")

# %%
zero = fewshot.scored(probe.model, protocol, test)  # the probe of section 2, which has not made a step
figure(*five.gains(raced, zero))

# %%
predict("16-p3")

# %% [markdown]
# *What to see.* On the left all intervals overlap, as people differ from each other by more than methods do. On the right each
# person is compared with *the same person without training*, and what the people have in common is gone. Look there:
#
# - **Is anything above 0?** The zero-shot model was good; a few points are all that there is to gain.
# - **Is anything below 0?** A method that can change everything can also spoil everything, and one scan has one person's contrast,
#   size and gut to learn from.
# - **Five against one:** who profits most from four scans more?
# - **The probe's mark** stands for a few dozen numbers (the legend counts them). Does it lose to a million?
#
# One draw of the shots, few steps, few people: an example. Add seeds, methods and shots, and run again.

# %% [markdown]
# ## 8. Reading a published table
#
# FSEFT's results as the slides quote them: known organs of TotalSegmentator, one model per organ, mean Dice with 5 and 10 shots, on
# the weights of SuPreM. An organ has five test scans.
#
# | 3-D U-Net | 5 | 10 | | Swin UNETR | 5 | 10 |
# |---|---|---|---|---|---|---|
# | CNN adapter | 47.55 | 54.09 | | LoRA | 57.81 | 67.56 |
# | Bias | 69.62 | 74.72 | | BitFit | 77.01 | 80.47 |
# | Affine-BN | 66.84 | 72.17 | | Affine-LN | 76.96 | 79.64 |
# | | | | | AdaptFormer | 76.48 | 79.71 |
# | linear probe | 74.14 | 73.73 | | linear probe | 81.07 | 80.29 |
# | spatial adapter | **80.47** | **81.74** | | spatial adapter | **82.01** | |
#
# The black boxes are ahead, on both networks. And two rows are far below the rest: does a U-Net not like adapters, and a Swin no
# LoRA? A **CNN adapter** is a 1x1x1 convolution beside each 3x3x3 one, $y = K * x + \alpha * x$. We load a U-Net of the course
# (`universal`, 30 structures), attach it, and train *nothing*.

# %%
predict("16-p4", "The adapter adds a few numbers in a hundred to the U-Net. In FSEFT's code they begin at random, as PyTorch begins a "
        "convolution. Dice of the U-Net with it, before any training?",
        ["as before: a few numbers in a hundred are a small noise", "a point or two lower", "tens of points lower"])

# %%
nets = {"no adapter": hub.load("universal", "nano")}
for begin, seed in (("zero", 0), ("random", 0), ("random", 1)):
    nets[f"adapter, {begin}, seed {seed}"] = attach(hub.load("universal", "nano"), "cnn_adapter", begin=begin, seed=seed).model
torch.manual_seed(0)
patches = Patches(cohorts.phantoms(3, "F", 4.0, 68_000, 1, False, five.upper_abdomen), UNIVERSAL, 64, randomise.NONE)
big_cubes = [patches[n] for n in range(len(patches))]
for name, dice in price.before_training(nets, big_cubes).items():
    print(f"{name:26s} Dice {dice.format(2)} over {dice.patients} people")

# %%
predict("16-p4")

# %% [markdown]
# *What to see.* With $\alpha = 0$ the network is the base model, to the last bit. With a random $\alpha$ it is broken *before the first
# step*, in every layer, and the norms that could mend it are frozen. So the row "CNN adapter" says what five scans can repair, and
# nothing about adapters. (The original ones, by Rebuffi et al., train a norm along.) A few more oddities of this kind, of the
# published code:
#
# - The U-Net's norms use the batch's own statistics. Then a bias before a norm is taken out by it: all 1,440 biases of convolutions in
#   the row "Bias" are dead, and what that row tunes is the norms' shifts.
# - LoRA, with 1e-3, has a tenth of the learning rate of its neighbours in the table. Other authors report 76.68 for it with 10 shots,
#   with FSEFT's weights ([ARENA](https://doi.org/10.48550/arXiv.2507.15793)), beside 77.44 for full fine-tuning.
# - Nothing is chosen by a validation set; the one that is drawn is not used.
#
# Ask of a baseline that looks bad: **does it begin as the base model?** One line of `report` says so.

# %%
print(attach(hub.load("universal", "nano"), "cnn_adapter", begin="random").report())

# %% [markdown]
# ## 9. The claims
#
# **C13**: with very few shots on known organs, black boxes compete with full fine-tuning. **C14**: each method trains as many numbers
# as is printed. **C16**: tuned, PEFT methods are close, and the best rank of LoRA differs from task to task (lesson 18 runs it).
# Verdicts are computed from stored runs:

# %%
for name in ("C13", "C14", "C16"):
    display(claims.verdict(name))
figure(claims.forest(["C13", "C14", "C16"]), alt=claims.forest_alt(["C13", "C14", "C16"]))

# %% [markdown]
# C14 is about a mean over methods and outputs, and a mean hides the one that is off; section 5 has it. Run them on your machine:
# `claims.record(c13.run(seed=7))` with `fmlab.lessons.experiments.c13`.

# %% [markdown]
# ## 10. A real CT
#
# One patient is all that we have here. So we label the lower part of the scan, and test on the upper part. For a labelled CT of
# your own (Hounsfield units; it stays on this machine), put the two paths into the first line.

# %%
my_scan, my_labels = None, None  # "/path/to/scan.nii.gz", "/path/to/labels.nii.gz"

try:
    scan = Volume.read(my_scan, labels=my_labels) if my_scan else cohorts.load("totalsegmentator-ct")
except DataError as missing:
    print(missing)
    scan = any_visit(9, "E", 8.0)
lower, upper = five.two_parts(scan)
long = ("vertebrae", "colon", "autochthon_left", "autochthon_right")  # structures that reach through both parts
patient = attach(deepcopy(model), "linear_probe", long)
begun = deepcopy(patient.model)
trained = adapt(patient, Shots(lower, long, cubes=16), Budget(steps=profile().steps))

# %%
scores = {}
for who, network in {"zero-shot": model, "its rows alone": begun, f"{patient.count} numbers trained": patient.model}.items():
    cut = segment(network, upper[0], **reading)
    scores[who] = {s.structure: s.dice for s in metrics.evaluate(cut, upper[0], long) if s.volume_ml > 0}
    print(f"{who:18s}", *(f"{name} {dice:.2f}" for name, dice in scores[who].items()), sep="  ")
try:
    results.estimate([replace(raced[0], dice={scan.name: float(np.mean(list(scores["zero-shot"].values())))})])
except TrainingError as refused:
    print(refused)
fmlab.view(upper[0], compare=[("probe", cut)])

# %% [markdown]
# *What to see.* $n = 1$, and not even that: the support and the test are parts of one person, so contrast, scanner and build are the
# same. Figures beside each other, then, and no claim; a table of `results` refuses them, as they have no interval.
#
# Compare the third line with the second, not with the first. In the second nothing is trained either, but the rows of the other
# structures are gone, and with them the liver that would have claimed a voxel which now is colon. How much of what looks like the
# probe's gain was there before its first step? (In section 7 the base line was the probe before its first step, for that reason.)

# %% [markdown]
# ## 11. Quiz

# %%
quiz("16-q1")

# %%
quiz("16-q2")

# %%
quiz("16-q3")

# %%
quiz("16-q4")

# %%
quiz("16-q5")

# %%
progress()

# %% [markdown]
# **You can now** choose what to train with a handful of scans, see to it that it begins where the base model stands, and say what it
# costs. The belief that we began with: *more parameters can learn more*, and unlearn more too. Next: *17 · Few shots, new organs*,
# where the model has no row to begin with.
