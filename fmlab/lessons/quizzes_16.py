"""Quiz of lesson 16: where a method begins, what may be kept, what B = 0 is for, what memory is for, and a bad baseline."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "16-q1",
        "A linear probe for the liver, on a model that knows the liver. What is its Dice before the first step?",
        (
            Option("About 0: a probe is a new head, and a new head is random.",
                   "That is so for an organ that the model does not know. For a known one the row of the model's own head is "
                   "copied, weight and bias."),
            Option("The base model's Dice, zero-shot.",
                   "Same features, same row, same logits. Training can make it better from there, or worse.", right=True),
            Option("The mean of the base model's organs.",
                   "Each organ has its own row; nothing is averaged."),
            Option("It depends on the seed.",
                   "Only what begins at random depends on it. The copied row does not."),
        ),
    ),
    Question(
        "16-q2",
        "For which of these can the features Z of the support set be computed once and kept?",
        (
            Option("For all of them: the scans do not change.",
                   "Z is theta_f(X), and changes where theta_f does, or what stands inside of it."),
            Option("For LoRA, as W0 is frozen.",
                   "W0 is frozen, but the layer says W0 x + B A x. B and A change at each step, and so does what follows."),
            Option("For BitFit, as it trains so few numbers.",
                   "Few, but in every block of the encoder. Each step changes Z."),
            Option("For the probe and the spatial adapter.",
                   "Both stand behind theta_f, which never changes. The price: kept features cannot be augmented.", right=True),
        ),
    ),
    Question(
        "16-q3",
        "LoRA begins with B = 0 and A at random. Somebody sets A to 0 as well, \"to be quite neutral\". What happens?",
        (
            Option("Nothing is ever learnt: neither A nor B gets a gradient.",
                   "The gradient of B is made with A x, which is 0, and that of A with B, which is 0. The layer stays W0. "
                   "One of the two has to be something.", right=True),
            Option("It begins as the base model, and learns as usual.",
                   "The first half is true. But the gradient of either is multiplied by the other."),
            Option("It learns more slowly, until B is large enough.",
                   "B would have to move first, and its gradient is exactly 0, not small."),
            Option("It is then of full rank.",
                   "The rank is at most r, whatever the values; and of 0 it is 0."),
        ),
    ),
    Question(
        "16-q4",
        "Full fine-tuning does not fit on your GPU. LoRA trains a thousandth of the numbers, and does not fit either. Why?",
        (
            Option("LoRA's matrices are multiplied to full size, B A, at each step.",
                   "x goes through A, then through B, both narrow. The product is made once, for the merge."),
            Option("The optimiser keeps two moments of each frozen weight.",
                   "It keeps moments of what is trained, and nothing for what is frozen. That is what LoRA does save."),
            Option("The gradient for the first blocks has to come back through all that follows, so its activations are kept.",
                   "Memory in training is mostly activations, and these depend on where the first trained number stands. A black "
                   "box needs none of theta_f's; smaller cubes or a batch of one help LoRA.", right=True),
            Option("A rank of 4 is a rank of 12 in that code.",
                   "True of FSEFT's code, and of no matter here: it is a thousandth with all twelve."),
        ),
    ),
    Question(
        "16-q5",
        "In a table an adapter has Dice 47 with five shots, and a linear probe on the same network 74. What do you check first?",
        (
            Option("Whether it begins as the base model: its Dice before any training.",
                   "A known organ and a good model: whatever begins there starts far above 47. Had it begun at random, the five "
                   "scans were spent on repairing it. One forward pass tells.", right=True),
            Option("Whether it has too few parameters.",
                   "The probe has the fewest of all, and 74."),
            Option("Whether it has too many parameters for five scans.",
                   "Possible, but full fine-tuning has all of them and does not fall so far. And only a training would tell."),
            Option("Nothing: adapters are known not to suit convolutions.",
                   "It is known from such tables. The original ones, for convolutions, worked; they trained a norm along."),
        ),
    ),
)
