"""A fundus photograph from a seed and a list of findings: ``fundus(7, [Finding("drusen", "many", "in the macula")], "A")``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fmlab.contrastive.cameras import CAMERAS, photographed
from fmlab.contrastive.drawing import Paper, smooth
from fmlab.contrastive.eyes import eye, paint_disc, paint_ground, paint_vessels
from fmlab.contrastive.findings import BEFORE, PAINTED, Finding, painted
from fmlab.errors import DataError

SIZE = 64
FINER = 2  # painted so much finer than photographed


def fundus(seed: int | Sequence[int], findings: Sequence[Finding] = (), camera: str = "A", size: int = SIZE) -> np.ndarray:
    """A picture (3, size, size) float32 in [0, 1], red, green, blue. Without findings the eye is healthy.

    seed: the person, the places of the findings and the camera's whims follow from it, each by itself: with other findings it is
    the same eye still. DataError for a finding or a camera that is not known.
    """
    for finding in findings:
        if finding.name not in PAINTED and finding.name not in BEFORE:
            raise DataError(f"There is no finding {finding.name!r}; choose among {', '.join((*PAINTED, *BEFORE))}.")
    if camera not in CAMERAS:
        raise DataError(f"There is no camera {camera!r}; choose one of {', '.join(CAMERAS)}.")
    person, vessels, ill, whims = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(4))  # so that one eye stays one
    paper, one = Paper(FINER * size), eye(person)
    names = {finding.name for finding in findings}
    paint_ground(paper, one, person)
    if "tessellated ground" in names:
        tessellate(paper, ill)
    if "large cup" in names:
        one = replace(one, cup=ill.uniform(0.72, 0.85))
    paint_disc(paper, one, pale=float("pale disc" in names), swollen=float("swollen disc" in names))
    paint_vessels(paper, one, vessels, "tortuous dilated veins" in names, "narrow arteries" in names)
    order = {name: k for k, name in enumerate(PAINTED)}
    for finding in sorted(findings, key=lambda each: order.get(each.name, -1)):
        painted(paper, one, finding, ill)
    return photographed(paper, CAMERAS[camera], size, whims)


def tessellate(paper: Paper, rng: np.random.Generator) -> None:
    """A thin retina through which the choroid's own large vessels shine, as a darker net between orange stripes."""
    net = np.exp(-((smooth(paper.size, rng, 9) / 0.35) ** 2))
    paper.multiply((0.7, 0.58, 0.55), 0.9 * (1 - net))
    paper.multiply((1.0, 0.9, 0.85), net)
