"""Quiz of lesson 15: what a pretext teaches, the mask ratio, leaks, silent loads, and what a fair comparison is."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "15-q1",
        "Models Genesis, Swin UNETR's repair and MAE all restore a cube. In which of them does a voxel that nothing was done to "
        "push on the network?",
        (
            Option("In none: there is nothing to learn where the input is right.",
                   "That is MAE's choice. Models Genesis and Swin UNETR's repair average over all voxels, also those that are as "
                   "they were."),
            Option("In MAE only.",
                   "It is the other way round: MAE's loss leaves visible voxels out, and their gradient is exactly 0."),
            Option("In Models Genesis and in Swin UNETR's repair.",
                   "Both losses are means over all voxels. In Models Genesis hardly any voxel is left as it was: the curve "
                   "changes all values at once in nine cubes of ten, and half the time it turns light to dark.", right=True),
            Option("In all three.",
                   "MAE's loss has the hidden voxels alone. With all of them a network with skips learns to copy first."),
        ),
    ),
    Question(
        "15-q2",
        "Why does MAE hide three blocks of four, and not one of ten?",
        (
            Option("With few holes each has its whole neighbourhood, and smooth continuation fills it: no anatomy is needed.",
                   "Neighbouring voxels of a CT are nearly the same. Where whole regions are gone, what stands there has to be "
                   "known: that a kidney lies beside a spine. Hide too much, and nobody could know.", right=True),
            Option("It makes training faster, as the hidden blocks are not computed.",
                   "That holds for a transformer, which drops the hidden tokens. A convolution computes hidden voxels like "
                   "others."),
            Option("So that the network cannot overfit.",
                   "A new mask is drawn at each step with any ratio. The ratio decides what has to be known, not how often."),
            Option("Three quarters is what the theory gives.",
                   "It was found by trying; nnssl has variants from 30 to 90 %. For text, where each word says much, 15 % were "
                   "usual."),
        ),
    ),
    Question(
        "15-q3",
        "A dense U-Net is trained as a masked autoencoder: hidden voxels get the cube's mean. What of the mask reaches the "
        "features at visible voxels?",
        (
            Option("Nothing: the values there are the same with and without mask.",
                   "Values yes, features no. A convolution sees the neighbours, and a norm sees the whole cube."),
            Option("Only what lies within the convolution's reach.",
                   "The norm's mean and deviation are those of the whole level, three quarters of which is fill. So features "
                   "move also where no hidden block is near."),
            Option("The fill: by the convolutions near a hidden block, and by the norms everywhere. In the task there is no "
                   "fill.",
                   "The network is pre-trained on statistics that it never meets again. A sparse encoder multiplies each output "
                   "by the mask and takes the norms' statistics from visible voxels alone.", right=True),
            Option("The true values of the hidden voxels.",
                   "These are replaced before the network sees the cube. What does leak of them is one number: the mean that "
                   "they are filled with, and the deviation by which its answer is scaled back."),
        ),
    ),
    Question(
        "15-q4",
        "You load `model_swinvit.pt` into a Swin UNETR with strict=False. No error, and fine-tuning is as good as from scratch. "
        "What do you check first?",
        (
            Option("The learning rate: pre-trained weights need a smaller one.",
                   "It may well matter. But first make sure that there is anything pre-trained in the network."),
            Option("How many of the intended tensors arrived.",
                   "The file's names lack a prefix, so a lenient load fills nothing and says nothing; whole comparisons were run "
                   "like this. Count what matched, over what you intended, and refuse below 95 %. (Even a full match is 13 % of "
                   "Swin UNETR's parameters: its decoder is new.)", right=True),
            Option("Whether more data were needed for pre-training.",
                   "Perhaps; but you would first have to know that these weights are in use at all."),
            Option("Nothing: it is known that self-supervision does not help with CT.",
                   "Some independent tests found no gain, others about 3 Dice points. A silent load finds no gain always."),
        ),
    ),
    Question(
        "15-q5",
        "\"Supervised pre-training on 21 scans is as good as self-supervised pre-training on 5,050.\" Which objection does our "
        "own experiment (C11) NOT answer?",
        (
            Option("That the two used different backbones.", "Ours use one backbone, the nano U-Net, in all arms."),
            Option("That supervised pre-training may have had more steps.", "All arms have the same number of steps, and of "
                                                                            "batches."),
            Option("That the verdict rests on a single run.", "Several seeds, and an interval over seeds and cases."),
            Option("That masks of 21 scans were drawn by somebody, and scans without masks cost nothing.",
                   "A scan with masks and one without are not the same currency: somebody drew, for hours. \"Fewer data\" counts "
                   "scans. Which is cheaper depends on who has what, and no experiment decides it for you.", right=True),
        ),
    ),
)
