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
#     title: "Zero-shot and transfer"
#     section: "2.A"
#     goals:
#       - tell ImageNet's philosophy in a sentence, and what Med3D and SuPreM kept of it and changed
#       - write Med3D's loss, in which each data set has a branch of its own
#       - name three meanings of "zero-shot", and say of a model which of them it can do
#       - write a transfer that cannot fail in silence, and go through its checklist
#       - teach a pre-trained model structures it does not know, and compare with scratch, frozen and a head alone
#     prerequisites: ["lesson 00", "a network trained once by yourself, with any loss"]
#     minutes: 60
#     seconds: 100
#     gigabytes: 2.0
#     download_mb: 3.1
#     hardware: 2 CPU cores
# ---

# %% [markdown]
# # 05 · Zero-shot and transfer

# %% [markdown]
# For years hardly anybody trained a vision network from random numbers. One took what had been trained on **ImageNet**, cut its head
# off, put a new one on, and went on training: *learn once where labels are many, use everywhere*.
#
# $$\hat Y = \sigma(\theta_c(\theta_f(X))) \qquad \theta_f \leftarrow \theta_f^{\text{pre-trained}} \qquad \theta_c \leftarrow
# \text{random}$$
#
# A CT is no photograph. So where is the ImageNet of volumes? **Med3D** (Chen et al. 2019) sewed it together from small data sets,
# **SuPreM** (Li et al. 2024) had it drawn. This lesson asks what such a model can do on the spot (*zero-shot*), and what it can
# become (*transfer*), with a model of the course that you can train and break.

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 60 minutes alone, 80 in a room. Before section 3 let everyone write down what "zero-shot" means and read
# three answers aloud: there are three. Exercise 2 is the one to insist on, as the failure that it forbids makes no noise. Ask for
# hands at 05-p3 before anybody scrolls. Lesson 15 compares ways of pre-training, lesson 17 ways of adapting.
#
# **Typical misconceptions.** "Zero-shot" is taken for one thing; a load without an error is taken for a load. Freezing is
# held to be always safer with few labels: true where the structure is known, wrong where it is new. In exercise 1 many send
# the whole batch through one branch, or take the softmax twice.

# %%
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

import fmlab
from fmlab import cohorts, hub, inference, metrics, phantom
from fmlab.errors import DataError, ModelError, ScanError
from fmlab.lessons import check, claims, figure, hint, predict, progress, quiz, show_source
from fmlab.lessons import ways_to_begin as ways
from fmlab.pretraining import hospitals, med3d, nano, suprem, universal
from fmlab.pretraining.patches import Patches
from fmlab.pretraining.transfer import COURSE, Transfers, intended_keys, transfer
from fmlab.settings import profile

# %% [markdown]
# ## 1. Med3D: a branch for each data set
#
# Eight data sets, each with a few organs, each with its own idea of "background": what one calls background another calls liver.
# Med3D's answer is not to let them meet. One encoder for all, **one decoder for each data set**, and a scan goes through its own:
#
# $$Z_n = \theta_f(X_n) \qquad \hat Y_n = \text{softmax}\big(\theta_c^{d(n)}(Z_n)\big) \qquad \min\; \frac{1}{N}\sum_n
# \text{CE}(Y_n, \hat Y_n)$$
#
# with $d(n)$ the data set of scan $n$. Afterwards all branches are thrown away. What is kept is the encoder.

# %%
predict("05-p1", "A batch holds a scan of hospital A and one of hospital B. The model has branches A, B, C and D. "
        "Which parts learn from this batch?",
        ["all of it", "the encoder and all four branches, C and D a little", "the encoder and the branches A and B",
         "the branches A and B only: the encoder is shared, so it is left alone"])

# %% [markdown]
# **Exercise 1.** Write this loss. In go the features `z` of a batch, its `labels` (numbers from 0 to $K_d - 1$, each scan's in the
# numbering of its own data set), `datasets` (the number $d(n)$ of each scan), and `heads`. A branch is as small as can be here:
# `heads[d]` is a matrix from $C$ features to $K_d$ classes. Out comes one number.


# %%
def my_branch_loss(z, labels, datasets, heads):
    """z (B, C, X, Y, Z), labels (B, X, Y, Z), datasets (B,), heads: for each data set a matrix (K_d, C)."""
    # solution
    costs = []
    for features, label, d in zip(z, labels, datasets):
        logits = torch.einsum("kc,cxyz->kxyz", heads[d], features)
        costs.append(F.cross_entropy(logits[None], label[None]))
    return torch.stack(costs).mean()


check("05-branch", my_branch_loss)

# %%
# hint("05-branch")

# %%
show_source("fmlab.pretraining.med3d.branch_loss")

# %% [markdown]
# Now with a whole Med3D, small, with the four hospitals of the course as its data sets.

# %%
net = hub.build("med3d", size="nano", classes={name: 1 + len(asked) for name, asked in hospitals.ASKED.items()})
image, labels = torch.rand(2, 1, 32, 32, 32), torch.randint(0, 5, (2, 1, 32, 32, 32))
med3d.branch_loss(net, image, labels, ["A", "B"]).backward()
parts = {"encoder": "layer"} | {f"branch {name}": f"conv_seg.{name}." for name in hospitals.HOSPITALS}
for part, begins in parts.items():
    pushes = [float(p.grad.norm()) for name, p in net.named_parameters()
              if name.startswith(begins) and p.grad is not None]
    print(f"{part:8s} gradient {np.linalg.norm(pushes):.3f}")
print("branches with a liver:", ", ".join(name for name, asked in hospitals.ASKED.items() if "liver" in asked))

# %%
predict("05-p1")

# %% [markdown]
# *What to see.* The branches that nobody asked get no gradient. So nothing contradicts itself, and nothing is shared but the features:
# there is one liver *for each data set* that draws one, and each learned from that data set alone. Ask this model for "the liver" of
# a scan from a new hospital, and it asks back: whose? So Med3D is made for transfer, not for zero-shot. (Lesson 12 merges the livers
# by masks, lesson 13 by texts, and lesson 14 asks each hospital for its own.)
#
# ## 2. SuPreM: draw everything
#
# SuPreM took the other way: 9,262 CTs in which *all* of 25 organs are annotated, by networks first and people after. No branches, no
# mask: one head for all, and then the **decoder** is worth keeping too.

# %%
with torch.device("meta"):  # shapes without numbers
    systems = {"Med3D (ResNet-10)": (med3d.med3d(), ["encoder"]),
               "SuPreM (U-Net)": (hub.build("suprem_unet", classes=25), ["encoder", "decoder"]),
               "ours (nano)": (universal.universal(), ["encoder", "decoder"])}
for system, (network, parts) in systems.items():
    kept = sum(network.state_dict()[name].numel() for name in intended_keys(network, parts))
    total = sum(value.numel() for value in network.state_dict().values())
    print(f"{system:18s} {total / 1e6:6.2f} million numbers, {kept / total:7.2%} handed on ({' and '.join(parts)})")

# %% [markdown]
# "Everything is annotated" is a condition, not a wish. SuPreM's loss in the package therefore looks, and refuses other data:

# %%
model = hub.load("universal", "nano")
partly = Patches(cohorts.phantoms(1, "B", universal.SPACING, 4000, 1, partial=True), universal.UNIVERSAL, nano.SIDE)
try:
    suprem.fully_annotated(model, torch.utils.data.default_collate([partly[0]]))
except ScanError as refused:
    print(str(refused).replace("; ", ";\n    "))

# %% [markdown]
# And ImageNet itself? Its kernels are flat and of three colours, so hardly one tensor fits a 3-D network of one channel. In 2-D a model
# of natural images can be used as it is. Whether it should be, the ledger of claims says (lessons 08 and 09 are about it):

# %%
claims.verdict("C02")

# %% [markdown]
# ## 3. Zero-shot: of what, exactly?
#
# | "zero-shot" means | not seen before | who can do it |
# |---|---|---|
# | **1** known structures, new hospital | scanner, patients, drawing rules | any model with those outputs, ours too |
# | **2** a new structure, by its name | the class | only a model that takes names (lessons 13 and 04), as far as its training goes |
# | **3** a new task, without training | the task | in-context models, given examples (lesson 06) |
#
# The same word for three feats, the first much the easiest.
#
# **Meaning 1.** Our universal model was trained at hospitals A to D. E and F have other scanners, with more noise or thicker slices;
# F leaves vessels out of the liver.

# %%
predict("05-p2", "The same kind of body, scanned at A (where the model trained; the person is new), and at E and F (where it never "
        "was). Then a real patient. Where does the mean Dice drop most?",
        ["already at E and F: another scanner is another world", "at the patient", "nowhere: it was trained on four hospitals"])

# %%
scans = {f"hospital {name}": phantom.sample(9100 + n, name, profile().spacing, field_of_view="torso")
         for n, name in enumerate("AEF")}
try:
    scans["a patient"] = cohorts.load("totalsegmentator-ct")
except DataError as missing:
    print(missing)
found = {where: inference.segment(model, scan, overlap=0.25) for where, scan in scans.items()}
every = {where: metrics.evaluate(found[where], scan, universal.UNIVERSAL) for where, scan in scans.items()}
scores = {where: {s.structure: s.dice for s in there if s.volume_ml > 0} for where, there in every.items()}
shared = [name for name in universal.UNIVERSAL if all(name in there for there in scores.values())]
print(f"mean Dice over the {len(shared)} structures that all of them show:")
for where, there in scores.items():
    print(f"  {where:10s} {np.mean([there[name] for name in shared]):.2f}")

# %%
figure(*ways.by_structure(scores, shared))

# %%
predict("05-p2")

# %%
print(next(line for line in (hub.models.WEIGHTS / "universal-nano.md").read_text().splitlines() if "mean Dice" in line))

# %%
where, scan = list(scans.items())[-1]
fmlab.view(scan, compare=[("zero-shot", found[where])], index=int(scan.shape[2] * 0.7))

# %% [markdown]
# *What to see.* One body a hospital proves little; the line of the model's card, below your prediction, rests on many. Between
# hospitals of one world there is little to lose, since the training randomised contrast, noise and size harder than hospitals differ.
# What was *not* randomised is what a patient brings: other shapes, stool, tubes. A "new hospital" is new only as far as the training
# could imagine one. (Without a patient on this machine the last scan is hospital F's.)
#
# **Meaning 2.** We name a structure that the model does not know:

# %%
try:
    inference.segment(model, scan, ["gluteus_maximus_left"])
except ModelError as refused:
    print(f"{str(refused)[:110]} ...")
print("new to it:", ", ".join(nano.NOVEL))

# %% [markdown]
# *What to see.* Thirty outputs, thirty names, and no way to say a thirty-first. It has *seen* gluteal muscles in many scans; to it
# they were "nothing". **Meaning 3** is out of the question: this model takes no examples. What remains is to go on training.

# %% [markdown]
# ## 4. The transfer, and how it fails in silence
#
# A new model for five new structures; the checkpoint comes from a machine with several GPUs, whose `DataParallel` wrote "module."
# before each name. The usual line of code:

# %%
pretrained = model.state_dict()
checkpoint = {f"module.{name}": value for name, value in pretrained.items()}
novice = hub.build("universal", structures=nano.NOVEL)
answer = novice.load_state_dict(checkpoint, strict=False)

# %% [markdown]
# No error. Did all go well? `answer`, which nobody prints, knows:

# %%
print(f"{len(answer.missing_keys)} of {len(novice.state_dict())} tensors missing, {len(answer.unexpected_keys)} not expected")

# %% [markdown]
# *Nothing* was loaded. From here on "pre-trained against scratch" is scratch against scratch, and whole comparisons were run so: the
# official Swin UNETR file, for one, lacks a prefix that the network has.
#
# **Exercise 2.** Write a transfer that says what it did, and refuses to do next to nothing. In go two dictionaries, name to tensor:
# `state` of the model and `weights` of the checkpoint. Out come two lists with an entry for each name of `state`, in its order:
#
# - `tensors`: the checkpoint's tensor, or the model's own where none fits;
# - `fresh`: True where it is the model's own.
#
# Which tensors go over? Those of the backbone, by name (whatever prefix it has) and shape. The head never does, even where its shape
# happens to fit. Where less than 95 % of the backbone would arrive, raise a `ModelError`.


# %%
def my_transfer(state, weights):
    """state, weights: {name: tensor}, of model and checkpoint. Returns (tensors, fresh), each as long as state."""
    # solution
    def plain(name):
        return name.removeprefix("module.").removeprefix("backbone.")
    theirs, tensors, fresh = {plain(name): value for name, value in weights.items()}, [], []
    for name, own in state.items():
        other = theirs.get(plain(name)) if name.startswith("backbone.") else None
        fits = other is not None and other.shape == own.shape
        tensors.append(other if fits else own)
        fresh.append(not fits)
    intended = [new for name, new in zip(state, fresh) if name.startswith("backbone.")]
    if intended.count(False) < 0.95 * len(intended):
        raise ModelError(f"Only {intended.count(False)} of {len(intended)} tensors of the backbone are there.")
    return tensors, fresh


check("05-transfer", my_transfer)

# %%
# hint("05-transfer")

# %%
answer = my_transfer(novice.state_dict(), checkpoint)
if answer is None:
    print("my_transfer gives nothing yet: write it above, then run this cell again.")
else:
    tensors, fresh = answer
    print(list(fresh).count(False), "taken over; begin anew:", *(n for n, new in zip(novice.state_dict(), fresh) if new))

# %%
show_source("fmlab.pretraining.transfer.transfer")

# %% [markdown]
# The package's version goes through a checklist of six points; the tensors are only the first. (Lesson 15 reads all six.) The second
# is the input: our model was trained on voxels of one size, the course's other small models (`COURSE`) on larger ones. What if we fed
# it those?

# %%
of = Transfers(("encoder", "decoder"), replace(COURSE, spacing=universal.SPACING), inside="backbone.")
try:
    transfer(novice, checkpoint, of, arm="encoder+decoder", fed=COURSE)
except ModelError as refused:
    print(refused, end="\n\n")
report = transfer(novice, checkpoint, of, arm="encoder+decoder", fed=of.fed)

# %% [markdown]
# ## 5. Five new structures from a few people
#
# We have a few people of hospital F, labelled with the new structures, and another one to be examined on. There are four ways to
# begin, the arms. All of them get the same budget, head, people and order (points 3 and 4 of the checklist):
#
# | arm | encoder | decoder | head |
# |---|---|---|---|
# | scratch | random | random | random |
# | encoder+decoder | taken, trained on | taken, trained on | random |
# | frozen | taken, **kept** | random | random |
# | head alone | taken, **kept** | taken, **kept** | random |

# %%
predict("05-p3", f"A few labelled people, {profile().steps} steps, structures that are new. Which arm comes out first?",
        ["scratch: nothing old is in the way", "encoder+decoder, all of it trained on",
         "frozen: with so few labels a frozen encoder is safer", "the head alone: it has the fewest parameters to overfit"])

# %%
labelled, unseen = (cohorts.phantoms(count, "F", universal.SPACING, seed, 1, partial=True)
                    for count, seed in ((profile().cases // 2 + 1, 50_000), (1, 58_000)))
steps, data, exam = profile().steps, Patches(labelled, nano.NOVEL, nano.SIDE), ways.cubes(unseen)


def begun(arm):
    """A network that begins as the arm says; the head is the same random one for all."""
    torch.manual_seed(0)
    network = hub.build("universal", structures=nano.NOVEL)
    report = transfer(network, pretrained, of, arm.replace("head alone", "encoder+decoder"), of.fed, quiet=True)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in report.fresh if arm == "head alone" else name not in report.frozen)
    return network


# %%
networks = {arm: begun(arm) for arm in ("scratch", "encoder+decoder", "frozen", "head alone")}
curves = {arm: ways.fine_tuned(network, data, exam, steps) for arm, network in networks.items()}
figure(ways.drawn(curves), alt=ways.told(curves))

# %%
predict("05-p3")

# %% [markdown]
# *What to see.* Compare the curves at the same *step*, and then ask how many steps later another curve gets there. Such a lead, where
# there is one, is what pre-training bought. It may shrink with more steps and more labels. Then look at "head alone": it trains the
# fewest numbers and hardly overfits, but it can only mix features in which these structures were never told apart.
#
# One seed, few people, one short budget: an example, no evidence. On *known* organs the order is another one. Published numbers, first
# for known organs (C13), then for new ones (C15):

# %%
print(ways.quoted("C13", "C15"))

# %%
best, body = max(curves, key=lambda arm: curves[arm].dice[-1]), next(iter(unseen))
cut = inference.segment(networks[best], body, side=nano.SIDE, overlap=0.25)
print(f"{best}, the best at the end, on the whole new person:")
print(*(f"  {s.structure} {s.dice:.2f}" for s in metrics.evaluate(cut, body, nano.NOVEL) if s.volume_ml > 0), sep="\n")
fmlab.view(body, compare=[(f"{best}, {steps} steps", cut)], index=int(body.shape[2] * 0.2), show=list(nano.NOVEL))

# %% [markdown]
# ## 6. Outlook: what the ledger says
#
# Is little supervised data worth more than much unlabelled data (C11)? Does the gain shrink as labels grow (C12)? Both are measured
# on just this transfer, with more steps, people and seeds. The verdicts are computed from the stored runs:

# %%
display(*map(claims.verdict, ("C11", "C12")))
ran = [name for name in ("C11", "C12") if claims.runs(name)]
figure(claims.forest(ran), alt=claims.forest_alt(ran)) if ran else print("Nothing to draw yet.")

# %% [markdown]
# Lesson 15 is about C11, lesson 14 about C12.

# %% [markdown]
# ## 7. Quiz

# %%
quiz("05-q1")

# %%
quiz("05-q2")

# %%
quiz("05-q3")

# %%
quiz("05-q4")

# %%
quiz("05-q5")

# %% [markdown]
# ## 8. Your own scan
#
# A CT in Hounsfield units: NIfTI, NRRD, or a folder of DICOM slices. It stays on this machine. Zero-shot, in the first meaning.

# %%
my_scan = None  # "/path/to/scan.nii.gz"

if my_scan:
    mine = inference.segment(model, fmlab.Volume.read(my_scan), progress=True)
fmlab.view(mine) if my_scan else print("No scan of your own yet: put its path above.")

# %%
progress()

# %% [markdown]
# **You can now** say what a "zero-shot" claim leaves out, and transfer weights without fooling yourself. Next: *06 · UniverSeg*, for
# which a new task is a handful of examples.
