"""Quiz of lesson 09: what the comparison of schools shows, silent preprocessing, boxes, and an adapter that begins as nothing."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "09-q1",
        "A paper shows that a medical SAM beats SAM on CT, both asked with boxes. What would make you doubt that medical "
        "training is the reason?",
        (
            Option("That both have the same architecture.", "This is what makes the comparison clean: only the weights differ."),
            Option("That SAM was asked through the medical model's preprocessing.",
                   "Then SAM is judged on pictures that it cannot read, and the difference says nothing about training. The same "
                   "holds the other way round.", right=True),
            Option("That the same boxes were used for both.", "Other boxes for each would be the mistake."),
            Option("That the people were not in any training.", "They must not be: neither model may have seen them."),
        ),
    ),
    Question(
        "09-q2",
        "You load MedSAM's weights into SAM's predictor. All names and shapes match, nothing is missing, and the masks are poor. "
        "What do you look at first?",
        (
            Option("What goes in: the range of the greys, and how the picture was resized.",
                   "It is in no file of weights. SAM's predictor subtracts ImageNet's mean; MedSAM learned with [0, 1] and with "
                   "pictures stretched to a square.", right=True),
            Option("Whether the weights were loaded at all.",
                   "All entries matched, and a model of random weights gives no masks."),
            Option("The order of sigmoid and resize.",
                   "It moves edges by fractions of a pixel. Masks do not become poor by that."),
            Option("The learning rate.", "Nothing is being trained."),
        ),
    ),
    Question(
        "09-q3",
        "A new adapter has up = 0. Why is the first step of training not stuck?",
        (
            Option("It is: with up = 0 no gradient reaches anything.",
                   "No gradient reaches down and the convolution in the first step, that is true. But up itself gets one."),
            Option("The gradient of up is the output's gradient times GELU(...), which is not 0; after one step up is not 0 "
                   "either, and the others begin to learn.",
                   "That is why exactly one factor of the product begins at 0, and not all.", right=True),
            Option("The residual carries the gradient into the adapter.",
                   "The residual carries it past the adapter, to the blocks before."),
            Option("AdamW's weight decay moves it away from 0.", "Decay pulls towards 0."),
        ),
    ),
    Question(
        "09-q4",
        "MA-SAM's adapters convolve over slices only, with a kernel of 3 × 1 × 1. Why not 3 × 3 × 3?",
        (
            Option("Slices are thicker than pixels.", "They often are. That would be a reason for another kernel, not for none."),
            Option("A 3 × 3 × 3 convolution would not be trainable.", "It would be, with nine times the weights."),
            Option("Rows and columns are SAM's own trade; only the third axis is new, and the small kernel has a ninth of the "
                   "weights.",
                   "What is frozen already reads the plane well. (3DSAM-adapter does take 3 × 3 × 3, but each channel on its "
                   "own, which is as cheap.)", right=True),
            Option("Attention cannot be combined with convolutions in the plane.",
                   "SAM-Med2D does just that, beside the MLP of every block."),
        ),
    ),
)
