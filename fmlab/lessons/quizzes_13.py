"""Quiz of lesson 13: who reads the words, exchanged texts, misspelt prompts, untrained names, what a class costs."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "13-q1",
        "Where does the CLIP-driven network read the words \"a computerized tomography of a liver\"?",
        (
            Option("In every forward pass, beside the image.",
                   "No word enters the network. What enters is a row of numbers that was made once, before the first step, and "
                   "never changes."),
            Option("During training only; afterwards the heads are stored.",
                   "Not even then: the text encoder is not part of the training and gets no gradient. And heads are not stored, "
                   "since they depend on the image too."),
            Option("Nowhere. An encoder read them once, and the network gets a row of a table.",
                   "The table is a buffer. Whether CLIP, a sentence encoder or a die made its rows the network cannot tell; you "
                   "have seen it give the same segmentation for all three once it had a dictionary.", right=True),
            Option("In the controller, which turns words into convolutions.",
                   "The controller is one linear layer from numbers to numbers: [f ; w_k] to theta_k. It never sees a word."),
        ),
    ),
    Question(
        "13-q2",
        "In a trained model you exchange the rows of \"liver\" and \"spleen\" in the table, nothing else. What does channel "
        "\"liver\" say now?",
        (
            Option("It draws the spleen.",
                   "A channel has no weights of its own. It is what its row makes of it, and the row now says \"spleen\".",
                   right=True),
            Option("It draws the liver: the network learned from images what a liver is.",
                   "It did, but it learned it *for that row*. The number of the channel means nothing to the network."),
            Option("It draws liver and spleen together, as it was trained on one and is asked for the other.",
                   "Nothing of the channel was trained: the weights are shared by all classes, and the row alone tells them "
                   "apart."),
            Option("Nothing: row and channel contradict each other.",
                   "There is nothing in a channel that a row could contradict. With a softmax over fixed outputs it would be "
                   "another matter."),
        ),
    ),
    Question(
        "13-q3",
        "The published prompts misspell the aorta as \"Arota\", and CLIP's rows are nearly parallel (mean cosine 0.879). Why did "
        "the training work all the same?",
        (
            Option("CLIP is robust: it understands that the aorta is meant.",
                   "It may or may not. The training would have worked with \"class 8\" too, or with a random row."),
            Option("Rows need only differ. A learned linear layer with a bias takes away what all of them share.",
                   "32 rows that are linearly independent can be mapped to any 32 vectors by one linear layer, however near they "
                   "lie. It only takes longer to learn where they hardly differ.", right=True),
            Option("A mean cosine of 0.879 shows that CLIP groups the organs well.",
                   "It shows that every prompt resembles every other, since all begin alike. Grouping would be *differences* of "
                   "cosines, high within a group and low between groups."),
            Option("The text encoder was trained along and corrected it.",
                   "It is frozen: the table is a buffer, and its rows are the same at the last step as at the first."),
        ),
    ),
    Question(
        "13-q4",
        "You give the trained model the row of \"left adrenal gland\", a class that it was never trained for. What comes out?",
        (
            Option("The adrenal gland: the text encoder knows where it belongs.",
                   "It knows which words stand near it in sentences. No image of the organ, no grey value and no place came with "
                   "that."),
            Option("Nothing: unknown classes have negative logits.",
                   "The network cannot know that a row is new. It makes a head of any row, and the head says what it says."),
            Option("An error: there is no such class.",
                   "Any row of the right length gives 153 numbers, and these give logits. Nothing checks whether they mean "
                   "something."),
            Option("Some head, mostly like those of rows near it. What it draws has to be measured.",
                   "The controller was fitted at a few dozen rows, and here it is asked between them. It may draw a neighbour, a "
                   "bit of several, or nothing.", right=True),
        ),
    ),
    Question(
        "13-q5",
        "32 classes have 32 heads of 153 numbers, 4,896 in all. You add 100 classes to the table. How many more numbers are "
        "there to *learn*?",
        (
            Option("15,300: 153 for each new class.",
                   "The 153 numbers of a head are *computed*, from image and text. They are activations, not parameters."),
            Option("51,200: 512 for each new row.",
                   "The rows are fixed: a buffer without gradient. (With the published option that learns a vector per class "
                   "there would be 256 for each.)"),
            Option("None.",
                   "Backbone, text layer and controller are the same for 32 classes and for 132. What has to be added is scans "
                   "on which the new classes are drawn, and a training.", right=True),
            Option("None, and therefore no further training is needed.",
                   "That the sizes fit does not mean that the numbers know the new rows. Section 7 tried it."),
        ),
    ),
)
