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
#     title: "2-D or 3-D?"
#     section: "1.B"
#     goals:
#       - count what a third axis costs in parameters, multiply-adds and memory, and what it sees for that
#       - inflate 2-D weights to 3-D in two ways, and say what each promises and where the promise ends
#       - compare slices and volumes at the same voxels and at the same compute, and find out which of the two made the difference
#       - join slices along three axes to one answer, and measure how jagged an answer is
#       - say what thick slices do to each
#     prerequisites: ["lesson 00: Dice, spacing", "convolutions"]
#     minutes: 75
#     seconds: 30
#     gigabytes: 1.0
#     download_mb: 0
#     hardware: 2 CPU cores
# ---

# %% [markdown]
# # 03 · 2-D or 3-D?

# %% [markdown]
# A scan is a volume $X$ of $D$ slices $X_1 \dots X_D$. A foundation model reads it in one of two ways:
#
# $$\text{2-D:}\quad \hat Y_d = \sigma\big(\theta_c(\theta_f(X_d))\big),\ d = 1 \dots D
# \qquad\qquad \text{3-D:}\quad \hat Y = \sigma\big(\theta_c(\theta_f(X))\big)$$
#
# One scan is a few hundred training pictures for the first, and *one* example for the second. And the first may begin with
# weights from a billion photographs. So each camp has built models, and bridges:
#
# | reads | systems | how slices meet |
# |---|---|---|
# | slices | SAM, MedSAM, SAM-Med2D, UniverSeg | not at all |
# | a stack of slices | MA-SAM | adapters with a 3 × 1 × 1 convolution, in the frozen 2-D encoder of SAM |
# | slices, then a volume | 3DSAM-adapter | SAM's 2-D patches, pooled over slices, then windows in 3-D |
# | both | UniMiSS | one transformer with a patch layer for each, and slices must agree with their volume |
# | volumes | Med3D, SuPreM, SAM-Med3D, SegVol | everywhere |
#
# The question of this lesson is small enough to answer here: **the same voxels, spent on slices or on volumes: what is better?**

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 75 minutes alone, 95 in a room. The heart is section 5, with its control: let the room explain the gap
# *before* the row "2-D, whole cubes" is looked at; most say "3-D has more to learn". Collect other explanations and ask for the
# experiment that would tell them apart. If time is short leave out exercise 2 (03-costs can be homework). 03-p2 is answered
# wrongly by those who know inflation from videos, where time is seldom strided. The live part takes half a minute.

# %%
import numpy as np
import torch

from fmlab import Volume, cohorts
from fmlab.backbones.counting import Layer, costs
from fmlab.errors import DataError
from fmlab.inference import resampled
from fmlab.lessons import check, claims, figure, hint, predict, progress, quiz, show_source
from fmlab.lessons import flat_or_deep as fd
from fmlab.lessons import flat_or_deep_figures as drawn
from fmlab.lessons import flat_or_deep_runs as runs
from fmlab.lessons.flat_nets import UNet
from fmlab.pretraining.inflation import inflate
from fmlab.settings import profile
from fmlab.slice_inference import along, slices_of, voted
from fmlab.windows import WIDE

# %% [markdown]
# ## 1. The third axis has a price
#
# A convolution from $C_{in}$ to $C_{out}$ channels with $k$ places an axis has $C_{in} C_{out} k^n$ numbers in $n$ dimensions,
# and uses each once for each voxel that comes out. What it gives is kept for the backward pass: that is the memory. And an output
# depends on $r^n$ voxels, where the reach $r$ grows layer by layer.
#
# **Exercise 1.** Count all four for a stack of convolutions.


# %%
def my_costs(layers, dims, side):
    """layers: (inputs, outputs, kernel, stride) each. Returns parameters, multiply-adds, values that the layers give, field."""
    # solution
    parameters = adds = values = 0
    reach = step = 1
    for inputs, outputs, kernel, stride in layers:
        side = -(-side // stride)
        weights = inputs * outputs * kernel**dims
        parameters += weights
        adds += weights * side**dims
        values += outputs * side**dims
        reach += (kernel - 1) * step
        step *= stride
    return parameters, adds, values, reach**dims


check("03-costs", my_costs)

# %%
# hint("03-costs")

# %%
show_source("fmlab.backbones.counting.costs")

# %%
predict("03-p1", "The lesson's U-Net halves the sides three times. In 3-D, with the same width and on the same voxels, it has "
        "three times the parameters. And the multiply-adds?",
        ["nine times", "three times", "less than half as many again", "fewer than in 2-D"])

# %%
encoder = [Layer(1, 10), Layer(10, 20, stride=2), Layer(20, 40, stride=2), Layer(40, 80, stride=2)]
print("four layers of the encoder, on a picture of 24 x 24 and a cube of 24 x 24 x 24")
for dims in (2, 3):
    print(f"{dims}-D", *(f"{name} {value:,}" for name, value in costs(encoder, dims, 24)._asdict().items()), sep="   ")
print("the whole U-Net, on 2 cubes or their 48 slices: 27,648 voxels")
for arm in ("2-D", "3-D"):
    size = sum(p.numel() for p in fd.network(arm).parameters())
    print(f"{arm}   parameters {size:,}   multiply-adds {fd.cost_of_a_step(arm):,}")

# %%
predict("03-p1")

# %% [markdown]
# *What to see.* One kernel: three times everything. A U-Net: below the first level a volume has lost seven voxels of eight, and
# a slice three of four; so the deep levels are cheaper in 3-D. What is dear in practice is another thing: a 2-D step can hold
# slices from 48 places of 48 people, and for the same memory a 3-D step holds *two* cubes. Keep this in mind.

# %% [markdown]
# ## 2. Inflation: 2-D weights for a 3-D network
#
# Photographs are flat. To use what was learnt from them in 3-D, a kernel gets a third axis. Two ways:
#
# - **mean** ([I3D](https://doi.org/10.1109/CVPR.2017.502)): the kernel over $k$ in each of the $k$ planes;
# - **centre** ([Girdhar et al.](https://doi.org/10.1109/CVPR.2018.00044)): the kernel in the middle plane, 0 elsewhere.
#
# $$W^{mean}_{\cdot\cdot j} = \tfrac{1}{k} W \qquad\qquad W^{centre}_{\cdot\cdot j} = W \cdot [\,j = \lfloor k/2 \rfloor\,]$$
#
# (UniMiSS' code repeats its first kernel for each input channel *without* dividing. A norm after it hides that.)
#
# **Exercise 2.** Write both. The new axis is the last one, since our axial slices lie in $X$ and $Y$.


# %%
def my_inflated(kernel, depth, how):
    """A kernel (O, I, kx, ky) as (O, I, kx, ky, depth); how: "mean" or "centre"."""
    # solution
    share = torch.full((depth,), 1 / depth)
    if how == "centre":
        share = torch.zeros(depth)
        share[depth // 2] = 1
    return kernel[..., None] * share


check("03-inflate", my_inflated)

# %%
# hint("03-inflate")

# %%
show_source("fmlab.pretraining.inflation.inflated")

# %% [markdown]
# ## 3. Before the first step
#
# The course ships a 2-D U-Net that knows eight structures. We inflate it both ways, into a 3-D U-Net that halves all three axes,
# and into one that never halves $Z$, and ask each for a person whom nobody has met. No training.

# %%
predict("03-p2", "Which of the four answers as the 2-D network does, voxel by voxel?",
        ["none: 3-D is 3-D", "both that are inflated at the centre", "the one at the centre that keeps all slices",
         "both that are inflated by mean"])

# %%
flat = runs.recorded_net("2-D")
person = fd.people(1, runs.UNSEEN, "A")[0]
values, truth = fd.read(person)
as_flat = flat.segment(values)
print(f"the 2-D network: mean Dice {np.mean(list(fd.dice(as_flat, truth).values())):.2f}")
for across, what in ((1, "keeps all slices"), (2, "halves Z as well")):
    for how in ("mean", "centre"):
        solid = UNet(3, 1 + len(fd.STRUCTURES), width=fd.WIDTH, across=across)
        report = inflate(flat.model, solid, how)
        answer = fd.Net("3-D", solid).segment(values)
        print(f"{what}, {how:6s}: mean Dice {np.mean(list(fd.dice(answer, truth).values())):.2f}; "
              f"as in 2-D in {(answer == as_flat).float().mean():.2%} of voxels")
print(report)

# %%
predict("03-p2")

# %% [markdown]
# *What to see.* At the centre, with all slices kept, the 3-D network *is* the 2-D one. Halve $Z$, and the deep levels see every
# second slice and say the same of its neighbour. By mean, each layer blurs three slices into one. Its promise holds where
# slices are alike, and at 8 mm most of a body is: so it loses less than one might fear, and most where structures end. The
# report names the strided layers. (Our networks have batch norms. An instance norm would now take its mean over the volume
# instead of over the slice, and nothing would be exact: the report names those too.)

# %% [markdown]
# ## 4. The first steps, live
#
# From scratch, or from the 2-D network inflated either way: the same cubes of four new people, in the same order. Scratch
# learns at a rate of 0.012, and what knows something already at a sixth of it. The last arm is there to show why.

# %%
predict("03-p6", "The inflated network begins with what the 2-D one knows. What if it goes on at the rate that is right for "
                 "scratch?",
        ["it learns faster: it is ahead and takes large steps", "it is soon where scratch is",
         "nothing: Adam makes its own step size"])

# %%
pool = fd.Pool.of(fd.people(1, first_seed=7000), count=32)
arms = {"scratch": (None, fd.RATE), "by mean": ("mean", fd.TUNED), "at centre": ("centre", fd.TUNED),
        "at centre, scratch's rate": ("centre", fd.RATE)}
went, dice = {}, {}
for arm, (how, rate) in arms.items():
    network = fd.network("3-D")
    if how:
        inflate(flat.model, network, how)
    went[arm] = fd.fit(network, fd.Spent(pool, 3), profile().steps, rate=rate)
    dice[arm] = float(np.mean(list(fd.dice(fd.Net("3-D", network).segment(values), truth).values())))
figure(*drawn.first_steps(went, dice))

# %%
predict("03-p6")

# %% [markdown]
# *What to see.* Compare each Dice with that of section 3, before any step: four people are few, and all arms lose something
# at first. Two cubes a step are a noisy guide, and large steps
# after a noisy guide undo in a few dozen steps what the 2-D network had learnt: whoever tests inflation at scratch's rate finds
# that it does not help. Here the 2-D weights came free, as ImageNet's do. In the next section they are paid for.

# %% [markdown]
# ## 5. The same voxels
#
# Stored runs, two seeds, made by `data_scripts/record_flat_or_deep.py`: 256 cubes of 24 voxels of 8 mm, cut from 24 people, are
# the whole budget. A 3-D step takes two cubes; a 2-D step takes 48 slices, from anywhere in the pool. After 300 steps each has
# seen every voxel as often. A 2.5-D network reads three slices and answers for the middle one. An inflated one spends its first
# 150 steps in 2-D. Tested on four new people.

# %%
predict("03-p3", "The same voxels, 300 steps. Which is the better on new people?",
        ["2-D on large structures, 3-D on long thin ones", "3-D on all", "2-D on all", "no difference"])

# %%
figure(*drawn.by_arm(found := runs.recorded()))

# %%
predict("03-p3")

# %%
for arm, budget in runs.PAIRS:
    for run in drawn.of(found, arm, budget)[:1]:
        print(f"{arm + ' (' + budget + ')':36s} {run.steps:4d} steps  {run.voxels / 1e6:5.1f} million voxels  "
              f"{run.multiply_adds:5.0f} x 10^9 multiply-adds")

# %% [markdown]
# *What to see.* At the same voxels 2-D is far ahead, on large structures and on long ones; at the same compute a little more. Is
# that what a third axis does to a network? Look at **"2-D, whole cubes"**: the same 2-D network, the same voxels, but the 48
# slices of a step are those of the *two cubes* that the 3-D network sees in that step. It falls to where 3-D is. So most of the
# gap is not the kernel: it is **how many different places a step has seen**. Neighbouring slices tell a gradient, and a batch
# norm, nearly the same thing 24 times.
#
# With three times the steps both go on, and 3-D gains by far more: what a step lacks in places is made good by more steps.
# Nothing here says where the curves end; published 3-D models are trained for much longer. And one learning rate served all who
# began from nothing, found in short trials of the 2-D network: tuned for itself, 3-D may do better. What the runs do say:
# "2-D against 3-D" is always also "many places against few", and a comparison that does not hold this fixed has measured
# something else.
#
# The inflated arms paid for their 2-D weights with half of their steps, and are still ahead of 3-D from scratch: 150 steps of
# many places, then 150 across slices. That is the sober case for inflation. It needs no photographs.

# %% [markdown]
# ## 6. Structure by structure, and how jagged
#
# A 2-D network forgets each slice before the next. Dice hardly minds. So count **faces**: places where a mask begins or ends,
# across slices over within them, against the same ratio of the truth:
#
# $$J = \frac{F_z(\hat Y) \,/\, (F_x(\hat Y) + F_y(\hat Y))}{F_z(Y) \,/\, (F_x(Y) + F_y(Y))}$$
#
# 1 is as smooth as the body; a mask that is rough everywhere keeps 1 as well.

# %%
figure(*drawn.by_structure(found))

# %%
nets = {arm: runs.recorded_net(arm) for arm in runs.KEPT}
maps = {arm: net.segment(values) for arm, net in nets.items()}
told = "; ".join(f"{arm} {fd.jaggedness(map_ == 2, truth == 2):.2f}" for arm, map_ in maps.items())  # class 2 is the liver
figure(drawn.coronal(values, {"truth": truth, **maps}),
       alt=f"A coronal slice of a new person, the truth, and four networks' answers in colours. Jaggedness of the liver: {told}.")

# %% [markdown]
# *What to see.* From the front, the 2-D masks have teeth: every row was drawn by somebody who had not seen the row above. The 3-D
# network, worse as it is by Dice, draws edges that are about as smooth as the body's. Two numbers, two questions; who measures
# volumes needs the first, who plans an operation may need the second. And mind the small ones: a mask of a few crumbs has a $J$
# too.

# %% [markdown]
# ## 7. Three views and a vote
#
# A 2-D network may look three times: across $Z$, across $Y$ and across $X$. Each view is blind along another axis, so their mean
# has seen everything ([Prasoon et al.](https://doi.org/10.1007/978-3-642-40763-5_31) gave three planes to one classifier).
#
# **Exercise 3.** `ask` takes slices (N, A, B) to probabilities (N, K, A, B). Ask along each axis, bring each answer back to its
# place, and let the mean decide.


# %%
def my_vote(ask, volume):
    """Labels (X, Y, Z) of a volume (X, Y, Z): the largest mean of the probabilities along the three axes."""
    # solution
    answers = [ask(volume.movedim(axis, 0)).movedim(1, 0).movedim(1, 1 + axis) for axis in range(3)]
    return torch.stack(answers).mean(0).argmax(0)


check("03-vote", my_vote)

# %%
# hint("03-vote")

# %%
show_source("fmlab.slice_inference.voted")

# %%
predict("03-p4", "A 2-D network that learnt from axial slices alone is asked along all three axes, and votes. Is the vote better "
        "than its axial answer?",
        ["yes: three opinions are better than one", "no: along two axes it sees pictures that it never learnt from", "the same"])

# %%
for arm in ("2-D", "2-D, three axes"):
    ask = slices_of(nets[arm].model)
    views = {name: along(ask, values, axis) for axis, name in enumerate(("across X", "across Y", "across Z"))}
    for name, p in {**views, "the vote": voted(ask, values)}.items():
        mask = p.argmax(0)
        print(f"{arm:16s} {name}: mean Dice {np.mean(list(fd.dice(mask, truth).values())):.2f}, jaggedness of the liver "
              f"{fd.jaggedness(mask == 2, truth == 2):.2f}")

# %%
predict("03-p4")

# %% [markdown]
# *What to see.* The second network learnt from slices of all three directions, from the same voxels, so from a third as many of
# each. Its vote beats each of its own views and is smoother. Whether it beats the network that spent everything on axial slices
# is another matter: compare. A vote costs three passes, and a structure that is thin across one axis has only two good views.

# %% [markdown]
# ## 8. Thick slices
#
# Many scans have slices of 5 mm and pixels under 1 mm. Ours become 24 mm thick, three times as in training: first as they are,
# then resampled to 8 mm, where nothing new is seen but everything has the size that the network knows.

# %%
predict("03-p5", "Slices three times as thick, and nobody trained for it. Who loses most, if the slices are read as they are?",
        ["2-D: each slice is blurred", "2.5-D", "3-D: a body squeezed to a third", "all the same"])

# %%
figure(*drawn.by_thickness(found))

# %%
predict("03-p5")

# %% [markdown]
# *What to see.* For a 2-D network a thick slice is a slightly blurred one. For a 3-D network a sphere is now a pancake, and so is
# what the "three axes" network sees along $X$ and $Y$; resampled, both come back. That is why every 3-D system of this course
# resamples first, and why nnU-Net ([Isensee et al.](https://doi.org/10.1038/s41592-020-01008-z)) gives thick axes kernels and
# strides of 1 until voxels are about cubes: a network that is 2-D above and 3-D below.

# %% [markdown]
# ## 9. What the slides claim
#
# "3-D pre-training beats 2-D": **C03**, SAM-Med3D against SAM-Med2D, at the same number of clicks (lesson 10 runs it).

# %%
display(claims.verdict("C03"))
figure(claims.forest(["C03"]), alt=claims.forest_alt(["C03"]))

# %% [markdown]
# Does that contradict section 5? It asks another question. There the budget is *clicks*: a click in 3-D speaks for all slices,
# one in 2-D for its own. Here the budget is *voxels of training*. A model may be cheaper to use and dearer to train; and the
# published pair differ in data, prompts and steps as well. So ask of each "3-D is better": better per **what**?

# %% [markdown]
# ## 10. A real CT
#
# The networks saw procedural bodies alone. For a scan of your own (a CT in Hounsfield units; it stays on this machine) put its
# path into the first line.

# %%
my_scan = None  # "/path/to/scan.nii.gz"

try:
    scan = Volume.read(my_scan) if my_scan else cohorts.load("totalsegmentator-ct")
except DataError as missing:
    print(missing)
    scan = fd.people(1, 9000, "E")[0]
real = WIDE(resampled(scan, fd.SPACING)[0][0])
figure(drawn.coronal(real, {arm: nets[arm].segment(real) for arm in ("2-D", "2.5-D", "3-D")}), caption="slices of 8 mm",
       alt="A coronal slice of a CT of 8 mm, plain and with the answers of the 2-D, the 2.5-D and the 3-D network in colours.")

# %%
wide = fd.thick(real, torch.zeros(real.shape, dtype=torch.long))[0]
figure(drawn.coronal(wide, {arm: nets[arm].segment(wide) for arm in ("2-D", "2.5-D", "3-D")}, fd.THICK),
       caption="slices of 24 mm", alt="The same with slices three times as thick.")

# %% [markdown]
# *What to see.* How far each network changes its mind when nothing changes but the thickness of slices. That needs no labels, so
# you can do it with a scan of your own and any model of this course.

# %% [markdown]
# ## 11. Quiz

# %%
quiz("03-q1")

# %%
quiz("03-q2")

# %%
quiz("03-q3")

# %%
quiz("03-q4")

# %%
quiz("03-q5")

# %%
progress()

# %% [markdown]
# **You can now** say what a third axis costs, carry 2-D weights into 3-D knowing what arrives, and ask of "3-D is better" what
# was held fixed. Next: *04 · Is text any use?*
