"""Quiz of lesson 07: why only the best candidate learns, what two measures reward, where candidates meet, what a small structure
needs, and what costs what."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "07-q1",
        "Tyche is trained with the loss of the best of K candidates. What would happen with the mean of the K losses?",
        (
            Option("It would train faster, since all K learn.",
                   "All K would learn, and all the same: each is pulled to every reader in turn, which is how a network with one "
                   "answer is trained."),
            Option("All candidates would end at the same compromise.",
                   "Each of them has the same loss as a single answer would have, so each has the same best solution. The "
                   "minimum lets a candidate be far from this reader, as long as another one is near.", right=True),
            Option("Nothing: the noise keeps them apart.",
                   "Noise only makes a difference possible. A network whose loss is lower without it learns to ignore it."),
            Option("The loss would have no gradient.",
                   "A mean has one, for every candidate; that is the trouble with it."),
        ),
    ),
    Question(
        "07-q2",
        "Eight candidates, one reader. One candidate is her mask exactly, seven are nonsense. What do max Dice and GED say?",
        (
            Option("Both say: perfect.",
                   "Max Dice does, for it looks at the best only. GED looks at all pairs: d(s, y) is near 1 for seven of eight "
                   "candidates, and that one reader has no variety to match."),
            Option("Max Dice is 1; GED is bad.",
                   "Whoever chooses the best candidate must know the truth. GED asks whether the candidates as a whole are like "
                   "the readers as a whole, so nonsense costs. Report both.", right=True),
            Option("Max Dice is low, since most candidates are nonsense; GED is 0.",
                   "Max Dice takes the best of the eight, which is 1. GED is 0 only for sets that are alike."),
            Option("Both are bad.",
                   "Max Dice is 1. It never gets worse with more candidates, good or not."),
        ),
    ),
    Question(
        "07-q3",
        "You ask Tyche for eight candidates, then again for nine: the same eight noise images and one more. Are the first eight "
        "masks the same as before?",
        (
            Option("Yes: each candidate has a noise image of its own.",
                   "It has, and yet they are not alone: in every block the support is compared with the candidates' mean."),
            Option("Not quite: they meet in their mean, and the ninth changes it.",
                   "m = mean over k is what meets the examples, and its outcome goes back to each candidate. So candidates know "
                   "of each other a little, and K costs little: the support is worked through once, whatever K.", right=True),
            Option("No: the network is trained with eight and cannot do nine.",
                   "A mean takes any number, at inference too."),
            Option("No: the order of the candidates is random.",
                   "They come in the order of their noise images; permuted noise permutes the masks."),
        ),
    ),
    Question(
        "07-q4",
        "A tumour of 5 voxels; a feature voxel covers 4 x 4 x 4 = 64 of them. How does Iris get a token of it?",
        (
            Option("It cannot: the tumour is smaller than a feature voxel.",
                   "It cannot if the mask is shrunk to the features and rounded: 5 of 64 is below one half. So the mask keeps "
                   "its resolution."),
            Option("It crops the scan around the tumour and enlarges it.",
                   "The encoder reads the reference as it reads the query, at the same voxel size."),
            Option("It enlarges the tumour until it fills a feature voxel.",
                   "Then the token would speak of what lies around it as if that were tumour."),
            Option("It brings the features up to the mask, and averages over the 5 voxels.",
                   "The mask is never shrunk. The token is that of the feature voxels where the tumour lies, each by the share "
                   "of it. In the paper small objects gain most from this: Dice 62 to 79.", right=True),
        ),
    ),
    Question(
        "07-q5",
        "20 organs, 10 references, 500 scans. With Iris, what does the number of references change?",
        (
            Option("The time of each of the 500 queries, tenfold.",
                   "That is UniverSeg, whose support is read anew for each query. Iris' query meets T alone, which has the same "
                   "size for one reference and for ten."),
            Option("The size of T, tenfold.",
                   "T is the *mean* of the references' tokens: (20, m + 1, C) whatever their number."),
            Option("The one time that T is made, and nothing after it.",
                   "Ten references are encoded once, before the first query. From then on they could be deleted.", right=True),
            Option("The weights: they are adapted to ten references.",
                   "No weight changes. In-context *tuning* changes T, and T is an input."),
        ),
    ),
)
