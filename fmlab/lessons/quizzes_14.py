"""Quiz of lesson 14: where a task enters, what a code is, lists for Hermes, whom to ask, what one more task costs."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "14-q1",
        "DoDNet has segmented a scan for task \"kidney\". You now want task \"liver\" on the same scan. What has to be computed "
        "again?",
        (
            Option("Everything: the task is an input of the network.",
                   "It is an input of the *controller*, which sits behind encoder and decoder. That would be right for Hermes."),
            Option("The decoder: the encoder is the same for all tasks.",
                   "That is UniSeg, where the task's map goes into the decoder. In DoDNet the decoder does not know the task."),
            Option("The controller's vector and three 1x1x1 convolutions.",
                   "The deepest level and Z do not depend on the task, so both can be kept. Only the head is the task's own.",
                   right=True),
            Option("Nothing: the liver is another channel of the same output.",
                   "The same output channels serve all tasks (organ and tumour as published). Which organ they mean is up to the "
                   "head."),
        ),
    ),
    Question(
        "14-q2",
        "You replace DoDNet's one-hot codes by random vectors, before training, of the same length and linearly independent. "
        "What is lost?",
        (
            Option("Nothing that the controller can represent: one matrix takes any independent codes to any columns.",
                   "The dictionary of lesson 13. Speed of training may differ, since random codes are not all equally far apart.",
                   right=True),
            Option("The network can no longer tell the tasks apart.",
                   "Different vectors are enough for that. A 1 in a column of its own is merely the simplest choice."),
            Option("The order of the tasks.",
                   "One-hot codes have no order; that is what they are used for. (The task's *number* would have one.)"),
            Option("The knowledge of which tasks are related.",
                   "One-hot codes know nothing of it: any two are equally far apart. Whatever relation there is, the columns of "
                   "W learn."),
        ),
    ),
    Question(
        "14-q3",
        "Hermes is asked for the liver, once alone, and once together with other structures. Its liver differs. Through "
        "which door do the other questions come in?",
        (
            Option("Through the prototypes: they are averaged over the list.",
                   "Each prototype is made of its own question's posteriors, and nothing is averaged over the list."),
            Option("Through a softmax over all structures at the end.",
                   "Each question has a sigmoid of its own. (A softmax at the end is UniSeg's.)"),
            Option("Through the order of the list.",
                   "The order changes nothing: attention takes its context as a set. You have seen the differences for a list "
                   "read backwards."),
            Option("Through the features: they attend to all questions, and the next level's questions attend to them.",
                   "Within one exchange a prior hears features only. But the features have heard all priors, and they go on to "
                   "the next level and to z.", right=True),
        ),
    ),
    Question(
        "14-q4",
        "A scan from a fifth hospital shows a chest. You want the liver's upper part. A, B and D have drawn livers, D in chests. "
        "Whom do you ask?",
        (
            Option("A: it is the first with \"liver\" on its list.",
                   "That is what a table without thought does. A's prompt knows livers in abdominal scans, whole ones."),
            Option("D, and then look: its scans are most like yours. Check which rules its livers follow.",
                   "A prompt stands for images as well as for names. And whether vessels are in or out is D's rule too, so know "
                   "it before you count millilitres.", right=True),
            Option("All three, and take the union.",
                   "The union of three rules is nobody's rule, and it collects everybody's false positives. Their *disagreement* "
                   "is worth a look, though."),
            Option("It makes no difference: a liver is a liver.",
                   "Section 6 shows the difference on one image. B's liver does not even mean the same thing."),
        ),
    ),
    Question(
        "14-q5",
        "You have a trained model of each kind, and a new hospital with a new structure. Where can you keep *every* trained "
        "number and learn a few more for the new task alone?",
        (
            Option("In none: the output layer has too few channels.",
                   "In none of them is an output layer counted by tasks: DoDNet's and UniSeg's channels are shared by all tasks, "
                   "and Hermes has a dot product."),
            Option("In UniSeg: one more map in the prompt.",
                   "The map alone could be added, but FUSE reads all maps at once and its widths depend on their number, so its "
                   "trained layers do not fit any more."),
            Option("In DoDNet (a column of the controller) and in Hermes (a row in each of its tables).",
                   "Old columns and rows do not read the new ones, so old tasks stay as they are. In Hermes that holds as "
                   "long as nobody asks the new question along with theirs.", right=True),
            Option("In all of them, if the new task gets a text.",
                   "None of the three reads a text. CLIP-driven would need no new number, but training on scans of the new "
                   "structure all the same."),
        ),
    ),
)
