"""Quiz of lesson 08: what is computed once, what makes a click negative, why three masks, whose clicks an evaluation used, and
what a model of objects does not know."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "08-q1",
        "You click seven times on one slice, to outline three organs. What does SAM compute how often?",
        (
            Option("Image encoder, prompt encoder and mask decoder: seven times each.",
                   "Then it would be as slow as its encoder at every click. The features of the image do not depend on the "
                   "prompt, which is the point of the design."),
            Option("Image encoder once; prompt encoder and mask decoder seven times.",
                   "The dear part once a slice, the cheap part once a click. UniverSeg cannot do this: there the features depend "
                   "on the support from the first block on.", right=True),
            Option("Image encoder three times, once for each organ.",
                   "The encoder does not know which organ you want; one set of features serves all of them."),
            Option("Everything once: the seven clicks go in together.",
                   "All clicks on one organ go in together, but after each of them you want to see the mask, in order to know "
                   "where to click next."),
        ),
    ),
    Question(
        "08-q2",
        "A positive and a negative click lie on the same pixel. How do their tokens differ?",
        (
            Option("In the sign of the Fourier code.",
                   "The code says where, and nothing else; both clicks have the same one."),
            Option("In the matrix G: there is one for each kind of click.",
                   "There is one G, random and never trained, for clicks, corners of boxes, and the places of the image."),
            Option("Not at all; the decoder is told the signs by a separate input.",
                   "There is no such input: whatever the decoder knows of a click is in its token."),
            Option("In the learned vector that is added to the code: one for positive, one for negative clicks.",
                   "PE(c) + e_t: where, and what kind. Two more such vectors make a token the first or the second corner of a "
                   "box.", right=True),
        ),
    ),
    Question(
        "08-q3",
        "Why does SAM answer a single click with three masks, and a box with one?",
        (
            Option("A click may mean a thing, its part, or a part of that part; a box hardly leaves a doubt. One mask for all of "
                   "these would be a compromise that nobody means.",
                   "As with the readers of lesson 07. In training only the best of the three masks learns, so that each may "
                   "specialise.", right=True),
            Option("Three masks are an ensemble: their mean is better than each.",
                   "Their mean would be a mask of whole, part and part of a part at once. One is chosen, by you or by the "
                   "predicted IoU."),
            Option("The three are the mask at three thresholds.",
                   "Each has an output token of its own, and its own logits; they may differ anywhere, not only at the edge."),
            Option("A box costs more to decode.", "A box is two tokens, a click is one and a filling one: the cost is the same."),
        ),
    ),
    Question(
        "08-q4",
        "A paper reports: \"with five clicks our model reaches Dice 0.90\". Each click was placed in the middle of the largest "
        "error. What do you make of it for your clinic?",
        (
            Option("Five clicks of a physician will give 0.90, too.",
                   "She does not know where the largest error is: to know that, she would need the mask that she is about to "
                   "make."),
            Option("Nothing: evaluations with simulated clicks are worthless.",
                   "They are repeatable and compare models fairly with each other. They only say too much about a person."),
            Option("It is close to the best that five clicks can do; a person will need more. How many more, only people tell.",
                   "And look at what else was known beforehand: a box cut out around the organ, empty slices left out, the best "
                   "of three masks chosen with the truth. Lesson 10 collects such traps.", right=True),
            Option("A person does better, because she knows anatomy.",
                   "She knows where the organ ends in the picture; she does not know, pixel by pixel, where the mask is wrong. "
                   "In tests with people the clicks of a simulation are hard to beat."),
        ),
    ),
    Question(
        "08-q5",
        "\"Everything at once\" found forty masks in a slice. Which one is the spleen?",
        (
            Option("The one with the highest predicted IoU.",
                   "Predicted IoU says how well a mask fits what was clicked on, whatever that is."),
            Option("SAM does not know. Its masks have no names; somebody has to choose.",
                   "It was trained on objects without classes. That makes it a generalist, and it is the price: the universal "
                   "model of lesson 12 knows thirty names, and nothing else.", right=True),
            Option("The fourth output token: tokens stand for classes.",
                   "The output tokens stand for whole, part and part of a part, not for organs."),
            Option("The first in the list: masks come in the order of the vocabulary.",
                   "They come in the order of how sure the model is of each; the vocabulary is unknown to it."),
        ),
    ),
)
