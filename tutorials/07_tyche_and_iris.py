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
#     title: "In-context: Tyche and Iris"
#     section: "2.B"
#     goals:
#       - see readers disagree, and say what a model with one answer does about it
#       - write the loss that lets each candidate be some reader, and watch masks part
#       - measure a set of masks against a set of readers (max Dice, generalised energy distance), and say what each rewards
#       - write Iris' foreground token, which a structure smaller than a feature voxel still has
#       - encode a task once, segment all its structures in one pass, and state what that saves, in seconds
#     prerequisites: ["lesson 06"]
#     minutes: 80
#     seconds: 80
#     gigabytes: 0.8
#     download_mb: 3.2
#     hardware: 2 CPU cores
# ---

# %% [markdown]
# # 07 · In-context: Tyche and Iris

# %% [markdown]
# Lesson 06 ended with two limits of UniverSeg. It gives **one answer**, also where two radiologists would draw two different
# outlines. And it asks **one class at a time**, with the whole support read anew at every call. Two models, one for each
# limit:
#
# | | UniverSeg | Tyche | Iris |
# |---|---|---|---|
# | the answer | $\hat y = f_\theta(x, S)$ | $\{\hat y_k\} = f_\theta(x, z_1 \ldots z_K, S)$ | $\hat y_{1..K} = f_\theta(x, T)$ |
# | of a query | one mask | $K$ masks, from $K$ noise images | the masks of all $K$ classes |
# | the support is read | at every call | at every call | once: $T = g_\theta(S)$ |
#
# (Mind the letter: Tyche's $K$ counts candidates of *one* class, Iris' $K$ counts classes.) Part A is Tyche (Rakic et al.
# 2024), part B is Iris (Gao et al. 2025).

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 80 minutes alone, 100 in a room; the two parts can be two sessions, and part B needs nothing of part
# A. A good opening without a computer: let everybody outline the same kidney on paper, and lay the sheets over each other. Let
# pairs discuss 07-p2 before the table of section 6: most bet on Tyche, few think of the cheap control that is in it. The claim
# that max Dice "chooses with the truth in hand" is worth a minute of silence. At 07-p4 ask *why* before anybody runs it: the
# answer tells apart what a model knows and what it is told. Without network section 1 has no real scan; all else is the same.
#
# **Typical misconceptions.** Several candidates are taken for an ensemble whose mean one wants: the mean of two readers is
# nobody's outline. Max Dice is read as if somebody without the truth could choose. Many believe that eight references make
# each query of Iris eight times slower, and that tuning T trains the model.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn import functional as F

import fmlab
from fmlab import cohorts, hub, incontext, metrics, phantom
from fmlab.errors import DataError
from fmlab.incontext import candidates, episodes, examples_of, iris_tuning, iris_volume, nano, readers, tyche_is
from fmlab.lessons import check, claims, figure, hint, predict, progress, quiz, seconds, show_source
from fmlab.lessons.several_readers import against_readers, around, compared, most_apart, scored
from fmlab.settings import device, profile
from fmlab.viewer import row

# %% [markdown]
# # Part A: Tyche
# ## 1. Two readers, two outlines
#
# One real CT, read by two versions of the same software; and one body as two hospitals draw it by their protocols: A counts
# the vessels to the liver, B does not. Each picture is from the slice where the two differ most; the first that is named is
# solid, the second dashed.

# %%
liver = phantom.sample(3, "A", 4.0, field_of_view="upper abdomen")
pairs = [(liver, liver.mask("liver"), liver.mask("liver") & ~liver.mask("hepatic_vessels"), "liver, hospitals A and B")]
try:
    one, other = (cohorts.load("totalsegmentator-ct" + version) for version in ("", "-v1-labels"))
    pairs += [(one, one.mask(name), other.mask(name), f"{name}, versions 2 and 1") for name in ("pancreas", "femur_left")]
except DataError as missing:
    print(missing)

# %%
shown = [(*most_apart(volume, a, b), f"{title}: Dice {metrics.dice(a, b):.3f}") for volume, a, b, title in pairs]
figure(row(*zip(*shown), 3.4), alt="Axial slices, two readers' outlines, solid and dashed. " + "; ".join(s[3] for s in shown))

# %% [markdown]
# *What to see.* Who is right? At the liver, both: there are two *rules*. At the pancreas the picture hardly says where it
# ends. And is the metal of a hip replacement part of the femur? Version 2 says yes, version 1 hardly draws it. Three reasons
# to disagree, and in none of them one truth. People disagree like this too: LIDC-IDRI, a data set of lung nodules, has four
# readers for each.
#
# For experiments we need readers whom we can ask as often as we like. `readers.redrawn` makes them up: each has a *habit*, to
# draw wide or narrow, and *slips* along the outline.

# %%
people, others = (list(nano.bodies({"A": n, "C": n}, first)) for n, first in ((profile().cases, 6000), (2, 7000)))
support, queries = examples_of(people, "kidney_right"), examples_of(others, "kidney_right")
query, truth = queries.images[:1], queries.masks[:1]
four = readers.redrawn(truth.repeat(4, 1, 1, 1), np.random.default_rng(9))
near = (..., *around(four))  # a window about the kidney, to look at
figure(row([query[0][near]] * 4, found=[mask[near] for mask in four], titles=[f"reader {r + 1}" for r in range(4)]),
       alt=f"The same kidney in one slice, as four made-up readers draw it: {four.sum((1, 2, 3)).int().tolist()} pixels.")

# %% [markdown]
# ## 2. What does a model do that has one answer?

# %%
predict("07-p1", "A model with ONE answer is trained on this kidney, each step by another reader's mask. What will it draw?",
        ["now this reader's mask, now that one's", "what all four have in common", "always the same, in the middle"])

# %% [markdown]
# We take the network away and keep the loss: $K$ masks are free numbers, one logit a pixel, and the loss pushes them about.
# (All begin at the mean of the readers, each with a push of its own, a little wider or narrower.)


# %%
def trained(k, loss_of):
    """K free masks (K, H, W), after 25 rounds of the four readers; loss_of: from a table of losses (1, K) to one number."""
    push = 4 * (torch.arange(k) + 0.5 - k / 2) / k  # one mask gets none
    logits = (6 * (four.mean(0) - 0.5) + push[None, :, None, None]).requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.1)
    for step in range(100):
        optimiser.zero_grad()
        loss_of(episodes.dice_and_entropy(logits, four[[step % 4]])).backward()
        optimiser.step()
    return (logits.detach()[0] > 0).float()


against_readers(query[0], trained(1, torch.mean), four[:, 0])

# %%
predict("07-p1")

# %% [markdown]
# *What to see.* One mask (solid), four times, beside each reader's (dashed): the middle. A pixel is drawn where about half of
# the readers draw it (with Dice in the loss, a little less than half will do). The reader who draws wide is voted down, and
# whoever sees the mask does not learn that the readers disagreed at all.

# %% [markdown]
# ## 3. Only the best candidate learns
#
# Tyche gives $K$ candidates, and its loss asks for one thing only: that *one of them* is what this reader drew.
#
# $$\mathcal L = \frac{1}{B} \sum_b \min_k \; \mathcal L_{SEG}(y_b, \hat y_{bk})$$
#
# **Exercise 1.** From the table of losses (B, K) to this number.


# %%
def my_best(losses):
    """losses (B, K) of K candidates for each of B pictures, to one number with its gradient."""
    # solution
    return losses.min(1).values.mean()


check("07-best", my_best)

# %%
# hint("07-best")

# %%
show_source("fmlab.incontext.candidates.best_candidate_loss")

# %%
parted = trained(8, my_best if check("07-best", my_best).passed else lambda losses: losses.min(1).values.mean())
against_readers(query[0], parted, four[:, 0])

# %% [markdown]
# *What to see.* The same loss of the same masks, and only *min* in place of *mean*: now each reader has a candidate near hers.
# The price of the minimum is a danger: a candidate that is never the best never learns. Try it: let `logits` begin as
# `torch.randn(1, k, 64, 64)`, and one candidate takes all readers, while seven stay noise.

# %% [markdown]
# ## 4. How do candidates become different?
#
# A network has no free numbers for each picture. Tyche gives each candidate a **noise image** $z_k$ as a second channel. And
# the candidates are not left alone: in every block they meet the examples through their **mean**, and then each hears what
# came of it.
#
# $$\bar u = \tfrac1K \textstyle\sum_k u_k \qquad z_j = a(\mathrm{Conv}([\bar u, v_j])) \qquad m = \tfrac1S \sum_j z_j \qquad
# u_k' = a(\mathrm{Conv}''(a(\mathrm{Conv}'([u_k, m]))))$$
#
# So the examples are worked through once, whatever $K$, and a candidate can know what the others are about.

# %%
show_source("fmlab.incontext.tyche.SetBlock")

# %%
tyche, universeg = (hub.load(name, "nano").requires_grad_(False).to(device()) for name in ("tyche", "universeg"))


def tyche_masks(query, support, k=8, seed=0):
    """K candidates (K, H, W), 0 or 1, of a query (1, 1, H, W)."""
    noise = torch.randn(1, k, *query.shape[-2:], generator=torch.Generator().manual_seed(seed))
    query, images, masks, noise = (x.to(device()) for x in (query, support.images[None], support.masks[None], noise))
    return (tyche(query, images, masks, noise=noise)[0] > 0).float().cpu()


six = tyche_masks(query, support, 6)
sizes = [f"{int(mask.sum())} pixels" for mask in six]
figure(row([query[0][near]] * 6, [mask[near] for mask in six], [truth[0][near]] * 6, sizes),
       alt="Six candidates of Tyche for one kidney, never a task in its training, solid; the plain truth dashed: "
           f"{', '.join(sizes)}")

# %%
for what, seed in (("the same noise again", 0), ("other noise", 1)):
    print(f"{what:21s} {[int(mask.sum()) for mask in tyche_masks(query, support, 6, seed)]} pixels")

# %% [markdown]
# *What to see.* The same noise gives the same masks, other noise gives others. All of them are a kidney, more or less, without
# one having been a task. They differ in size, as our readers do, but also in place, as our readers hardly do: part of this
# variety is plain error of a small model. How much of it is good for something? That has to be measured.

# %% [markdown]
# ## 5. How good is a *set* of masks?
#
# **Max Dice** gives each reader the candidate that fits her best. It has a flaw: to choose the best you must know the truth,
# and more candidates never make it worse. The **generalised energy distance** compares the sets as they are,
#
# $$D^2 = 2\,\mathbb E[d(s, y)] - \mathbb E[d(s, s')] - \mathbb E[d(y, y')] \qquad d = 1 - \mathrm{IoU}$$
#
# with $s, s'$ drawn from the candidates and $y, y'$ from the readers. It is 0 when candidates are as right *and as various* as
# readers.
#
# **Exercise 2.** Write it. Two empty masks are alike: $d = 0$.


# %%
def my_ged(found, drawn):
    """2 E[d(s, y)] - E[d(s, s')] - E[d(y, y')] of candidates (K, H, W) and readers (R, H, W), 0 or 1; all pairs."""
    # solution
    def d(a, b):
        common = a.flatten(1) @ b.flatten(1).T
        union = a.sum((1, 2))[:, None] + b.sum((1, 2)) - common
        return torch.where(union > 0, 1 - common / union.clamp(min=1), 0.0).mean()

    return 2 * d(found, drawn) - d(found, found) - d(drawn, drawn)


check("07-ged", my_ged)

# %%
# hint("07-ged")

# %%
show_source("fmlab.incontext.candidates.ged")

# %%
for what, masks in (("one compromise", trained(1, torch.mean)), ("eight parted ones", parted), ("the readers", four[:, 0])):
    print(f"{what:17s} max Dice {candidates.max_dice(masks, four[:, 0]).mean():.2f}, GED {candidates.ged(masks, four[:, 0]):.3f}")

# %% [markdown]
# ## 6. Three ways to several masks
#
# Tyche comes in two kinds. **Tyche-TS** is the network above. **Tyche-IS** needs no new network: ask UniverSeg $K$ times, each
# time with query and examples a little brighter, sharper, noisier. As controls: UniverSeg's one answer; the same answer cut at
# eight heights (0.1 to 0.9 in place of 0.5), which costs nothing; and, for what is possible, eight *other* readers.

# %%
predict("07-p2", "Four readers, wide and narrow. Which set of eight masks is most like them (lowest GED)?",
        ["Tyche-TS, trained for that", "Tyche-IS, not trained for it", "UniverSeg's one answer, cut at eight heights"])


# %%
def ways(query, support):
    """Name -> masks (K, H, W), for one query (1, 1, H, W)."""
    p = incontext.probability(universeg, query, support.images, support.masks)[0]
    varied = tyche_is.inference_candidates(universeg, query[0], support.images, support.masks, candidates=8)
    return {"one answer": p > 0.5, "one answer, 8 cuts": p > torch.linspace(0.1, 0.9, 8)[:, None, None],
            "Tyche-IS": varied > 0.5, "Tyche-TS": tyche_masks(query, support)}


tasks = "kidney_right", "gluteus_maximus_left", "gluteus_medius_right"
found = scored(ways, [(examples_of(people, name), examples_of(others, name)) for name in tasks])

# %%
predict("07-p2")

# %%
compared(found)

# %% [markdown]
# *What to see.* One answer is the worst in both: no variety. The three ways to variety come out close to each other, and the
# boxes overlap. The cheapest, eight cuts, is hard to beat *here*, because our readers are wide or narrow, and wide or narrow
# is all that a cut can do: it could never say "here, or there". Always include such a control. All are far from eight other
# readers, so what is missing most is not variety, it is being right. (Our Tyche-TS had a third of UniverSeg's training. Over more
# tasks, `fmlab/hub/weights/tyche-nano.md`, it has the lowest GED all the same: 0.43, Tyche-IS 0.54, one answer 0.62.)

# %% [markdown]
# # Part B: Iris
# ## 7. A task as eleven vectors
#
# What *is* a task, once a model has looked at its examples? For UniverSeg it is nowhere: the features of the support depend on
# the query from the first block on. Iris makes it a thing of its own. A 3-D encoder reads the reference $x_s$ into features
# $F_s$, and of these and the mask $y_s$ come
#
# $$T = [T_f;\; T_c] \in \mathbb R^{(m+1) \times C}$$
#
# the **foreground token** $T_f$, what the structure is like inside, and $m = 10$ **context tokens** $T_c$, what else is to be
# known. $T_f$ pools features over the mask:
#
# $$T_f = \frac{\sum_v y_s(v)\, \mathrm{Up}(F_s)(v)}{\sum_v y_s(v)}$$
#
# Note what is resized: features are coarse, masks are fine, and it is the *features* that are brought up, each voxel repeated.
#
# **Exercise 3.** Write this pooling.


# %%
def my_foreground(features, mask):
    """features (C, d, h, w), mask (X, Y, Z) of 0 and 1, X a multiple of d and so on: their mean over the mask, (C,)."""
    # solution
    up = F.interpolate(features[None], size=mask.shape, mode="nearest")[0]
    return (up * mask).sum((1, 2, 3)) / mask.sum().clamp(min=1)


check("07-foreground", my_foreground)

# %%
# hint("07-foreground")

# %%
show_source("fmlab.incontext.task_encoding.pool")

# %% [markdown]
# The package never makes the large map. Repeating a feature voxel $r^3$ times and averaging over the mask is the same as
# weighing it by the *share* that the mask takes of it. ("coarse" is the control: it rounds that share. In the paper, small
# objects then fall from Dice 79 to 62.)

# %% [markdown]
# ## 8. Encode once, then all structures in one pass
#
# Eight structures, four of them learned in training, four never asked for; three people who show them. From here on a scan is
# a whole volume, read at 8 mm.

# %%
iris, body = hub.load("iris", "nano").requires_grad_(False).to(device()), others[0]
names = "liver spleen vertebrae hip_left kidney_left kidney_right gluteus_maximus_left gluteus_medius_right".split()
T = iris_volume.task_of(iris, people[:3], names)
print(f"T: {tuple(T.shape)}, {T.nbytes / 1e3:.0f} kB; its references: {sum(p.image.nbytes for p in people[:3]) / 1e6:.0f} MB")
answer = iris_volume.segment_volume(iris, body, T, names)
for score in metrics.evaluate(answer, body, names):
    print(f"{score.structure:22s} Dice {score.dice:.2f}   {'NEVER a task' if score.structure in nano.HELD_OUT else 'learned'}")

# %%
fmlab.view(body, compare=[("Iris, from three examples", answer)], plane="coronal", show=names)

# %% [markdown]
# *What to see.* One pass, eight structures. Be honest about the masks: what was a task in training is fair, the left kidney
# too; the right one strays into the hip, and the gluteal muscles are not found at all. UniverSeg, in lesson 06, found these muscles with
# Dice 0.8. But it met 12,000 episodes of 17 pictures in an hour on a laptop, while a volume costs far more than a picture, and
# this Iris met 1,400 episodes of two. The paper's had 80,000 steps of 32. All numbers are in `fmlab/hub/weights/iris-nano.md`.
# So keep a question for section 10: do the *features* of this Iris not know a gluteus, or does $T$ fail to say which of all
# things is meant?

# %% [markdown]
# ## 9. What it costs
#
# After encoding, a query costs its features once, and a little for each class; the references are gone, their tokens' mean is
# all that is left of them.

# %%
predict("07-p3", "Iris segments a body: 1 class, T of 1 reference. How much longer do 8 classes take? And a T of 8 references?",
        ["8 times and 8 times", "8 times and no longer", "less than 8 times and no longer", "no longer in both"])

# %%
numbers, few = [r for r in (1, 2, 4, 8) if r <= len(people)], support[:8]
told = {r: iris_volume.task_of(iris, people[:r], names) for r in numbers}
cost = {"UniverSeg": lambda k, r: k * body.shape[2] * seconds(  # one slice and one class, which are simply repeated
            lambda: incontext.probability(universeg, query, few.images[:r], few.masks[:r])),
        "Iris": lambda k, r: seconds(lambda: iris_volume.segment_volume(iris, body, told[r][:, :k], names[:k]), repeats=2)}

# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True)
for (name, ask), style in zip(cost.items(), ("s--", "o-")):
    asked = {"classes (4 references)": [ask(k, 4) for k in numbers], "references (4 classes)": [ask(4, r) for r in numbers]}
    for ax, (what, values) in zip(axes, asked.items()):
        ax.semilogy(numbers, values, style, label=name)
        ax.set(xlabel=what, xticks=numbers)
        print(f"{name:10s} {what:22s}", *(f"{value:7.1f} s" for value in values))
axes[0].set_ylabel("seconds a body")
axes[0].legend(frameon=False)
figure(fig, alt="Seconds for one body over the number of classes and over the number of references, log axis. UniverSeg "
                "rises with both, Iris a little with classes and not with references.")

# %%
predict("07-p3")

# %%
claims.verdict("C07")

# %%
rows = [asked for run in claims.runs("C07") for asked in run.details["queries"].values()]
for model in rows[0] if rows else ():
    means = {what: np.mean([asked[model][what] for asked in rows]) for what in ("seconds", "flops", "dice")}
    print(f"{model:10s} {means['seconds']:6.1f} s a body, {means['flops'] / 1e9:6.0f} GFLOP, mean Dice {means['dice']:.2f}")
figure(claims.forest(["C07"]), alt=claims.forest_alt(["C07"]))

# %% [markdown]
# *What to see.* UniverSeg pays for every class, every slice and every example, each time. Iris pays for the references once;
# after that their number does not matter, and a class costs little beside the features, which all classes share. The verdict
# is about this cost alone. Look at the Dice beside it: fast is not the same as good.

# %% [markdown]
# ## 10. Better tasks: more references, and tuning
#
# Back to the question of section 8. $T$ can be changed and the network left alone:
#
# - **context ensemble**: the mean of several references' tokens;
# - **in-context tuning**: one labelled scan, and gradient steps on the loss that move $T$ and nothing else, eleven vectors for
#   each structure.
#
# Hospital E has another scanner, and nobody of E was in training. Say that *one* scan of E is labelled. We ask for the four
# structures that were never a task. Below, two numbers for each: Dice on the labelled scan, then on another one.

# %%
predict("07-p4", "T is tuned on one labelled scan of E; no weight moves. What happens to the gluteus on ANOTHER scan of E?",
        ["it stays lost: the features do not know it", "it is found only where T was tuned", "it is found there too"])

# %%
(labelled, new), never = nano.bodies({"E": 2}, 8000), names[4:]
versions = {f"{r} of A, C": told[r][:, 4:] for r in (1, numbers[-1])} | {"1 of E": iris_volume.task_of(iris, [labelled], never)}
versions["tuned on it"] = iris_tuning.tune_on(iris, versions["1 of E"], labelled, never, 3 * profile().steps)
print(" " * 12, *(f"{name:>20s}" for name in never))
for way, task in versions.items():
    scores = [metrics.evaluate(iris_volume.segment_volume(iris, scan, task, never), scan, never) for scan in (labelled, new)]
    print(f"{way:12s}", *(f"{here.dice:14.2f}  {there.dice:.2f}" for here, there in zip(*scores)))

# %%
predict("07-p4")

# %% [markdown]
# *What to see.* More references hardly change anything, and neither does a reference of E's own. Tuning does: on the scan that
# it saw, and nearly as much on the other one. So the features did know the gluteus, and the decoder could draw it; what failed
# was to say so, the way from one example to $T$. For one labelled scan and less than a minute you have a task that the model
# never had, a few kB to be kept or sent by mail. (Mind what it is: *training*, if only of 704 numbers for each structure. "No
# training" is true of the weights alone.)
#
# Over more structures the card says Dice 0.13 before and 0.40 after, and on the real CT 0.08 and 0.43, with tasks tuned on a
# *phantom*. There is a price too: each $T$ was tuned alone, and asked together they compete, so the right ventricle, which was
# found before, now loses to a neighbour.

# %% [markdown]
# ## 11. Quiz

# %%
quiz("07-q1")

# %%
quiz("07-q2")

# %%
quiz("07-q3")

# %%
quiz("07-q4")

# %%
quiz("07-q5")

# %% [markdown]
# ## 12. Your own scan
#
# A CT, and another one with labels of what you look for (NIfTI or NRRD). They stay on this machine.

# %%
my_scan, my_example, my_labels = None, None, None  # "/path/to/scan.nii.gz", "/path/to/example.nii.gz", "/path/to/labels.nii.gz"

if my_scan:
    example = fmlab.Volume.read(my_example, labels=my_labels, scheme="totalsegmentator_v2")  # what its label ids mean
    wanted = [name for name in example.structures if name in nano.TASKS + nano.HELD_OUT]
    mine = iris_volume.segment_volume(iris, fmlab.Volume.read(my_scan), iris_volume.task_of(iris, [example], wanted), wanted)
fmlab.view(mine) if my_scan else print("No scan of your own yet: put its path and those of a labelled example above.")

# %%
progress()

# %% [markdown]
# **You can now** say what a model should answer where readers disagree, measure it, and hand a network a task as eleven
# vectors a class. Next: *08 · Interactive: SAM*, where the task comes as clicks.
