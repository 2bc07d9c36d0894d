"""Conditions of the eye: the findings that make them up, what they are called, and what an expert would say of their pictures.

``KNOWN`` are pre-trained on, ``NOVEL`` are kept from pre-training. The words are ours, after what any textbook of ophthalmology
says; they have the form of FLAIR's dictionary (Silva-Rodriguez et al. 2025, doi:10.1016/j.media.2024.103357), not its text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fmlab.contrastive.findings import AMOUNTS, COUNTED, PLACES, Finding


@dataclass(frozen=True)
class Condition:
    """What is found in every picture of it, and what in half of them. says: expert knowledge, one description each."""

    always: tuple[Finding, ...]
    says: tuple[str, ...]
    sometimes: tuple[Finding, ...] = ()


def _condition(always: str, says: str, sometimes: str = "") -> Condition:
    each = [tuple(Finding.read(part) for part in text.split("; ") if part) for text in (always, sometimes)]
    return Condition(each[0], tuple(says.split("; ")), each[1])


KNOWN: Mapping[str, Condition] = {
    "healthy": _condition("", "no lesions; nothing abnormal; a clear macula and a sharp disc"),
    "mild diabetic retinopathy": _condition(
        "few microaneurysms in all quadrants", "only few microaneurysms; few microaneurysms in all quadrants"),
    "moderate diabetic retinopathy": _condition(
        "many microaneurysms in all quadrants; few dot haemorrhages in all quadrants",
        "many microaneurysms with few dot haemorrhages; few dot haemorrhages in all quadrants",
        "few hard exudates in all quadrants"),
    "proliferative diabetic retinopathy": _condition(
        "new vessels at the disc; few dot haemorrhages in all quadrants", "new vessels at the disc; new vessels with few dot "
        "haemorrhages", "few cotton wool spots"),
    "diabetic macular oedema": _condition(
        "many hard exudates around the macula; few microaneurysms in the macula",
        "many hard exudates around the macula; hard exudates with few microaneurysms in the macula"),
    "early age related macular degeneration": _condition(
        "many drusen in the macula", "many drusen in the macula; drusen without haemorrhages"),
    "glaucoma": _condition("large cup", "a large cup; a large cup in the disc", "narrow arteries"),
    "hypertensive retinopathy": _condition(
        "narrow arteries; many cotton wool spots", "narrow arteries with many cotton wool spots; many cotton wool spots",
        "few flame haemorrhages in all quadrants"),
    "branch vein occlusion": _condition(
        "many flame haemorrhages in one quadrant", "many flame haemorrhages in one quadrant; flame haemorrhages along one vein",
        "few cotton wool spots"),
    "papilloedema": _condition("swollen disc", "a swollen disc; a swollen disc with a blurred margin"),
    "pathological myopia": _condition(
        "tessellated ground; pale patch of atrophy around the disc",
        "tessellated ground with a pale patch of atrophy around the disc; a pale patch of atrophy around the disc"),
    "cataract": _condition("haze", "haze; haze over all; a blurred picture with haze"),
    "treated retina": _condition("many laser scars in the periphery", "many laser scars in the periphery; laser scars"),
    "asteroid hyalosis": _condition(
        "many bright floating particles", "many bright floating particles; bright floating particles"),
    "optic atrophy": _condition("pale disc; narrow arteries", "a pale disc with narrow arteries; a pale disc"),
    "old scar": _condition("pale patch of atrophy in the periphery",
                           "a pale patch of atrophy in the periphery; a pale patch in the periphery",
                           "few pigment clumps in the periphery"),
}
"""Condition -> findings and descriptions; each has its own category in pre-training."""

NOVEL: Mapping[str, Condition] = {
    "severe diabetic retinopathy": _condition(
        "many dot haemorrhages in all quadrants; many microaneurysms in all quadrants; few cotton wool spots",
        "many dot haemorrhages in all quadrants; many dot haemorrhages with few cotton wool spots; many microaneurysms with "
        "many dot haemorrhages"),
    "central vein occlusion": _condition(
        "many flame haemorrhages in all quadrants; tortuous dilated veins; swollen disc",
        "many flame haemorrhages in all quadrants; tortuous dilated veins with many flame haemorrhages; a swollen disc with many "
        "flame haemorrhages"),
    "geographic atrophy": _condition(
        "pale patch of atrophy in the macula; few drusen in the macula",
        "a pale patch of atrophy in the macula; a pale patch in the macula with few drusen"),
    "wet macular degeneration": _condition(
        "large haemorrhage in the macula; many drusen in the macula",
        "a large haemorrhage in the macula; a large haemorrhage in the macula with many drusen"),
    "retinitis pigmentosa": _condition(
        "many pigment clumps in the periphery; pale disc; narrow arteries",
        "many pigment clumps in the periphery; pigment clumps with a pale disc; narrow arteries with many pigment clumps in the "
        "periphery"),
    "malignant hypertension": _condition(
        "swollen disc; many cotton wool spots; narrow arteries",
        "a swollen disc with many cotton wool spots; narrow arteries with a swollen disc; many cotton wool spots with a swollen "
        "disc"),
}
"""Kept from pre-training, name and combination; their findings were met one by one, so that words can tell of them."""

CONDITIONS: Mapping[str, Condition] = {**KNOWN, **NOVEL}

TEMPLATE = "a fundus photograph of {}"
ATTRIBUTES = ("", "colour", "typical", "noisy", "sharp", "wide")


def instance(name: str, rng: np.random.Generator) -> tuple[Finding, ...]:
    """The findings of one picture of a condition."""
    one = CONDITIONS[name]
    return one.always + tuple(finding for finding in one.sometimes if rng.random() < 0.5)


def caption(name: str, rng: np.random.Generator, knowledge: float = 0.5) -> str:
    """A training caption: an attribute at random, and the name or, with the chance ``knowledge``, one of its descriptions."""
    says = CONDITIONS[name].says
    words = says[rng.integers(len(says))] if rng.random() < knowledge else name
    attribute = ATTRIBUTES[rng.integers(len(ATTRIBUTES))]
    return " ".join(f"a {attribute} fundus photograph of {words}".split())


def report(rng: np.random.Generator, most: int = 3) -> tuple[tuple[Finding, ...], str]:
    """One to ``most`` findings that come together by chance, and a caption that lists them, as a reader's report would.

    Never all of what makes up a novel condition.
    """
    while True:
        names = rng.choice(sorted(PLACES), rng.integers(1, most + 1), replace=False)
        found = tuple(_drawn(str(name), rng) for name in names)
        sets = {finding.name for finding in found}
        if not any({finding.name for finding in one.always} <= sets for one in NOVEL.values()):
            return found, TEMPLATE.format(" with ".join(map(str, found)))


def _drawn(name: str, rng: np.random.Generator) -> Finding:
    amount = AMOUNTS[rng.integers(len(AMOUNTS))] if name in COUNTED else ""
    return Finding(name, amount, PLACES[name][rng.integers(len(PLACES[name]))])
