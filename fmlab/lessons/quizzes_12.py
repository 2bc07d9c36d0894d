"""Quiz of lesson 12: what w says, what the unmasked loss learns, why sigmoids, what no mask heals, and a Dice that is stuck."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "12-q1",
        "No voxel of scan 1 and none of scan 2 is labelled \"prostate\". In scan 1 its w is 0, in scan 2 its w is 1. What do "
        "the two scans say about the prostate?",
        (
            Option("The same: there is none.",
                   "The label maps look the same, but nobody looked in scan 1. Its patient may well have a prostate that was not "
                   "drawn."),
            Option("Neither says anything: without a labelled voxel there is nothing to learn.",
                   "Scan 2 has a lot to say: somebody looked and found none, so every voxel is \"not prostate\". Without such "
                   "scans a network sees a prostate in every pelvis."),
            Option("Scan 1 says nothing. Scan 2 says that there is none, and that is evidence.",
                   "w = 0 is silence: no cost, no gradient. w = 1 with an empty Y is an answer, \"no\", and finding a prostate "
                   "there costs something.", right=True),
            Option("Scan 1 says that there is none. Scan 2 says that it was forgotten.",
                   "It is the other way round: w = 1 means that the data set looked for it, and w = 0 that it did not."),
        ),
    ),
    Question(
        "12-q2",
        "Four hospitals send as many scans each. One of them, C, never draws the spleen, which everybody has. You train with an "
        "unmasked sigmoid cross-entropy, and the images do not give away where they come from. What happens to the spleen?",
        (
            Option("Nothing: C just adds no information about it.",
                   "That would be the masked loss. The unmasked one reads each spleen of C as background, and pushes its logits "
                   "down."),
            Option("Its probability tends to 3/4, the share of the hospitals that draw it.",
                   "The same image gets \"yes\" from three hospitals and \"no\" from one, and cross-entropy is least when the "
                   "probability is the share of \"yes\". At a threshold of 0.5 that is still a spleen. Were it drawn by one of "
                   "four, the probability would tend to 1/4, and the spleen would be gone.", right=True),
            Option("It vanishes everywhere: a wrong label is stronger than a right one.",
                   "No label is stronger than another; they are averaged. A structure vanishes when less than half of the scans "
                   "that show it have it drawn."),
            Option("It vanishes on scans of C and stays perfect on all others.",
                   "Only where the network can tell the hospital from the image, by its noise or its field of view. It then "
                   "learns the drawing habits of each hospital, not anatomy. Here the images do not give that away."),
        ),
    ),
    Question(
        "12-q3",
        "Why do these systems use one sigmoid a class, and not one softmax over all classes and background?",
        (
            Option("Classes may overlap, and each can be left out of the loss on its own.",
                   "A softmax makes every voxel exactly one thing: liver or tumour in the liver, never both. And its "
                   "probabilities add up to 1, so a class that was not drawn still takes part: its voxels have to be something "
                   "else, mostly background.", right=True),
            Option("A softmax cannot be masked at all.",
                   "It can: UniSeg uses only the channels of the scan's own task, and one can count undrawn classes together "
                   "with the background. But the classes still exclude each other, and no class can be left out without "
                   "touching the others."),
            Option("Sigmoids are cheaper to compute.",
                   "Both cost next to nothing beside the network. The reason is in what they can say."),
            Option("Sigmoids give more honest probabilities.",
                   "Neither is calibrated by itself. Trained without a mask, a sigmoid learns the wrong probability just as "
                   "faithfully."),
        ),
    ),
    Question(
        "12-q4",
        "Two data sets draw \"liver\", one with the vessels in it, one without. Which of these is true?",
        (
            Option("The mask heals it: set w = 0 for the vessels' voxels.",
                   "w_nk is one number per scan and class, not per voxel. You could give up the whole liver of one data set, and "
                   "lose far more than you gain."),
            Option("MultiTalent takes the majority's definition, and CLIP-driven lets the text prompt decide.",
                   "MultiTalent merges nothing. And CLIP-driven's prompt says \"liver\" for both data sets, so the text cannot "
                   "tell the two habits apart."),
            Option("The union of all parts heals it always: vessels are added to the liver wherever they belong.",
                   "Only where the vessels were drawn, as a class beside the liver. A union can only add voxels that have a "
                   "label."),
            Option("MultiTalent keeps two livers. A union of parts makes one, but only where the vessels were drawn.",
                   "MultiTalent avoids the contradiction, and pays: each output learns from one data set, and the user has to "
                   "choose one of several livers. CLIP-driven and fmlab merge: one output, where parts such as tumours count as "
                   "the whole. What was left out and not drawn is gone: in these voxels the two data sets go on contradicting "
                   "each other.",
                   right=True),
        ),
    ),
    Question(
        "12-q5",
        "CLIP-driven's Dice was computed slice by slice as 1 - 2 ΣYŶ / (ΣY + ΣŶ + 1), and users reported a Dice loss that stays "
        "between 0.65 and 0.98. Why?",
        (
            Option("The 1 below the line is too large for small organs.",
                   "It is one voxel. Next to an organ of hundreds of voxels in a slice that is nothing. It matters where there "
                   "is no organ, and there 0.001 would do the same harm."),
            Option("Slices without the organ push its predictions to zero, against the slices that have it.",
                   "They push nothing. With Y = 0 the numerator is 0 whatever Ŷ is, so the gradient is exactly zero. It is the "
                   "cross-entropy that teaches absence."),
            Option("A slice without the organ costs exactly 1, whatever is predicted, with zero gradient.",
                   "With Y = 0 nothing stands above the line, and no 1 that could make up for it: 1 - 0 / (ΣŶ + 1) = 1. A "
                   "perfect prediction of an organ in 10 of 48 slices still costs about 38/48 = 0.79. The number says how short "
                   "the organs are, not how good the network is.", right=True),
            Option("The learning rate is too small; the loss would fall with patience.",
                   "No patience helps: even a perfect prediction costs 1 in each slice without the organ."),
        ),
    ),
)
