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
#     title: "Is text any use?"
#     section: "1.C"
#     goals:
#       - ask an image-text model for findings by paired prompts, and say why the findings must not compete
#       - see a pair of prompts as a plane that is written in words
#       - say what reports have to contain for "not" to mean anything
#       - judge what a frozen text branch adds to a segmenter, from runs
#       - recompute the law of concept frequency, and say how binning flatters it
#     prerequisites: ["lesson 01", "lesson 02 helps"]
#     minutes: 60
#     seconds: 12
#     gigabytes: 0.6
#     download_mb: 0
#     hardware: 2 CPU cores
# ---

# %% [markdown]
# # 04 · Is text any use?

# %% [markdown]
# A unimodal model learns from images and masks, a multimodal one from images and what was written about them. Reports exist for
# every scan of a hospital, and cost nothing. So text promises three things: **labels for nothing** (the report says what is
# there), **classes without training** (describe it, and ask), and **knowledge** (a text encoder knows that a kidney has a left
# and a right). This lesson holds each against numbers.
#
# | system | text is | what it is asked |
# |---|---|---|
# | [CT-CLIP](https://doi.org/10.48550/arXiv.2403.17834) | the report of a chest CT | "X is present." against "X is not present." |
# | [CLIP-driven](https://doi.org/10.1109/ICCV51070.2023.01934) | the class's name, frozen | a row of a table that makes the head (lesson 13) |
# | [CLIP](https://doi.org/10.48550/arXiv.2103.00020) | the caption of a web picture | the nearest of all class names |

# %% [markdown] tags=["instructor"]
# **Notes for teachers.** 60 minutes alone, 80 in a room. Section 3 is the heart of the first half: let the room say what "not"
# could mean to a model that never read it. In section 6 show the cloud before the bins, and ask for a correlation by eye. The
# second control of section 7, one picture repeated, is what people remember. Nothing is trained live.
#
# **Typical misconceptions.** Zero-shot probabilities are taken as competing classes. A text encoder is believed to know
# negation, because it is a language model. A correlation of 0.98 between bins is read as one between concepts. "More data" is
# counted in files, not in different pictures.

# %%
import numpy as np
import torch

from fmlab.contrastive.paired import paired
from fmlab.errors import DataError
from fmlab.lessons import check, claims, figure, frequency, hint, predict, progress, quiz, show_source
from fmlab.lessons.paired_prompts import FINDINGS, aurocs, compared, stored, with_reports

# %% [markdown]
# ## 1. Asking in pairs
#
# Axial slices of twelve people, and what each shows. A small image-text model (the two towers of lesson 02) learned slices of
# other people together with reports such as *"liver is present. left kidney is not present. heart is not present."* Its
# embeddings of these slices and of both prompts of twelve findings are kept with the course. CT-CLIP's findings are 18
# pathologies of the chest; ours are organs, as our bodies have few diseases that a slice of 8 mm shows.

# %%
slices, truth, models = stored()
states = models["states"]
print(f"slices {tuple(states.images.shape)}, present and absent {tuple(states.present.shape)}, scale {states.scale:.1f}")
fig, alt = with_reports(slices, truth, [2, 7, 11, 14, 18])
figure(fig, alt)

# %% [markdown]
# A scan has several findings, or none. So CT-CLIP does not let them compete: for each finding $k$ and image embedding $u$
#
# $$p_k = \frac{e^{s\, u \cdot v_k^+}}{e^{s\, u \cdot v_k^+} + e^{s\, u \cdot v_k^-}}
# \qquad v_k^+ = \text{"X is present."} \quad v_k^- = \text{"X is not present."}$$
#
# with the scale $s = e^t$ that the model learned. **Exercise 1.** Write it, for all images and findings at once.


# %%
def my_paired(images, present, absent, scale):
    """images (N, D), present and absent (K, D), all of length 1, and one number, to probabilities (N, K)."""
    # solution
    both = scale * torch.stack([images @ present.T, images @ absent.T])
    return both.softmax(0)[0]


check("04-paired", my_paired)

# %%
# hint("04-paired")

# %%
show_source("fmlab.contrastive.paired.paired")

# %% [markdown]
# ## 2. What the second prompt is for

# %%
predict("04-p1", "Three ways to score a finding: the pair; the cosine with \"X is present.\" alone; a softmax over the twelve "
        "\"X is present.\" Which ranks slices with X above slices without it best (AUROC)?",
        ["the pair, by far", "all three rank nearly alike", "the softmax over findings: what else is there speaks against X"])

# %%
alone = states.scale * states.images @ states.present.T
ways = {"the pair": paired(states.images, states.present, states.absent, states.scale), "present alone": alone,
        "softmax over findings": alone.softmax(1)}
figure(*compared({way: aurocs(scores, truth) for way, scores in ways.items()}))

# %%
predict("04-p1")

# %% [markdown]
# *What to see.* Compare the three means, and then the rows. AUROC asks for a ranking of slices, one finding at a time, and for
# that the first prompt alone may do as well as two: this model's second prompt points elsewhere, and says little that the first
# does not. What a cosine alone does not have is a **zero**: 0.2 says nothing, until there is something to compare it with. The
# softmax over findings has one, and it is the wrong one: its twelve numbers add up to 1, in a slice that shows six organs and in
# one that shows none. A row to the left of one half is a finding that the model has got the wrong way round; nothing in a prompt
# says so.
#
# Write the pair once more:
#
# $$p_k = \sigma\big(s\, u \cdot (v_k^+ - v_k^-)\big)$$
#
# That is a logistic regression, whose weights are a difference of two sentences: a plane through the origin, written in words.
# No example was needed to place it, and none can move it.

# %%
plane = torch.sigmoid(states.scale * states.images @ (states.present - states.absent).T)
print(f"largest difference: {float((plane - ways['the pair']).abs().max()):.0e}")
said, there = (ways["the pair"] > 0.5).float().mean(0), truth.float().mean(0)
for name, share, shown in zip(FINDINGS, said, there):
    print(f"{name:16s} said to be there in {float(share):4.0%} of the slices, and is in {float(shown):4.0%}")

# %% [markdown]
# A ranking may be good where the threshold of one half is not: nobody told the plane how often a finding occurs.
#
# ## 3. Reports that never say no
#
# Many reports only say what is there. A second model, `omits`, learned the same slices as long, from reports without a single
# "not". It is asked with the same two prompts.

# %%
predict("04-p2", "The model that never read \"not\": how good is its pair?",
        ["as good: \"X is present.\" is well learned, and that is half of the pair",
         "worse: \"X is not present.\" is nearly \"X is present.\" to it, and the difference is noise",
         "better: its reports were not diluted by absences"])

# %%
omits = models["omits"]
rows = {f"{arm}, the pair": aurocs(paired(m.images, m.present, m.absent, m.scale), truth) for arm, m in models.items()}
rows |= {f"{arm}, present alone": aurocs(m.images @ m.present.T, truth) for arm, m in models.items()}
figure(*compared(rows))

# %%
for arm, m in models.items():
    near = (m.present @ m.absent.T).diagonal()
    print(f"{arm:6s}: cosine of \"X is present.\" and \"X is not present.\" {float(near.mean()):.2f}, "
          f"from {float(near.min()):.2f} to {float(near.max()):.2f}")

# %%
predict("04-p2")

# %% [markdown]
# *What to see.* The second model knows its organs: alone, "X is present." ranks about as well as the first model's. The pair
# destroys that, since it subtracts nearly the same text. The cosines say why. What "not" means has to be learned from texts in
# which it makes a difference to the *image*. Large text encoders have read the word a billion times, and still put a sentence and
# its negation close together, as most of the words are the same. So test it before you trust it: ask for something that is
# surely not there. (Two small models, one seed each: the size of the gap is theirs, the direction is the point.)
#
# ## 4. A frozen text branch in a segmenter
#
# CLIP-driven segmentation never compares text with image: the embedding of the class's name is a row of a table from which a
# head is made (lesson 13). Is it the language that helps, or any code that tells classes apart? **C04**: the same network three
# times, with the rows of a sentence encoder, with one-hot rows, and with random ones.

# %%
for run in claims.runs("C04"):
    print(f"seed {run.seed}:", ", ".join(f"{text} {dice:.3f}" for text, dice in run.details["mean"].items()))
claims.verdict("C04")

# %% [markdown]
# Read the unit with care: the effect is the *better* of the two meaningless codes less the meaningful one. In few steps a table
# whose rows are alike is harder to tell apart than one whose rows are at right angles: the sentence encoder calls left and right
# kidney nearly the same, and these are what a head has to separate.
#
# What is left for a frozen text encoder? It can take **a new class without a new row** (describe it), share between classes
# whose names are alike, and it does not depend on the order of a list. Each of these is worth testing before it is claimed, and
# lesson 13 tests the first: there a new name finds no new organ.
#
# ## 5. How often was it said?
#
# Zero-shot looks like knowledge of things never taught. [Udandarao et al.](https://doi.org/10.48550/arXiv.2404.04125) counted
# how often 4,029 concepts occur in what CLIP models are pre-trained on, and found that accuracy grows with the **logarithm** of
# that count: ten times the pictures for each further step.

# %%
predict("04-p3", "In CC3M the means of frequency bins correlate with accuracy at r = 0.98. What is r over the single concepts?",
        ["about 0.9", "about 0.7", "about 0.4"])

# %%
try:
    published = frequency.published_rows()  # `fmlab data seed FOLDER` brings it into the cache
    laws = frequency.laws(published)
except DataError as missing:
    print(missing, "What follows comes from the stored runs of C18.")
    published, kept = None, claims.runs("C18")[0].details["published"]
    laws = {name: frequency.Law.read(row) for name, row in kept.items()}
figure(frequency.law_picture(laws, published), alt=frequency.law_alt(laws))

# %%
predict("04-p3")

# %% [markdown]
# *What to see.* Both numbers are right, of different things. A bin's mean has lost what concepts of one frequency differ in, and
# that is most of it; who chooses bins of half a decade chooses a high correlation. The law is about averages. It is flat below a
# hundred examples, bends at the top, and "never occurs" is not "never seen": the tagger misses concepts, and those with a count
# of 0 are recognised all the same, hardly ever by CC3M's model, and in half of the pictures by LAION-400M's (printed below).
#
# There is another doubt. The concepts come from 19 test sets, and a set of aircraft types is hard *and* rare. **Exercise 2.**
# The slope with an intercept for each test set: what remains when concepts are compared with others of their own set.


# %%
def my_within(counts, accuracy, sets):
    """counts, accuracy and the number of the test set, each (N,), to points per decade; a count of 0 says nothing."""
    # solution
    seen = counts > 0
    x, y, sets = np.log10(counts[seen]), accuracy[seen].astype(float), sets[seen]
    for name in np.unique(sets):
        own = sets == name
        x[own], y[own] = x[own] - x[own].mean(), y[own] - y[own].mean()
    return float((x * y).sum() / (x * x).sum())


check("04-within", my_within)

# %%
# hint("04-within")

# %%
show_source("fmlab.lessons.frequency.within")

# %%
for name, law in laws.items():
    rising = sum(slope > 0 for slope in law.by_set.values())
    print(f"{frequency.NAMES[name]:11s} {law.slope:4.1f} points per decade, {law.within:4.1f} within test sets; rises in {rising} "
          f"of {len(law.by_set)} sets; count 0: {law.never} concepts, {law.never_accuracy:.0f} % right")

# %% [markdown]
# ## 6. Frequency by lot
#
# On the web one cannot choose what is frequent. With our own bodies one can. 24 structures, of which the $r$-th has
# $1000 / r^2$ pictures (Zipf's law), a small CLIP, and zero-shot by the structures' names. **Which** structure is frequent is
# drawn by lot, and then turned round, so that each is frequent once and rare once: its own control. Two more cohorts beside it:
# one in which all are equally frequent, and one with Zipf's counts in which a structure's pictures are *all the same one*.

# %%
predict("04-p4", "One picture of a structure, repeated a thousand times. Zero-shot accuracy on new people is ...",
        ["nearly as with a thousand pictures: the count is what matters", "about half way",
         "no better than with two pictures: the count alone teaches nothing"])

# %%
details = claims.runs("C18")[0].details
figure(frequency.own_picture(details), alt=frequency.own_alt(details))

# %%
predict("04-p4")

# %%
claims.verdict("C18")

# %% [markdown]
# *What to see.* Here frequency *acts*, as nothing else was changed with it. The line is steeper than the published ones: few
# pictures, few classes, and every further one is new. And what the law calls frequency is a stand-in: not how often a concept
# was there, but how many *different* pictures of it. A web crawl without its duplicates removed counts the wrong thing.
#
# By structure r is higher than on the web, as there are 24 similar things seen by one net; by bin it is higher still, as always.
#
# Run it yourself: `fmlab claims --rerun C18 --seeds 7` says what it costs, and puts your verdict beside ours.
#
# ## 7. Your own counts
#
# The table of section 5 is real data of real models. For counts of your own (columns `pretrain`, `dataset`, `image_count`,
# `accuracy`; it stays on this machine), put its path into the first line. CT-CLIP itself needs its weights and a GPU: with
# embeddings of your scans and of both prompts `paired` is all that is left to do.

# %%
my_table = None  # "/path/to/counts.csv"

try:
    own = frequency.laws(frequency.published_rows(my_table))
except DataError as missing:
    print(missing)
    own = laws
for name, law in own.items():
    steep = sorted(law.by_set.items(), key=lambda row: -row[1])
    print(f"{name}: steepest {steep[0][0]} ({steep[0][1]:.1f}), flattest {steep[-1][0]} ({steep[-1][1]:.1f} points per decade)")

# %% [markdown]
# ## 8. Quiz

# %%
quiz("04-q1")

# %%
quiz("04-q2")

# %%
quiz("04-q3")

# %%
quiz("04-q4")

# %%
quiz("04-q5")

# %%
progress()

# %% [markdown]
# **You can now** ask for findings in pairs and know the plane behind the words, say when "not" means something, and read a
# correlation of bins for what it is. Next: *05 · Zero-shot and transfer*, where "zero-shot" has three meanings.
