"""Quiz of lesson 00: what the metrics hide, and what an affine and a label are."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "00-q1",
        "A method finds a 2 ml tumour with Dice 0.60 and a 1500 ml liver with Dice 0.95. Both surfaces are off by one voxel. "
        "What follows?",
        (
            Option("The method works worse on tumours.",
                   "That is what the two numbers seem to say, but the error is the same: "
                                                         "one voxel. A small structure is nearly all surface, so one voxel "
                                                         "costs it far more Dice."),
            Option("Nothing yet: Dice falls with size for the same surface error.",
                   "A small structure is nearly all surface. "
                                                                                    "Compare such structures by NSD with a "
                                                                                    "tolerance in mm, or compare methods on "
                                                                                    "the same structure.", right=True),
            Option("The liver's labels are better.",
                   "Dice compares a prediction with one set of labels; it cannot say how "
                                                     "good these are."),
        ),
    ),
    Question(
        "00-q2",
        "A method misses the spleen in 3 of 10 scans. HD95 is averaged over the 7 others, because it is not defined for an "
        "empty mask. What does the mean tell?",
        (
            Option("How well the method finds spleens.",
                   "The three worst scans are not in the mean at all, so it cannot tell "
                                                         "this."),
            Option("Nothing is wrong: what is not defined has to be left out.",
                   "Then a method gets better by missing the hard "
                                                                                "cases. A convention has to give the miss a "
                                                                                "value, and a bad one."),
            Option("It flatters: missing a hard case makes it better.",
                   "Therefore fmlab counts a missed structure with the "
                                                                        "diagonal of the field of view, which no real distance "
                                                                        "reaches.", right=True),
        ),
    ),
    Question(
        "00-q3",
        "Two files hold the same scan, one stored from left to right, the other from right to left. What differs between them?",
        (
            Option("The order of the voxels and the affine; the places in mm are the same.",
                   "The affine turns each index into "
                                                                                             "the same place in the body, so "
                                                                                             "both files say the same.",
                                                                                             right=True),
            Option("Nothing, as the scan is the same.",
                   "The arrays are mirrored. Who reads the array without its affine takes "
                                                        "the liver for the spleen."),
            Option("The body: left and right are exchanged.",
                   "Only if the affine is ignored. It records the order in which "
                                                              "the voxels are stored, and undoes it."),
        ),
    ),
    Question(
        "00-q4",
        "A prediction agrees with the labels of a public scan with Dice 0.97. The labels were made by another model and not "
        "corrected. What has been measured?",
        (
            Option("How right the prediction is.",
                   "Only if the labels are right. Where the other model errs, so does the "
                                                   "yardstick."),
            Option("How much two models agree.",
                   "Agreement is not correctness: models that were trained on similar data share "
                                                 "their errors. Ask who drew the labels before you believe a number.",
                                                 right=True),
            Option("Nothing at all.",
                   "Agreement is worth knowing, for example to find scans where two models differ; it has "
                                      "only to be called by its name."),
        ),
    ),
)
