"""Typical wrong answers to the exercises of lesson 01, each with words of the message that it must get."""

from __future__ import annotations

import numpy as np


def breadth_of(images):
    if "photographs" in images:
        return "natural images"
    return "one field" if len(images) == 1 and "many" not in images else "medical images"


def depth_of(learnt, reads):
    if reads == "2-D":
        return "2-D"
    return "3-D" if learnt == "3-D" else "2-D to 3-D"


def words_of(text):
    return "images and text" if text else "images"


def place_medical_is_special(images, learnt, reads, text):
    return "natural images" if "photographs" in images else "one field", depth_of(learnt, reads), words_of(text)


def place_forgets_many(images, learnt, reads, text):
    if "photographs" in images:
        breadth = "natural images"
    else:
        breadth = "medical images" if len(images) > 1 else "one field"
    return breadth, depth_of(learnt, reads), words_of(text)


def place_photographs_alone(images, learnt, reads, text):
    rest = [kind for kind in images if kind != "photographs"]
    return breadth_of(rest) if rest else "natural images", depth_of(learnt, reads), words_of(text)


def place_by_reading(images, learnt, reads, text):
    return breadth_of(images), reads, words_of(text)


def place_by_learning(images, learnt, reads, text):
    return breadth_of(images), "2-D to 3-D" if " and " in learnt else learnt, words_of(text)


def place_both_is_3d(images, learnt, reads, text):
    depth = "2-D" if reads == "2-D" else "3-D" if "3-D" in learnt else "2-D to 3-D"
    return breadth_of(images), depth, words_of(text)


def place_scanners(images, learnt, reads, text):
    return breadth_of(images), depth_of(learnt, reads), "images and text" if len(images) > 1 else "images"


def place_names_only(images, learnt, reads, text):
    return breadth_of(images), depth_of(learnt, reads), words_of(text == "class names")


def place_names_are_none(images, learnt, reads, text):
    return breadth_of(images), depth_of(learnt, reads), words_of(text and text != "class names")


def place_upside_down(images, learnt, reads, text):
    return breadth_of(images), depth_of(learnt, reads), words_of(not text)


def place_of_two(images, learnt, reads, text):
    return breadth_of(images), depth_of(learnt, reads)


FREE = ("Apache-2.0", "MIT")


def fits(one, reads, usage):
    return one.reads == reads and usage in one.usage


def usable_by_code(systems, reads, usage):
    return [one.key for one in systems if one.has_weights and one.code_licence in FREE and fits(one, reads, usage)]


def usable_unstated(systems, reads, usage):
    return [one.key for one in systems
            if one.has_weights and (not one.weights_licence or one.weights_licence in FREE) and fits(one, reads, usage)]


def usable_unlicensed(systems, reads, usage):
    return [one.key for one in systems
            if one.has_weights and one.weights_licence in {"", "none", *FREE} and fits(one, reads, usage)]


def usable_any_licence(systems, reads, usage):
    return [one.key for one in systems
            if one.has_weights and one.weights_licence and one.weights_licence != "none" and fits(one, reads, usage)]


def usable_without_weights(systems, reads, usage):
    return [one.key for one in systems if one.weights_licence in FREE and fits(one, reads, usage)]


def usable_by_address(systems, reads, usage):
    return [one.key for one in systems if one.weights and one.weights_licence in FREE and fits(one, reads, usage)]


def usable_without_licence(systems, reads, usage):
    return [one.key for one in systems if one.has_weights and fits(one, reads, usage)]


def usable_by_learning(systems, reads, usage):
    return [one.key for one in systems
            if one.has_weights and one.weights_licence in FREE and one.learnt == reads and usage in one.usage]


def usable_main(systems, reads, usage):
    return [one.key for one in systems
            if one.has_weights and one.weights_licence in FREE and one.reads == reads and one.usage[0] == usage]


def usable_flat(systems, reads, usage):
    return [one.key for one in systems if one.has_weights and one.weights_licence in FREE and usage in one.usage]


def usable_for_all(systems, reads, usage):
    return [one.key for one in systems if one.has_weights and one.weights_licence in FREE and one.reads == reads]


def usable_records(systems, reads, usage):
    return [one for one in systems if one.has_weights and one.weights_licence in FREE and fits(one, reads, usage)]


def usable_names(systems, reads, usage):
    return [one.name for one in systems if one.has_weights and one.weights_licence in FREE and fits(one, reads, usage)]


def usable_sorted(systems, reads, usage):
    return sorted((one.key for one in systems if one.has_weights and one.weights_licence in FREE and fits(one, reads, usage)),
                  reverse=True)


def known_sets(w, scans):
    return np.mean(w, axis=0)


def known_numbers(w, scans):
    return (w * scans[:, None]).sum(0)


def known_over_sets(w, scans):
    return (w * scans[:, None]).mean(0)


def known_one_number(w, scans):
    return (w * scans[:, None]).sum() / (scans.sum() * w.shape[1])


def known_by_set(w, scans):
    return np.mean(w, axis=1)


def known_of_those_who_draw(w, scans):
    drawn = scans @ w
    return drawn / np.where(drawn > 0, drawn, 1)


def known_adds_to_one(w, scans):
    return scans @ w / (scans @ w).sum()


def known_unknown(w, scans):
    return ((1 - w.astype(int)) * scans[:, None]).sum(0) / scans.sum()


def known_transposed(w, scans):
    return w @ scans / scans.sum()


WRONG = {
    "01-place": [
        (place_medical_is_special, "everything medical is specialised"), (place_forgets_many, "what the word \"many\" says"),
        (place_photographs_alone, "world outside the hospital"), (place_by_reading, "what it reads alone"),
        (place_by_learning, "what it learnt in alone"), (place_both_is_3d, "Learnt in both is for you 3-D"),
        (place_scanners, "CT *and* MR"), (place_names_only, "only class names count"),
        (place_names_are_none, "Class names are text too"), (place_upside_down, "wrong way round"),
        (place_of_two, "in the order A, B, C"),
    ],
    "01-usable": [
        (usable_by_code, "licence of the *code*"), (usable_unstated, "by law and not by malice"),
        (usable_unlicensed, "\"none\" and \"not"),
        (usable_any_licence, "every stated licence"),
        (usable_without_weights, "weights to be had at all"), (usable_by_address, "true for \"none\" as well"),
        (usable_without_licence, "may still be somebody's"), (usable_by_learning, "*learnt* in"),
        (usable_main, "main usage alone"),
        (usable_flat, "You forget `reads`"), (usable_for_all, "You forget `usage`."), (usable_records, "systems themselves"),
        (usable_names, "names to show"), (usable_sorted, "change their order"),
    ],
    "01-known": [
        (known_sets, "count data sets, not scans"), (known_numbers, "give numbers of scans"),
        (known_over_sets, "the number of data sets"), (known_one_number, "Keep the structures apart"),
        (known_by_set, "what each *data set* knows"), (known_of_those_who_draw, "1 for whatever is drawn at all"),
        (known_adds_to_one, "add up to 1"), (known_unknown, "*not* known"), (known_transposed, "stops with ValueError"),
    ],
}
