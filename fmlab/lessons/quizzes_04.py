"""Quiz of lesson 04: pairs of prompts, negation, frozen text, the law of frequency and what it counts."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "04-q1",
        "Why does CT-CLIP take the softmax over two prompts of one finding, and not over all findings?",
        (
            Option("Two numbers are cheaper than eighteen.",
                   "The cosines with all prompts are computed either way; the softmax costs nothing."),
            Option("A scan has several findings or none, so they must not compete.",
                   "With one softmax over all findings the probabilities add up to 1: a second finding makes the first less "
                   "likely, and a healthy scan has to have something.", right=True),
            Option("A softmax over eighteen classes cannot be trained.",
                   "It can, and CLIP does with a thousand classes. It is the question that would be wrong here."),
            Option("The pair is better calibrated: 0.5 is the right threshold.",
                   "Nobody tells the pair how often a finding occurs. Rankings can be good while 0.5 is a poor threshold; "
                   "section 2 prints both shares."),
        ),
    ),
    Question(
        "04-q2",
        "p = sigma(s u.(v+ - v-)). What do the two prompts do together?",
        (
            Option("They are a linear classifier without bias, written in words.",
                   "The weights are s (v+ - v-). What both texts share cancels; what they differ in is the direction.",
                   right=True),
            Option("They are two nearest neighbours: the image takes the label of the nearer one, so the boundary is curved.",
                   "Of two points on a sphere the nearer one is decided by a plane through the middle, so nothing is curved."),
            Option("They are a prior: v- says how rare the finding is.",
                   "Nothing in a text says how often the finding occurs among your patients."),
            Option("They average two opinions, which lowers the noise.",
                   "They are subtracted. The noise of both is in the difference."),
        ),
    ),
    Question(
        "04-q3",
        "A model was trained on reports that only state what is present. You ask it \"no pleural effusion\". What do you expect?",
        (
            Option("A low cosine with scans that show an effusion.",
                   "\"Effusion\" is the word it knows; with it the text lands near scans that show one, whatever stands before."),
            Option("Nothing can be said: the words are not in its vocabulary.",
                   "Text encoders take any words. That is the trouble: an answer comes all the same."),
            Option("Nearly what \"pleural effusion\" gives: \"no\" never made a difference to an image.",
                   "Contrast only teaches differences that matter for finding the image. Without reports that deny, \"no\" is an "
                   "ornament.", right=True),
            Option("The right thing, if the text encoder is a large language model.",
                   "It may understand the sentence, and still its embedding has to be tied to images in which the finding is "
                   "absent. Sentence encoders put a sentence and its negation close together."),
        ),
    ),
    Question(
        "04-q4",
        "r is 0.42 over concepts and 0.98 over the means of bins. Which sentence is true?",
        (
            Option("The law explains 96 % of why concepts differ in accuracy.",
                   "0.98 squared is of the bins' means. Of concepts it is 0.42 squared, about a sixth."),
            Option("One of the two is a mistake of computation.", "Both are right, and they answer different questions."),
            Option("The average rises steadily with log frequency, and single concepts scatter widely about it.",
                   "A mean over hundreds of concepts loses what concepts of one frequency differ in. Report both.", right=True),
            Option("Binning removes measurement error, so 0.98 is the true correlation.",
                   "It removes all that differs within a bin, real differences between concepts included."),
        ),
    ),
    Question(
        "04-q5",
        "Why is the frequency of a structure drawn by lot in C18?",
        (
            Option("So that what is large or easy is not also what is frequent.",
                   "On the web frequent things are often easy, large or tested by easier sets, and a slope cannot tell. By lot, "
                   "and turned round, each structure is its own control.", right=True),
            Option("So that each seed gives another result.",
                   "It does, and that is how the spread is seen. It is not the reason."),
            Option("Zipf's law demands a random order.", "It demands counts that fall as a power of the rank, in any order."),
            Option("So that all structures have the same number of pictures in the end.",
                   "That is the balanced control. Within one training they differ by a factor of 500."),
        ),
    ),
)
