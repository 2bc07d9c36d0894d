"""Quiz of lesson 06: what changes from task to task, why a mean, what makes the fast form exact, and a model that ignores its
support."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "06-q1",
        "UniverSeg segmented a muscle that was never a task in its training. What was different from the call before, in which "
        "it "
        "segmented a kidney?",
        (
            Option("Its weights: they were adapted to the support set.",
                   "No weight changed. Adapting weights to a few examples is fine-tuning, and lessons 16 to 18 are about it."),
            Option("The support set, which is an input like the query.",
                   "The same theta for every task; the task is in S. That is what \"in-context\" means.", right=True),
            Option("The prompt: it was told the muscle's name.",
                   "It reads no words. A class has no name for it, only examples."),
            Option("Nothing: it had seen the muscle in its training images.",
                   "It had seen muscles, as it has seen everything in those images. But which of all things to draw, only the "
                   "support says: with the kidney's masks on the same images it does not draw the muscle."),
        ),
    ),
    Question(
        "06-q2",
        "Why does CrossBlock take the mean over the examples, and not put them side by side on the channels?",
        (
            Option("The mean uses less memory.",
                   "It does, but that is not what it is needed for: the factorised form never makes all pairs anyway."),
            Option("So that any number of examples fits, in any order, at the same scale.",
                   "Side by side, the kernel would have a slot for example 1, another one for example 2, and none for the 17th. "
                   "The sum would do for the order, but grow with S.", right=True),
            Option("So that bad examples are left out.",
                   "A mean leaves nothing out: a bad example has its share of 1/S. Ensembling over support sets softens that, "
                   "and "
                   "choosing examples well avoids it."),
            Option("Because the maximum has no gradient.",
                   "It has one, through the largest. A maximum would fit any number in any order too; the published network "
                   "takes the mean."),
        ),
    ),
    Question(
        "06-q3",
        "The factorised form gives the same result as all S pairs. What would break it?",
        (
            Option("An activation on z, before the mean.",
                   "Then 1/S sum a(W_u * u + W_v * v_j + b) is not a(... mean ...): the mean may not move past something that is "
                   "not linear. Tyche has this activation; there only the cut of the kernel into two halves remains exact.",
                   right=True),
            Option("A bias in the convolution.",
                   "The bias goes with one of the halves. The mean of S equal biases is that bias."),
            Option("More than one channel in the query.",
                   "The kernel is cut along its input channels, wherever the query's end."),
            Option("Max-pooling between the levels.",
                   "Pooling is not linear, and it is applied to each v_j after its block. The factorised form does not move "
                   "anything past it. (Only the last block takes the mean before the upsampling, which is linear.)"),
        ),
    ),
    Question(
        "06-q4",
        "Somebody trains a UniverSeg on 53 data sets of very different size, drawing training scans uniformly. It reaches a "
        "good loss, "
        "and on a new task its answer does not depend on the support. What is the likely reason?",
        (
            Option("Too few parameters.",
                   "A small network answers badly, but not independently of its input. Ours has half a million."),
            Option("The learning rate is too small.",
                   "Then the loss would not be good."),
            Option("One large data set, with one label, was most of what it saw: it learned that label, and needs no examples "
                   "for it.",
                   "If the image already tells what to draw, the cheapest solution ignores the support. Draw *tasks* with equal "
                   "probability, one label an episode, and make more tasks than can be learned by heart: synthetic shapes, "
                   "flips, "
                   "inverted intensities.", right=True),
            Option("The support was too large.",
                   "More examples make the answer better, and training with 64 of them is what the published model did."),
        ),
    ),
)
