"""Which case comes when, and with which random numbers: both follow from the seed and the position in the run."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from fmlab.errors import TrainingError

Draw = tuple[int, int]  # position in the run, index in the data set


class Order:
    """The index of the case at each position: epoch after epoch, each a new permutation made of (seed, epoch)."""

    def __init__(self, cases: int, seed: int):
        self.cases, self.seed = cases, seed
        self._epoch, self._permutation = -1, np.empty(0, dtype=np.int64)

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, self.cases)
        if epoch != self._epoch:
            self._epoch, self._permutation = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.cases)
        return int(self._permutation[place])

    def share(self, number: int, batch: int, rank: int = 0, processes: int = 1) -> list[Draw]:
        """What a process draws in a pass: of the pass's ``batch`` positions every ``processes``-th, from its rank on."""
        positions = range(number * batch + rank, (number + 1) * batch, processes)
        return [(position, self[position]) for position in positions]


class Drawn(Dataset):
    """A data set asked by draws: each seeds torch, numpy and random, so that augmentation is the same on any process."""

    def __init__(self, cases: Dataset, seed: int):
        self.cases, self.seed = cases, seed

    def __getitem__(self, draw: Draw) -> object:
        position, index = draw
        with seeded(self.seed, position):
            return self.cases[index]


def cases_of(data: Dataset | DataLoader) -> Dataset:
    """The data set, out of its loader where there is one; TrainingError if it has no length or cannot be indexed."""
    cases = data.dataset if isinstance(data, DataLoader) else data
    if isinstance(cases, IterableDataset) or not (hasattr(cases, "__getitem__") and hasattr(cases, "__len__")):
        raise TrainingError("The data cannot be asked for its n-th case; give a data set with __getitem__ and __len__.")
    if len(cases) == 0:
        raise TrainingError("The data set is empty; give at least one case.")
    return cases


def loader(data: Dataset | DataLoader, seed: int, shares: Iterable[list[Draw]], workers: int, pin: bool) -> Iterator:
    """The batches of these shares, in turn. From a DataLoader its collate function is used; batch and order are ours."""
    extra = {"collate_fn": data.collate_fn} if isinstance(data, DataLoader) else {}
    own = torch.Generator()  # else the loader would draw from the global generator, at every resume anew
    drawn = Drawn(cases_of(data), seed)
    return iter(DataLoader(drawn, batch_sampler=shares, num_workers=workers, pin_memory=pin, generator=own, **extra))


def name_of(item: object, index: int) -> str:
    """What to call a case in a message: its index, and its own name where the item is a mapping with "name" or "case"."""
    own = next((item[key] for key in ("name", "case") if key in item), None) if isinstance(item, Mapping) else None
    return f"{index}" if own is None else f"{index} ({own})"


def seed_all(*numbers: int) -> None:
    """Seed torch (CPU, and CUDA if in use), numpy and random from several numbers at once."""
    words = np.random.SeedSequence(numbers).generate_state(3, np.uint64)
    torch.default_generator.manual_seed(int(words[0] >> np.uint64(1)))
    if torch.cuda.is_initialized():  # before that torch.manual_seed would put every call, with its stack, on a growing list
        torch.cuda.manual_seed_all(int(words[0] >> np.uint64(1)))
    np.random.seed(int(words[1] & np.uint64(0xFFFFFFFF)))
    random.seed(int(words[2]))


def random_states() -> dict:
    """The states of all global generators, as tensors, numbers and tuples: torch.load reads them with weights_only=True."""
    name, key, *rest = np.random.get_state()
    states = {"random": random.getstate(), "numpy": (name, torch.from_numpy(key.astype(np.int64)), *rest)}
    states["torch"] = torch.get_rng_state()
    states["cuda"] = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return states


def set_random_states(states: dict) -> None:
    """Back to what ``random_states`` returned."""
    name, key, *rest = states["numpy"]
    random.setstate(states["random"])
    np.random.set_state((name, key.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Within it all global generators start from these numbers; afterwards they stand where they stood."""
    before = random_states()
    try:
        seed_all(*numbers)
        yield
    finally:
        set_random_states(before)
