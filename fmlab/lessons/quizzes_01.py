"""Quiz of lesson 01: what the axes mean, what a licence covers, what a number of images is worth, and shared scans."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "01-q1",
        "Hermes is trained on CT, MR and PET. Is it multimodal?",
        (
            Option("Yes: it has seen three modalities.",
                   "So a radiologist would say. On the slides' axis C the question is whether words go in beside images, and "
                   "none do. Its three kinds of images put it among the generalists of medicine, on axis A."),
            Option("On the slides' axis C no, as no words go in. Its kinds of images count on axis A.",
                   "One word, two meanings; papers use both. Before you compare two \"multimodal\" systems, ask what the second "
                   "modality is.", right=True),
            Option("No: it is a 3-D network.", "That is axis B. A 3-D network may take words in, as SegVol does."),
            Option("Yes: it is asked by task numbers, which are a kind of text.",
                   "A number of a task has no neighbours in meaning: task 4 is not nearer to 5 than to 40. A text encoder's "
                   "vectors may have some; lesson 13 looks whether they do."),
        ),
    ),
    Question(
        "01-q2",
        "A repository says Apache-2.0. Its weights lie on a Google Drive without a word about their licence. May your clinic's "
        "spin-off ship them?",
        (
            Option("Yes: the repository's licence covers everything that its README links to.",
                   "It covers what lies in the repository. Weights come from data with terms of their own, and their owners "
                   "may not even be those of the code."),
            Option("Yes: no licence means no restriction.",
                   "It is the other way round: without a licence all rights are reserved."),
            Option("No, not before the authors have said so, in writing, and about the weights.",
                   "It may well be an oversight; a friendly letter often settles it. In our table more than half of "
                   "the medical weights are in this state.", right=True),
            Option("No: weights of medical models may never be sold.",
                   "Some may: SAM-Med3D's card says Apache-2.0, which allows it. (A medical device is another matter.)"),
        ),
    ),
    Question(
        "01-q3",
        "CLIP learnt from 400 million pictures, FSEFT from 2,042 scans. What does the ratio of 200,000 tell you?",
        (
            Option("Little by itself: a scan holds hundreds of pictures' worth of voxels, and neighbouring slices are hardly "
                   "new.",
                   "In voxels the ratio shrinks to hundreds; in independent pieces of anatomy nobody has counted it. Ask for "
                   "the unit first, then how alike the pieces are, then who taught: a caption says less than "
                   "a mask.", right=True),
            Option("That CLIP knows 200,000 times as much.", "Of cats, perhaps. Hardly one of its pictures is an axial slice."),
            Option("That FSEFT cannot be called a foundation model.",
                   "The word has no threshold. What counts is whether others build on it, for tasks that it was not trained "
                   "for."),
            Option("That 3-D pre-training is 200,000 times as efficient.",
                   "Nothing was compared here: neither a task nor a result. Lesson 03 does it with the same voxels and budget."),
        ),
    ),
    Question(
        "01-q4",
        "A model is trained on AbdomenCT-1K and tested on KiTS. The Dice of kidneys is splendid. What do you check first?",
        (
            Option("Whether Dice is the right metric for kidneys.",
                   "A fair question, and not the first: kidneys are large and round."),
            Option("Whether the test set is large enough.", "An interval would tell. It would also be splendid, and tight."),
            Option("Whether the model is 3-D.", "That explains a good result at most; it does not make it true."),
            Option("Whether patients of KiTS are in the training set.",
                   "They are: AbdomenCT-1K was put together from public sets, KiTS among them. Assemblies of assemblies share "
                   "people, and a split by file name does not see it. Split by patient, or compare the "
                   "images themselves.", right=True),
        ),
    ),
    Question(
        "01-q5",
        "In the matrix of partial labels, colon tumours and kidney tumours are never drawn in the same scan. What follows for "
        "a network that is trained on all of it?",
        (
            Option("Nothing: its outputs are independent.",
                   "With one sigmoid for each structure nothing contradicts. But independent of each other also means that "
                   "nobody has ever told it that a voxel is the one and therefore not the other."),
            Option("No scan ever teaches it to tell the two apart; what it says where both could be is left to luck.",
                   "Each is learnt against the rest of its own data set, which may come from other scanners and other "
                   "patients. The network may learn the scanner instead. Lesson 12 looks at such a case.", right=True),
            Option("It cannot be trained on both.", "It can, with a mask w that leaves the unknown out of the loss."),
            Option("It will never find a colon tumour in a scan that has a kidney tumour.",
                   "It may. Nobody can say from these data how often, as no scan has both drawn: neither for training, nor for "
                   "testing."),
        ),
    ),
)
