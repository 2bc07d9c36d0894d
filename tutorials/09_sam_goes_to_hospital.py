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
#     title: "SAM goes to hospital"
#     section: "2.C"
#     goals:
#       - measure what training on medical images is worth, with the same network, the same time and the same prompts
#       - name what MedSAM and SAM-Med2D change, and show what the wrong preprocessing costs
#       - relax a box as MedSAM does, and say what a careless box costs
#       - write the two small changes that let a frozen SAM read neighbouring slices, an adapter and a low-rank update
#       - count what is frozen and what is trained, and adapt the nano SAM to volumes in a minute
#     prerequisites: ["lesson 08", "what a convolution and attention are"]
#     minutes: 80
#     seconds: 150
#     gigabytes: 1.5
#     download_mb: 9.0
#     hardware: 2 CPU cores
# ---

# %% [markdown]
# # 09 · SAM goes to hospital

# %% [markdown]
# SAM learned from eleven million photographs: dogs, cars, cups. A slice through an abdomen has no edges like that. So people sent
# SAM to hospital, and there are two ways to do it:
#
# $$\theta \leftarrow \theta - \eta\, \nabla_\theta \mathcal{L} \qquad \text{(train on: MedSAM)}$$
#
# $$f_{\theta, \phi}, \quad \theta \text{ frozen, small } \phi \text{ trained} \qquad \text{(adapt: SAM-Med2D, MA-SAM, 3DSAM-adapter)}$$
#
# The second way is called PEFT, parameter-efficient fine-tuning. This lesson asks what the change of school is worth, what goes
# wrong on the way, and how a model that knows pictures only can be brought to read volumes.

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 80 minutes alone, 100 in a room. 09-p2 is the one to collect on the board: most people trust a network
# to be robust against a change of units. Exercises 2 and 3 are the core; exercise 1 is a warm-up, and may be left out. The
# training in section 6 takes about a minute; let pairs answer 09-p4 meanwhile. The photographs are missing here for a reason: a
# fair comparison needs both models small, so "natural images" are drawn by a program. Without files in the cache section 7 uses
# bodies of hospital E.
#
# **Typical misconceptions.** "Matched: all, missing: none" is taken for a model that is used rightly; what goes in is in no
# file of weights. A better medical model is credited to its training where only the preprocessing was fair to it. A tight
# box is taken for the normal case. In exercise 2 a reshape without a permutation mixes patients and slices, in the right
# shape.

# %%
import tempfile

import matplotlib.pyplot as plt
import torch

from fmlab import metrics
from fmlab.interactive import nano, pictures, sam3d_adapter
from fmlab.interactive.scenes import body_scenes, real_scenes
from fmlab.lessons import check, claims, figure, hint, predict, progress, quiz, show_source
from fmlab.lessons.experiments import c02, c08, c09
from fmlab.lessons.hospital import VARIANTS, WAYS_IN, counts, mask_of, picture_and_box, through
from fmlab.lessons.prompted import prompted
from fmlab.lessons.stacks import Stacks, VolumeSam, axial, boxed, slice_by_slice, stack_loss
from fmlab.settings import profile
from fmlab.training import TrainConfig, train

# %% [markdown]
# ## 1. Two schools
#
# Two nano SAMs, the same architecture, trained in the same way and for the same time. One went to a school of **textures**, where
# shapes with patterns cover each other; they stand in for photographs. The other one went to a school of **bodies**.

# %%
schools = c02.models()
people = list(nano.bodies({"A": profile().cases // 3, "E": profile().cases // 3}, nano.FINE, 7000))
objects = body_scenes(people, c08.STRUCTURES)
shapes = c02.texture_scenes(4 * profile().cases)
shown = shapes[:3] + objects[:3]
figure(prompted([one.image for one in shown], [None] * 6, [None] * 6, [one.mask for one in shown], sides="", columns=3),
       alt="Three pictures of textured shapes, and three axial slices of bodies. An object is outlined in each: a shape, or "
           f"{', '.join(one.name for one in objects[:3])}.")

# %%
predict("09-p1", "Both get the same box around an organ of a person that neither has met. Which mask is better?",
        ["the one from bodies, by far", "the one from bodies, by a little", "none: a box says it all"])

# %%
thing = pictures.scene(people[0], "stomach")
asked = [(school, way, told) for way, told in c02.prompts(thing, 1).items() for school in schools]
found = []
for school, _, told in asked:
    schools[school].set_image(thing.image)
    found.append(schools[school].predict(told).mask)
titles = [f"{way}, school of {school}:\nDice {metrics.dice(mask, thing.mask):.2f}" for (school, way, _), mask in zip(asked, found)]
figure(prompted([thing.image] * 4, found, [told for *_, told in asked], [thing.mask] * 4, titles, 2.8, margin=14),
       alt="A stomach, asked for with a box and with a click, and what each of the two models answers. " + "; ".join(titles))

# %%
for where, scenes in {"textured shapes": shapes, "bodies": objects}.items():
    means = c02.mean(c02.of_scenes(schools, scenes, seed=0))
    for school, by_way in means.items():
        print(f"{len(scenes):3d} {where}, school of {school}".ljust(40), *(f"{way} {dice:.2f}" for way, dice in by_way.items()), sep="   ")

# %%
predict("09-p1")

# %%
claims.verdict("C02")

# %%
runs = claims.runs("C02")
for group, means in (runs[0].details["mean"] if runs else {}).items():
    line = (f"{way} {means['bodies'][way]:.2f} against {means['textures'][way]:.2f}" for way in c02.WAYS)
    print(f"{group:30s}", *line, sep="   ")
figure(claims.forest(["C02"]), alt=claims.forest_alt(["C02"]))

# %% [markdown]
# *What to see.* Each is the better one at home. In the ledger's groups the first number of each pair is the school of bodies. Its
# lead is four to fourteen hundredths; it carries over to structures that it was never asked for, and to real scans of other
# kinds, but for the brain tumour with a box: a bright blob is a shape like others. And mind how good the school of textures is,
# which never saw a patient: what it learned of edges and of boxes holds everywhere.

# %% [markdown]
# ## 2. The small print: what goes in, and what comes out
#
# The published medical SAMs differ in more than their weights:
#
# | | SAM | MedSAM | SAM-Med2D |
# |---|---|---|---|
# | size | longest side 1024, zeros below and right | 1024 × 1024, stretched by splines | 256 × 256, nearest pixel; small ones padded |
# | greys | ImageNet's mean and deviation | $[0, 1]$ | ImageNet's, blue first |
# | trained | everything | encoder and decoder, boxes only | an adapter in each block, prompts, decoder |
# | mask | resize logits, cut at 0 | sigmoid, resize, cut at 0.5 | resize logits, cut at 0 |
#
# None of this is written in the file of weights. Somebody who loads MedSAM's weights into SAM's code gets no error.

# %%
predict("09-p2", "Our SAM learned with ImageNet's mean and deviation. It gets the same picture and the same box, prepared as MedSAM "
        "does, in [0, 1]. What does it answer?",
        ["the same: the picture is the same", "slightly worse masks", "much worse masks"])


# %%
sam = schools["bodies"].model
for way in WAYS_IN:
    dices = [metrics.dice(mask_of(way, *through(way, sam, one)), one.mask) for one in objects]
    print(f"prepared as for {way:10s} mean Dice {sum(dices) / len(dices):.2f}, the worst {min(dices):.2f}")

# %% [markdown]
# The last row of the table is the smaller sin. The sigmoid bends the numbers between which the resize interpolates, so that the
# edge falls elsewhere. By how much?

# %%
changed = pixels = 0
for one in objects:
    low, frame = through("SAM", sam, one)
    logits, probabilities = (WAYS_IN["SAM"].postprocess(values, frame) for values in (low, low.sigmoid()))
    changed += int(((logits > 0) != (probabilities > 0.5)).sum())
    pixels += int((logits > 0).sum())
print(f"the order of sigmoid and resize changes {changed} pixels; the masks have {pixels}")

# %%
predict("09-p2")

# %% [markdown]
# *What to see.* Ours hardly notices MedSAM's units, and that is luck of its school: it was trained on pictures of any window,
# tone and zoom, so a picture in $[0, 1]$ looks to it like one more pale picture. SAM-Med2D's way costs a little. A model that
# always met the same preparation has no such mercy; the only safe rule is to prepare as in training, and to *test* it on a few
# cases. The order of sigmoid and resize moves a pixel in fifty, all of them at the edge.

# %% [markdown]
# ## 3. Boxes: tight, relaxed, trembling
#
# A box in a paper is computed from the truth, so it is tight to the pixel. A person's box is not. MedSAM is trained with
# **relaxed** boxes, each side moved outward by its own random amount; SAM itself with boxes that **tremble**, inward too.
#
# **Exercise 1.** Relax a box, and keep it in the picture.


# %%
def my_relax(box, by, size):
    """box (x0, y0, x1, y1); by (4,): how far each side goes outward; size (W, H). Returns the new box (4,)."""
    # solution
    near = (box[:2] - by[:2]).clamp(min=0)
    far = torch.minimum(box[2:] + by[2:], torch.tensor(size))
    return torch.cat([near, far])


check("09-relax", my_relax)

# %%
# hint("09-relax")

# %%
show_source("fmlab.interactive.boxes.relaxed_box")

# %%
predict("09-p3", "The slides quote MA-SAM on tumours: 80.3 Dice with a tight box, 74.7 with a relaxed one. And our SAM, on organs, "
        "with each side up to 20 of 1024 pixels too far out?",
        ["it loses about as much", "it hardly notices: it was trained with boxes that tremble", "it gains"])

# %%
rows = c09.dices(schools["bodies"], objects)
ways = list(c09.BOXES)
means = [sum(row[way] for row in rows) / len(rows) for way in ways]
fig, ax = plt.subplots(figsize=(6, 2.6))
ax.barh(ways, means, color="#0072B2")
ax.bar_label(ax.containers[0], fmt="%.2f", padding=3)
ax.invert_yaxis()
ax.set(xlabel="mean Dice", xlim=(0, 1), title=f"one box for each of {len(rows)} objects")
figure(fig, alt="Mean Dice by how the box was drawn: " + "; ".join(f"{way} {mean:.2f}" for way, mean in zip(ways, means)))

# %%
predict("09-p3")

# %%
claims.verdict("C09")

# %%
figure(claims.forest(["C09"]), alt=claims.forest_alt(["C09"]))

# %% [markdown]
# *What to see.* The further out, the worse. MedSAM's small relaxation costs some hundredths, a little less than the slides quote,
# and a careless hand as much, although our SAM was trained with boxes that tremble. A tight box is information; in a benchmark it
# comes from the truth, and at a desk it comes from somebody's patience.

# %% [markdown]
# ## 4. Slices have neighbours
#
# Everything so far is flat. A liver in 60 slices asks for 60 boxes, and each slice is read as if the others did not exist. Must we
# train a 3-D SAM from nothing? (That is SAM-Med3D, lesson 10.) **MA-SAM** keeps SAM's encoder, frozen, treats the $S$ slices of a
# stack as a batch, and puts a small **adapter** into each block, twice, which alone sees the neighbours:
#
# $$x \leftarrow x + \mathrm{up}\big(\mathrm{GELU}(\mathrm{conv}_{3 \times 1 \times 1}(\mathrm{down}(\mathrm{LN}(x))))\big)$$
#
# $\mathrm{down}$ leads from $C$ channels to $D < C$, $\mathrm{up}$ back; the kernel covers 3 slices, 1 row and 1 column.
#
# **Exercise 2.** Write it (without LN). The art is in the axes: SAM holds tokens as $(B\,S, H, W, C)$, and a 3-D convolution wants
# $(B, D, S, H, W)$.


# %%
def my_slices(x, slices, down, weight, bias, up):
    """x (B S, H, W, C); down (D, C), weight (D, D, 3, 1, 1), bias (D,), up (C, D): x plus the adapter's change."""
    # solution
    h = (x @ down.T).unflatten(0, (-1, slices)).movedim(-1, 1)
    h = torch.nn.functional.conv3d(h, weight, bias, padding=(1, 0, 0))
    return x + torch.nn.functional.gelu(h).movedim(1, -1).flatten(0, 1) @ up.T


check("09-slices", my_slices)

# %%
# hint("09-slices")

# %%
show_source("fmlab.interactive.ma_sam.SliceBlock.along_slices")

# %% [markdown]
# The adapter adds something new. SAM's own attention may also need to change a little, for CT is no photograph. FacT does that
# with very few numbers: a **low-rank** update of the matrices that make queries and values,
#
# $$q = W_q\, x + s\, V R_q U\, x \qquad k = W_k\, x \qquad v = W_v\, x + s\, V R_v U\, x$$
#
# $U$ ($r \times C$) and $V$ ($C \times r$) are shared by *all* blocks; only the two small $R$ ($r \times r$) are a block's own.
#
# **Exercise 3.** Write it. $W_q$, $W_k$ and $W_v$ come one below the other, as one matrix.


# %%
def my_qkv(x, weight, bias, U, V, R_q, R_v, s):
    """x (N, C), weight (3 C, C), bias (3 C,), U (r, C), V (C, r), R_q and R_v (r, r): q, k, v side by side, (N, 3 C)."""
    # solution
    q, k, v = torch.nn.functional.linear(x, weight, bias).chunk(3, dim=-1)
    q, v = (part + s * (x @ U.T @ R.T @ V.T) for part, R in ((q, R_q), (v, R_v)))
    return torch.cat([q, k, v], dim=-1)


check("09-fact", my_qkv)

# %%
# hint("09-fact")

# %%
show_source("fmlab.interactive.ma_sam.FactoredQKV")

# %% [markdown]
# ## 5. What is frozen, what is trained
#
# **3DSAM-adapter** goes another way into the third dimension: tokens are cubes, SAM's windows of attention become windows in 3-D,
# and an adapter in each block convolves over $3 \times 3 \times 3$ tokens. Its prompt is a click inside the structure; whether a
# click is positive it is never told. Here are all four, in the published size (vit_b) and in ours:

# %%
for name in VARIANTS:
    for size in ("vit_b", "nano"):
        total, trained = counts(name, size)
        print(f"{name:14s}{size:6s}{total / 1e6:8.2f} million, trained {trained / 1e6:8.2f} million, {trained / total:4.0%}")

# %% [markdown]
# *What to see.* "Parameter-efficient" is a wide word. Then the test that every adapter should pass: before any training, is the
# adapted model still SAM?

# %%
torch.manual_seed(0)
volume_sam = VolumeSam(sam)
solid = sam3d_adapter.sam3d_adapter("nano")
taken = sam3d_adapter.load_sam(solid, sam.state_dict(), quiet=True)
with torch.no_grad():
    stack = axial(people[0])[None, 60:63]
    flat = sam.image_encoder(stack[0, :, None].expand(-1, 3, -1, -1))
    print(f"MA-SAM's features less SAM's: at most {float((volume_sam.eval().encode(stack) - flat).abs().max()):.0e}")
    x, block = torch.randn(1, 4, 4, 4, sam.image_encoder.pos_embed.shape[-1]), solid.encoder.blocks[0]
    print(f"3DSAM-adapter takes over {len(taken.matched)} tensors of SAM, and {len(taken.missing)} are new")
    print(f"3DSAM-adapter's adapter changes its input by {float(block.adapter(x).norm() / x.norm()):.0%} before any training")

# %% [markdown]
# *What to see.* MA-SAM begins with $\mathrm{up} = 0$ and $V = 0$: it *is* SAM, slice by slice, and training can only add to it.
# 3DSAM-adapter's adapters begin at random, and what SAM knew has to be found again.

# %% [markdown]
# ## 6. Adapt it yourself
#
# One box for a *whole* structure, drawn once, around all of its slices seen through each other. In most slices it is far too
# large. The nano SAM with MA-SAM's adapters and FacT learns to live with that: some people, some steps, a minute. (It keeps SAM's
# own decoder. MA-SAM's, which draws all organs without any prompt, begins anew, and a minute is too short for it.) SAM's own
# weights in the encoder do not move.

# %%
pupils = nano.bodies({"A": 2, "C": 1, "D": 2}, nano.FINE, 6000)
lessons = Stacks(pupils, ("liver", "spleen", "stomach", "lung_left", "urinary_bladder", "heart", "iliopsoas_left", "hip_right"))
config = TrainConfig(steps=2 * profile().steps, lr=2e-4, weight_decay=0.0, warmup=3, batch=2, seed=1)
with tempfile.TemporaryDirectory() as folder:
    train(volume_sam.train(), stack_loss, lessons, config, folder)

# %%
predict("09-p4", "On new people, the structure's one box for all slices: what does the adaptation bring? And what if each slice is "
        "given three times, as its own neighbours?",
        ["a gain; without neighbours it is as good", "a gain; without neighbours it is worse", "nothing: too few steps"])

# %%
untouched, rows = VolumeSam(sam).eval(), []  # SAM itself, as section 5 showed
volume_sam.eval()
for person in people:
    for name in ("liver", "spleen", "kidney_left"):
        if bool(person.mask(name).any()):
            thing = boxed(person, name)
            masks = slice_by_slice(untouched, thing), slice_by_slice(volume_sam, thing), slice_by_slice(volume_sam, thing, False)
            rows.append([metrics.dice(mask, thing.mask) for mask in masks])
            print(f"{name:12s}", "SAM {:.2f}   adapted {:.2f}   adapted, without neighbours {:.2f}".format(*rows[-1]))

# %%
predict("09-p4")

# %% [markdown]
# *What to see.* A short training, a third of the weights, and one box serves a whole organ better, also a kidney, which was in no
# training. But look at the last column: without neighbours it is just as good. What was learned is to distrust a box that is too
# large, which needs no third dimension. "It has 3-D adapters and it is better" does not say that it is better *because* of them;
# the experiment that says so costs one line, and belongs into every such paper. (Ten times the rate, `lr=2e-3`, and the spleen is
# worse than before: try it. Few weights do not protect from forgetting.)

# %% [markdown]
# ## 7. Real patients
#
# Both schools, the same trembling boxes, on what lies in your cache: a CT, two PNG slices of SAM-Med2D's, X-rays, MR. (`fmlab data
# list` names them, `fmlab data get` brings them.)

# %%
groups = real_scenes() or {"hospital E": objects}
for name, scenes in groups.items():
    means = c02.mean(c02.of_scenes(schools, scenes[: 2 * profile().cases], seed=0))
    print(f"{name:18s}", *(f"school of {school}: {by_way['a box']:.2f}" for school, by_way in means.items()), sep="   ")
examples = [scenes[0] for scenes in groups.values()]
masks = []
for one in examples:
    schools["bodies"].set_image(one.image)
    masks.append(schools["bodies"].predict(c02.prompts(one, 0)["a box"]).mask)
figure(prompted([one.image for one in examples], masks, [c02.prompts(one, 0)["a box"] for one in examples],
                [one.mask for one in examples], [f"{name}:\n{one.name}" for name, one in zip(groups, examples)], 3, sides="", columns=3),
       alt="One object of each kind of picture with its box and the answer of the SAM that knows bodies: " + ", ".join(groups))

# %% [markdown]
# *What to see.* Neither school ever saw a patient, and both find the vertebra and the lung in an X-ray: a good box leaves little
# to be guessed. Bodies are ahead, by up to a good tenth, where there is anatomy to know, on MR and X-ray too, which they never
# taught; at the tumour, where there is none, textures are. Before you ask whether a model is medical, ask what your task leaves
# it to guess.

# %% [markdown]
# ## 8. Quiz

# %%
quiz("09-q1")

# %%
quiz("09-q2")

# %%
quiz("09-q3")

# %%
quiz("09-q4")

# %% [markdown]
# ## 9. Your own picture
#
# A PNG or JPEG, and a box in its pixels. It stays on this machine.

# %%
my_picture, my_box = None, (10, 10, 60, 60)  # "/path/to/picture.png", x0 y0 x1 y1

if my_picture:
    mine, told = picture_and_box(my_picture, my_box)
    schools["bodies"].set_image(mine)
    answer = prompted([mine], [schools["bodies"].predict(told).mask], [told], inches=4, sides="")
figure(answer, alt="Your picture with box and mask.") if my_picture else print("No picture of your own yet: put its path above.")

# %%
progress()

# %% [markdown]
# **You can now** say what medical training is worth and what it is not, spot a preprocessing that does not fit, and turn a flat
# model into one that reads neighbours. Next: *10 · SAM in 3-D, and how it is judged*.
