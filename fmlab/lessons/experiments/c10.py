"""C10: promptable models can lose to a net that was trained for the structures; an examination inside a cut-out hides it.

Both on the same people, whom neither trained on: the universal nano, which is asked for nothing, and the nano SAM-Med3D with one
click on each structure (details: more clicks), anywhere in it, as in its published examination. That one cuts a cube about the
ground truth and scores inside it. The same first click is answered on the whole scan, too: by cubes that follow the object, and
scored on all of its voxels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch

from fmlab import hub, inference, metrics
from fmlab.interactive import nano
from fmlab.interactive.clicking import AskVolume, at_random, dice_after
from fmlab.interactive.clicks import Clicks, random_foreground
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.sam_med3d import SamMed3D
from fmlab.lessons import claims
from fmlab.lessons.experiments.c08 import STRUCTURES, UNSEEN
from fmlab.lessons.judged import cut_about
from fmlab.volume import Volume

NET, CUT, CUBE, WHOLE = "task-specific, no clicks", "in a cut-out", "one cube about the click", "whole scan"


@dataclass(frozen=True)
class Setting:
    """What a run costs. people: of each hospital A to D. clicks: on a structure; the first number counts. least: its voxels."""

    people: int = 1
    clicks: tuple[int, ...] = (1, 3, 5, 10)
    least: int = 200
    structures: tuple[str, ...] = STRUCTURES


Row = dict[str, list[float]]  # way -> Dice after each number of clicks


def rows(model: SamMed3D, person: Volume, net: Volume, setting: Setting, seed: int) -> dict[str, Row]:
    """Structure -> row, of those that the scan shows in enough voxels. net: the person, labelled by the task-specific net."""
    whole, cube = (AskVolume(nano.clickable(model, person, **limit)) for limit in ({}, {"most": 1}))
    found = {}
    for number, name in enumerate(setting.structures):
        truth = person.mask(name).numpy()
        if truth.sum() < setting.least:
            continue
        here, cut = cut_about(person, truth)
        inner = random_foreground(truth[here], np.random.default_rng(seed + number))  # a large structure leaves its cut-out
        outer = Clicks(inner.points + torch.tensor([s.start for s in here]), inner.labels)
        asked = {CUT: (AskVolume(nano.clickable(model, cut)), truth[here], inner), CUBE: (cube, truth, outer),
                 WHOLE: (whole, truth, outer)}
        found[name] = {way: after(*each, setting.clicks, seed + number) for way, each in asked.items()}
        found[name][NET] = [metrics.dice(net.mask(name).numpy(), truth)] * len(setting.clicks)
    return found


def after(ask: AskVolume, truth: np.ndarray, first: Clicks, counts: tuple[int, ...], seed: int) -> list[float]:
    """Dice after each of these numbers of clicks, of which the first is given and the others fall at random on what is wrong."""
    given = Prompts.of(3).add(first)
    later = dice_after(ask, truth, counts[-1] - 1, at_random, seed, given)
    return np.array([metrics.dice(ask(given), truth), *later])[np.array(counts) - 1].tolist()


def run(seed: int, setting: Setting | None = None, command: str = "") -> claims.Run:
    """The experiment with one seed, as a run for the ledger. The seed draws the clicks."""
    setting = setting or Setting()
    model, universal = hub.load("sam_med3d", "nano").eval(), hub.load("universal", "nano")
    found = {}
    for person in nano.bodies(dict.fromkeys("ABCD", setting.people), nano.FINE, UNSEEN):
        found[person.name] = rows(model, person, inference.segment(universal, person), setting, 1000 * seed)
    every = [row for each in found.values() for row in each.values()]
    details = {"mean": {way: np.mean([row[way] for row in every], axis=0).tolist() for way in (NET, CUT, CUBE, WHOLE)},
               "differences": dict(zip(DIFFERENCES, differences(found)[1])), "objects": len(every), "setting": asdict(setting)}
    return claims.Run.now("C10", seed, differences(found)[0], command=command, details=details)


DIFFERENCES = ("task-specific less promptable, whole scans", "promptable, in the cut-out less on whole scans")


def differences(found: Mapping[str, Mapping[str, Row]]) -> tuple[dict[str, float], list[float]]:
    """Person -> the smaller of the two differences at the first number of clicks, means over structures; and both, averaged."""
    both = {}
    for person, each in found.items():
        net, cut, whole = (np.mean([row[way][0] for row in each.values()]) for way in (NET, CUT, WHOLE))
        both[person] = [net - whole, cut - whole]
    return {person: float(min(two)) for person, two in both.items()}, np.mean(list(both.values()), axis=0).tolist()
