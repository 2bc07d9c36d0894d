"""Exercises of lesson 01: the three axes as rules, what one may use, what is known; with learners' most frequent wrong ideas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fmlab.lessons.exercise import Case, Exercise, Invariant, Misconception
from fmlab.systems import FREE, System, known_share, place, systems, usable
from fmlab.systems.records import LEARNT, NONE, USAGES

Facts = tuple[tuple[str, ...], str, str, str]
Wish = tuple[list[System], str, str]
Counted = tuple[np.ndarray, np.ndarray]


# ---- 01-place: images, learnt, reads, text -> values on A, B, C

_IMAGES = (("photographs",), ("CT",), ("MR",), ("retina",), ("CT", "MR"), ("CT", "MR", "PET"), ("many",), ("photographs", "CT"))
_ONE_OF_EACH = (("photographs",), ("many",), ("CT",), ("CT", "MR", "PET"), ("retina",))
_TEXT = ("", "class names", "reports", "captions")


def _pick(rng: np.random.Generator, options: Sequence) -> object:
    return options[int(rng.integers(len(options)))]


def _facts(rng: np.random.Generator) -> Facts:
    learnt = _pick(rng, LEARNT)
    reads = {"2-D": _pick(rng, ("2-D", "3-D")), "3-D": "3-D"}.get(learnt, "3-D")
    return _pick(rng, _IMAGES), learnt, reads, _pick(rng, _TEXT)


def _with(images: tuple[str, ...] | None = None, learnt: str = "3-D", reads: str = "3-D", text: str | None = None) -> Callable:
    """Cases that differ in the rest."""
    def make(rng: np.random.Generator) -> Facts:
        return images or _pick(rng, _ONE_OF_EACH), learnt, reads, _pick(rng, _TEXT) if text is None else text
    return make


def _breadth(idea: Callable[[tuple[str, ...]], str]) -> Callable[..., tuple[str, str, str]]:
    """The right depth and text beside another idea of A."""
    return lambda images, learnt, reads, text: (idea(images), *place(images, learnt, reads, text)[1:])


def _depth(idea: Callable[[str, str], str]) -> Callable[..., tuple[str, str, str]]:
    def formula(images: tuple[str, ...], learnt: str, reads: str, text: str) -> tuple[str, str, str]:
        breadth, _, words = place(images, learnt, reads, text)
        return breadth, idea(learnt, reads), words
    return formula


def _words(idea: Callable[[tuple[str, ...], str], str]) -> Callable[..., tuple[str, str, str]]:
    return lambda images, learnt, reads, text: (*place(images, learnt, reads, text)[:2], idea(images, text))


def _natural_or_not(images: tuple[str, ...]) -> str:
    return "natural images" if "photographs" in images else "one field"


def _by_count(images: tuple[str, ...]) -> str:
    return "natural images" if "photographs" in images else "one field" if len(images) == 1 else "medical images"


def _only_photographs(images: tuple[str, ...]) -> str:
    medical = tuple(kind for kind in images if kind != "photographs")
    return place(medical or images, "3-D", "3-D", "")[0]


PLACE = Exercise(
    id="01-place",
    task="`place(images, learnt, reads, text)` -> (A, B, C), three strings. A is \"natural images\" where photographs are "
         "among the images, else \"one field\" for a single kind of image that is not \"many\", else \"medical images\". B is "
         "\"2-D\" where it reads \"2-D\"; of what reads 3-D, \"3-D\" where it learnt in \"3-D\" only, else \"2-D to 3-D\". C "
         "is \"images and text\" where any words go in, else \"images\".",
    reference=place,
    meets="fmlab.systems.place",
    cases=(
        Case("a system that learnt and reads volumes", _with(), "Three answers, in the order A, B, C.", 20),
        Case("one that learnt in slices and reads slices", _with(learnt="2-D", reads="2-D"),
             "It looks at a slice at a time: 2-D.", 6),
        Case("one that learnt in slices and reads volumes", _with(learnt="2-D"), "That is \"2-D to 3-D\".", 6),
        Case("one that learnt in both and reads volumes", _with(learnt="2-D and 3-D"), "That is \"2-D to 3-D\" as well.", 6),
        Case("any system", _facts, "Each axis has a rule of its own; none looks at another's facts.", 30),
    ),
    misconceptions=(
        Misconception("You count the kinds of images and forget what the word \"many\" says: (\"many\",) has one entry, and "
                      "means more than anybody wanted to list.", _breadth(_by_count)),
        Misconception("For you everything medical is specialised. BiomedCLIP and MedSAM have seen ten kinds of images and more: "
                      "within medicine they are generalists. Specialised means one field: CT, the retina, brain MR.",
                      _breadth(_natural_or_not)),
        Misconception("Photographs and CT together: you call that no generalist of all images. Who has seen photographs has "
                      "seen the world outside the hospital, whatever else there was.", _breadth(_only_photographs)),
        Misconception("Learnt in both is for you 3-D. It has learnt in slices too, so what it knows of them came from 2-D: "
                      "\"2-D to 3-D\".",
                      _depth(lambda learnt, reads: "2-D" if reads == "2-D" else "2-D to 3-D" if learnt == "2-D" else "3-D")),
        Misconception("You go by what it reads alone: MA-SAM reads five slices at once, with weights that learnt on flat "
                      "photographs. What it learnt in counts too, for what reads 3-D.", _depth(lambda learnt, reads: reads)),
        Misconception("You go by what it learnt in alone. A system that looks at one slice at a time is 2-D, and one that "
                      "learnt in slices and looks at volumes is \"2-D to 3-D\".",
                      _depth(lambda learnt, reads: {"2-D and 3-D": "2-D to 3-D"}.get(learnt, learnt))),
        Misconception("You let only class names count as text. Reports and captions are text, and usually more of it.",
                      _words(lambda images, text: "images and text" if text == "class names" else "images")),
        Misconception("Class names are text too: \"liver\" goes through a text encoder like any sentence. (Whether that helps is "
                      "claim C04.)",
                      _words(lambda images, text: "images and text" if text not in ("", "class names") else "images")),
        Misconception("Multimodal is for you CT *and* MR. Radiologists say it so; on the slides' axis C the second modality is "
                      "text. How many kinds of images there are is axis A.",
                      _words(lambda images, text: "images and text" if len(images) > 1 else "images")),
        Misconception("C is the wrong way round: \"images\" is for systems into which no words go, whose `text` is \"\".",
                      _words(lambda images, text: "images" if text else "images and text")),
    ),
    hints=(
        "Three rules, one after the other, and none needs another one's facts. Begin with C, the shortest.",
        "`words = \"images and text\" if text else \"images\"`: an empty string is false.",
        "`depth = \"2-D\" if reads == \"2-D\" else \"3-D\" if learnt == \"3-D\" else \"2-D to 3-D\"`.",
        "For A ask first `\"photographs\" in images`, then `len(images) == 1 and \"many\" not in images`; return "
        "`(breadth, depth, words)`.",
    ),
)


# ---- 01-usable: systems, reads, usage -> keys

_LICENCES = ("Apache-2.0", "MIT", "", NONE, "CC BY-NC-ND 4.0", "CC BY-NC 4.0", "OpenRAIL++-M, research only", "non-commercial")


def _shelf(rng: np.random.Generator, licences: Sequence[str] = _LICENCES, count: int = 30) -> Wish:
    """Systems of the table with other properties: what is asked of them must be read, not remembered."""
    found = []
    for n in range(count):
        one = systems()[int(rng.integers(len(systems())))]
        learnt = _pick(rng, LEARNT)
        usages = rng.permutation(USAGES)[: rng.integers(1, 4)]
        found.append(replace(
            one, key=f"system{n}", name=f"System {n}", learnt=learnt,
            reads="3-D" if learnt != "2-D" else _pick(rng, ("2-D", "3-D")),
            usage=tuple(map(str, usages)), code_licence=_pick(rng, licences), weights_licence=_pick(rng, licences),
            weights=_pick(rng, ("https://example.org/weights.pt", "Google Drive, link in its README", "", NONE))))
    return found, _pick(rng, ("2-D", "3-D", "3-D")), _pick(rng, USAGES[:4])


def _all_free(rng: np.random.Generator) -> Wish:
    return _shelf(rng, FREE)


def _no_licence(rng: np.random.Generator) -> Wish:
    return _shelf(rng, ("", NONE))


def _filtered(rule: Callable[[System, str, str], bool]) -> Callable[..., list[str]]:
    """The keys of what another rule lets through."""
    return lambda among, reads, usage: [one.key for one in among if rule(one, reads, usage)]


def _free(licence: str) -> bool:
    return licence in FREE


def _fits(one: System, reads: str, usage: str) -> bool:
    return one.reads == reads and usage in one.usage


def _keeps_the_order(function: Callable, rng: np.random.Generator) -> bool:
    """Whoever is let through alone is let through in company, in the same order."""
    shelves = [_all_free(rng) for _ in range(8)]
    return all(list(function(among, reads, usage)) == [key for one in among for key in function([one], reads, usage)]
               for among, reads, usage in shelves)


USABLE = Exercise(
    id="01-usable",
    task="`usable(systems, reads, usage)` -> the list of keys, in the order given, of the systems that one may put to work: "
         "`has_weights`, `weights_licence` is \"Apache-2.0\" or \"MIT\" (FREE), `reads` is the one asked for, and `usage` is "
         "among its usages.",
    reference=usable,
    meets="fmlab.systems.usable",
    cases=(
        Case("a shelf of systems whose weights are all under a free licence", _all_free,
             "Compare `one.reads`, look for `usage` in `one.usage`, and ask `one.has_weights`.", 6),
        Case("a shelf of systems of all licences", _shelf, "Return keys, such as \"sam\", in the order of the shelf.", 6),
        Case("a shelf on which nobody states a licence", _no_licence, "Nothing is left: give back an empty list.", 2),
    ),
    misconceptions=(
        Misconception("You read the licence of the *code*. MedSAM's code is Apache-2.0, and for its weights nobody states a "
                      "licence; it is the weights that you put to work.",
                      _filtered(lambda one, r, u: one.has_weights and _free(one.code_licence) and _fits(one, r, u))),
        Misconception("You take \"not stated\" for \"free\". Without a licence all rights are reserved, by law and not by "
                      "malice: ask the authors.",
                      _filtered(lambda one, r, u: one.has_weights and one.weights_licence in (*FREE, "") and _fits(one, r, u))),
        Misconception("You take \"none\" and \"not stated\" for \"free\". Without a licence all rights are reserved.",
                      _filtered(lambda one, r, u: one.has_weights and one.weights_licence in (*FREE, "", NONE)
                                and _fits(one, r, u))),
        Misconception("You let every stated licence pass. CC BY-NC, OpenRAIL for research, \"non-commercial\": each allows you "
                      "to read and to try, and none to use it in a clinic or a firm.",
                      _filtered(lambda one, r, u: one.has_weights and one.weights_licence not in ("", NONE)
                                and _fits(one, r, u))),
        Misconception("You forget to ask whether there are weights to be had at all: `one.has_weights`. An address may be "
                      "empty, or \"none\".", _filtered(lambda one, r, u: _free(one.weights_licence) and _fits(one, r, u))),
        Misconception("`one.weights` is true for \"none\" as well, which says that there are none: ask `one.has_weights`.",
                      _filtered(lambda one, r, u: bool(one.weights) and _free(one.weights_licence) and _fits(one, r, u))),
        Misconception("You forget the licence. What can be downloaded may still be somebody's.",
                      _filtered(lambda one, r, u: one.has_weights and _fits(one, r, u))),
        Misconception("You look at what it *learnt* in. What you have is a volume or a slice, so what it *reads* decides.",
                      _filtered(lambda one, r, u: one.has_weights and _free(one.weights_licence) and one.learnt == r
                                and u in one.usage)),
        Misconception("You compare with the main usage alone. SAM is used interactively, and zero-shot as well: look into the "
                      "whole of `one.usage`.",
                      _filtered(lambda one, r, u: one.has_weights and _free(one.weights_licence) and one.reads == r
                                and u == one.usage[0])),
        Misconception("You forget `reads`: a model of slices does not answer for a volume, unless somebody writes the loop.",
                      _filtered(lambda one, r, u: one.has_weights and _free(one.weights_licence) and u in one.usage)),
        Misconception("You forget `usage`.",
                      _filtered(lambda one, r, u: one.has_weights and _free(one.weights_licence) and one.reads == r)),
        Misconception("You give back the systems themselves; give their keys, `one.key`.",
                      lambda among, reads, usage: [one for one in among if one.key in usable(among, reads, usage)]),
        Misconception("You give back names to show, `one.name`; give keys, `one.key`, by which a program finds them.",
                      lambda among, reads, usage: [one.name for one in among if one.key in usable(among, reads, usage)]),
    ),
    invariants=(
        Invariant("What you say of a system depends on who else is on the shelf, or you change their order.",
                  _keeps_the_order),
    ),
    hints=(
        "A list comprehension with four conditions joined by `and`.",
        "`[one.key for one in systems if one.has_weights and one.weights_licence in FREE and ...]`",
        "The other two: `one.reads == reads and usage in one.usage`.",
    ),
)


# ---- 01-known: w (D, K), scans (D,) -> (K,)

def _sets(rng: np.random.Generator, rows: int = 6, columns: int = 9) -> Counted:
    """Data sets of very different sizes; every structure is drawn by one of them or more, and none by all."""
    w = rng.random((rows, columns)) < 0.35
    w[rng.integers(rows, size=columns), np.arange(columns)] = True
    w[rng.integers(rows, size=columns), np.arange(columns)] = False
    return w.astype(int), (10 ** rng.uniform(1, 3, rows)).astype(int)


def _square(rng: np.random.Generator) -> Counted:
    return _sets(rng, 5, 5)


def _yes_and_no(rng: np.random.Generator) -> Counted:
    w, scans = _sets(rng)
    return w.astype(bool), scans


def _never_drawn(rng: np.random.Generator) -> Counted:
    """A structure that nobody draws, and a data set that came without scans."""
    w, scans = _sets(rng)
    w[:, 2], scans[1] = 0, 0
    return w, scans


def _is_linear(function: Callable, rng: np.random.Generator) -> bool:
    """Twice the scans in every data set: the same shares."""
    w, scans = _sets(rng)
    return np.allclose(np.asarray(function(w, scans), float), np.asarray(function(w, 2 * scans), float))


KNOWN = Exercise(
    id="01-known",
    task="`known_share(w, scans)` -> (K,): the share of all scans in which each structure is known. w (D, K) is 1 where data "
         "set d is complete for structure k; scans (D,) is how many scans data set d has.",
    reference=known_share,
    meets="fmlab.systems.known_share",
    cases=(
        Case("six data sets and nine structures", _sets, "Each row of w stands for scans[d] scans: weigh it so.", 4),
        Case("as many data sets as structures", _square, "Sum over data sets, the first axis of w, not over structures.", 4),
        Case("a w of True and False", _yes_and_no, "True counts as 1: multiply, and it will.", 2),
        Case("a structure that nobody draws, and a data set without scans", _never_drawn,
             "Its share is 0; nothing to divide by.", 2),
    ),
    misconceptions=(
        Misconception("You count data sets, not scans: a hospital with twenty scans then says as much as one with a thousand.",
                      lambda w, scans: np.asarray(w, float).mean(0)),
        Misconception("You give numbers of scans; a share is that number over all scans.",
                      lambda w, scans: scans @ np.asarray(w, int)),
        Misconception("You divide by the number of data sets. The whole is the number of scans, `scans.sum()`.",
                      lambda w, scans: scans @ np.asarray(w, int) / len(scans)),
        Misconception("You weigh by the scans and then average over structures: one number. Keep the structures apart, so that "
                      "the rare ones can be seen.", lambda w, scans: float((scans @ np.asarray(w, int) / scans.sum()).mean())),
        Misconception("You sum over structures: that is what each *data set* knows. Sum over data sets, the first axis of w.",
                      lambda w, scans: np.asarray(w, float).mean(1)),
        Misconception("You divide by the scans of those data sets that draw the structure: that is 1 for whatever is drawn at "
                      "all. The whole is all scans.",
                      lambda w, scans: np.where(scans @ np.asarray(w, int) > 0, 1.0, 0.0)),
        Misconception("You divide by all scans of all structures that are drawn, so that the shares add up to 1. They need "
                      "not: a scan can show ten structures.",
                      lambda w, scans: scans @ np.asarray(w, int) / (scans @ np.asarray(w, int)).sum()),
        Misconception("That is the share in which each structure is *not* known.",
                      lambda w, scans: 1 - scans @ np.asarray(w, int) / scans.sum()),
    ),
    invariants=(
        Invariant("Twice the scans in every data set must leave the shares as they are.", _is_linear),
    ),
    hints=(
        "How many scans know structure k? Add up scans[d] over the data sets that draw it.",
        "That sum, for all structures at once, is a product: `scans @ w`, of (D,) and (D, K).",
        "`return scans @ w / scans.sum()`",
    ),
)

EXERCISES = (PLACE, USABLE, KNOWN)
