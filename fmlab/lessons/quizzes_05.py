"""Quiz of lesson 05: what zero-shot means, natural images, more data, frozen encoders, and a transfer that loaded nothing."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "05-q1",
        "A paper says: \"zero-shot, our model segments the livers of three new hospitals\". It was trained on livers of twelve "
        "others. What did it do?",
        (
            Option("It found an organ that it had never been shown: that is what zero-shot means.",
                   "The word says so in some papers, not here. Livers were in the training, thousands of them; new are the "
                   "hospitals. Nothing is said about organs that it was not trained for."),
            Option("It met known structures in a new distribution: scanners, patients and drawing rules differ, the classes "
                   "do not.",
                   "That is the first of three meanings, and the only one that a universal model with fixed outputs can do. "
                   "Ask of every \"zero-shot\": what exactly was not seen?", right=True),
            Option("It solved a new task without training, as in-context models do.",
                   "An in-context model gets the new task as examples (lesson 06). Here no task was given; the liver's output "
                   "was there already."),
            Option("It was fine-tuned a little on the new hospitals.",
                   "Then it would not be zero-shot in any meaning: zero is the number of labelled cases of the target."),
        ),
    ),
    Question(
        "05-q2",
        "ImageNet has more than a million pictures. Why not take a ResNet that was trained on it as the encoder for CT volumes?",
        (
            Option("One should: edges are edges, and pre-training on natural images is enough.",
                   "Its first layers do see edges, and in 2-D it is often better than nothing. But its kernels are flat and of "
                   "three colours: by name and shape hardly one tensor fits a 3-D network of one channel. And dogs have no "
                   "Hounsfield units, and no left and right that matter."),
            Option("Because the licence of ImageNet forbids it.",
                   "Licences matter, but it would not work well either: flat kernels, three colours, and nothing of anatomy."),
            Option("Its kernels are flat and of three colours, and what it learned to tell apart are objects, not organs. Med3D "
                   "keeps the philosophy and replaces the data.",
                   "The philosophy is: train once where labels are many, keep the encoder, put a new head on it. Med3D and "
                   "SuPreM do that with volumes, so that place, thickness and density mean something.", right=True),
            Option("Because an encoder trained for classification can never serve segmentation.",
                   "It can: for years most 2-D segmenters began from classifiers. ImageNet's philosophy was never about the "
                   "task's form."),
        ),
    ),
    Question(
        "05-q3",
        "You may pre-train on 160 scans without labels, or on 12 of them with labels of many organs. The target is the "
        "segmentation of other organs. What should you expect?",
        (
            Option("160 win: more pre-training data is always better.",
                   "More of the same kind seldom hurts. But a pretext such as filling holes asks for texture, and segmentation "
                   "asks for borders. What the pre-training *asked for* counts as well as how many scans it saw."),
            Option("12 win: labels always beat pretexts.",
                   "SuPreM argues so for its data and its tasks. It is a claim, and claims are measured: C11 in the ledger. "
                   "With other numbers of scans, another pretext or another target it may be different."),
            Option("It depends on how near the pre-training's question is to the target's, so measure it, with scratch beside it "
                   "and more than one seed.",
                   "Supervised segmentation asks nearly the target's question, so little may go far; whether it does here, "
                   "the ledger's C11 says, with an interval.", right=True),
            Option("Neither helps: other organs are other organs.",
                   "A border of a muscle looks much like the border of another. Features are shared even where classes are "
                   "not; the curves of this lesson show how much of it arrives."),
        ),
    ),
    Question(
        "05-q4",
        "You have four labelled people and five structures that the model does not know, gluteus maximus among them. To be safe "
        "you freeze what was pre-trained and train a new 1x1x1 head only. What is wrong with that?",
        (
            Option("Nothing: with so few labels a frozen encoder is always safer.",
                   "Safer against forgetting and overfitting, yes. But a head can only re-combine what the features say. "
                   "Published, for new organs with 5 shots: linear probe 8.68, decoder tuned 51.97 (mean Dice, "
                   "doi:10.48550/arXiv.2303.17051). On *known* organs the probe is among the best."),
            Option("The head mixes features that were made for other structures; what they do not tell apart, no head can.",
                   "The pre-training had no reason to keep the gluteus maximus apart from its neighbours: all of them were "
                   "\"nothing\". Frozen is a good choice where the structure is known, and a poor one where it is new.",
                   right=True),
            Option("A head alone cannot be trained: gradients must reach the encoder.",
                   "They need not. A linear head over fixed features trains very well, and fast."),
            Option("Freezing makes training slower.",
                   "It is cheaper: no gradients and no optimiser state for what is frozen. Cost is not what is wrong."),
        ),
    ),
    Question(
        "05-q5",
        "Pre-trained and scratch end with the same Dice, in all three seeds, to the second digit. What do you look at first?",
        (
            Option("Nothing: pre-training does not help for this task.",
                   "Perhaps. But equal to the second digit, thrice, is what you get when *nothing was loaded*: with strict=False "
                   "and a prefix before the names both arms are scratch."),
            Option("The learning rate: it must be smaller for fine-tuning.",
                   "It may well be. But first make sure that there is something to fine-tune."),
            Option("More seeds: three are too few.",
                   "Three are few, but three that agree to the second digit are no bad luck. They are the same experiment."),
            Option("The number of tensors that arrived, of those that were intended.",
                   "Matched, missing, of another shape, left aside: it costs a line, and below 95 % `transfer` refuses. Whole "
                   "comparisons were run with an encoder that had never been loaded.", right=True),
        ),
    ),
)
