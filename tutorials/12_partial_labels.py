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
#     title: "Partial labels"
#     section: "3.A"
#     goals:
#       - read a partially labelled cohort as scans X, masks Y and a table w of who looked for what
#       - tell "not annotated" from "not there"
#       - write the masked loss of the slides, and show that it leaves what is not annotated alone
#       - watch what an unmasked loss and a softmax do to a good model, and say why
#       - name what no mask can heal, and what MultiTalent and CLIP-driven do about it
#       - segment a real CT with the course's own universal model, and judge the result
#     prerequisites: ["lesson 00", "a network trained once by yourself, with any loss"]
#     minutes: 60
#     seconds: 180
#     gigabytes: 2.9
#     download_mb: 3.1
#     hardware: 2 CPU cores
# ---

# %% [markdown]
# # 12 · Partial labels

# %% [markdown]
# A radiologist needs a day to draw all organs of one scan. So nobody does: one hospital draws livers and their tumours, another one
# kidneys, a third the chest. Each public data set is **partially labelled**, and together they hold thousands of scans. This lesson
# joins such data sets and trains *one* network on all of them. The idea fits on one line, and so does the mistake.
#
# $$\mathcal{D}_T = \{(X_n, Y_n, w_n)\}_{n=1}^N \qquad Z = \theta_f(X) \qquad \hat Y = \sigma(\theta_c(Z))$$
#
# $X_n$ is a scan, $Y_n$ has one mask per structure $k$, and $w_{nk} \in \{0, 1\}$ says whether whoever drew scan $n$ looked for
# structure $k$ at all.

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 60 minutes alone, 90 in a room. Ask for hands at 12-p1 before section 4 runs, and come back to it after
# section 5: most people fear for the spleen. The live training takes about a minute and a half on two cores; let pairs answer 12-p2
# meanwhile. Without network section 7 uses a body of hospital E, which the model never trained on.
#
# **Typical misconceptions.** A zero in a label map is read as "not there", whoever drew it. The mask is believed to heal
# contradictions; it only keeps silent. Most fear for the structure that one hospital leaves out (drawn by three of four),
# and not for the one that only one hospital draws. "Softmax cannot be masked": it can, and its classes still exclude each
# other.

# %%
import copy
import tempfile

import numpy as np
import torch
from torch.nn import functional as F

import fmlab
from fmlab import cohorts, hub, inference, metrics, phantom, templates
from fmlab.errors import DataError
from fmlab.lessons import check, claims, figure, hint, predict, progress, quiz, show_source, who_drew_it
from fmlab.pretraining import masked, universal
from fmlab.pretraining.patches import Patches
from fmlab.settings import profile
from fmlab.training import TrainConfig, train
from fmlab.vocabulary import region

# %% [markdown]
# ## 1. Who annotates what?
#
# The **template** of a data set is its row of $w$: one bit for each structure. Here are ten real data sets of the slides' table, and
# below the line the four hospitals A to D on whose bodies we shall train. Dark means annotated.

# %%
real = ["btcv", "amos22", "flare22", "word", "lits", "kits", "msd_spleen", "msd_pancreas", "ct_org", "segthor"]
hospitals = list("ABCD")
names = list(universal.UNIVERSAL)
w = templates.template_matrix(real + hospitals, names)
figure(*who_drew_it.matrix(w, real + hospitals, names, parted=len(real)))

# %% [markdown]
# *What to see.* No row is full. No column is full either: there is not one structure that everybody draws. Train on one row at a
# time, and you get fourteen small models. Keep only the data sets that draw all that you want, and hardly one is left.
#
# ## 2. Not annotated is not the same as not there
#
# Here is one person, scanned at hospital B. B draws livers, spleens, kidneys and pancreas, and their tumours.

# %%
person = phantom.sample(3, "B", profile().spacing, partial=True)
print(person)
print("drawn at B:", ", ".join(person.structures))
fmlab.view(person, index=int(person.shape[2] * 0.72))

# %% [markdown]
# Everything else is 0 in this label map: the stomach, which is *there* and was not drawn, and a tumour of the left kidney, which was
# *looked for* and which this person does not have. The file alone cannot tell the two zeros apart. `person.annotated` can:

# %%
for name in ["stomach", "kidney_tumor_left", "spleen"]:
    print(f"{name:17s} drawn: {str(name in person.structures):5s}   looked for: {name in person.annotated}")

# %% [markdown]
# **Exercise 1.** From a label map to $Y$ and $w$. In go `labels`, an id in each voxel, `regions` and `annotated`, both with an entry
# for each of $K$ structures. A structure may have parts with ids of their own (a liver contains its tumours and vessels), so each
# comes as a *region*, the list of all ids that belong to it. Out come the masks $Y$, for every structure, whether annotated or not,
# and $w$, both of 0 and 1.


# %%
def my_targets(labels, regions, annotated):
    """labels (X, Y, Z), regions: K lists of ids, annotated: K bools. Returns (Y, w), (K, X, Y, Z) and (K,)."""
    # solution
    y = np.stack([np.isin(np.asarray(labels), ids) for ids in regions]).astype(np.uint8)
    return y, np.array(annotated, dtype=np.uint8)


check("12-targets", my_targets)

# %%
# hint("12-targets")

# %%
regions = [region(name) for name in names]
answer = my_targets(person.labels[0].numpy(), regions, [name in person.annotated for name in names])
if answer is None:
    print("my_targets gives nothing yet: write it above, then run this cell again.")
else:
    print("voxels of the liver's region:", answer[0][names.index("liver")].sum())
    print("w of the stomach:", answer[1][names.index("stomach")])

# %% [markdown]
# The package's version, `fmlab.pretraining.targets.targets`, knows a little more: five lobes that are drawn make two lungs that are
# annotated; where no liver is in view, "no liver tumour" is true as well.

# %% [markdown]
# ## 3. The masked loss
#
# $$\min_{\theta_f, \theta_c} \; \frac{1}{N} \sum_n \frac{1}{\sum_k w_{nk}} \sum_k w_{nk}\, \mathcal{L}_{SEG}(Y_{nk}, \hat Y_{nk})$$
#
# **Exercise 2.** Write it with $\mathcal{L}_{SEG}$ = binary cross-entropy, the mean over voxels. In go the `logits` (before the
# sigmoid), the `target` $Y$ and `w`; out comes one number. $N$ counts the scans on which anything is annotated: the others have no
# say. The target of what is not annotated may hold anything, even −1: do not read it.


# %%
def my_masked_bce(logits, target, w):
    """logits, target: (B, K, X, Y, Z); w: (B, K) of 0/1. Returns one number that can be trained with."""
    # solution
    chosen = w == 1
    costs = F.binary_cross_entropy_with_logits(logits[chosen], target[chosen].float(), reduction="none")
    costs = costs.flatten(1).mean(1)
    total = w.sum(1, keepdim=True).clamp(min=1).expand(w.shape)[chosen]
    return (costs / total).sum() / (w.sum(1) > 0).sum().clamp(min=1)


check("12-masked", my_masked_bce)

# %%
# hint("12-masked")

# %%
show_source("fmlab.pretraining.masked.masked_bce")

# %% [markdown]
# ## 4. What each loss asks of the model
#
# Time to meet the course's own universal model: a small U-Net with 30 sigmoids, trained on 240 bodies of A to D with the masked loss.
# It knows the spleen, although hospital C never drew one. Now it sees a scan from C.

# %%
predict("12-p1", "Training goes on with an UNMASKED loss, on scans of all four hospitals. The spleen is drawn by three "
        "of them (not by C), the colon by one (only C). What happens on a new scan from C?",
        ["nothing: both are drawn somewhere", "the spleen goes: C never drew it; the colon stays",
         "the colon suffers more than the spleen", "both vanish"])

# %%
model = hub.load("universal", "nano")
cohort = templates.assembly(dict.fromkeys(hospitals, 2), universal.SPACING, first_seed=300, sampler=universal.any_visit)
data = Patches(cohort, names, side=48)
torch.manual_seed(4)
batch = torch.utils.data.default_collate([data[4], data[5]])  # two patches of hospital C
rows = {}
for kind, loss in universal.LOSSES.items():
    logits = model(batch["image"]).detach().requires_grad_()
    loss(lambda _, z=logits: z, batch).backward()
    rows[kind] = logits.grad.sum(dim=(0, 2, 3, 4))
print("push on the logits (+: down)  ", *(f"{kind:>10s}" for kind in rows))
for name in ["spleen", "liver", "lung_left", "colon", "vertebrae"]:
    looked = bool(batch["w"][0, names.index(name)])
    pushes = [1e4 * float(gradient[names.index(name)]) for gradient in rows.values()]
    print(f"{name:12s} annotated: {str(looked):6s}", *(f"{push:10.3f}" for push in pushes))

# %% [markdown]
# *What to see.* The masked column is **exactly** zero where hospital C did not look: no opinion, no push. The two others push those
# logits down, scan after scan, wherever the model rightly says "here is the spleen". On colon and vertebrae, which C draws, all three
# push in one direction. (Compare signs and zeros only: each loss has a scale of its own.)

# %% [markdown]
# ## 5. Live: the same weights, three losses
#
# We start three times from the same good weights and go on for some steps, each time with another loss: the same patches in the same
# order. This is the longest wait of the lesson. Each line below says that one training is done.


# %%
unseen = phantom.sample(5003, "C", universal.SPACING, phase="portal", field_of_view="torso")
watched = ["liver", "spleen", "kidney_left", "lung_right", "vertebrae", "hip_left", "colon", "stomach"]


def dices(network):
    """Dice of the watched structures on a body that no hospital has seen."""
    scores = metrics.evaluate(inference.segment(network, unseen), unseen, watched)
    return {score.structure: score.dice for score in scores}


after = {"before": dices(model)}
config = TrainConfig(steps=profile().steps, lr=1e-3, weight_decay=0.0, warmup=3, batch=2, seed=1)
for kind, loss in universal.LOSSES.items():
    going_on = copy.deepcopy(model)
    with tempfile.TemporaryDirectory() as folder:
        train(going_on, loss, data, config, folder, progress=False)
    after[kind] = dices(going_on)
    print(f"{kind:8s} mean Dice {np.mean(list(after[kind].values())):.2f} after {config.steps} steps")

# %%
drawn_by = {name: "".join(h for h in hospitals if templates.covers(templates.annotated_by(h), name)) for name in watched}
figure(*who_drew_it.after_steps(after, drawn_by))

# %%
predict("12-p1")

# %% [markdown]
# *What to see.* The **masked** loss leaves the model about where it was; a few Dice points up and down are the noise of a short training.
#
# The **softmax** begins to hurt what one or two hospitals draw, and spares the spleen, which three draw. In four steps only a bar or two
# have fallen; in a few dozen colon, lung, vertebrae and stomach have. Why? Nobody told the network which hospital a scan comes from.
# Where the image does not give it away, the best answer to such a loss is "a colon, with the probability that somebody would have drawn
# it": three quarters for the spleen, one quarter for the colon. Below one half, it is gone. So C's own colon pays for A, B and D, which
# did not draw theirs.
#
# The **unmasked sigmoid** suffers less, and more slowly. It has a Dice term, which asks for overlap where an organ is drawn, and that is
# much louder than the cross-entropy that denies it elsewhere. The softmax has no such term, and it says "one of these, or background":
# each voxel that nobody drew is a vote for background.
#
# ### The claim, on more than one run
# A minute of training on one body proves little. Claim **C05** of the ledger was measured from scratch, on several bodies; the verdict
# is computed from the stored runs, each time, against the *better* of the two unmasked losses for each structure.

# %%
display(claims.verdict("C05"))
figure(claims.forest(["C05"]), alt=claims.forest_alt(["C05"]))

# %%
figure(*who_drew_it.by_share(claims.runs("C05"), list(universal.LOSSES)))

# %% [markdown]
# *What to see.* The softmax has lost what one or two hospitals draw. Masked and unmasked sigmoid are close where two or three draw a
# structure; where only one does, the unmasked one has hardly learned it. How far that is more than the luck of a seed, the verdict
# above says. All three do worse on what one hospital draws: a mask keeps wrong lessons out, but it does not make labels.
#
# Run it on your machine: `claims.record(c05.run(seed=7))` with `fmlab.lessons.experiments.c05`, a quarter of an hour or so.

# %% [markdown]
# ## 6. What no mask can heal
#
# $w_{nk}$ says *whether* somebody looked, not *what they call a liver*. Hospital B leaves the vessels out of the liver, A counts
# them in. Both are annotated, both are right at home. The same person, drawn by each:

# %%
whole = phantom.sample(3, "A", 2.0, field_of_view="upper abdomen")
vessels = whole.mask("hepatic_vessels")
with_vessels, without = whole.mask("liver"), whole.mask("liver") & ~vessels
print(f"A's liver {with_vessels.sum() * whole.voxel_ml:.0f} ml, B's liver {without.sum() * whole.voxel_ml:.0f} ml")
print(f"Dice of the two readers: {metrics.dice(with_vessels, without):.3f}")
inside = with_vessels & vessels
print(f"on the vessels themselves they agree on {float((without & inside).sum()) / int(inside.sum()):.0%}")

# %% [markdown]
# That costs hardly any Dice, and yet on the vessels the two contradict each other in every voxel: whatever the model says there, one
# of the two hospitals counts it as wrong. Three ways to deal with it are in use:
#
# | system | a class is | contradictions | its average |
# |---|---|---|---|
# | slides, FSEFT | a structure | by part-of unions, the rest is noise | over classes, then over scans |
# | **CLIP-driven** | a structure; organs contain their tumours | one sigmoid a class, so that classes may overlap | over all (scan, class) pairs at once |
# | **MultiTalent** | a *region of one data set*: 47 outputs, four of them a pancreas | none, nothing is ever merged | none: sums, with the Dice over the batch |
#
# Their averages decide whose voice counts. Take one scan with few annotated classes and one with many, and look at the gradient.

# %%
predict("12-p2", "Scan 1 (hospital B) has 5 annotated classes, scan 2 (hospital C) has 18. "
        "Under which average do both have the same say?",
        ["over classes, then over scans (slides)", "over all pairs at once (CLIP-driven)", "sums (MultiTalent)"])

# %%
pair = torch.utils.data.default_collate([data[2], data[4]])
print("annotated classes:", [int(row.sum()) for row in pair["w"]])
forms = {"slides": masked.masked_bce, "CLIP-driven": masked.clip_driven_bce, "MultiTalent": masked.multitalent_bce}
for form, loss in forms.items():
    logits = torch.zeros_like(pair["target"], dtype=torch.float32).requires_grad_()
    value = loss(logits, pair["target"], pair["w"])
    value.backward()
    say = logits.grad.abs().sum(dim=(1, 2, 3, 4))
    print(f"{form:12s} loss {value.item():7.3f}   say of each scan: {(say / say.sum()).numpy().round(2)}")

# %%
predict("12-p2")

# %% [markdown]
# *What to see.* Only the slides' form gives both scans half of the say. Under the two others a scan speaks as loudly as it has
# classes, and MultiTalent's loss grows with them too, so a learning rate that suits it suits no other.
#
# ### One trap from the published code
# CLIP-driven's Dice was trained slice by slice, with a 1 added in the denominator alone: $1 - 2\sum Y\hat Y / (\sum Y + \sum \hat
# Y + 1)$. What does a *perfect* prediction cost, for an organ that is in 10 of 48 slices?

# %%
short = torch.zeros(1, 1, 48, 48, 48)
short[:, :, 10:20, 10:30, 10:30] = 1
perfect = (short * 2 - 1) * 100
for form in ("slices", "volume"):
    cost = masked.clip_driven_dice(perfect, short, torch.ones(1, 1), form)
    print(f"Dice over each {form.rstrip('s')}: a perfect prediction costs {float(cost):.3f}")

# %% [markdown]
# ## 7. Into the wild: a real CT
#
# The universal model never saw a patient: only procedural bodies, randomised hard (contrast, noise, kernel, size, field of view). Let
# us see how far that goes. From a terminal the same is `fmlab segment scan.nii.gz -o seg.nii.gz`.

# %%
try:
    scan = cohorts.load("totalsegmentator-ct")
except DataError as missing:
    print(missing)
    scan = phantom.sample(8, "E", profile().spacing)
found = inference.segment(model, scan)
scores = sorted((s for s in metrics.evaluate(found, scan, names) if s.scored), key=lambda s: -s.dice)
for left, right in zip(scores[: (len(scores) + 1) // 2], [*scores[(len(scores) + 1) // 2 :], None]):
    print(*(f"{s.structure:18s} Dice {s.dice:.2f} {s.status.removeprefix('ok'):15s}" for s in (left, right) if s))

# %%
fmlab.view(scan, compare=[("our model", found)], index=int(scan.shape[2] * 0.75))

# %% [markdown]
# *What to see.* Press *Swipe*, or scroll through both. What has a density of its own, bone, aorta, large organs, comes across from
# phantom to patient. Then look for failures and say *why*. (Where no patient is on this machine, a body of hospital E stands in, and
# shows fewer.)
#
# In the patient gas in the bowel is taken for lung, and a full bladder for a **heart** (go down to the hips). Only hospital D draws
# lungs and hearts, and D mostly images chests: hardly anybody ever told this model that there is no heart in a pelvis. That is the
# price of the mask. What nobody draws is not punished, and what nobody denies is not unlearnt. Stool, which our bodies hardly have, and
# a hip of metal do the rest. And remember that the reference here is a model's output too.

# %% [markdown]
# ## 8. Quiz

# %%
quiz("12-q1")

# %%
quiz("12-q2")

# %%
quiz("12-q3")

# %%
quiz("12-q4")

# %%
quiz("12-q5")

# %% [markdown]
# ## 9. Your own scan
#
# A CT in Hounsfield units: NIfTI, NRRD, or a folder of DICOM slices. It stays on this machine.

# %%
my_scan = None  # "/path/to/scan.nii.gz"

if my_scan:
    mine = inference.segment(model, fmlab.Volume.read(my_scan), progress=True)
fmlab.view(mine) if my_scan else print("No scan of your own yet: put its path above.")

# %%
progress()

# %% [markdown]
# **You can now** train one network on data sets that agree about nothing, and say what it costs to forget the mask. Next:
# *13 · CLIP-driven*, where the class itself becomes an input.
