"""Quiz of lesson 19: what a rule may look at, regret, a random start, known and new, and one's own scan."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "19-q1",
        "Five labelled scans, and a paper that reports \"the best epoch on the test set\". What do its numbers say?",
        (
            Option("What somebody would get who knew the answers: an upper bound that no rule reaches for certain.",
                   "It is the oracle. Beside it belongs what a rule gives that may look at the five scans only, and the rule's "
                   "price: nothing, a shot, or k trainings.", right=True),
            Option("What one would get with these five scans and that method.",
                   "Nobody who has the five scans alone can find that epoch. The numbers are an upper bound: they leave out the "
                   "selection gap."),
            Option("Nothing at all.", "They bound from above what can be had: worth knowing, when it is called a bound."),
            Option("The same as the last epoch, on average.",
                   "The best of several is never below the last, and on noisy curves clearly above it, by luck alone."),
        ),
    ),
    Question(
        "19-q2",
        "A decision map has a regret of 0.01 on the tasks that it was made of. Why leave each task out in turn?",
        (
            Option("To have more numbers for the mean.", "There are as many as before: one a task."),
            Option("Because a task's own results are what one does not have before it is tried; with them the map looks into the "
                   "answers.",
                   "A map with as many cells as tasks has no regret at all on these, and is of no use for the next one. With "
                   "four tasks that is not far off.", right=True),
            Option("Because some tasks are outliers.", "Outliers stay in: each is tested on, once."),
            Option("Because runs with other seeds would leak.",
                   "They would, and leaving out the whole task with all its draws is right. But that is a how, and not the why."),
        ),
    ),
    Question(
        "19-q3",
        "Adapters beside convolutions reached 47.55 Dice where a linear probe had 74.14 (FSEFT, 5 shots, known organs). What "
        "would you want to know before you say \"adapters do not suit U-Nets\"?",
        (
            Option("How many parameters they have.", "More than the probe. That they do worse than fewer needs another reason."),
            Option("Whether they begin as the base model.",
                   "They did not: their new convolutions began at random, and the norms behind them were frozen, so the "
                   "network was broken before the first step. The same adapter from zero is another method.", right=True),
            Option("Whether the learning rate was tuned for them.",
                   "Worth asking of every number in the table. But here something is wrong that no rate mends."),
            Option("Nothing: a difference of 27 points speaks for itself.",
                   "It speaks of this code. Large differences are more often an error than a discovery."),
        ),
    ),
    Question(
        "19-q4",
        "\"On new organs black boxes fail.\" Published tables compare known organs (liver, spleen) with new ones (gluteal "
        "muscles, lobes). What does the crosswise experiment add?",
        (
            Option("More organs.", "It has the same ones, each twice."),
            Option("A second seed.", "Seeds draw other shots; they cannot turn a muscle into a liver."),
            Option("A larger base model.", "Both are of one size."),
            Option("The same organ is known to one base model and new to the other: the difference is novelty, not the organ.",
                   "Muscles and lobes might be harder for a probe than a liver, whoever pre-trained. Only when the roles are "
                   "exchanged can the two be told apart.", right=True),
        ),
    ),
    Question(
        "19-q5",
        "You corrected your own scan, adapted a model to one part of it, and Dice on the other part rose from 0.50 to 0.62. What "
        "do you write?",
        (
            Option("The adaptation works: +0.12.", "On whom? A part of the person who taught it is no new person."),
            Option("+0.12 with a 95% interval from resampling slices.",
                   "Slices of one person lean on each other like bricks in a wall. The interval would be narrow, about nothing."),
            Option("On another part of the same person +0.12, n = 1, no interval; and it says nothing of other people.",
                   "It is an anecdote, and a good start: next come scans of other people, whom nobody trained on.", right=True),
            Option("Nothing: with n = 1 one may not report.", "One may, when it is said. Hidden, it would be worse."),
        ),
    ),
)
