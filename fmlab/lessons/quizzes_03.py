"""Quiz of lesson 03: inflation, what a third axis costs, thick slices, jagged masks, what "3-D is better" was compared with."""

from __future__ import annotations

from fmlab.lessons.quiz import Option, Question

QUESTIONS = (
    Question(
        "03-q1",
        "A 2-D network is inflated at the centre into a 3-D one that keeps all slices. Before any training, what does the 3-D "
        "network know that the 2-D one did not?",
        (
            Option("How structures go on from slice to slice.",
                   "All planes but the middle one are 0: no layer reads another slice. That is learnt afterwards, if at all."),
            Option("Nothing: it is the 2-D network, slice by slice.",
                   "That is the point of it: training begins where the 2-D network stood, and only what looking across adds is "
                   "still to be learnt.", right=True),
            Option("The mean of three neighbouring slices.",
                   "That is inflation by mean, and what it knows is a blur: right where slices are alike, wrong where a "
                   "structure ends."),
            Option("Less than the 2-D network, as most of its weights are 0.",
                   "The middle planes hold every weight of the 2-D network, and zeros add nothing and take nothing away."),
        ),
    ),
    Question(
        "03-q2",
        "A convolution of 3 x 3 becomes one of 3 x 3 x 3. A whole U-Net of the same width, on the same voxels, costs ...",
        (
            Option("3 times the parameters and 3 times the multiply-adds.",
                   "Parameters yes. But below the first level a volume has lost seven voxels of eight and a slice three of four, "
                   "so that the deep levels of the 3-D network are cheaper a voxel."),
            Option("9 times the parameters and 9 times the multiply-adds.",
                   "27 / 9 is 3: one axis more is one factor of 3."),
            Option("3 times the parameters, and by far less than 3 times the multiply-adds.",
                   "Halving three axes instead of two saves at each level nearly what the third axis costs. Count yours, as "
                   "section 2 did.", right=True),
            Option("The same parameters and 3 times the multiply-adds.",
                   "The kernel itself has three planes instead of one."),
        ),
    ),
    Question(
        "03-q3",
        "Your scans have pixels of 0.8 mm and slices of 5 mm. Which is NOT a sound way to segment them?",
        (
            Option("A 2-D network on the "
                   "slices.", "Neighbouring slices hardly look alike at 5 mm; the fewer it shares, the less a "
                                                   "third axis can give."),
            Option("A 3-D network that was trained on cubes of 1 mm, on the slices as they are.",
                   "To it a body is squeezed to a fifth along one axis: a sphere is a pancake. Resample first, and know that "
                   "resampling makes no detail.", right=True),
            Option("A 3-D network that halves X and Y but not Z in its first levels.",
                   "That is what nnU-Net plans for such scans: kernels and strides of 1 along the thick axis until the voxels "
                   "are about cubes."),
            Option("A 3-D network trained on scans whose slices were made thick at random.",
                   "What a network has met in training it can meet again. It costs accuracy on thin ones, so measure both."),
        ),
    ),
    Question(
        "03-q4",
        "Two masks of a liver have the same Dice. One is jagged from slice to slice, seen from the front. Which number shows it?",
        (
            Option("Dice in 3-D, if it has enough "
                   "digits.", "Dice counts wrong voxels and does not care where they lie; the question "
                                                           "says that it is equal."),
            Option("Mean Dice over axial slices.", "Each slice may be fine by itself. The fault lies between them."),
            Option("The volume.", "Jagged edges go out in one slice and in at the next, and cancel."),
            Option("Faces across slices over faces within them, divided by the same for the truth.",
                   "Steps from slice to slice are faces across. Against the truth, as anatomy has some of its own; against those "
                   "within slices, as a rough mask is rough everywhere.", right=True),
        ),
    ),
    Question(
        "03-q5",
        "\"SAM-Med3D needs one click for a volume where SAM-Med2D needs one a slice, and is better; so pre-train in 3-D.\" Which "
        "question does our comparison at equal voxels ask that this sentence does not?",
        (
            Option("Whether the two saw the same data, as often.",
                   "The two published models differ in data, size, prompts and steps all at once. Equal voxels and equal compute "
                   "are two ways to hold something fixed, and they need not agree.", right=True),
            Option("Whether a click in 3-D costs a person as much as one in 2-D.",
                   "A good question for lesson 10; here there are no clicks at all."),
            Option("Whether results hold on real "
                   "patients.", "No: our bodies are procedural, and the real-data cell is one scan."),
            Option("Whether the metric was computed in 3-D.", "It was, in both."),
        ),
    ),
)
