"""For whoever teaches the course: notes, slides, a key, a variant to learn by heart and a plan of the day, all made from the
lessons' sources, so that none of them can say something else than the lesson does.

    kit          what is made for which lessons, as files
    instructor   the whole notebook, with hints, wrong ideas and the quiz key beside what they belong to
    slides       which cell becomes which slide, by rule;  deck: the slides as one page without a network
    key          every question with the right option, and why each other one is wrong
    recall       the learner's notebook from memory: headings and exercises, no text, no example to look at
    minutes      how long a section takes;  plan: half a day and a whole day
"""
