"""Cohorts: real scans and phantom bodies behind one interface, read one at a time, split by patient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial as bind
from typing import overload

import numpy as np

from fmlab import phantom_cache
from fmlab.errors import DataError
from fmlab.hub import data
from fmlab.volume import Volume

CENTRES = ("A", "B", "C", "D", "E", "F")


@dataclass(frozen=True)
class Case:
    """One scan that is not read yet: its name, whose it is, and how to read it."""

    name: str
    patient: str
    read: Callable[[], Volume]


@dataclass(frozen=True)
class Cohort:
    """A sequence of scans that are read when asked for; ``cohort[2]`` is a Volume, ``cohort[:2]`` a Cohort, ``a + b`` joins."""

    name: str
    cases: tuple[Case, ...]

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Volume]:
        return (case.read() for case in self.cases)

    @overload
    def __getitem__(self, index: int) -> Volume: ...
    @overload
    def __getitem__(self, index: slice) -> Cohort: ...
    def __getitem__(self, index: int | slice) -> Volume | Cohort:
        return replace(self, cases=self.cases[index]) if isinstance(index, slice) else self.cases[index].read()

    def __add__(self, other: Cohort) -> Cohort:
        return Cohort(f"{self.name} + {other.name}", self.cases + other.cases)

    def __repr__(self) -> str:
        return f"Cohort({self.name!r}, {len(self)} scans of {len(set(self.patients))} patients)"

    @property
    def names(self) -> tuple[str, ...]:
        """The scans' names, in order."""
        return tuple(case.name for case in self.cases)

    @property
    def patients(self) -> tuple[str, ...]:
        """Whose each scan is, in order; a patient with two scans comes twice."""
        return tuple(case.patient for case in self.cases)


def load(name: str, confirm: data.Consent = None) -> Volume:
    """A registered scan, with its reference labels where it has some, as a Volume; fetched first if it is not in the cache.

    Names: `fmlab data list`. confirm: as in ``hub.data.fetch``. info has "licence", "citation", "patient", "note" and, where a
    mask has no name in the vocabulary, its path as "mask". Raises DataError for an unknown name or a set that is not a scan.
    """
    entry = data.find(name)
    if entry.kind != "scan":
        raise DataError(f"{name} holds {entry.holds}, which is not a scan; hub.data.fetch({name!r}) gives its folder.")
    image = data.fetch(name, confirm)
    labels = data.paths(name, "labels")
    volume = Volume.read(image, labels=labels[0] if labels else None, scheme=entry.scheme or "fmlab", modality=entry.modality,
                         name=name)
    facts = {"licence": entry.licence, "citation": entry.citation, "patient": entry.patient, "note": entry.note}
    if masks := data.paths(name, "mask"):
        facts["mask"] = str(masks[0])
    return replace(volume, info={**volume.info, **facts})


def scans(names: Sequence[str] | None = None, confirm: data.Consent = None) -> Cohort:
    """Registered scans as a cohort; by default those that are in the cache already. They are fetched when they are read."""
    if names is None:
        names = [entry.name for entry in data.registry() if entry.kind == "scan" and data.status(entry) == "cached"]
    cases = tuple(Case(name, data.find(name).patient or name, bind(load, name, confirm)) for name in names)
    return Cohort("scans", cases)


def phantoms(count: int, centre: str = "A", spacing: float = 4.0, first_seed: int = 0, workers: int | None = None,
             partial: bool = False, sampler: phantom_cache.Sampler | None = None) -> Cohort:
    """Procedural bodies of one centre, seeds first_seed to first_seed + count - 1, made in parallel once and cached on disk.

    spacing: voxel size in mm. workers: processes; 1 works in this one. partial: only what the centre's protocol annotates is
    labelled. sampler: instead of ``fmlab.phantom.sample``, a function of the same arguments at the top of a module, with a
    ``VERSION`` attribute (change it when the bodies change: the cache is keyed by it).

    Raises DataError for a count, centre, spacing or seed out of range, or if the cache cannot be written.
    """
    if count < 1 or first_seed < 0:
        raise DataError(f"phantoms(count={count}, first_seed={first_seed}): ask for one body or more and a seed of 0 or more.")
    if centre not in CENTRES:
        raise DataError(f"phantoms(centre={centre!r}): the centres are {', '.join(CENTRES)}.")
    if not (np.isfinite(spacing) and 0.5 <= spacing <= 20):
        raise DataError(f"phantoms(spacing={spacing}): give a voxel size between 0.5 and 20 mm.")
    make, version = _sampler(sampler)
    seeds = range(first_seed, first_seed + count)
    bodies = [phantom_cache.Body(seed, centre, float(spacing), partial, version) for seed in seeds]
    phantom_cache.ensure(bodies, make, workers)
    cases = tuple(Case(body.name, body.name, phantom_cache.loader(body, make)) for body in bodies)
    return Cohort(f"{count} phantoms of centre {centre}", cases)


def split(cohort: Cohort, fractions: Sequence[float] | Mapping[str, float] = (0.6, 0.2, 0.2), seed: int = 0,
          ) -> tuple[Cohort, ...] | dict[str, Cohort]:
    """Divide a cohort by patient: no person is ever on two sides. Fractions of the patients, adding up to 1.

    A mapping ({"train": 0.8, "test": 0.2}) gives a dict. The same seed and patients give the same sides, in whatever order the
    scans come; each side keeps the cohort's order and gets at least one patient. Raises DataError where that cannot be.
    """
    shares = list(fractions.values()) if isinstance(fractions, Mapping) else list(fractions)
    patients = sorted(set(cohort.patients))
    if not shares or min(shares) <= 0 or not np.isclose(sum(shares), 1.0):
        raise DataError(f"split(fractions={fractions!r}): give numbers above zero that add up to 1.")
    if len(patients) < len(shares):
        raise DataError(f"{cohort!r} cannot be split into {len(shares)} sides: each needs a patient of its own.")
    order = np.random.default_rng(seed).permutation(len(patients))
    side_of, start = {}, 0
    for side, number in enumerate(_whole_shares(shares, len(patients))):
        side_of |= {patients[i]: side for i in order[start:start + number]}
        start += number
    names = list(fractions) if isinstance(fractions, Mapping) else [str(side + 1) for side in range(len(shares))]
    sides = tuple(Cohort(f"{cohort.name}, {name}", tuple(case for case in cohort.cases if side_of[case.patient] == side))
                  for side, name in enumerate(names))
    return dict(zip(names, sides)) if isinstance(fractions, Mapping) else sides


def _whole_shares(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers near shares * total that add up to total, none of them zero (largest remainders)."""
    exact = np.asarray(shares, dtype=float) / sum(shares) * total
    whole = np.maximum(np.floor(exact + 1e-9).astype(int), 1)
    while whole.sum() < total:
        whole[np.argmax(exact - whole)] += 1
    while whole.sum() > total:
        whole[np.argmax(np.where(whole > 1, whole - exact, -np.inf))] -= 1
    return whole.tolist()


def _sampler(given: phantom_cache.Sampler | None) -> tuple[phantom_cache.Sampler, str]:
    """The sampler and the version that keys its bodies in the cache."""
    if given is None:
        from fmlab import phantom  # here, so that real scans can be read without building bodies

        return phantom.sample, str(phantom.VERSION)
    return given, f"{given.__module__}.{given.__qualname__}-{getattr(given, 'VERSION', 0)}"
