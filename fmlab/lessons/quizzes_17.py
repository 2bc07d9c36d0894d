"""Quiz of lesson 17: what a plane cannot find, what is trained, what is forgotten, a published table, and the size prior."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "17-q1",
        "A linear probe finds the liver in five shots and the gluteal muscles in none. Which of these would help the muscles "
        "most?",
        (
            Option("Fifty shots in place of five.",
                   "More scans place the plane better. But the best plane of all, fitted on a whole scan and tested on that very "
                   "scan, was poor too: the features do not hold the answer in a form that a plane can read."),
            Option("More steps, and a larger learning rate.",
                   "The plane of section 1 was the solution of a convex problem. There is nothing left for an optimiser to "
                   "find."),
            Option("Let the layers that make the features learn, too.",
                   "What is missing in Z is still there earlier in the decoder. Tuning the decoder changes what arrives in Z.",
                   right=True),
            Option("A sigmoid with another threshold.",
                   "The cut was already the best one for each structure. It moves the plane along its normal; it does not turn "
                   "features into other features."),
        ),
    ),
    Question(
        "17-q2",
        "\"Decoder + LoRA\" on a Swin UNETR. Which of these tensors stays as it was pre-trained?",
        (
            Option("`encoder10.layer.conv1.conv.weight`",
                   "`encoder1` to `encoder10` are convolutions on the skips, between transformer and decoder. FSEFT freezes "
                   "them, and they are more than half of the network.", right=True),
            Option("`decoder5.transp_conv.conv.weight`", "It is the decoder, and is tuned."),
            Option("`layers1.0.blocks.0.attn.qkv.A`", "It is what LoRA adds; it did not exist in pre-training."),
            Option("`head.bias`", "Every method trains the head. A new organ's row begins at random and must learn."),
        ),
    ),
    Question(
        "17-q3",
        "A hospital has adapted one base model to ten groups of new organs, and wants all of them, and the sixteen old "
        "structures, from one machine. What must be stored and what must be run?",
        (
            Option("With tuned decoders: one decoder, since the last one has learnt everything.",
                   "It has learnt the last group, starting from the base model's. Of the nine others it knows nothing, and the "
                   "old heads do not fit its features any more."),
            Option("With tuned decoders: eleven decoders and heads, each run on every scan, over one set of encoder features.",
                   "The encoder is the same for all of them, so its features are computed once. Each decoder is its own copy, "
                   "and the base model's is one of them. With LoRA on top the encoder differs as well, and all is run eleven "
                   "times.",
                   right=True),
            Option("With decoder + LoRA: one decoder and ten LoRAs of a few kB.",
                   "Only LoRA is small. Each LoRA was trained together with a decoder of its own, and means nothing beside "
                   "another."),
            Option("Nothing but ten heads of a few numbers.",
                   "That is what a linear probe would need, and it is why one tries it first. On new organs it did not suffice."),
        ),
    ),
    Question(
        "17-q4",
        "FSEFT, 5 shots: decoder + LoRA reaches 57.39 on average and decoder + BitFit 52.10. Which is the best reading?",
        (
            Option("Additive methods are better than selective ones.",
                   "Two of each were run, on three groups of organs from one data set, with one rate for all. It is a hint, and "
                   "the claim needs a paired comparison with an interval."),
            Option("Two thirds of LoRA's lead over the decoder alone are the heart's, and a later paper has its LoRA on the "
                   "heart ten points lower with twice the shots. One would repeat it before building on it.",
                   "76.12 with 5 shots here, 66.66 with 10 there. On the lung LoRA adds 0.18. An average over three groups hides "
                   "which of them moved.", right=True),
            Option("The difference is 5.29 points, so it is significant.",
                   "Whether it is depends on the spread over cases and draws, with five test cases an organ. Neither is in the "
                   "average."),
            Option("BitFit on top is harmful.",
                   "It is 0.13 above the decoder alone, 51.97. That is no harm, and nothing that five cases could show."),
        ),
    ),
    Question(
        "17-q5",
        "The size prior knows how large the organ was in the support set. For which query may it do harm?",
        (
            Option("One in whom the organ is found too large by far.",
                   "That is what it was made for: |e| is far above the margin, and the head is pushed to find less."),
            Option("One of whom only half of the organ is in the field of view.",
                   "The expected share then is wrong, and the head is pushed to find the missing half in something else. The "
                   "same holds after surgery, in children, and for an organ that is diseased *because* it is small.", right=True),
            Option("One in whom the organ is as large as in the support set.",
                   "Then |e| is within the margin, and nothing is pushed."),
            Option("None: it only uses the query's own voxels.",
                   "It uses the support set's size as a target for the query, and that is an assumption about the query."),
        ),
    ),
)
