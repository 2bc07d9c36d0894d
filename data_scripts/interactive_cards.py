"""Model cards of the promptable models: Dice over the number of clicks, on people and scans that they never trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from data_scripts import interactive_evaluation as found
from data_scripts.incontext_cards import head, parameters, table
from fmlab.interactive import nano

CLICKING = """\
Dice after 1, 3, 5 and 10 clicks. Each click lies in the middle of the largest error, the first in the middle of the structure;
in the second table anywhere in what is wrong, as in training. Both look at the ground truth, which flatters: a person who sees
only picture and mask does worse. In brackets the 95 % interval; people are drawn again, and with one person there is none."""
SLICES = """\
An object is the largest connected piece of a structure in the axial slice that shows most of it, on the slice's own pixels. The
first click is answered by the most trusted of three masks, later ones and the tight box by the single mask, as SAM does."""
VOLUMES = """\
A structure is clicked on in the whole scan, never in a cube cut about the ground truth, and is scored on the scan's own grid
(`fmlab.interactive.large_volumes`); bodies have 6 mm voxels."""


def sam(weights: Path, notes: Mapping[str, object], model: nn.Module) -> str:
    """The card of the nano SAM."""
    rows = found.evaluate_slices(model)
    what = f"A small SAM ({parameters(model)}, {nano.SIZE} x {nano.SIZE} pixels): click, or draw a box, and get a mask."
    return _card(weights, notes, what, SLICES, rows)


def sam_med3d(weights: Path, notes: Mapping[str, object], model: nn.Module) -> str:
    """The card of the nano SAM-Med3D."""
    rows = found.evaluate_volumes(model)
    what = (f"A small SAM-Med3D ({parameters(model)}, cubes of {nano.SIDE} voxels of {nano.COARSE:g} mm): click in a volume, and "
            "get a mask in 3-D.")
    return _card(weights, notes, what, VOLUMES, rows)


def _card(weights: Path, notes: Mapping[str, object], what: str, how: str, rows: Mapping[str, found.Row]) -> str:
    columns = [f"{count} click{'s' * (count > 1)}" for count in found.CLICKS]
    boxes = ["box"] if all(row.box for row in rows.values()) else []
    first = {name: [str(row.objects), *[e.format(2) for e in row.after], *[row.box.format(2) for _ in boxes]]
             for name, row in rows.items()}
    second = {name: [e.format(2) for e in row.at_random] for name, row in rows.items()}
    return "\n".join([
        *head(weights, notes, what),
        f"- Dice after 5 clicks, new people, structures that the training on bodies points at: {rows['seen, ABCD'].after[2]}",
        f"- the same, structures that it never points at: {rows['never pointed at, ABCD'].after[2]}",
        f"- seen: {', '.join(found.SEEN)}", "", "## Clicks in the middle of the largest error", "", CLICKING, "", how, "",
        *table(["group", "objects", *columns, *boxes], first), "", "## Clicks anywhere in what is wrong", "",
        *table(["group", *columns], second),
    ]) + "\n"


CARDS: dict[str, Callable[[Path, Mapping[str, object], nn.Module], str]] = {
    "sam": sam, "sam_textures": sam, "sam_med3d": sam_med3d}
