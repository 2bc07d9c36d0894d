"""From one label volume to Y and w: overlapping classes by part-of relations, and what a drawing says about each class.

A label volume holds one id per voxel, and its data set annotated some structures only. The losses want K masks that may overlap
(a liver contains its tumours) and w, which says for which of them this case is evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from fmlab.errors import ScanError, SettingsError
from fmlab.templates import covers
from fmlab.vocabulary import present_ids, region, structure


def targets(
    volume_labels: Tensor, structures: Sequence[str], annotated: Iterable[str] | None, left_out: Iterable[str] = ()
) -> tuple[Tensor, Tensor]:
    """Y (K, X, Y, Z) and w (K,), both uint8 in {0, 1}, on the labels' device, for one case; stacked they are (B, K, ...), (B, K).

    volume_labels: (1, X, Y, Z) or (X, Y, Z), vocabulary ids, a whole volume or a patch. structures: the K wanted names.
    annotated: as ``Volume.annotated``: structures whose absence means "not there"; None: nothing is known, w = 0. left_out: parts
    that this protocol took out of their whole and did not draw (``protocol_left_out`` gives them for a phantom's centre).

    Y_k is the union of the region of k, so parts count as the whole: a liver drawn without its tumours and vessels, which are
    drawn beside it, and a liver drawn in one piece give the same Y.

    w_k = 1 where this case is evidence about k:
    - k is annotated, or complete through its parts (a lung through its lobes, see ``templates.covers``);
    - something that k is part of is covered and has no voxel here: no liver, so no liver tumour, and Y_k = 0 is true.
    Otherwise w_k = 0, although Y_k may hold voxels: tumours alone do not make a liver, and a liver drawn in one piece says
    nothing of the vessels in it.

    A contradiction that no union heals: a protocol that takes the vessels out of the liver and does not draw them either. The
    part gets w = 0 unless it is drawn somewhere, because its absence was made. The whole keeps w = 1: the vessels' voxels, few,
    count as "not liver" in this case and as liver in others, since w_nk is per class and not per voxel; giving up the whole liver
    would cost more.

    Raises ScanError for labels of another shape or dtype, VocabularyError for ids or names not in the vocabulary, SettingsError
    where no structure or one twice is asked for.
    """
    labels = _checked(volume_labels)
    names = tuple(structure(name).name for name in structures)
    if not names or len(set(names)) < len(names):
        raise SettingsError(f"targets(structures={tuple(structures)!r}): name one structure or more, none of them twice.")
    drawn = frozenset() if annotated is None else frozenset(structure(name).name for name in annotated)
    present = frozenset(present_ids(labels))
    erased = {structure(name).name for name in left_out}
    reliable = drawn - {name for name in erased if present.isdisjoint(region(name))}

    y = torch.zeros((len(names), *labels.shape), dtype=torch.uint8, device=labels.device)
    index = labels.int()
    for k, name in enumerate(names):
        if not present.isdisjoint(region(name)):
            member = torch.zeros(256, dtype=torch.uint8)  # one look-up a voxel, however many parts there are
            member[list(region(name))] = 1
            y[k] = member.to(labels.device)[index]
    w = [covers(reliable, name) or _absent_with_its_whole(name, reliable, present) for name in names]
    return y, torch.tensor(w, dtype=torch.uint8, device=labels.device)


def protocol_left_out(centre: str) -> tuple[str, ...]:
    """The parts that a phantom centre's rules take out of their wholes without drawing them: the argument ``left_out``.

    Raises SettingsError for an unknown centre.
    """
    from fmlab.phantom.centres import centre as find  # here, so that targets of real scans need no phantom

    return ("hepatic_vessels",) if "vessels outside liver" in find(centre).rules else ()


def _absent_with_its_whole(name: str, reliable: frozenset[str], present: frozenset[int]) -> bool:
    """Whether something that the structure is part of was looked for and is not here."""
    whole = structure(name).part_of
    while whole:
        if covers(reliable, whole) and present.isdisjoint(region(whole)):
            return True
        whole = structure(whole).part_of
    return False


def _checked(labels: Tensor) -> Tensor:
    """The labels as (X, Y, Z)."""
    if not isinstance(labels, Tensor) or labels.dtype.is_floating_point or labels.dtype is torch.bool:
        raise ScanError("targets() needs a label tensor of whole numbers, vocabulary ids; Volume.labels is one.")
    if labels.ndim == 4 and labels.shape[0] == 1:
        labels = labels[0]
    if labels.ndim != 3:
        raise ScanError(f"targets(): the labels have shape {tuple(labels.shape)}; give one case, (1, X, Y, Z) or (X, Y, Z).")
    return labels
