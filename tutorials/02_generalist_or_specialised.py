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
#     title: "Generalist or specialised?"
#     section: "1.A"
#     goals:
#       - say what an image-text model learns from pairs, and write the loss that FLAIR changed in CLIP
#       - classify pictures by words, with class names and with what an expert would say
#       - average descriptions rightly, and say what the length of a mean does to a class
#       - compare zero-shot with a linear probe, and read off it what a model lacks
#       - weigh "specialised beats generalist" against a fair comparison of your own
#     prerequisites: ["lesson 00", "softmax and cross-entropy seen once"]
#     minutes: 60
#     seconds: 40
#     gigabytes: 1.0
#     download_mb: 0
#     hardware: 2 CPU cores
# ---

# %% [markdown]
# # 02 · Generalist or specialised?

# %% [markdown]
# Axis A of the map: a foundation model for everything, or one for one field? A **generalist** has seen more of the world, a
# **specialist** more of yours. The slides' example is the eye. [FLAIR](https://doi.org/10.1016/j.media.2024.103357) was trained
# on 288,307 fundus photographs from 38 data sets; [CLIP](https://doi.org/10.48550/arXiv.2103.00020) on 400 million pictures of
# everything, [BiomedCLIP](https://doi.org/10.48550/arXiv.2303.00915) on 15 million figures from biomedical papers. All three
# learn the same way: pictures $X_i$ and texts $T_j$ meet on a sphere,
#
# $$u_i = \frac{P_I\, \theta_I(X_i)}{|\cdot|} \qquad v_j = \frac{P_T\, \theta_T(T_j)}{|\cdot|} \qquad
# s_{ij} = e^{t}\, u_i \cdot v_j$$
#
# and $s_{ij}$, the logit, should be large where picture and text belong together. Then *any* words make a classifier. This
# lesson trains on eyes that are made of numbers, so that you may know everything about them.

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 60 minutes alone, 80 in a room. Collect 02-p2 by hands before section 5: most rooms trust the name.
# 02-p3 is for those who know some geometry; draw two unit vectors and their mean. The discussion worth its time is section 8:
# what an equal budget asks, and what somebody asks who has to choose a model to download. If time is short, leave out section
# 3's live training.

# %%
import tempfile

import torch

from fmlab import hub
from fmlab.contrastive import nano, photographs, probe, zero_shot
from fmlab.contrastive.clip_loss import clip_loss
from fmlab.contrastive.conditions import KNOWN, NOVEL
from fmlab.contrastive.findings import Finding
from fmlab.contrastive.fundus import fundus
from fmlab.contrastive.pairing_loss import pairing_loss
from fmlab.errors import DataError
from fmlab.lessons import check, claims, figure, hint, predict, progress, quiz, show_source
from fmlab.lessons import eyes_and_words as show
from fmlab.settings import profile

# %% [markdown]
# ## 1. An eye, and what may be found in it
#
# A fundus photograph looks through the pupil at the retina. Bright: the **optic disc**, where the nerve leaves, with its paler
# cup. Dark: the **macula**, with which you read this. Between them, the arcades of arteries and veins.

# %%
letters = ["", "many microaneurysms in all quadrants", "many flame haemorrhages in one quadrant",
           "many hard exudates around the macula", "many drusen in the macula", "many cotton wool spots",
           "new vessels at the disc", "swollen disc", "large cup", "pale patch of atrophy in the macula",
           "many pigment clumps in the periphery", "many laser scars in the periphery"]
pictures = [fundus(18, [Finding.read(text)] if text else [], size=96) for text in letters]
figure(show.photographs(pictures, [text or "healthy" for text in letters]),
       alt="One eye twelve times: healthy, and with one finding each: " + ", ".join(letters[1:]) + ".")

# %% [markdown]
# *What to see.* It is one eye, and these are the letters that diseases are spelt with. Glaucoma is one letter, a large cup.
# Severe diabetic retinopathy is three. (Everything small is drawn larger than life: a real microaneurysm is far below one of 64
# pixels.)
#
# ## 2. Pairs
#
# A picture's caption is its condition's **name**, or what an expert would **say** of it. The second is FLAIR's idea: data sets
# of eyes have classes and no sentences, and a name such as "glaucoma" tells a network nothing about cups.

# %%
for name in ("glaucoma", "moderate diabetic retinopathy", "branch vein occlusion"):
    print(f"{name}: {'; '.join(KNOWN[name].says)}")
specialist, generalist = (hub.load(f"image_text_{kind}", "nano") for kind in ("specialist", "generalist"))
print(f"each model: {sum(p.numel() for p in specialist.parameters()):,} parameters")

# %%
six = ["healthy", "glaucoma", "papilloedema", "branch vein occlusion", "treated retina", "diabetic macular oedema"]
pictures, _ = nano.examined(six, "A", 1, seed=4)
texts = [f"a fundus photograph of {KNOWN[name].says[0]}" for name in six]
with torch.no_grad():
    logits = specialist(pictures, texts)
figure(*show.agreement(logits, pictures, texts))

# %% [markdown]
# *What to see.* Each column is a picture, and a softmax over it is the answer to "which of these six sentences?". That is
# **zero-shot** classification: nobody trained a six-way classifier.
#
# ## 3. What belongs together?
#
# CLIP's target is the diagonal: picture $i$ belongs to caption $i$, and every other caption of the batch is wrong. In a batch
# of 64 eyes there are several of glaucoma. FLAIR asks for the **category** $c_i$ instead:
#
# $$G_{ij} = \frac{[c_i = c_j]}{\sum_k [c_i = c_k]} \qquad
# \mathcal{L} = \tfrac12\, \mathrm{CE}(s, G) + \tfrac12\, \mathrm{CE}(s^\top, G) \qquad
# \mathrm{CE}(s, G) = -\frac1B \sum_{ij} G_{ij} \log \frac{e^{s_{ij}}}{\sum_k e^{s_{ik}}}$$
#
# **Exercise 1.** Write it.


# %%
def my_pairing_loss(logits, categories):
    """FLAIR's loss. logits: (B, B), picture i by caption j. categories: (B,) numbers. Returns one number."""
    # solution
    same = (categories[:, None] == categories[None]).float()
    goal = same / same.sum(1, keepdim=True)
    return (torch.nn.functional.cross_entropy(logits, goal) + torch.nn.functional.cross_entropy(logits.T, goal)) / 2


check("02-pairing", my_pairing_loss)

# %%
# hint("02-pairing")

# %%
show_source("fmlab.contrastive.pairing_loss")

# %% [markdown]
# What is the difference worth? Take a model that knows the categories perfectly: all captions of a picture's category get the
# same high logit. What do the two losses still want of it?

# %%
batch = ["glaucoma", "glaucoma", "glaucoma", "healthy", "healthy", "cataract"]
categories = torch.tensor([sorted(set(batch)).index(name) for name in batch])
perfect = (20.0 * (categories[:, None] == categories[None])).requires_grad_()
wanted = {name: torch.autograd.grad(loss, perfect)[0] for name, loss in
          {"CLIP": clip_loss(perfect), "FLAIR": pairing_loss(perfect, categories)}.items()}
figure(*show.pushes(batch, wanted))

# %% [markdown]
# *What to see.* FLAIR is content. CLIP pushes three pictures of glaucoma away from each other's captions, although these are
# true: it goes on until it can tell the three *persons* apart.

# %%
predict("02-p1", "Two diets, the same network, batch and steps: eyes alone, or one tenth eyes, the rest CT slices and coloured "
        "shapes. Whose loss falls faster?",
        ["the specialist's: it has one field to learn", "the generalist's: its pictures are easy to tell apart",
         "about the same: the loss begins at log 32 for both"])

# %%
budget = nano.Budget(pictures=160, steps=profile().steps, batch=32, bodies=1)
logs = {}
for arm, share in nano.SHARES.items():
    with tempfile.TemporaryDirectory() as folder:
        logs[arm] = nano.trained(nano.diet(share, budget, seed=2), 2, folder, budget)[1]
figure(*show.losses(logs))

# %%
predict("02-p1")

# %% [markdown]
# *What to see.* An eye, a liver and a green triangle are told apart at a glance, so most of the generalist's 31 wrong captions
# are *obviously* wrong. The specialist's are all of eyes: every one of its comparisons asks for cups, spots and bleeding. So
# the two numbers on this axis are answers to different questions, and a lower contrastive loss does not mean a better model for
# you. The other side of the same coin: a wrong caption teaches what it differs in.
#
# ## 4. By name
#
# The shipped models took 300 steps of 64, with 1500 different pictures each. First the sixteen conditions that both have met,
# through a camera that both know and through two that neither does:

# %%
def accuracy(model, pictures, truth, texts, normalise=True):
    """Balanced accuracy of a zero-shot classifier."""
    return zero_shot.balanced_accuracy(zero_shot.probabilities(model, pictures, texts, normalise).argmax(1), truth)


models = {"generalist": generalist, "specialist": specialist}
each = 4 if profile().name == "ci" else 10
for camera in "ADE":
    known, truth = nano.examined(list(KNOWN), camera, each, seed=40)
    found = {arm: accuracy(model, known, truth, zero_shot.names_only(list(KNOWN))) for arm, model in models.items()}
    print(f"camera {camera}:", *(f"  {arm} {value:.2f}" for arm, value in found.items()), f"  chance {1 / len(KNOWN):.2f}")

# %% [markdown]
# *What to see.* Two losses: from model to model, and from camera to camera. The second one is called **domain shift**, and a
# specialist that has seen three cameras is no more immune to a fourth one than you are to somebody else's glasses.
#
# ## 5. Conditions that nobody has met
#
# Six conditions were kept from both models: no picture, no name, no description. Their *findings* were seen one by one. Now
# compare the names, and what an expert would say.

# %%
for name, one in NOVEL.items():
    print(f"{name}: {'; '.join(one.says)}")

# %%
predict("02-p2", "\"Retinitis pigmentosa\" is in nobody's captions; its findings are. The specialist is asked for one of six "
        "such conditions (chance 0.17). How far apart are names and descriptions?",
        ["hardly: a name is what the other five are not", "names near chance, descriptions far above",
         "both near chance: novel is novel"])

# %%
novel, truth = nano.examined(list(NOVEL), "A", 2 * each, seed=50)
ways = {"names": zero_shot.names_only(list(NOVEL)), "knowledge": zero_shot.with_knowledge(list(NOVEL))}
for arm, model in models.items():
    print(f"{arm:11s}", *(f"  {way} {accuracy(model, novel, truth, texts):.2f}" for way, texts in ways.items()))

# %%
predict("02-p2")

# %% [markdown]
# *What to see.* A name that was never in a caption is a sound without meaning. The description spells the condition in letters
# that were learnt. FLAIR calls that **encoding expert knowledge in text**, and it works in both directions: it makes captions
# out of classes in training, and classes out of sentences in use. (Its text tower, Bio_ClinicalBERT, has read hospital notes
# and need not begin with random words as ours did.)
#
# ## 6. Many descriptions, one class
#
# A class $k$ has several texts. Average their embeddings, and compare pictures with the mean:
#
# $$\bar v_k = \frac{1}{n_k} \sum_{j=1}^{n_k} v(T_{kj}) \qquad w_k = \frac{\bar v_k}{|\bar v_k|} \qquad
# \hat y = \arg\max_k\; u \cdot w_k$$
#
# FLAIR's code leaves out the middle step. **Exercise 2.** Write it with the step.


# %%
def my_ensemble(embeddings):
    """embeddings: K tensors (n_k, width), rows of length 1. Returns (K, width), a row a class, of length 1."""
    # solution
    means = torch.stack([each.mean(0) for each in embeddings])
    return means / means.norm(dim=1, keepdim=True)


check("02-ensemble", my_ensemble)

# %%
# hint("02-ensemble")

# %%
predict("02-p3", "One class has a single sentence, another one gets many that say rather different things, and nothing is "
        "normalised. Which of the two gains pictures that are not its own?",
        ["the one with many sentences: it covers more", "the one with a single sentence", "neither: an angle is an angle"])

# %%
uneven = {"central vein occlusion": ways["knowledge"]["central vein occlusion"][:1],
          "severe diabetic retinopathy": ways["knowledge"]["severe diabetic retinopathy"]
          + ["a fundus photograph of few hard exudates", "a fundus photograph of new vessels at the disc",
             "a fundus photograph with nothing abnormal"]}
pair, owner = nano.examined(list(uneven), "A", 2 * each, seed=60)
for normalise in (False, True):
    rows = zero_shot.class_embeddings(specialist, uneven, normalise)
    chosen = zero_shot.probabilities(specialist, pair, uneven, normalise).argmax(1).bincount(minlength=2).tolist()
    print("length 1 again:" if normalise else "mean as it is: ",
          *(f"  {name}: length {row.norm():.2f}, chosen {n} of {len(owner)}" for name, row, n in zip(uneven, rows, chosen)))

# %%
predict("02-p3")

# %% [markdown]
# *What to see.* The logit is length times cosine, and sentences that disagree make a short mean. Where all classes have
# descriptions of one style, as in section 5, the lengths are nearly equal and the step hardly matters; it matters when you add
# to *one* class. Another trap of words: classes compete. FLAIR's own example, a photograph of a macular hole, gives 0.96 to
# "lesion in the macula" when that stands beside "macular hole", and it is true of the picture too. A softmax cannot say "both".
#
# ## 7. A few labels: the linear probe
#
# Words are one way to ask. Another is a **linear probe**: keep $\theta_I$ as it is, forget the texts, and fit a logistic
# regression on the features of a few labelled pictures. Here on the novel conditions and a camera that is new as well.

# %%
shots, others = (1, 2, 4, 8), 6 if profile().name == "ci" else 16
pictures, truth = nano.examined(list(NOVEL), "E", max(shots) + others, seed=70)
place = torch.arange(len(truth)) % (max(shots) + others)
torch.manual_seed(7)
arms, curves, zero = {**models, "untrained": hub.build("image_text", words=list(nano.WORDS)).eval()}, {}, {}
for arm, model in arms.items():
    z, asked = zero_shot.embedded(model, pictures, projected=False), place >= max(shots)
    fits = {n: probe.fitted(z[place < n], truth[place < n]) for n in shots}
    curves[arm] = {n: zero_shot.balanced_accuracy(fit(z[asked]).argmax(1), truth[asked]) for n, fit in fits.items()}
    if arm in models:
        zero[arm] = accuracy(model, pictures[asked], truth[asked], ways["knowledge"])
figure(*show.probe_curves(curves, zero, chance=1 / len(NOVEL)))

# %% [markdown]
# *What to see.* Where does a probe overtake the words of the same model? For the generalist that distance says that its
# features knew more than its sentences could ask for. And look at the probe on *untrained* features: on pictures as simple as
# ours, even random filters see a lot. A probe's accuracy without that line beside it says little.
#
# ## 8. The claim
#
# **C01**: specialised beats generalist, zero-shot *and* with a probe. Each examination is a case, as a data set is in FLAIR's
# tables; the effect is the smaller of the two differences. From stored runs; the verdict is computed here.

# %%
display(claims.verdict("C01"))
figure(claims.forest(["C01"]), alt=claims.forest_alt(["C01"]))

# %%
for table in show.two_tables():
    print(table.text(), end="\n\n")

# %% [markdown]
# These are the slides' two tables, redrawn with our numbers. FLAIR's own, with CLIP and BiomedCLIP beside it, are in [the
# paper](https://doi.org/10.1016/j.media.2024.103357). Before you take sides:
#
# - **Is it the field, or the number?** *Few fundus pictures* has the generalist's 150 eyes and nothing else, for as many steps,
#   so that it meets each of them ten times as often. Compare its column with the generalist's: with a budget as small as this, do
#   the other 1350 pictures help, or are they in the way? Compare it with the specialist's: what is left is the number of eyes.
# - **Whose budget is equal?** Ours is: 1500 pictures, 300 steps, one architecture. Real generalists saw fifty or a thousand
#   times as many pictures as FLAIR, with larger networks. "Better per picture" and "better to download" are two questions.
# - **How special is special?** Our specialist fails on what is no eye, and half fails on an eye through another camera.
#
# Run it on your machine: `fmlab claims --rerun C01`.
#
# ## 9. FLAIR itself
#
# If you have its weights (Apache-2.0; `model.safetensors` of jusiro2/FLAIR, or `flair_resnet.pth`), put the path into the first
# line. The vision tower is a ResNet-50; 23.5 M parameters, 78 times ours. Its features are what a probe wants.

# %%
my_flair = None  # "/path/to/flair_resnet.pth"

if my_flair:
    from fmlab.contrastive import flair

    tower = flair.load(my_flair)
    eyes = torch.cat([flair.preprocessed((255 * one.numpy().transpose(1, 2, 0)).astype("uint8")) for one in pictures[place < 12]])
    with torch.no_grad():
        z = torch.cat([tower.features(part) for part in eyes.split(8)])
    held, y = place[place < 12] >= 8, truth[place < 12]
    print("FLAIR, probe with 8:", zero_shot.balanced_accuracy(probe.fitted(z[~held], y[~held])(z[held]).argmax(1), y[held]))
else:
    print("No file named: nothing is loaded, and nothing is fetched.")

# %% [markdown]
# ## 10. A photograph of your own
#
# A PNG or JPEG of a fundus. It stays on this machine. Models that have seen procedural eyes alone know nothing about patients:
# look at *how sure* they are, and at what is wrong. Not for diagnosis.

# %%
my_photograph = None  # "/path/to/fundus.jpg"

try:
    photograph = photographs.read_photograph(my_photograph or "none named")
except DataError as missing:
    print(missing if my_photograph else "No photograph named; here is a procedural one, of a known condition.")
    photograph = nano.examined(["proliferative diabetic retinopathy"], "D", 1, seed=80)[0]
said = {}
for arm, model in models.items():
    p, k = zero_shot.probabilities(model, photograph, zero_shot.with_knowledge(list(KNOWN)))[0].topk(3)
    said[arm] = ", ".join(f"{list(KNOWN)[n]} {value:.2f}" for value, n in zip(p.tolist(), k.tolist()))
print(*(f"{arm}: {words}" for arm, words in said.items()), sep="\n")
figure(show.photographs(photograph, columns=1, inches=2.4),
       alt="A fundus photograph. The models' first three: " + "; ".join(said.values()))

# %% [markdown]
# ## 11. Quiz

# %%
quiz("02-q1")

# %%
quiz("02-q2")

# %%
quiz("02-q3")

# %%
quiz("02-q4")

# %%
quiz("02-q5")

# %%
progress()

# %% [markdown]
# **You can now** train pictures and words onto one sphere, ask by description where a name is not known, and say of any
# "specialised beats generalist" what was equal and what was not. Next: *03 · 2-D or 3-D?*, the second axis of the map.
