"""Quiz of lesson 18: the gate's place, exact zeros, Adam and the threshold, the schedule's budget, and what a control tells."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "18-q1",
        "The loss of ARENA's training has no l1 term. Is the l1 norm of the formula forgotten?",
        (
            Option("Yes: without it in the loss nothing pulls the gates towards 0.",
                   "The soft threshold after each step pulls them, by lambda times the rate."),
            Option("No: under gradient descent, a step on the loss and then the proximal step minimise the loss *plus* the norm.",
                   "That is proximal gradient (ISTA). In the loss as well, the norm would count twice. What changes the meaning "
                   "of lambda is something else: that the step is Adam's.", right=True),
            Option("No: AdamW's weight decay does the same.",
                   "It is 0 here; and it shrinks in proportion to v, which never gets to 0."),
            Option("No: the Dice loss prefers few ranks by itself.", "The Dice loss knows nothing of ranks."),
        ),
    ),
    Question(
        "18-q2",
        "One gate has the gradient 1e-6, the same at each step; another has 0.1 on average, with a deviation of 1. Which does "
        "Adam with the threshold, lambda = 0.5, close in the long run?",
        (
            Option("The first: it is worth next to nothing to the loss.",
                   "That is the lasso's rule, under plain gradient descent. Adam divides by the gradient's own size, so a steady "
                   "one makes steps of the whole rate, however small it is, and the threshold is half the rate."),
            Option("Both: 1e-6 and 0.1 are below 0.5.",
                   "So it would be without Adam's division: lambda is a price in the currency of the loss there."),
            Option("Neither.", "The second has a mean of 0.1 deviations, and 0.577 are needed."),
            Option("The second: its sign changes too often.",
                   "What counts is mean over deviation: without limit for the first, 0.1 for the second, against "
                   "lambda / sqrt(1 - lambda^2) = 0.577.", right=True),
        ),
    ),
    Question(
        "18-q3",
        "You have 5 shots, and to save time you halve the number of epochs. The data are as before. What happens to the ranks "
        "that ARENA closes?",
        (
            Option("About half as many are closed, among gates without a signal.",
                   "The threshold takes off lambda times the sum of the rates in all, and gates begin as U(-1, 1): half the "
                   "steps close half as many. The same holds for shots and rate: none of them is about the task.", right=True),
            Option("The same: the task needs what it needs.",
                   "Only if the threshold had time enough to close all that is useless; with 5 shots it reaches a quarter of the "
                   "way."),
            Option("More: there is less time for gates to grow.",
                   "Less time for the threshold as well, and for gates without a signal that is all there is."),
        ),
    ),
    Question(
        "18-q4",
        "A pruned network keeps 100 of 144 ranks and gives the same output. Does that show that 100 ranks were needed?",
        (
            Option("Yes: what was not needed is gone.",
                   "What was closed is gone. An open gate may do nothing useful, or another rank could do its work."),
            Option("Yes, if Dice is as high as before.",
                   "Dice must be as high: the function is the same. It says nothing about what the open ranks are worth."),
            Option("No: the same function follows from exact zeros. Whether the open ones are needed, only other networks can "
                   "show: fewer ranks from the start, or others closed.",
                   "And the effective rank of the update, which may be far below 100, tells how much of it is used.", right=True),
            Option("No: pruning changes the output a little.",
                   "Ranks with a gate of exactly 0 add exactly nothing; what remains is rounding."),
        ),
    ),
    Question(
        "18-q5",
        "ARENA with R = 24 is better than LoRA with R = 12, and somebody says: because it adapts the rank. Which run speaks "
        "most directly to the *because*?",
        (
            Option("ARENA on ten more organs.", "That tells whether it is better, not why."),
            Option("ARENA with lambda = 0.",
                   "The same ranks, start, gates and rate, and nothing that could ever close one. If that is as good, then "
                   "closing gates is not the reason, whatever the reason is.", right=True),
            Option("LoRA with R = 12 and more epochs.", "Fair to LoRA, and silent about gates."),
            Option("Full fine-tuning.", "It differs in everything at once."),
        ),
    ),
)
