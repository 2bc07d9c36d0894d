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
#     title: "CLIP-driven"
#     section: "3.A"
#     goals:
#       - write the dynamic head that makes a class out of a row of numbers, for all classes at once
#       - take the controller apart, and say which half of it need be computed only once
#       - see what is near to what for a text encoder, and tell that from anatomy
#       - exchange, replace and translate the texts of a trained model, and predict what it will draw
#       - say what a frozen text encoder can add to a number, and what our experiment found
#     prerequisites: ["lesson 12"]
#     minutes: 60
#     seconds: 25
#     gigabytes: 1.0
#     download_mb: 3.1
#     hardware: 2 CPU cores
# ---

# %% [markdown]
# # 13 · CLIP-driven

# %% [markdown]
# The model of lesson 12 has a last layer with thirty rows, one for each structure, and each row is learned for itself: for all
# it knows, the left kidney has as much to do with the right one as with the trachea. The **CLIP-driven Universal Model** (Liu
# et al. 2023) has no such rows. The class becomes an *input*: a text encoder turns "a computerized tomography of a liver" into
# numbers $w_k$, and a **controller** turns these, together with what the image is like, into the numbers $\theta_k$ of a small
# network of the class's own:
#
# $$\theta_k = W\,[f;\, w_k] + b \qquad P_k = \sigma(((F * \theta_{k1}) * \theta_{k2}) * \theta_{k3})$$
#
# $f$ is the image in one vector (the deepest features, averaged), $F$ a map of 8 channels at full resolution, and both are the
# same for all classes. So **the text is the only thing that tells classes apart.** Does the network understand it, then?

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 60 minutes alone, 80 in a room. The lesson turns on sections 5 to 7: exchange, translate, replace.
# Collect the predictions 13-p2 to 13-p4 by hand before anything runs there, and let somebody argue for "the network reads the
# words"; nobody does after section 6. Section 6 is a proof, not an experiment, and good at a blackboard: $K$ independent rows
# can be sent anywhere by one matrix. Without network section 8 uses a body of hospital E.
#
# **Typical misconceptions.** "The network reads the words": it reads a row of a table. Near rows are taken for related
# organs, where all prompts begin alike. A new name is expected to find a new organ, as the text encoder "knows" it. In
# exercise 1 weights are taken as (in, out), or weights and biases in turn.

# %%
import torch

import fmlab
from fmlab import cohorts, hub, inference, metrics, phantom
from fmlab.errors import DataError, ModelError
from fmlab.lessons import check, claims, figure, hint, predict, progress, quiz, seconds, show_source
from fmlab.lessons import other_texts as texts
from fmlab.lessons.other_texts import cosines, drawn_in, translated, with_texts
from fmlab.pretraining import nano
from fmlab.pretraining.dynamic_head import parameter_count
from fmlab.pretraining.text_embeddings import Sentences, SentenceTable, clip_from_transformers, table_of, words
from fmlab.windows import WIDE

# %% [markdown]
# ## 1. A head in 153 numbers
#
# With $F$ of 8 channels a class's three $1 \times 1 \times 1$ convolutions are $8 \to 8 \to 8 \to 1$. The controller gives
# their numbers in one row, **all three weights first, then the three biases**. Here they are, for one scan and a few classes of
# the course's own small model.

# %%
model = hub.load("clip_driven", "nano")
body = phantom.sample(5003, "C", 4.0, phase="portal", field_of_view="torso")
values, _ = inference.resampled(body, nano.SPACING)
x = WIDE(values)[None, :, 8:40, 4:36, -32:]  # one cube of it, as the network reads it
with torch.no_grad():
    deep, z = model.backbone.deep_and_features(x)
    f, F_map = model.GAP(deep).flatten(1), model.precls_conv(z)
    theta = model.theta(f, model.index(None))
print(f"f {tuple(f.shape)}, F {tuple(F_map.shape)}, theta {tuple(theta.shape)}: batch, classes, numbers")
print(f"{parameter_count(8)} = 64 + 64 + 8 + 8 + 8 + 1")

# %%
some = ["liver", "spleen", "kidney_left", "kidney_right", "hip_left", "hip_right", "aorta", "colon"]
figure(texts.head_picture(theta[0, model.index(some)], some, channels=8),
       alt="The 153 numbers of the heads of eight classes as coloured rows, cut into three weights and three biases. "
           "In some columns the classes agree, in others they differ.")

# %% [markdown]
# *What to see.* Eight rows, eight networks. What all rows share comes from $f$ and $b$ (or happens to be alike); all that differs
# comes from the text.
#
# **Exercise 1.** Write the head. In go the map $F$ (`f` in the code) and all $\theta_k$ of each scan (`theta`), out come the logits
# of all $K$ classes at once. A row of `theta` holds w1, w2, w3, then b1, b2, b3, and a weight lies in it as (out, in). The
# published code has a ReLU after the first and the second convolution, which the formula does not show. The $\sigma$ stays
# outside.


# %%
def my_head(f, theta):
    """The map f (B, C, X, Y, Z) and the numbers theta (B, K, P) to the logits (B, K, X, Y, Z)."""
    # solution
    c = f.shape[1]
    w1, w2, w3, b1, b2, b3 = theta.split([c * c, c * c, c, c, c, 1], dim=2)
    h = (w1.unflatten(2, (c, c)) @ f.flatten(2)[:, None] + b1[..., None]).relu()
    h = (w2.unflatten(2, (c, c)) @ h + b2[..., None]).relu()
    return (w3[:, :, None] @ h + b3[..., None])[:, :, 0].unflatten(2, f.shape[2:])


check("13-head", my_head)

# %%
# hint("13-head")

# %%
show_source("fmlab.pretraining.dynamic_head.dynamic_head")

# %% [markdown]
# The package works through the voxels in pieces that stay in the processor's cache. The published code copies $F$ once for each
# class instead: with 32 classes and cubes of 96 that is a gigabyte, three times over. The result is the same.

# %% [markdown]
# ## 2. The controller, taken apart
#
# $$W\,[f;\, w_k] + b \;=\; \underbrace{W_f f}_{\text{image}} \;+\; \underbrace{(W_w w_k + b)}_{c_k,\ \text{class}}$$
#
# The left term does not know the class, the right one does not know the image. So $c_k$ is computed once and for all.
#
# **Exercise 2.** Fold. In go the controller's `weight` $W$, with the image's columns first, its `bias` $b$, and `texts`, the $w_k$
# of all classes as rows. Out come $W_f$ and the table $c$, with a row $c_k$ for each class.


# %%
def my_fold(weight, bias, texts):
    """weight (P, A + T), bias (P,), texts (K, T) to W_f (P, A) and c (K, P)."""
    # solution
    cut = weight.shape[1] - texts.shape[1]
    return weight[:, :cut], texts @ weight[:, cut:].T + bias


check("13-fold", my_fold)

# %%
# hint("13-fold")

# %%
show_source("fmlab.pretraining.clip_driven.ClipDriven.theta")

# %% [markdown]
# Look at what this says of the method. Image and text are *added*, and never multiplied: whatever the image, "liver" moves the
# head by the same $c_k$. The text is not compared with the image, as CLIP does; it is a constant that chooses a head.

# %% [markdown]
# ## 3. What is near to what?
#
# Three tables of rows $w_k$ for the same classes:
#
# - **one-hot**: no two rows are nearer than any others;
# - **random**: nearly so, in many channels;
# - **sentence**: of the encoder all-MiniLM-L6-v2, which learned from text on the internet which sentences belong together.
#
# None of them saw a CT. Two rows are near when their cosine is near 1.

# %%
predict("13-p1", "Which of these is nearest to \"tumor in the left kidney\" for the sentence encoder?",
        ["left kidney", "tumor in the right kidney", "tumor in the liver", "left adrenal gland"])

# %%
shown = ["kidney_left", "kidney_right", "kidney_tumor_left", "kidney_tumor_right", "liver", "liver_tumor", "hip_left",
         "hip_right", "femur_left", "heart", "aorta", "lung_left", "lung_right", "lung_tumor_left"]
tables = {kind: table_of(kind, shown) for kind in ("one_hot", "random", "sentence")}
figure(texts.cosine_pictures(tables, shown),
       alt="Cosine similarity of fourteen class names in three tables. One-hot and random show little but the diagonal; "
           "the sentence encoder shows blocks: above all left with right of the same organ, then tumours with tumours.")

# %%
every = list(SentenceTable().rows)
near = cosines(SentenceTable()(every))
for name in ("kidney_tumor_left", "hip_left", "spleen"):
    row = near[every.index(name)]
    best = [f"{words(every[i])} {row[i]:.2f}" for i in row.argsort(descending=True)[1:6].tolist()]
    print(f"{words(name)}:", *best, sep="\n    ")

# %%
predict("13-p1")

# %% [markdown]
# *What to see.* The encoder knows something that one-hot codes do not: sides of an organ belong together, tumours belong to their
# organ. But it is *words* that it groups. For a segmenter left and right are the very things to tell apart, and here they are
# nearest. A hip's next relatives include a kidney, because both are called left. Of grey value, place and size it says nothing.
#
# CLIP itself saw pictures with its texts, hardly any of them medical. Its table, as published, is nearly parallel (mean cosine
# 0.879 over the 32 classes, since all prompts begin alike), and two of the prompts are misspelt: *Arota* and *Celiac Truck*.
# Where you have such an encoder (`pip install "fmlab[text]"`; CLIP's weights in your Hugging Face cache), ask it:

# %%
asked = ["aorta", "Arota", "heart", "left kidney"]
for encoder in (Sentences, clip_from_transformers):
    try:
        row = cosines(encoder()(asked))[0]
        print(f"{encoder.__name__}: aorta and", *(f"{name} {cosine:.2f}" for name, cosine in zip(asked[1:], row[1:])))
    except ModelError as missing:
        print(missing)

# %% [markdown]
# ## 4. Asking
#
# The course's model was trained on four hospitals' bodies (lesson 12, and its masked loss) with the sentence table. Its voxels
# are coarse; all its numbers are in `fmlab/hub/weights/clip_driven-nano.md`.


# %%
def segment(network, volume=body):
    """Labels by a model of the course's pre-trainings: cubes of ``nano.SIDE`` voxels of ``nano.SPACING`` mm."""
    return inference.segment(network, volume, spacing=nano.SPACING, side=nano.SIDE)


found = segment(model)
scores = sorted((s for s in metrics.evaluate(found, body, model.classes) if s.scored), key=lambda s: -s.dice)
print(texts.several_a_line(f"{s.structure} {s.dice:.2f}" for s in scores))
fmlab.view(body, compare=[("CLIP-driven, nano", found)], plane="coronal")

# %%
predict("13-p2", f"You ask for liver and spleen only, 2 classes in place of {len(model.classes)}. What changes?",
        ["the logits of liver and spleen: they lack the others as context",
         f"the time: it is about {len(model.classes) // 2} times faster", "neither of the two, or hardly"])

# %%
two = ["liver", "spleen"]
with torch.no_grad():
    difference = (model(x, two) - model(x)[:, model.index(two)]).abs().max()
    took = {count: seconds(lambda: model(x, model.classes[:count])) for count in (1, 2, len(model.classes))}
print(f"largest difference in the logits: {float(difference):.6f}")
for count, time in took.items():
    print(f"{count:2d} class{'es' if count > 1 else '  '} asked: {1e3 * time:.0f} ms a cube")

# %%
predict("13-p2")

# %% [markdown]
# *What to see.* Each class has a head to itself, so nothing of it depends on who else is asked. A class that is left out costs
# nothing, but a head is small: most of the time goes to the backbone, which is the same for all. (With larger cubes and more
# classes it pays, in training too: of the 32 published classes a data set annotates 1 to 17, and only these are computed.)
#
# `model.asking(["liver", "spleen"])` is such a model for `segment`. There the *labels* may well differ: where liver and stomach
# both say yes the larger logit wins, and a stomach that is not asked cannot win.

# %% [markdown]
# ## 5. Exchanging two texts

# %%
predict("13-p3", "The rows of \"liver\" and \"spleen\" are exchanged in the table; no weight is touched. "
        "What will the channel \"liver\" draw?",
        ["the liver: the network knows from images what it is", "the spleen", "both at once", "nothing sensible"])

# %%
rows, (i, j) = model.organ_embedding.clone(), model.index(two)
rows[[i, j]] = rows[[j, i]]
exchanged = segment(with_texts(model, rows))
for name in two:
    overlap = {true: metrics.dice(exchanged.mask(name), body.mask(true)) for true in two}
    print(f"channel {name:7s}", *(f"Dice with the {true} {value:.2f}" for true, value in overlap.items()), sep="   ")

# %%
fmlab.view(body, compare=[("as trained", found), ("rows exchanged", exchanged)], plane="coronal", show=two)

# %%
predict("13-p3")

# %% [markdown]
# *What to see.* The names have exchanged their places, down to the last voxel. Nothing in the network belongs to a channel: it
# has learned what to draw *for this row of numbers*. Had the rows been exchanged before training, nobody could tell today.

# %% [markdown]
# ## 6. A dictionary
#
# So does it matter what the rows *are*? The text enters by one linear layer (`text_to_vision`, then ReLU). Say we put in random
# codes instead. The network was never trained on them.

# %%
predict("13-p4", "Random codes in place of the sentences. We may change ONE layer, text_to_vision, by solving a system "
        "of linear equations; no training. How near can we get to the old segmentation?",
        ["not at all: the knowledge was in the texts", "some classes come back", "exactly: voxel for voxel"])

# %%
show_source("fmlab.lessons.other_texts.translated")

# %%
random, one_hot = table_of("random", model.classes, 384), table_of("one_hot", model.classes)
tried = {"random": with_texts(model, random), "random, with a dictionary": translated(model, random),
         "one-hot, with a dictionary": translated(model, one_hot)}
for what, network in tried.items():
    agree = segment(network).labels == found.labels
    print(f"{what:27s} {float(agree[found.labels > 0].float().mean()):7.2%} of the labelled voxels as with sentences")

# %%
predict("13-p4")

# %% [markdown]
# *What to see.* Random codes alone are a foreign language, and the model is lost. With a dictionary it is back, and not
# roughly: $K$ rows that are linearly independent can be sent to any $K$ vectors by one matrix. So for the classes that it was
# trained on **any such table can do what any other can**; "kidney tumor is near kidney" is not needed for anything.
#
# If text helps, it must help *on the way*: during training, by letting similar classes begin similarly, so that a class with few
# scans learns from its neighbours. Or it helps afterwards, with a name that is new.

# %% [markdown]
# ## 7. A new name
#
# Five structures were never asked for in the training. The table can have a row for each of them: "sternum", "left ventricle of
# the heart" and so on. We write these over five rows that we do not need, and ask. If it is of use that the encoder puts related
# names side by side, it must show here.

# %%
predict("13-p5", "Will a new row, of a structure that was never drawn for it, find that structure?",
        ["yes: this is what text is for", "it will draw a neighbour in the table", "it will draw nothing at all"])

# %%
new = list(nano.NOVEL)
rows = model.organ_embedding.clone()
rows[:5] = SentenceTable()(new)
logits = inference.sliding_logits(with_texts(model, rows).asking(range(5)), WIDE(values), nano.SIDE)
for k, name in enumerate(new):
    mask = inference.labels_on(body.shape, logits[k:k + 1], [1]) > 0
    relative = max(model.classes, key=lambda c: near[every.index(name), every.index(c)])
    print(f"{words(name):29s} Dice {metrics.dice(mask, body.mask(name)):.2f}; nearest row {relative};",
          drawn_in(mask, body, model.classes))

# %%
predict("13-p5")

# %% [markdown]
# *What to see.* Begin with the nearest rows: for the encoder "left ventricle of the heart" is nearer to the left lung than to
# the heart. A head comes out for any row, and something or nothing is drawn; compare where it lies with the nearest row. (A
# lobe lies inside its lung and a ventricle inside its heart, so look at the Dice before you call it found.)
#
# The sizes of the network do not change with new classes, which is why the authors call it extensible. But to extend it is to
# *train* it on scans where the new class is drawn.
#
# ### The claim
# The slides say that a frozen text branch adds little: claim **C04**. We ran the same training with sentences, one-hot and random
# codes, from several seeds. What is measured is the lead of the better of the two tables *without* text, so a positive effect
# supports the slides. The verdict is computed from what runs there are.

# %%
display(claims.verdict("C04"))
for run in claims.runs("C04"):
    print(f"    seed {run.seed}: mean Dice", ", ".join(f"{text} {d:.3f}" for text, d in run.details["mean"].items()))

# %%
figure(claims.forest(["C04"]), alt=claims.forest_alt(["C04"])) if claims.runs("C04") else print("Nobody has run C04 yet.")

# %% [markdown]
# *What to see.* How far are the sentences behind, or ahead? "Adds little" would be an effect near 0 (or a little above: the
# better of two is ahead of a third by luck alone). An effect well above 0 says more than the slides: that the sentences were
# *behind*. A short training can do that. Rows that lie near to each other, as those of sentences do, are hard to tell apart at
# first, and the layer that pulls them apart has to be learned; section 6 says that it can be.
#
# What such a comparison needs to be fair: rows of the same length as vectors (ours all are, in all three tables), the
# same first weights, and several seeds, since single trainings of such a size differ by luck. Sentences are no CLIP; but CLIP's table,
# nearly parallel as it is, has rather less to say about who is near to whom. Run it on your machine:
# `claims.record(c04.run(seed=7))` with `fmlab.lessons.experiments.c04`.

# %% [markdown]
# ## 8. A real CT
#
# The same model on a patient, or on a body of hospital E where no patient is on this machine.

# %%
try:
    scan = cohorts.load("totalsegmentator-ct")
except DataError as missing:
    print(missing)
    scan = phantom.sample(8, "E", 4.0)
answer = segment(model, scan)
scores = sorted((s for s in metrics.evaluate(answer, scan, model.classes) if s.scored), key=lambda s: -s.dice)
print(texts.several_a_line(f"{s.structure} {s.dice:.2f}" for s in scores))
fmlab.view(scan, compare=[("CLIP-driven, nano", answer)], plane="coronal")

# %% [markdown]
# *What to see.* A patient is far from procedural bodies, and the voxels are coarse. Where it fails: is it the head that chose
# wrongly, or the features? Ask for one class alone (`segment(model.asking(["liver"]), scan)`) and see what it would draw if
# nothing competed.

# %% [markdown]
# ## 9. Quiz

# %%
quiz("13-q1")

# %%
quiz("13-q2")

# %%
quiz("13-q3")

# %%
quiz("13-q4")

# %%
quiz("13-q5")

# %% [markdown]
# ## 10. Your own scan, and your own words
#
# A CT in Hounsfield units, and what is to be asked for. It stays on this machine. (With the published weights, under their own
# licence: `hub.load("clip_driven", "clip_driven_universal_unet.pth")` and `fmlab.pretraining.clip_driven_inference.masks_of`.)

# %%
my_scan = None  # "/path/to/scan.nii.gz"
my_words = ["liver", "spleen"]  # of model.classes

if my_scan:
    mine = segment(model.asking(my_words), fmlab.Volume.read(my_scan))
fmlab.view(mine) if my_scan else print("No scan of your own yet: put its path above.")

# %%
progress()

# %% [markdown]
# **You can now** build a model whose classes are inputs, and say what of that is language and what is a number. Next: *14 ·
# Prompt-driven*, where the prompt is a task, and no text at all.
