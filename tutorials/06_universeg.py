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
#     title: "In-context: UniverSeg"
#     section: "2.B"
#     goals:
#       - tell the two approaches apart (train a net for the task, or give a net the task as examples) by what each costs
#       - write the cross convolution that lets a query look at its examples, and make it cheap without changing its result
#       - measure what more examples and ensembling bring, and check that the model looks at its examples at all
#       - draw a support set yourself, and see the answer change
#       - name the limits (one class at a time, slices, the support at every call), in seconds
#     prerequisites: ["lesson 00", "what a convolution and a U-Net are"]
#     minutes: 75
#     seconds: 50
#     gigabytes: 0.8
#     download_mb: 3.2
#     hardware: 2 CPU cores
# ---

# %% [markdown]
# # 06 · In-context: UniverSeg

# %% [markdown]
# A colleague asks for the gluteal muscles. No model that you have knows them: somebody would have to draw them, and somebody to
# train a network. Or you draw them on a few slices and *hand these slices to a network that has learned to learn from
# examples*:
#
# | | train a net for the task | give a net the task |
# |---|---|---|
# | you need | pairs $(x_j, y_j)$, and a training | pairs $(x_j, y_j)$ |
# | the answer | $\hat y = f_{\theta_t}(x)$, weights $\theta_t$ of this task | $\hat y = f_\theta(x, S)$, one $\theta$ for all tasks |
# | the next task | a new training | another $S$ |
#
# $S = \{(x_j, y_j)\}$ is the **support set** (the same letter counts it: $S = 16$ is a set of sixteen). UniverSeg (Butoi et al.
# 2023) is such an $f_\theta$. This lesson opens it.

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 75 minutes alone, 100 in a room. Exercise 2 is for those who are quick; its algebra comes back in
# lesson 07. Section 7 (drawing) is where a room gets loud: let pairs compete for the fewest strokes. Ask for 06-p2 before
# anybody scrolls down: most people expect the in-context model to lose by far. Without network section 8 uses a body of
# hospital E.
#
# **Typical misconceptions.** "The weights adapt to the support": nothing is trained, the examples are an input. "It knows
# muscles": it has seen them, and was never asked. In exercise 1 the mean is taken over channels in place of examples. That
# Dice rises with S is taken for learning; it is a better question, asked once.

# %%
import time

import matplotlib.pyplot as plt
import torch
from torch.nn import functional as F

from fmlab import cohorts, hub, incontext, metrics
from fmlab.errors import DataError
from fmlab.incontext import nano
from fmlab.incontext.evaluate import dices, lying
from fmlab.incontext.examples import examples_of
from fmlab.incontext.task_net import task_net, task_net_dices
from fmlab.lessons import check, claims, figure, hint, predict, progress, quiz, seconds, show_source
from fmlab.settings import device, profile
from fmlab.viewer import Sketch, row

# %% [markdown]
# ## 1. A task is a handful of examples
#
# Examples come from other people than the query. We take one axial slice each: the one with most of the muscle, 64 × 64 pixels.
# (Mind the letters: here the patient's left is on the left, as the voxels lie; radiologists look from the feet.)

# %%
n = 2 * profile().cases
people = list(nano.bodies({"A": n, "C": n}, first_seed=6000))
others = list(nano.bodies({"A": 2, "C": 2}, first_seed=7000))
support = examples_of(people, "gluteus_maximus_left")
queries = examples_of(others, "gluteus_maximus_left")

shown = [*support.images[:6], queries.images[0]]
figure(row(shown, truth=[*support.masks[:6], None], titles=[*(f"example {j + 1}" for j in range(6)), "query"], inches=1.7),
       alt=f"Six of {len(support)} examples: axial slices through the pelvis of six people, the left gluteus maximus outlined in "
           "each; and the query, the slice of a seventh person, without outline.")

# %% [markdown]
# ## 2. Ask
#
# The course's own small UniverSeg was trained on bodies of hospitals A to D and on synthetic shapes, with 45 structures as
# tasks. The gluteal muscles, heart chambers, kidneys and liver tumours were **never a task**: it has seen them, and nobody ever
# asked for them.

# %%
predict("06-p1", "You give it ONE example of a muscle that it was never asked for. What will it do?",
        ["nothing useful: a network knows what it was trained for", "something roughly right",
         "as well as with sixteen examples"])

# %%
model = hub.load("universeg", "nano").to(device())
answers = [incontext.predict(model, queries.images[:1], {"muscle": support}, shots=size, seed=3) for size in (1, 4, 16)]
dice = [metrics.dice(answer.labels[0] > 0, queries.masks[0, 0] > 0) for answer in answers]
figure(row([queries.images[0]] * 3, [answer.probabilities[0] for answer in answers], [queries.masks[0]] * 3,
           [f"S = {size}: Dice {value:.2f}" for size, value in zip((1, 4, 16), dice)], inches=3),
       alt="The query three times, with the model's answer from 1, 4 and 16 examples as a solid line and the truth dashed; "
           f"Dice {dice[0]:.2f}, {dice[1]:.2f} and {dice[2]:.2f}.")

# %%
predict("06-p1")

# %% [markdown]
# *What to see.* The solid blue line is the answer, the dashed one the truth, here and below. The task was given by pictures
# alone, and no weight was changed. How can a network do that?

# %% [markdown]
# ## 3. CrossBlock: a query looks at its examples
#
# UniverSeg is a U-Net that carries *two* things: a feature map $u$ of the query, and a feature map $v_j$ of each example (which
# begins as image and mask, two channels). At every level they meet:
#
# $$z_j = \mathrm{Conv}([u, v_j]) \qquad u' = a\big(\mathrm{Conv}'\big(\tfrac{1}{S}\textstyle\sum_j z_j\big)\big) \qquad v_j' =
# a(\mathrm{Conv}''(z_j))$$
#
# The same convolution for each pair, so any number of examples will do; the mean over them, so their order does not matter.
#
# **Exercise 1.** The heart of it: put $u$ beside each $v_j$, convolve, and take the mean.


# %%
def my_cross(u, v, weight, bias):
    """mean_j Conv([u, v_j]): u (C_u, H, W), v (S, C_v, H, W), weight (C, C_u + C_v, 3, 3), bias (C,) to (C, H, W)."""
    # solution
    pairs = torch.cat([u.expand(len(v), *u.shape), v], dim=1)
    return F.conv2d(pairs, weight, bias, padding=1).mean(0)


check("06-cross", my_cross)

# %%
# hint("06-cross")

# %%
show_source("fmlab.incontext.cross_block.CrossBlock.literal")

# %% [markdown]
# ### The same, several times cheaper
# A network of this kind is slow: $S$ pairs at each level. But look: a convolution is linear. What it makes of $[u, v_j]$ is
# what it makes of $u$, plus what it makes of $v_j$:
#
# $$z_j = W_u * u + W_v * v_j + b \quad\Rightarrow\quad \tfrac{1}{S}\textstyle\sum_j z_j = W_u * u + W_v * \bar v + b, \qquad
# \bar v = \tfrac{1}{S}\sum_j v_j$$
#
# **Exercise 2 (advanced).** Write this. `check` counts your multiplications.


# %%
def my_fast(u, v, weight, bias):
    """The same result as my_cross, at the cost of one pair."""
    # solution
    c = len(u)
    return F.conv2d(u, weight[:, :c], bias, padding=1) + F.conv2d(v.mean(0), weight[:, c:], padding=1)


check("06-fast", my_fast)

# %%
# hint("06-fast")

# %%
show_source("fmlab.incontext.cross_block.CrossBlock.forward")


# %%
episode = [x.to(device()) for x in (queries.images[:1], support.images[None, :12], support.masks[None, :12])]
with torch.no_grad():
    slow, fast = seconds(lambda: model(*episode, literal=True)), seconds(lambda: model(*episode))
    difference = float((model(*episode, literal=True) - model(*episode)).abs().max())
print(f"by the letter {slow:.2f} s, factorised {fast:.2f} s: {slow / fast:.1f} times faster; largest difference {difference:.0e}")

# %% [markdown]
# *What to see.* The same function, to rounding. It only works because the published network has **no activation on $z_j$**; the
# paper's formula has one. (With it, the mean and the convolution could not change places. Tyche, in lesson 07, does have it.)

# %% [markdown]
# ## 4. How many examples, and which?
#
# Another four examples give another answer. The slides average over $M$ support sets: $\hat y = \frac{1}{M} \sum_m f_\theta(x,
# S_m)$.
#
# **Exercise 3.** From the *logits* of $M$ passes to one mask.


# %%
def my_ensemble(logits):
    """logits (M, H, W) of M passes to a mask (H, W): where the mean probability is above one half."""
    # solution
    return logits.sigmoid().mean(0) > 0.5


check("06-ensemble", my_ensemble)

# %%
# hint("06-ensemble")

# %%
tasks = {name: (examples_of(people, name), examples_of(others, name)) for name in ("gluteus_medius_right", "kidney_right")}
tasks["gluteus_maximus_left"] = support, queries
sizes = [size for size in (1, 2, 4, 8, 16) if size <= len(support)]


def mean_dice(size, m):
    """Over the queries of the three tasks, with m support sets of this size."""
    return float(torch.cat([dices(model, *task, size, m) for task in tasks.values()]).mean())


curves = {m: [mean_dice(size, m) for size in sizes] for m in (1, 4)}

# %%
fig, ax = plt.subplots(figsize=(5.5, 3.2))
for (m, values), style in zip(curves.items(), ("o-", "s--")):
    ax.plot(sizes, values, style, label=f"M = {m}")
ax.set_xscale("log", base=2)
ax.set_xticks(sizes, sizes)
ax.set(xlabel="examples S in a support set", ylabel="mean Dice", title="three structures that were never a task")
ax.legend(frameon=False)
figure(fig, alt="Mean Dice over the size of the support set, for one support set and for four that are averaged: "
                + "; ".join(f"S = {s}: {a:.2f} and {b:.2f}" for s, a, b in zip(sizes, curves[1], curves[4])))

# %% [markdown]
# *What to see.* More examples help, most of all the first few. Averaging helps where single answers vary, with small supports,
# and costs $M$ times as much: compare $M = 4$ at $S = 4$ with $M = 1$ at $S = 16$, which cost the same.
#
# ### Does it look at the support at all?
# Users who train such a network again report that it learns *one* task and ignores its examples. A good test: lie to it. Give
# each image the mask of another structure.

# %%
kidneys = tasks["kidney_right"][0]
given = {"its own masks": support, "the kidney's masks": lying(support, kidneys), "the kidney's examples": kidneys}
answers = [incontext.predict(model, queries.images[:1], {"task": examples}, seed=1) for examples in given.values()]
figure(row([queries.images[0]] * 3, [answer.probabilities[0] for answer in answers], [queries.masks[0]] * 3, list(given), 3),
       alt="The same query with right masks, with the kidney's masks on the same images, and with the kidney's own examples; Dice "
           + ", ".join(f"{metrics.dice(answer.labels[0] > 0, queries.masks[0, 0] > 0):.2f}" for answer in answers))

# %% [markdown]
# *What to see.* With masks that lie the muscle is gone: what the model draws is what it is shown. (With the kidney's examples
# it looks for a kidney in a pelvis, where there is none. It has been taught to find *something*; it is poor at "not here".)

# %% [markdown]
# ## 5. Against a net that was trained for the task
#
# Now the other approach, with the very same pairs: a small U-Net, trained on them alone.

# %%
predict("06-p2", "The same examples. UniverSeg takes them as they are, the task net trains on them for a minute. Which has the "
        "higher Dice on new people, on average over tasks?",
        ["UniverSeg, clearly", "the task net, clearly", "the task net, by a little"])

# %%
start = time.perf_counter()
net = task_net(support, steps=4 * profile().steps)
trained = time.perf_counter() - start
chosen, one = support.draw(16), queries.images[:1]
asking = seconds(lambda: incontext.probability(model, one, chosen.images, chosen.masks))
print(f"task net:  {trained:3.0f} s of training, {1e3 * seconds(lambda: net(one.to(device()))):4.0f} ms a slice, no examples, "
      f"Dice {task_net_dices(net, queries).mean():.2f}")
print(f"UniverSeg:   0 s of training, {1e3 * asking:4.0f} ms a slice with {len(chosen)} examples, "
      f"Dice {dices(model, support, queries, 16, 4).mean():.2f} (M = 4)")

# %%
predict("06-p2")

# %%
claims.verdict("C06")

# %%
rows = [run.details["differences"] for run in claims.runs("C06")]
for what in rows[0] if rows else ():
    print(f"{what:32s}", *(f"{row[what]:+.3f}" for row in rows), "  (one number a seed)")
figure(claims.forest(["C06"]), alt=claims.forest_alt(["C06"]))

# %% [markdown]
# *What to see.* One short training on one structure proves little; the ledger has several structures, people and seeds. The claim
# has three halves, so to say: *solves a task untrained*, *more support and ensembling help*, *a task net still wins*. The verdict is
# about the weakest of them, person by person; the lines above show each. The third is the weakest by far: training a net for the
# task wins by a few hundredths of Dice, for a minute of training a task.
#
# That baseline had to be earned. A first task net, with one convolution a unit instead of two, never left "nowhere" with one seed in
# three, and the claim looked undecided. A comparison is worth what its weaker side is worth.

# %% [markdown]
# ## 6. A whole volume
#
# UniverSeg is flat. A volume is cut into slices, each asked on its own: `predict_volume`.

# %%
body, name = others[0], "gluteus_maximus_left"
slices = body.mask(name).any(0).any(0).nonzero().flatten()
part = body.crop((0, 0, max(0, int(slices[0]) - 5)), (*body.shape[:2], min(body.shape[2], int(slices[-1]) + 6)))
found = incontext.predict_volume(model, part, {name: support}, shots=8, progress=False)
print(f"{part.shape[2]} slices, Dice in 3-D {metrics.dice(found.mask(name), part.mask(name)):.2f}")
area = {who: volume.mask(name).sum((0, 1)) for who, volume in (("model", found), ("truth", part))}
fig, ax = plt.subplots(figsize=(6, 2.6))
for (who, values), style in zip(area.items(), ("-", "--")):
    ax.plot(values, style, label=who)
ax.set(xlabel="slice, from the feet to the head", ylabel="pixels of the muscle")
ax.legend(frameon=False)
figure(fig, alt="Area of the muscle by slice, the model's answer and the truth; at both ends, where the muscle stops, the "
                "model goes on.")

# %% [markdown]
# *What to see.* Beyond the ends of the muscle the model goes on finding it: all its examples show the muscle, so it was never
# told what "none here" looks like. A slice's neighbours, which know better, are not asked.

# %% [markdown]
# ## 7. Draw your own task
#
# Pick a structure that has no name: a loop of bowel, half a kidney, the fat behind the spine. Draw it on two or three of the
# pictures below (left), and watch the query (right). Untick examples, draw badly, draw two things at once: what does the model
# make of it?

# %%
pictures = examples_of(people[:4], "kidney_right").images


def ask(sketch):
    """What the model says of the query, given what is drawn and ticked."""
    images, masks = sketch.support()
    return incontext.probability(model, tasks["kidney_right"][1].images[:1], images, masks)[0, 0] if len(images) else None


sketch = Sketch(pictures, query=tasks["kidney_right"][1].images[0], on_change=ask, title="draw a task")
sketch

# %% [markdown]
# ## 8. A real CT
#
# The same model, on a patient. First with examples of phantoms: another world in every pixel. Then with examples of the scan
# itself, as if you had drawn every fifth slice by hand.

# %%
try:
    scan = cohorts.load("totalsegmentator-ct")
except DataError as missing:
    print(missing)
    scan = next(iter(nano.bodies({"E": 1}, first_seed=12)))
name = "gluteus_maximus_right"
own, asked = examples_of([scan], name, per_volume=5)[1:], examples_of([scan], name)
given = {"examples of phantoms": examples_of(people, name), "4 slices of its own": own}
answers = [incontext.predict(model, asked.images, {name: examples}) for examples in given.values()]
dice = [metrics.dice(answer.labels[0] > 0, asked.masks[0, 0] > 0) for answer in answers]
figure(row([asked.images[0]] * 2, [answer.probabilities[0] for answer in answers], [asked.masks[0]] * 2,
           [f"{what}: Dice {value:.2f}" for what, value in zip(given, dice)], 4),
       alt=f"A real axial slice with the right gluteus maximus, found from phantoms' examples (Dice {dice[0]:.2f}) and from the "
           f"scan's own slices (Dice {dice[1]:.2f}); the reference is dashed.")

# %% [markdown]
# *What to see.* Examples of the same scan beat examples of another world, and this is how the method is best used: draw a few
# slices, get the rest, correct. (Mind the evaluation: examples of the *same patient* are a help that no benchmark across
# patients allows.) All numbers, for every structure, hospital, and S: `fmlab/hub/weights/universeg-nano.md`.

# %% [markdown]
# ## 9. Limits, in seconds
#
# One class at a time; slices; the support read anew at every call, since the features of the support depend on the query from
# the first block on and cannot be kept.

# %%
three = {name: examples for name, (examples, _) in tasks.items()}
for k in (1, 2, 3):
    took = seconds(lambda: incontext.predict(model, queries.images[:1], three, list(three)[:k]), repeats=2)
    print(f"{k} class{'es' * (k > 1):2s}  {1e3 * took:5.0f} ms a slice")
print(f"30 classes on 100 slices at this rate: {took / 3 * 30 * 100 / 60:.0f} minutes")

# %% [markdown]
# Iris, in lesson 07, pays for the support once, and asks for all classes at once.

# %% [markdown]
# ## 10. Quiz

# %%
quiz("06-q1")

# %%
quiz("06-q2")

# %%
quiz("06-q3")

# %%
quiz("06-q4")

# %% [markdown]
# ## 11. Your own pictures
#
# Pairs of picture and mask files (PNG or JPEG, white is the structure), and a query. They stay on this machine.

# %%
my_pairs = []  # [("image1.png", "mask1.png"), ("image2.png", "mask2.png")]
my_query = None  # "image3.png"

if my_pairs and my_query:
    from fmlab.incontext.picture_files import read_examples, read_picture

    mine = read_picture(my_query)
    answer = incontext.predict(model, mine[None], {"mine": read_examples(my_pairs)})
    drawn = row([mine], [answer.probabilities[0]], inches=4, sides="")
    display(figure(drawn, alt="Your query with the model's answer outlined."))
else:
    print("No pictures of your own yet: put their paths above.")

# %%
progress()

# %% [markdown]
# **You can now** give a network a task by showing it, say why that works, and what it costs. Next: *07 · Tyche and Iris*:
# several right answers, and all classes in one pass.
