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
#     title: "Interactive: SAM"
#     section: "2.C"
#     goals:
#       - say what a promptable model computes once for an image and what for every click, and measure both
#       - write the code by which a click says where it is, and the attention by which it reads the image
#       - use points, boxes, three masks and mask prompts, and say when each of them helps
#       - click on a body and on a real CT, and correct the model until you are content
#       - count what that costs in clicks, and tell an evaluation that clicks by the ground truth from one that does not
#     prerequisites: ["lesson 00", "what attention is: softmax of products, a weighted mean"]
#     minutes: 85
#     seconds: 45
#     gigabytes: 1.1
#     download_mb: 4.4
#     hardware: 2 CPU cores
# ---

# %% [markdown]
# # 08 · Interactive: SAM

# %% [markdown]
# A generalist that can segment anything has a problem: *what* is it to segment now? The course's models differ in how they are
# told:
#
# | | who says what is wanted | a new image costs | a new structure costs |
# |---|---|---|---|
# | universal model (lesson 12) | nobody: thirty names are built in | one pass | a new training |
# | UniverSeg (lesson 06) | examples, a support set $S$ | $S$ examples, read again with it | some slices, drawn |
# | **SAM** | you, by a **prompt** $p$: a click, a box, a mask | the image, read once | a click, on every image |
#
# $$Z = f_\theta(x) \quad \text{once for an image} \qquad\qquad (\hat y_m, \widehat{\mathrm{IoU}}_m)_{m=1}^3 = g_\theta(Z, p) \quad
# \text{for every prompt}$$
#
# SAM ("segment anything", Kirillov et al. 2023) has a large image encoder $f_\theta$ and a small decoder $g_\theta$. It knows no
# names. It answers the question "what is the thing *here*?", and it was trained on this question alone.

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 85 minutes alone, 110 in a room. Sections 7 and 8 (clicking) are what people remember; give them a third
# of the time, and a contest: who reaches the best Dice on the kidney with three clicks? At 08-p1 let somebody point at the
# projected slice with a finger, and ask the room what she means: they will not agree, and that is section 4. Exercise 2 is the
# only attention that is written by hand in this part of the course; do not skip it. 08-p3 is an estimate: collect the guesses on
# the board before the cell runs. Without network section 8 uses a body of hospital E.
#
# **Typical misconceptions.** A click is believed to say what is meant; it says where. The predicted IoU is read as "this is
# the organ", and "everything at once" as if its masks had names. Clicks of a program that knows the error are taken for a
# person's. In exercise 1 half pixels and (x, y) against [row, column] go wrong; both move masks without an error.

# %%
import numpy as np
import torch

from fmlab import cohorts, hub, metrics
from fmlab.errors import DataError
from fmlab.interactive import automatic, boxes, clicking, nano, pictures
from fmlab.interactive.predictor import SamPredictor
from fmlab.lessons import check, claims, figure, hint, predict, progress, quiz, seconds, show_source
from fmlab.lessons.ask_sam import ask_sam, marks
from fmlab.lessons.click_curves import bill, over_clicks
from fmlab.lessons.experiments import c08
from fmlab.lessons.prompted import coloured, corrected, pointed_at, prompted
from fmlab.lessons.where_tokens_look import where_tokens_look
from fmlab.settings import device, profile
from fmlab.viewer import Canvas, row
from fmlab.volume import Volume

# %% [markdown]
# ## 1. Encode once, click often
#
# Here is a person whom no model of the course has met, and the course's own small SAM. (The published ones take pictures of 1024
# × 1024 pixels and have 94 to 641 million parameters; ours takes 128 × 128.)

# %%
people = list(nano.bodies({"A": profile().cases // 3, "C": profile().cases // 3}, nano.FINE, 7000))
liver = pictures.scene(people[0], "liver")
sam = SamPredictor(hub.load("sam", "nano").requires_grad_(False).to(device()))
encoding = seconds(lambda: sam.set_image(liver.image))
click = pointed_at(liver.mask)
found = sam.predict(click)
decoding = seconds(lambda: sam.predict(click))
print(f"{sum(p.numel() for p in sam.model.parameters()) / 1e6:.1f} million parameters; the image: {1e3 * encoding:.0f} ms, once; "
      f"a click: {1e3 * decoding:.0f} ms, each time")
figure(prompted([liver.image] * 2, [None, found.mask], [click, click], [None, liver.mask], ["a click", "the answer"], 3),
       alt=f"An axial slice with one positive click in the liver, and the answer, solid, beside the truth, dashed: Dice "
           f"{metrics.dice(found.mask, liver.mask):.2f}.")

# %% [markdown]
# *What to see.* A green plus is a positive click ("this"); the solid line is the answer, the dashed one the truth. The answer is
# most of the liver, without the lobe that lies far from the click. The model was told neither that this is a liver, nor how much
# of it is wanted. Even in our small model the image costs more than a click; in the published one it takes many seconds on a
# laptop, a click about one, and this difference is why people like to work with it.

# %% [markdown]
# ## 2. How does a click say where it is?
#
# A network cannot do much with the two numbers (57, 31). A click becomes a **token**, a vector of as many channels as the image's
# features, and the token must say *where* and *what kind*:
#
# $$t = \mathrm{PE}(c) + e_{\text{kind}} \qquad \mathrm{PE}(c) = [\sin,\, \cos]\big(2\pi\,(2c - 1)\,G\big) \qquad c \in [0, 1]^2$$
#
# $G$ is a $2 \times F$ matrix of random numbers, never trained (Fourier features, Tancik et al. 2020). $e$ is learned: one vector
# for "positive click", one for "negative", and two for the corners of a box.
#
# **Exercise 1.** Write PE. A click is on a *pixel*, and a pixel's number means its centre: pixel 0 of $W$ is at $c = 0.5 / W$.


# %%
def my_code(points, size, G):
    """points (N, 2), (x, y) in pixels; size (W, H); G (2, F). Returns the codes (N, 2 F), sines first."""
    # solution
    c = (points + 0.5) / torch.tensor(size)
    angles = 2 * torch.pi * (2 * c - 1) @ G
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


check("08-code", my_code)

# %%
# hint("08-code")

# %%
show_source("fmlab.interactive.prompt_encoder.FourierPositions.forward")

# %% [markdown]
# Why such a strange code? Compare a click's code with those of all other places, by their product.

# %%
places = sam.model.prompt_encoder.pe_layer.of_grid((64, 64))[0].cpu()  # (C, 64, 64)
centres = [(16, 16), (32, 40), (60, 8)]
likeness = [torch.einsum("chw,c->hw", places, places[:, y, x]) / (len(places) / 2) for x, y in centres]
figure(row([z.clamp(min=0) for z in likeness], titles=[f"place {c}" for c in centres], sides=""),
       alt="For three places of a grid of 64 x 64: how alike the code of each other place is. A bright spot about the place itself, "
           f"which falls below one half within {int((likeness[1][40] > 0.5).sum()) // 2} steps or so, and grey ripples elsewhere.")

# %% [markdown]
# *What to see.* Codes are alike where places are near, and nearly unrelated elsewhere. A *product* of codes, which is what
# attention computes, therefore answers the question "are you near me?".

# %% [markdown]
# ## 3. Two-way attention: the click reads the image
#
# The decoder has a few tokens $t$ (the clicks; one for the predicted IoU; four that will become masks) and the image's features
# $z$, one vector for each of its 16 × 16 places. In each of two rounds tokens look at the image, and then the image looks at the
# tokens. The first of these looks, with the codes $\mathrm{PE}$ of tokens and places:
#
# $$q = t + \mathrm{PE}_t \qquad k = z + \mathrm{PE}_z \qquad v = z \qquad\qquad t' = t + \mathrm{softmax}\big(q k^\top / \sqrt
# C\big)\, v$$
#
# The codes go into the comparison and not into what is read: they say where to look, and are added anew at every look.
#
# **Exercise 2.** Write it, for one head. (The real one multiplies $q, k, v$ by learned matrices first.)


# %%
def my_read(tokens, token_pe, image, image_pe):
    """tokens and token_pe (T, C); image and image_pe (N, C). Returns the tokens after they have read the image, (T, C)."""
    # solution
    q, k, v = tokens + token_pe, image + image_pe, image
    weights = (q @ k.T / tokens.shape[1] ** 0.5).softmax(dim=-1)
    return tokens + weights @ v


check("08-read", my_read)

# %%
# hint("08-read")

# %%
show_source("fmlab.interactive.two_way.TwoWayBlock.forward")

# %% [markdown]
# Now open the trained model, and see where its tokens look. Number 5 is the click's, number 1 the token of the single mask, 2 to 4
# those of the three masks.

# %%
looks = [where_tokens_look(sam, click, layer)[token] for layer in (0, 1) for token in (5, 2, 3, 4)]
titles = ["click", "mask 1", "mask 2", "mask 3"]
figure(row(looks[:4], truth=[liver.mask] * 4, titles=titles),
       alt="Where four tokens look in round one, bright where they look most; the liver's outline dashed. The click's token looks "
           f"{'inside' if liver.mask.flat[int(looks[0].argmax())] else 'outside'} the liver.")

# %%
figure(row(looks[4:], truth=[liver.mask] * 4, titles=titles),
       alt="The same in round two, after the image has read the tokens. The click's token looks most "
           f"{'inside' if liver.mask.flat[int(looks[4].argmax())] else 'outside'} the liver.")

# %% [markdown]
# *What to see.* In round one the click's token looks near the place that was clicked on, and not yet quite at it; the tokens of
# the masks have heard of the click from its token, and look somewhere in its neighbourhood. Then the image reads the tokens, and
# from now on the image's features know that there was a click, and where. In round two all of them look inside the liver, near
# the click: what is *there* goes into the tokens, and everything that is like it will be in the mask.

# %% [markdown]
# ## 4. One click, three answers
#
# A click is short of words. Put your finger on a patient's heart: do you mean the heart, or the chamber that is there, or the
# person?

# %%
predict("08-p1", "One click, in the middle of a heart chamber that was never clicked on in training. What comes back?",
        ["the heart: chambers were never asked for", "the chamber", "several answers, of different sizes"])

# %%
chamber = pictures.scene(people[0], "heart_ventricle_left")
sam.set_image(chamber.image)
click = pointed_at(chamber.mask)
found = sam.predict(click)
titles = [f"mask {m + 1}: predicted IoU {iou:.2f}" for m, iou in enumerate(found.iou)]
figure(prompted([chamber.image] * 3, found.masks, [click] * 3, [chamber.mask] * 3, titles, 3),
       alt="Three answers to one click in the left ventricle, dashed: masks of "
           f"{', '.join(str(int(mask.sum())) for mask in found.masks)} pixels; the ventricle has {int(chamber.mask.sum())}.")

# %%
predict("08-p1")

# %% [markdown]
# *What to see.* The heart and some crumbs elsewhere; about the chamber; the heart. So there is a small answer and a large one,
# and the small one fits a chamber that nobody clicked on in training. The three masks came to differ because, as with Tyche in
# lesson 07, only the best of them learns. And with each comes a guess of its own quality, the **predicted IoU**, by which one may
# be chosen without a person. How good is that choice? Below, one click on each of many objects.

# %%
objects = c08.scenes(people)
table = []
for thing in objects:
    sam.set_image(thing.image)
    three, one = (sam.predict(pointed_at(thing.mask), multimask=many) for many in (True, False))
    dices = [metrics.dice(mask, thing.mask) for mask in three.masks]
    table.append([dices[three.best], max(dices), metrics.dice(one.mask, thing.mask), float(three.iou.max())])
chosen, best, single, guess = np.array(table).T
print(f"{len(objects)} objects, one click each, mean Dice: of three masks the most trusted {chosen.mean():.2f}, the best by truth "
      f"{best.mean():.2f};\nthe single mask {single.mean():.2f}. Correlation of predicted IoU and Dice over the objects: "
      f"{np.corrcoef(chosen, guess)[0, 1]:.2f}")

# %% [markdown]
# *What to see.* The guess is a hint and no more: it is far too modest, and tells good answers from poor ones only roughly. (A
# predicted IoU has to be examined like any other prediction.) And mind the second number. "The best of three" is what many papers
# report. It needs somebody who looks at all three and knows the truth: a person may, a program may not.

# %% [markdown]
# ## 5. Correct it
#
# The answer is not what you meant? Add a click: positive where something is missing, negative (a red cross) where it is too much.
# The decoder is told all clicks so far *and* its own last answer, as a **mask prompt**: not the mask, but the logits, which say
# how sure it was of every pixel.
#
# **Exercise 3.** A click was answered by $M$ masks, each with its predicted IoU. Return what goes in again with the next click.


# %%
def my_again(low, iou):
    """low (M, h, w), logits of M masks; iou (M,), predicted. Returns the mask prompt (h, w) of the next click."""
    # solution
    return low[iou.argmax()]


check("08-again", my_again)

# %%
# hint("08-again")

# %%
show_source("fmlab.interactive.mask_prompts.best_logits")


# %%
thing = pictures.scene(people[0], "stomach")
logits = lambda found: found.low[found.best]
masks, told, dices = zip(*corrected(sam, thing, 5, logits))
titles = [f"{n + 1} click{'s' * (n > 0)}: Dice {dice:.2f}" for n, dice in enumerate(dices)]
figure(prompted([thing.image] * 5, masks, told, [thing.mask] * 5, titles, margin=8, columns=3),
       alt=f"The stomach after one to five clicks, each in the middle of the largest error; {'; '.join(titles)}.")

# %%
ways = {"logits": logits, "nothing": lambda found: None, "0 and 1": lambda found: (logits(found) > 0).float()}
for what, again in ways.items():
    dices = [[step.dice for step in corrected(sam, thing, 5, again)] for thing in objects[:20]]
    print("Dice after 1 to 5 clicks", *(f"{dice:.2f}" for dice in np.mean(dices, axis=0)), f"  what goes in again: {what}")

# %% [markdown]
# *What to see.* Told its own logits, the model goes on where it was. Told nothing, or a mask of 0 and 1, it stumbles at the second
# click: three masks answered the first one, a single one answers from now on, and without its own logits the model does not know
# which of the three you looked at. A few clicks later that is forgotten, for by then the clicks say it all.

# %% [markdown]
# ### How far do clicks take us?
# All clicks above were placed by somebody who knows the truth: in the middle of the largest error. Two people who do not know it
# go on from the same first click. One clicks on the *outline* of the answer, where errors are likely; the other one confirms the
# answer's *middle*. Both are always right about what is under their finger.

# %%
predict("08-p2", "After ten clicks, whose mask is the best? And how much does the tenth click bring, compared with the second?",
        ["the informed one's; as much", "the informed one's; hardly anything", "all the same; hardly anything"])

# %%
curves, alone = [], []
for thing in objects[:20]:
    curves.append(c08.curves(sam, thing, 10))
    alone.append(clicking.box_dice(sam, thing.mask, boxes.tight_box(thing.mask)))
over_clicks(curves, box=np.mean(alone))

# %%
predict("08-p2")

# %%
claims.verdict("C08")

# %%
rows = [run.details["differences"] for run in claims.runs("C08")]
for what in rows[0] if rows else ():
    print(f"{what:48s}", *(f"{row[what]:+.3f}" for row in rows), "  (one number a seed)")
figure(claims.forest(["C08"]), alt=claims.forest_alt(["C08"]))

# %% [markdown]
# *What to see.* Three things at once. Clicks help, and the later ones help less. Four or five of them are worth a tight box,
# which is two corners. And most of this gain belongs to the person who knows the truth. Clicks on the outline bring less than
# half as much; clicks in the answer's middle, each of them right as well, bring nothing: a click helps where the mask is *wrong*,
# and to know where that is, is most of the work. Keep this in mind when you read "Dice after $n$ clicks".
#
# The verdict asks for all three at once, on more people and with intervals, and so it is only as good as the weakest of them:
# that the last click brings less than the second. Here the second brings little as well, for it also changes from three masks to
# one.

# %% [markdown]
# ## 6. Everything at once
#
# If clicks are cheap, why not click *everywhere*? A grid of points, three masks for each; what the model does not trust, what
# changes much with the threshold, and what was found twice is thrown away.

# %%
found = automatic.everything(sam, liver.image, automatic.Settings(points=16, iou=0.2, stability=0.7, overlap=0.4))
figure(coloured(liver.image, found.labels().numpy()),
       alt=f"An axial slice, and the same with the {len(found)} masks that a grid of 16 x 16 clicks left over, each in a colour.")

# %% [markdown]
# *What to see.* A patchwork: spleen and stomach, a vertebra, muscles, a piece of the liver, of the skin, of the air, and not one
# has a name. That is what "segment anything" means: objects, not anatomy. (With the published SAM the pieces are drawn far
# better; names they have not, either.)

# %% [markdown]
# ## 7. Now you
#
# Left click: this. Right click: not this. Drag: a box. `u` undoes; all keys stand beside the picture. Try the left kidney, on
# this slice and on its neighbours. What helps most, a click in the middle, a click at the edge, a negative one, a box? (Mind the
# letters. The figures above show pixels as they lie, the patient's left on the left; the canvas looks from the feet, as
# radiologists do.)

# %%
body = people[-1]
ask, prepare = ask_sam(sam, body)
canvas = Canvas(body, ask, ("kidney_left", "spleen", "stomach"), index=pictures.largest_slice(body, "kidney_left"),
                prepare=prepare, autosave=False, title="click on me")
canvas

# %%
print(marks(canvas, body))  # run this again after clicking

# %% [markdown]
# *What to see.* How many prompts did you need for a mask that you would sign? And then look at the next slice: nothing is there.
# A promptable model of *slices* forgets everything from one to the next. (Lesson 10 goes to 3-D.)

# %% [markdown]
# ## 8. A real CT
#
# The same model, on a patient. It was trained on bodies that were computed. One click each, in the middle of the structure:

# %%
try:
    scan = cohorts.load("totalsegmentator-ct")
except DataError as missing:
    print(missing)
    scan = next(iter(nano.bodies({"E": 1}, nano.FINE, 8000)))
real = c08.scenes([scan])[:6]
steps = [corrected(sam, thing, 1, lambda found: None)[0] for thing in real]
titles = [f"{thing.name}: {step.dice:.2f}" for thing, step in zip(real, steps)]
print("One click on our first body:", ", ".join(f"{thing.name} {dice:.2f}" for thing, dice in zip(objects[:6], chosen)))
figure(prompted([thing.image for thing in real], [step.mask for step in steps], [step.prompts for step in steps],
                [thing.mask for thing in real], titles, margin=20, columns=3), alt="One click on each. Dice: " + ", ".join(titles))

# %% [markdown]
# And now by hand. What you click is kept in a file after each answer, and is there again when you come back or run the cell again.

# %%
ask, prepare = ask_sam(sam, scan)
mine = Canvas(scan, ask, ("liver", "spleen", "aorta"), index=pictures.largest_slice(scan, "liver"), prepare=prepare)
mine

# %%
print(mine.resumed or "A new annotation.", marks(mine, scan), sep="\n")

# %% [markdown]
# *What to see.* On our bodies a liver is as easy as a spleen or a stomach. On a patient spleen, stomach and bladder are as good,
# and the rest is not: a real liver has vessels and shades that a computed one lacks, a real pancreas hides between bowels. So
# draw a box, or go on clicking. `mine.save("masks.nii.gz")` writes what you have annotated, on the scan's own grid.

# %% [markdown]
# ## 9. The bill
#
# The universal model of lesson 12 segments 27 or 28 structures on a whole body and asks nobody. SAM is asked slice by slice and
# piece by piece. Somebody clicks on *every* piece of every structure on every slice, once; then on every piece again, where it is
# most wrong; and so on, until the mean Dice is that of the universal model.

# %%
predict("08-p3", "A body has a hundred slices or more, and 27 or 28 structures. How many clicks does that take?",
        ["about thirty: one a structure", "some hundreds", "some thousands"])

# %%
asked = [run.details["scans"] for run in claims.runs("C20")]
for name, scan in asked[0].items() if asked else ():
    print(f"{name}: {scan['slices']} slices, {scan['structures']} structures, {scan['clicks a round']} clicks a round, "
          f"as good after {len(scan['after'])} rounds: {'yes' if scan['reached'] else 'no'}")
bill(asked[0]) if asked else None

# %%
claims.verdict("C20")

# %%
predict("08-p3")

# %% [markdown]
# *What to see.* Nobody got there. After five rounds, nine to thirteen thousand clicks on a scan, this SAM is still far below a
# model that was asked nothing. It gains with each round, and less each time; so the number in the verdict, clicks a structure, is
# only a *lower bound*. And these clicks knew the truth. Two seconds for each click of a single round are an hour and more for one
# scan.
#
# Be fair, though. Another SAM, larger and longer trained, would need fewer rounds; but the first round it would need as well, as
# long as it sees one slice and one piece at a time. And the universal model, for all its Dice, cannot do what you did in section
# 7: mark something that is none of its thirty names. A prompt is worth its price where nobody has a model yet.

# %% [markdown]
# ## 10. Quiz

# %%
quiz("08-q1")

# %%
quiz("08-q2")

# %%
quiz("08-q3")

# %%
quiz("08-q4")

# %%
quiz("08-q5")

# %% [markdown]
# ## 11. Your own scan
#
# A CT or MR (NIfTI, NRRD, a folder of DICOM slices). It stays on this machine; so does what you click.

# %%
my_scan = None  # "/path/to/scan.nii.gz"

if my_scan:
    theirs = Volume.read(my_scan)
    ask, prepare = ask_sam(sam, theirs)
    own = Canvas(theirs, ask, ("one", "two", "three"), prepare=prepare)
own if my_scan else print("No scan of your own yet: put its path above.")

# %%
progress()

# %% [markdown]
# **You can now** tell a model what you want by pointing at it, say how it understands you, and put a price on it. Next: *09 · SAM
# goes to hospital*: what becomes of SAM when it is trained on medical images.
