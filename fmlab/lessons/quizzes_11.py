"""Quiz of lesson 11: which number to report, what interpolation can heal, when a median fails, what an active learner trades, and
whose claim it is."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "11-q1",
        "A crowd outlines spleens. A report says: mean Dice over all annotated slices is high. What do you ask first?",
        (
            Option("Nothing: that is the number that matters.",
                   "It says nothing of the slices that nobody annotated. Dice of the volume does."),
            Option("How many slices were annotated: 2-D networks need hundreds.",
                   "Their number alone does not say how many are missing."),
            Option("Which share of the slices that show the spleen was annotated, or Dice of whole volumes.",
                   "A slice left out has Dice 0, with all its pixels. In the study behind this lesson that cost more than the "
                   "boxes that did not fit.", right=True),
            Option("Which model drew the masks: SAM or MedSAM.",
                   "The study found no significant difference between them on its crowd's boxes. The missing slices are the same "
                   "for both."),
        ),
    ),
    Question(
        "11-q2",
        "Interpolating boxes between the slices that a person drew in. Which mistake does it NOT heal?",
        (
            Option("She does not recognise the lowest slices of the liver and draws nothing there.",
                   "Beyond her first and last box there is nothing to interpolate between. Somebody has to look at the ends, or "
                   "the last mask is carried on, with a rule for where to stop.", right=True),
            Option("She draws in every third slice only.", "This is what it is best at: a structure hardly changes in between."),
            Option("She skips a slice now and then, without noticing.", "Its neighbours on both sides are there."),
            Option("Her first pass was in a hurry, with gaps of five slices.",
                   "It helps, less well the wider the gap and the more bent the structure."),
        ),
    ),
    Question(
        "11-q3",
        "You merge three people's boxes by the median of those who drew. Where does that fail?",
        (
            Option("One of three boxes the left kidney as spleen.", "Two against one: the median hardly moves."),
            Option("One person's boxes are all too large.", "The others' are in the middle."),
            Option("One of three leaves a slice out.", "She has no vote there; the others decide."),
            Option("The structure has ended, two see that and draw nothing, and the third boxes another organ.",
                   "Who draws nothing has no vote, so the one who errs decides alone: an absent box may be a statement. A rule "
                   "such as \"at least two must draw\" trades this against coverage.", right=True),
        ),
    ),
    Question(
        "11-q4",
        "An active learner asks for the slice in which the model is least sure. Evenly spaced slices do as well. Why is that no "
        "surprise?",
        (
            Option("Entropy was computed in the wrong base; base 2 would have been better.",
                   "The base multiplies every slice's entropy by the same number."),
            Option("Neighbouring slices are alike: several unsure ones in a row tell the same thing, and even spacing covers "
                   "all.",
                   "Uncertainty asks for one after the other of them unless each new box is used at once. Even spacing is a "
                   "strong baseline along an axis; say which baseline a method was compared with.", right=True),
            Option("Active learning never helps in medicine.", "One comparison, on one axis, with one small model, shows no "
                                                               "such thing."),
            Option("The model was too large.", "It is about as small as they come; and size is not the point."),
        ),
    ),
    Question(
        "11-q5",
        "This lesson's verdict on \"non-experts annotate well with boxes\" rests on simulated people. What follows?",
        (
            Option("Nothing: simulations prove nothing.",
                   "They show which mistakes would matter, and how much, if people made them; that is worth knowing before "
                   "paying a crowd."),
            Option("It holds for every crowd, since the people have different mistakes.",
                   "Turn the share of missed slices, and the verdict changes."),
            Option("It is a statement about the stated mistakes; whether your crowd makes those, only your crowd can show.",
                   "So measure coverage and noise of a pilot with your own people, put them into `Person`, and look again.",
                   right=True),
            Option("The verdict is about SAM, not about people.", "The same SAM answered the expert's boxes: the difference is "
                                                                  "people."),
        ),
    ),
)
