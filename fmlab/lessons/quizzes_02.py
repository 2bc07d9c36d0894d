"""Quiz of lesson 02: what pairs mean, expert knowledge, the length of a mean, probes, and what an equal budget is."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "02-q1",
        "A batch of 64 fundus photographs holds five of glaucoma. What does CLIP's loss do to them that FLAIR's does not?",
        (
            Option("It leaves them out, as they are no pairs.",
                   "Every picture has its own caption, so all five take part. The question is what they are pushed away from."),
            Option("It pushes each away from the captions of the other four, which say the same.",
                   "CLIP's target is the diagonal: whatever else stands in the row is wrong, a true sentence included. FLAIR's "
                   "targets share the mass among all captions of the category.", right=True),
            Option("It counts them five times.",
                   "Each picture counts once in both losses; what differs is which captions are right ones."),
            Option("Nothing: their captions differ, as one of them reads \"a large cup\".",
                   "Different words are of no help here: CLIP's target is the own caption, and each other caption is wrong, "
                   "whether it differs in words or not."),
        ),
    ),
    Question(
        "02-q2",
        "The specialist never saw \"central vein occlusion\", neither the pictures nor the name. Why can its expert description "
        "work all the same?",
        (
            Option("Because the model guesses the name from its parts.",
                   "\"Vein\" and \"occlusion\" it has met, in another condition. The experiment with names alone says how far "
                   "that gets."),
            Option("Because flame haemorrhages, tortuous veins and swollen discs were in its pictures and captions, one by one.",
                   "A description spells the new condition in letters that the model has learnt. Where a finding is new as well, "
                   "no description helps.", right=True),
            Option("Because a text encoder knows medicine.",
                   "Ours began with random words. FLAIR's began as Bio_ClinicalBERT and knows words of hospital notes, but what "
                   "a word looks like in a fundus it learns from the pairs alone."),
        ),
    ),
    Question(
        "02-q3",
        "A class has two descriptions that point in rather different directions. You average them and do not normalise again. "
        "What happens?",
        (
            Option("The class has a shorter vector, so its logits are smaller, and it is chosen less often than it should be.",
                   "The mean of two directions is shorter the more they differ. A logit is angle times length, so a picture at "
                   "the same angle to two classes goes to the one whose texts agree.", right=True),
            Option("The class is chosen more often, as it covers more.",
                   "It might, if you took the largest logit over its texts. The mean does the opposite."),
            Option("Nothing: softmax does not depend on the scale.",
                   "Softmax does not change when the same number is added to all logits. Here one class's logits are multiplied "
                   "by something below 1."),
            Option("The logits become larger than 1.",
                   "A mean of vectors of length 1 is never longer than 1."),
        ),
    ),
    Question(
        "02-q4",
        "With eight labelled pictures a class, a linear probe on the generalist is better than its zero-shot. What follows?",
        (
            Option("That its pictures and words are badly aligned: its features knew more than its words could ask for.",
                   "A probe reads the features alone and learns what to ask from labels. Zero-shot asks by words, and for the "
                   "generalist few fundus captions taught it what those mean.", right=True),
            Option("That its features are as good as the specialist's.",
                   "That would be the two probes side by side, not probe and zero-shot of one model."),
            Option("That zero-shot is useless.",
                   "It is what you have with no label at all. With the specialist and a good description it may be all you need. "
                   ""),
        ),
    ),
    Question(
        "02-q5",
        "\"The specialist won with an equal budget, so specialised pre-training is better.\" What does our experiment NOT tell?",
        (
            Option("Whether it holds on cameras that no training saw.", "Four of the five examinations are through such cameras. "
                                                                        ""),
            Option("Whether it holds on conditions that no training saw.", "Three of the five examinations are of such "
                                                                           "conditions."),
            Option("Whether it is chance.", "Three seeds and an interval; look at the verdict."),
            Option("What a generalist does that saw a thousand times as many pictures.",
                   "CLIP saw 400 million, FLAIR 288 thousand. An equal budget asks which diet is better per picture. Whoever "
                   "chooses a model to download asks another question: which one is better as it is.", right=True),
        ),
    ),
)
