"""Quiz of lesson 10: empty tokens, crooked positions, clicks per volume, and evaluations that flatter."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "10-q1",
        "\"With 10 points SAM-Med3D reaches more Dice than SAM-Med2D with 10 points.\" What do you ask first?",
        (
            Option("How many parameters each model has.",
                   "Worth knowing, but a large model that needs as many clicks costs its user as much."),
            Option("Ten points on what: a slice, or a scan?",
                   "Ten on each of forty slices are four hundred on the scan. Per scan and structure is what a person pays, and "
                   "in that currency both must be compared.", right=True),
            Option("Whether the points were positive or negative.",
                   "Both signs are used as needed, by the same program, for either model."),
            Option("Whether the 3-D model ran on a GPU.", "That changes the seconds and not the Dice."),
        ),
    ),
    Question(
        "10-q2",
        "You port SAM-Med3D and find that its relative positions are added along the wrong axes. You load the released weights. "
        "What do you do?",
        (
            Option("Repair it: right positions can only help.",
                   "The weights were trained with the wrong ones and make use of them. Read otherwise they get worse, as you saw "
                   "the other way round."),
            Option("Keep it for these weights, say so, and offer the right form for new training.",
                   "A checkpoint means something only together with the code that it was trained with, faults included.",
                   right=True),
            Option("Leave the positions out: then they cannot be wrong.",
                   "The weights count on their bias, whatever it means; without it you have a third function."),
            Option("Use other axes until the shapes fit.",
                   "All shapes fit, that is why nobody noticed. Windows are cubes."),
        ),
    ),
    Question(
        "10-q3",
        "A window holds 512 real tokens and 2232 empty ones, without any bias. What is the empty ones' logit as one key?",
        (
            Option("q.k / sqrt(d) + log 2232",
                   "2232 exp(s) = exp(s + log 2232). With biases the log of their number becomes the log of a sum of "
                   "exponentials.",
                   right=True),
            Option("2232 q.k / sqrt(d)", "That is exp(s) to the power of 2232, and not 2232 times exp(s)."),
            Option("minus infinity: they are empty", "That is a mask. In the published network they have a say, and a loud one."),
            Option("q.k / sqrt(d), with the value times 2232",
                   "Then the real tokens keep their weights, where they should have to share with 2232 others."),
        ),
    ),
    Question(
        "10-q4",
        "A table says: Dice 0.87, \"128-cubed crops centred on the target\". A hospital wants to use the model on whole-body "
        "scans. "
        "What does it not know from the table?",
        (
            Option("Nothing of importance: the crop is only a matter of memory.",
                   "The crop was placed by the ground truth. Who places it in the hospital?"),
            Option("How it does when nobody shows it where the target is, on voxels that were never in the crop.",
                   "Parts of the target outside of the crop were not counted as missed, and false voxels elsewhere not as false; "
                   "and the target was always in the middle, and always there.", right=True),
            Option("Whether Dice is the right metric.", "One may ask, but any metric would flatter inside that crop."),
            Option("How the model does on small crops.", "It would do better still, and would say still less."),
        ),
    ),
    Question(
        "10-q5",
        "Of these four, which one may be reported without a footnote?",
        (
            Option("Dice after five clicks, each in the middle of the largest error.",
                   "An upper bound: the clicks read the ground truth. Fine with that footnote, and if every rival is given the "
                   "same clicks."),
            Option("Dice of the best of three masks.", "Who chose it? By predicted IoU it is the model's; by Dice it is the "
                   "truth's."),
            Option("Dice over the whole scan, the largest component kept for every structure, as decided on other patients.",
                   "A rule that was made without these results, for all structures, also for those where it hurts.", right=True),
            Option("Dice, the largest component kept for the structures that gain by it.",
                   "Which ones gain was seen in the results: the maximum of two numbers is never below either of them."),
        ),
    ),
)
