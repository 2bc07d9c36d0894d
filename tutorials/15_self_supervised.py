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
#     title: "Self-supervised or supervised?"
#     section: "3.A"
#     goals:
#       - name what Models Genesis, Swin UNETR, MAE, DeSD and UniMiSS ask of a scan that nobody has drawn in
#       - write the loss of a masked autoencoder, and say what the mask ratio decides
#       - show how a dense network notices its mask, and what a sparse one does about it
#       - load pre-trained weights so that you know that they arrived
#       - weigh SuPreM's argument against your own curves, and say what a fair comparison needs
#     prerequisites: ["lesson 12", "lesson 05 helps"]
#     minutes: 75
#     seconds: 75
#     gigabytes: 2.0
#     download_mb: 0
#     hardware: 2 CPU cores
# ---

# %% [markdown]
# # 15 · Self-supervised or supervised?

# %% [markdown]
# Drawing costs hours, scanning costs minutes. So hospitals have a hundred scans without a mask for each one with masks. Can
# $\theta_f$, the part of the network that gives features, learn from scans alone? A **pretext** is a task whose answer the scan
# itself holds: break it, and ask for it back. Afterwards the head goes, and $\theta_f$ begins the task that you have labels for:
#
# $$\min_{\theta_f, \theta_p} \sum_n \mathcal{L}_{pretext}\big(X_n, \theta_p(\theta_f(\tilde X_n))\big) \qquad\text{then}\qquad
# \min_{\theta_f, \theta_c} \sum_n \mathcal{L}_{SEG}\big(Y_n, \sigma(\theta_c(\theta_f(X_n)))\big)$$
#
# | system | what is done to $X$ | $\mathcal{L}_{pretext}$ | encoder, decoder, or both handed on |
# |---|---|---|---|
# | [Models Genesis](https://doi.org/10.1016/j.media.2020.101840) | shuffled, curved, painted | squared error, all voxels | both |
# | [Swin UNETR](https://doi.org/10.1109/CVPR52688.2022.02007) | turned, cut out | repair + rotation + contrast | encoder |
# | [MAE](https://doi.org/10.48550/arXiv.2410.23132) | three blocks of four hidden | squared error, hidden voxels | both |
# | [DeSD](https://doi.org/10.1007/978-3-031-16440-8_52) | two views | distillation, every stage | the teacher's encoder |
# | UniMiSS | two views, slices and volumes | distillation, 2-D to 3-D and back | both |
# | [SuPreM](https://doi.org/10.48550/arXiv.2501.11253) | nothing | $\mathcal{L}_{SEG}$: somebody *did* draw | both |

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 75 minutes alone, 100 in a room. Let the room argue section 10 in two halves, one with scans and one
# with masks to offer, before the verdicts are shown. 15-p2 is the hard one: most people say "none, they are hidden". The live
# fine-tuning takes about a minute; 15-p3 fits in. Section 7 is the one that saves somebody a month: do not skip it.
#
# **Typical misconceptions.** What is hidden is believed to leave no trace: fill and norms carry it everywhere. A low loss is
# taken for a good pre-training, a silent load for a finding about pre-training, and scans without masks for the same
# currency as scans with them. In exercise 1 the mean is taken over all voxels, the visible ones too.

# %%
import copy
import math
import tempfile

import torch

from fmlab import Volume, cohorts, hub
from fmlab.errors import DataError, ModelError
from fmlab.lessons import check, claims, figure, hint, predict, pretexts, progress, quiz, show_source
from fmlab.lessons.experiments import pretrainings
from fmlab.lessons.experiments.transfer_curves import scored
from fmlab.phantom.visits import any_visit
from fmlab.pretraining import clip_driven, distillation, genesis, mae, nano, patches, sparse_mae, swin_ssl, universal
from fmlab.pretraining.transfer import COURSE, Transfers, transfer
from fmlab.settings import profile
from fmlab.training import train

# %% [markdown]
# ## 1. Break it: Models Genesis
#
# Cubes of eight people whom no model of the course has seen. No label is read. One cube, and what Models Genesis does to it:

# %%
torch.manual_seed(15)
strangers = nano.unlabelled(nano.bodies(dict.fromkeys(nano.HOSPITALS, 2), first_seed=9000, workers=1))
images = torch.stack([strangers[n]["image"] for n in range(len(strangers))])
whole = images[1]
torch.manual_seed(5)
broken = {"as it is": whole, "shuffled": genesis.shuffled(whole), "curved": genesis.curved(whole),
          "painted inside": genesis.painted_inside(whole), "painted outside": genesis.painted_outside(whole)}
figure(pretexts.slices(broken.values(), list(broken), 1.8),
       alt="One axial slice five times: as it is; shuffled, grainy, with the organs still in place; curved, with light "
           "and dark exchanged; painted inside, with two boxes of noise; painted outside, noise around a window.")

# %% [markdown]
# *What to see.* Each asks for another piece of knowledge:
#
# - **shuffled**: what is the texture, when the shape is left?
# - **curved**: what is this, when its brightness says nothing? (In CT brightness nearly *is* the tissue, so this is the hardest.)
# - **painted inside**: what lies between?
# - **painted outside**: what lies around?
#
# Most cubes get several of them at once, and one U-Net undoes them all:

# %%
restorer = hub.load("genesis", "nano")
x, y = genesis.corrupted(images)
with torch.no_grad():
    restored = restorer(x).sigmoid()
before, after = ((guess - y).square().mean().item() for guess in (x, restored))
cubes = [cube for three in zip(x[:2], restored[:2], y[:2]) for cube in three]
figure(pretexts.slices(cubes, ["broken", "restored", "as it was"] * 2, 1.5),
       caption=f"squared error of all eight cubes: {before:.4f} as broken, {after:.4f} as restored",
       alt=f"Two cubes, each broken, restored by the shipped Models Genesis, and as it was; squared error of all eight "
           f"{before:.4f} as broken and {after:.4f} as restored.")

# %% [markdown]
# ## 2. Three questions at once: Swin UNETR
#
# Two views of each cube, each turned by $k$ quarters and with boxes cut out. The encoder alone answers three questions:
#
# - *What was there?* Repair the cube ($L_1$, all voxels).
# - *How was it turned?* Which $k$ (cross-entropy).
# - *Who is it?* Which of all cubes of the batch is this one's other view (NT-Xent).
#
# $$\mathcal{L} = |\hat x_i - v_i| + \mathrm{CE}(r_i, k_i)
# - \log \frac{e^{c_1 \cdot c_2 / \tau}}{\sum_{j \ne 1} e^{c_1 \cdot c_j / \tau}}$$

# %%
swin, fresh = hub.load("swin_ssl", "nano"), hub.build("swin_ssl").eval()
print(f"guessing     rotation {math.log(4):.3f}   contrast {math.log(2 * len(images) - 1):.3f}")
for who, model in {"untrained": fresh, "trained": swin}.items():
    torch.manual_seed(5)  # the same turns and boxes for both
    with torch.no_grad():
        losses = swin_ssl.losses(model, images)
    print(f"{who:10s}", *(f"  {what} {float(loss):.3f}" for what, loss in losses.items()))
views, k = swin_ssl.rotated(images[:3])
titles = [text for quarters in k.tolist() for text in (f"turned by {quarters}", "cut out")]
figure(pretexts.slices([cube for pair in zip(views, swin_ssl.cut_out(views)) for cube in pair], titles, 1.5, sides=""),
       alt="Three cubes turned about the left-right axis, and beside each the same with boxes of noise or of others.")

# %% [markdown]
# *What to see.* Which answer has come far from guessing, and which one hardly? A turn is easy to name for someone who has seen
# bodies: the spine is behind. That is also its weakness, as one landmark is enough. And contrast wants a batch: with two cubes
# on a GPU there are two others to differ from, and nobody learns much from that.

# %% [markdown]
# ## 3. Hide it: the masked autoencoder
#
# Cut the cube in blocks, hide three of four, fill them with the cube's mean, and let an ordinary U-Net say what was there. Its
# answer $\hat x$ is in deviations from the mean: each cube is z-scored **by itself**, so that no scan speaks louder for its
# contrast.
#
# $$\mathcal{L} = \frac{1}{|H|} \sum_{v \in H} \Big(\hat x_v - \frac{x_v - \mu}{\sigma}\Big)^2
# \qquad H = \text{the hidden voxels}$$
#
# **Exercise 1.** Write it. In go the network's answer $\hat x$ (`prediction`), the cubes as they were (`x`), and `visible`, with
# one channel: True where the network was shown the image. Out comes one number, the loss of the batch.


# %%
def my_hidden_mse(prediction, x, visible):
    """The loss of a masked autoencoder. prediction, x: (B, C, X, Y, Z); visible: (B, 1, X, Y, Z) bool."""
    # solution
    deviation, mean = torch.std_mean(x, (2, 3, 4), correction=0, keepdim=True)
    wrong = (prediction - (x - mean) / deviation.clamp(min=1e-6)).square()
    return wrong[(~visible).expand_as(wrong)].mean()


check("15-hidden", my_hidden_mse)

# %%
# hint("15-hidden")

# %%
show_source("fmlab.pretraining.mae.hidden_mse")

# %% [markdown]
# ## 4. How much to hide?

# %%
predict("15-p1", "The course's MAE was trained with three blocks of four hidden. Now 10 %, 75 % or 95 % are hidden. What does it "
        "make of the hidden blocks?",
        ["best at 10 %, where each hole has its whole neighbourhood", "best at 75 %, which it is used to",
         "the same everywhere: it has learnt anatomy"])

# %%
reader = hub.load("mae", "nano")


def filled(cubes, ratio):
    """Cubes (B, 1, X, Y, Z) as the MAE sees them and as it fills them in, and its loss."""
    torch.manual_seed(1)
    visible = mae.grown(mae.visible_blocks(len(cubes), cubes.shape[2:], ratio=ratio), cubes.shape[2:])
    with torch.no_grad():
        answer = reader(mae.hidden_as_mean(cubes, visible))
    mean, deviation = mae.moments(cubes)
    losses = [float(mae.hidden_mse(guess, cubes, visible)) for guess in (answer, 0 * answer)]  # 0 is the mean
    return mae.hidden_as_mean(cubes, visible), torch.where(visible, cubes, answer * deviation + mean), *losses


tried = {ratio: filled(images, ratio) for ratio in (0.1, 0.3, 0.5, 0.75, 0.9, 0.95)}
for ratio, (_, _, loss, nothing) in tried.items():
    print(f"{ratio:4.0%} hidden: loss {loss:.3f}; {nothing:.3f} for whoever always says \"the mean\"")

# %%
cubes = [cubes[1] for ratio in (0.1, 0.75, 0.95) for cubes in tried[ratio][:2]]
titles = [f"{ratio:.0%} {what}" for ratio in (0.1, 0.75, 0.95) for what in ("hidden", "filled in")]
figure(pretexts.slices([*cubes, whole], [*titles, "as it was"], 1.4),
       alt="A slice with 10, 75 and 95 percent of its blocks hidden, each beside what the MAE fills in, and as it was. "
           "Loss " + ", ".join(f"{tried[ratio][2]:.2f} at {ratio:.0%}" for ratio in (0.1, 0.75, 0.95)))

# %%
predict("15-p1")

# %% [markdown]
# *What to see.* It is best near what it was trained with.
#
# - **Nineteen of twenty hidden**: nobody could know, and the best answer is a blurred average of all bodies.
# - **One of ten hidden**: each hole has its neighbours, and a network *trained so* would get by with smooth continuation, knowing
#   little. Ours does badly there, as it never saw so few holes, and section 5 says why its norms notice.
# - **In between** one has to know that ribs go around, and that a kidney lies beside a spine.
#
# So a low loss is not the aim: the ratio is chosen by what **transfers**, and nobody has found it by theory.

# %% [markdown]
# ## 5. What a dense network sees of its mask
#
# A transformer drops hidden blocks. A convolution cannot: it computes there as elsewhere. We take a cube, change what lies in its
# **hidden** blocks and nothing else, and look at the encoder's features at **visible** places.

# %%
predict("15-p2", "Only hidden voxels change. The dense MAE replaces them by the cube's mean before the encoder sees them. Do its "
        "features at visible places move?",
        ["no: it cannot see what is hidden", "yes, near hidden blocks only", "yes, everywhere"])

# %%
one, visible = images[1:2], mae.visible_blocks(1, images.shape[2:])
shown = mae.grown(visible, one.shape[2:])
other = torch.where(shown, one, one.flip(2) * 0.5)
encoders = {"dense, nothing filled in": reader.backbone.encode,
            "dense, the mean filled in": lambda cube: reader.backbone.encode(mae.hidden_as_mean(cube, shown)),
            "sparse": lambda cube: sparse_mae.sparse_levels(reader.backbone, cube, visible)}
for who, encode in encoders.items():
    moves = pretexts.moved(encode, one, other, visible)
    print(f"{who:26s}", *(f"level {level}: {move:7.2%}" for level, move in enumerate(moves, start=1)))

# %%
predict("15-p2")

# %% [markdown]
# *What to see.* Two ways lead from a hidden voxel to a visible feature. The **convolution** reaches its neighbours, more of them
# at each level. The **norm** reaches everywhere at once, as its mean and deviation are those of the whole level. With the mean
# filled in, a single number is left of the hidden content; the second row says how far one number gets when it is written into
# three voxels of four. The fill itself is the trouble: three quarters of every statistic in pre-training is fill, and in the task
# there is none. The skips carry all of it on to the decoder.
#
# The **sparse** encoder multiplies each convolution's and each norm's output by the mask, and takes the norm's statistics from
# visible places alone. Then the row is exactly 0. (A learned token fills the holes before the decoder.)

# %%
show_source("fmlab.pretraining.sparse_mae.sparse_block")

# %% [markdown]
# ## 6. Nothing to restore: distillation, and how it collapses
#
# DeSD and UniMiSS restore nothing. A student says of one view what a teacher says of another one, and the teacher is the
# student's own past. An easy way to agree is to say *the same of everything*. What keeps them from it is a centre $c$ and a low
# temperature:
#
# $$p_t = \mathrm{softmax}\big((t - c)/\tau_t\big) \qquad c \leftarrow 0.9\, c + 0.1\, \bar t$$

# %%
crops, every, watched = images[:, :, 8:24, 8:24, 8:24], max(1, profile().steps // 8), {}
for name, settings in {"centre and temperature": {}, "no centre": {"centre": None},
                       "no low temperature": {"teacher": 1.0, "warm": 1.0}}.items():
    torch.manual_seed(2)
    pupil = hub.build("desd", width=8, dino={"ema": 0.97, **settings})
    watched[name] = distillation.watch(pupil, lambda step: crops, crops, profile().steps, every=every)
figure(*pretexts.collapses(watched, every))

# %% [markdown]
# *What to see.* Near 0 one output takes all, whatever is seen. Near 1 all outputs are used alike, which may mean that each cube
# has its own, or that every cube gets a bit of each. *Information* in the legend tells the two apart: 0 is collapse, the same
# answer for everybody. The loss alone does not show it: it is lowest where nothing is said.

# %% [markdown]
# ## 7. Did anything arrive?
#
# A file of weights, and a network for five new structures. The names in the file begin with `student.`, as a wrapper left them.
# The usual line, copied from somewhere:

# %%
file = {f"student.{key}": value for key, value in reader.state_dict().items()}
network = hub.build("universal", structures=nano.NOVEL)
begun = copy.deepcopy(network.state_dict())
network.load_state_dict(file, strict=False)  # no error, no word
same = sum(torch.equal(value, begun[key]) for key, value in network.state_dict().items())
print(f"{same} of {len(begun)} tensors are as random as before")

# %% [markdown]
# Whole comparisons were run like this: the official file of Swin UNETR lacks a prefix, and `strict=False` loads nothing and
# says nothing. "Pre-training does not help" is then a finding about a dictionary. `transfer` counts what matched, and refuses
# below 95 %:

# %%
try:
    transfer(network, file, mae.TRANSFERS, arm="encoder+decoder", fed=COURSE)
except ModelError as refused:
    print("refused:", str(refused).replace(", while", ",\n    while").replace(": give", ":\n    give"), end="\n\n")
renamed = Transfers(mae.TRANSFERS.parts, mae.TRANSFERS.fed, inside="student.")
report = transfer(network, file, renamed, arm="encoder+decoder", fed=COURSE)

# %% [markdown]
# Read the six lines as a checklist: **1** the tensors, **2** the input (a network trained on one window and fed another has
# features of another world), **3** the arms, **4** the same budget and tuning for *scratch*, **5** what begins anew, **6**
# nobody tested is in the pool. Each has sunk a published comparison.

# %% [markdown]
# ## 8. The first steps, live
#
# Five structures that no pre-training was asked for, drawn by a hospital that none has seen, on three people. Three beginnings,
# and the same head, cubes, order and rates for all. (`transfer` prints its checklist each time; here it is kept quiet.)

# %%
predict("15-p3", f"After the first {profile().steps} steps, which beginning has the lowest loss?",
        ["scratch: it has nothing to unlearn", "MAE: 160 scans, no label", "supervised: 160 scans, masks of other structures"])

# %%
people, unseen = (cohorts.phantoms(n, "F", nano.SPACING, seed, 1, True, any_visit)
                  for n, seed in ((3, 50_900), (1, 58_900)))
data = patches.Patches(people, nano.NOVEL, nano.SIDE)
beginnings = {"scratch": None, "MAE": (reader, mae.TRANSFERS),
              "supervised": (hub.load("clip_driven", "nano"), clip_driven.TRANSFERS)}

# %%
went, dice = {}, {}
for arm, handed in beginnings.items():
    torch.manual_seed(3)  # the same head for all
    network = hub.build("universal", structures=nano.NOVEL)
    if handed:
        transfer(network, *handed, arm="encoder+decoder", fed=COURSE, tested=unseen.patients, quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        went[arm] = train(network, universal.masked, data, nano.budget(profile().steps, 1, "float32"), folder, progress=False).log
    dice[arm] = sum(scored(network.eval(), unseen).values())
figure(*pretexts.first_steps(went, dice))

# %%
predict("15-p3")

# %% [markdown]
# *What to see.* The same network, the same cubes in the same order, and other first steps. Is one line below the others by more
# than it jumps from step to step? That is the *speed* at which a task is learnt, on one seed and one person. Whether the end is
# better as well, and with how many labels, is another question.

# %% [markdown]
# ## 9. The claims, on more than one run
#
# **C11**: supervised pre-training on *twelve* partly drawn bodies against self-supervised pre-training on 160. **C12**: the
# more labels the task has, the less pre-training adds. Both from stored runs, and both verdicts are computed here.

# %%
display(claims.verdict("C11"), claims.verdict("C12"))
figure(claims.forest(["C11", "C12"]), alt=claims.forest_alt(["C11", "C12"]))

# %%
figure(*pretexts.transfer_curves(["C11", "C12"]))

# %% [markdown]
# *What to see.* A mark is the mean over seeds, its bar their spread. On the left look for an arm that is clear of *scratch* by
# more than the bars: that is what pre-training has to show. On the right compare the gap at few labels with the gap at many.
# Where the bars overlap, the honest word is the one that the verdict has. Run both on your machine:
# `claims.record(c11.run(seed=7))` with `fmlab.lessons.experiments.c11`, and `c12` likewise.
#
# ### All of the course's pre-trainings
#
# The seven whose weights ship, each trained from three seeds on the same bodies. Then the same fine-tuning, on ten labelled people,
# for five structures that are new. DoDNet, UniSeg and Hermes have networks of their own; the others share a U-Net with *scratch*.

# %%
predict("15-p4", "Three seeds of each method. How far apart are the seeds of one method, beside the methods?",
        ["much nearer to each other than the methods are", "as far apart as the methods", "only scratch depends on its seed"])

# %%
figure(*pretrainings.compared(pretrainings.recorded()))

# %%
predict("15-p4")

# %% [markdown]
# *What to see.* On the left the methods differ, and it is not their idea alone: one budget suits a U-Net, and leaves UniSeg at
# nothing where it could have had half. On the right look at the *low* marks. Five structures: a run that never begins to find one
# or two of them loses a fifth or two, and which run that is, the seed decides, for scratch as for a pre-trained beginning. Some
# methods have no such run here, and three seeds cannot tell whether they never would. So a table with one seed a method, and most
# papers have such a table, may rank luck. How often a run fails is as much a result as how good it is when it does not.

# %% [markdown]
# ## 10. SuPreM's argument
#
# | pre-training | scans | masks | GPU hours |
# |---|---|---|---|
# | supervised | 21 | 672 | 40 |
# | self-supervised | 5,050 | none | 1,152 |
#
# "A transfer learning ability similar" is what [Li, Yuille and Zhou](https://doi.org/10.48550/arXiv.2501.11253) find for these
# two, and with all of AbdomenAtlas 1.1, 9,262 scans and 25 structures, the supervised one goes on growing. Their reason: the
# task to come is segmentation, so let the pretext be segmentation. Before you take sides:
#
# - **What costs what?** 672 masks are somebody's weeks. Scans and masks are different currencies; the table counts in one.
# - **How near is the new task?** Supervised features know edges of organs. Ask them for something that no edge helps with.
# - **Was the other side at its best?** A later, dense MAE with 39,000 MR scans reports some 3 Dice points over scratch
#   ([Wald et al.](https://doi.org/10.48550/arXiv.2410.23132)), where an independent re-test of Models Genesis and Swin UNETR
# saw hardly any gain.
#
# ## 11. A real CT
#
# Does a network that has seen procedural bodies alone know what is missing in a patient? For a scan of your own (a CT in
# Hounsfield units; it stays on this machine), put its path into the first line.

# %%
my_scan = None  # "/path/to/scan.nii.gz"

try:
    scan = Volume.read(my_scan) if my_scan else cohorts.load("totalsegmentator-ct")
except DataError as missing:
    print(missing)
    scan = any_visit(9, "E", nano.SPACING)
real = pretexts.cube_of(scan)
seen, guess, loss, nothing = filled(real, 0.75)
figure(pretexts.slices([seen[0], guess[0], real[0]], ["hidden", "filled in", "as it was"], 2.4),
       caption=f"loss {loss:.2f}; {nothing:.2f} for whoever always says \"the mean\"",
       alt=f"The middle of a CT with three blocks of four hidden, filled in, and as it was; loss {loss:.2f}.")

# %% [markdown]
# *What to see.* Compare the loss with the one for 75 % in section 4, on procedural bodies. What does the network expect where a
# patient is different?
#
# ## 12. Quiz

# %%
quiz("15-q1")

# %%
quiz("15-q2")

# %%
quiz("15-q3")

# %%
quiz("15-q4")

# %%
quiz("15-q5")

# %%
progress()

# %% [markdown]
# **You can now** pre-train on scans that nobody drew in, load the result so that you know it arrived, and ask of any
# "pre-training helps" what it was compared with. Next: *16 · Few shots, known organs*, where most of $\theta_f$ stays as it is.
