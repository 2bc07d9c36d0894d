"""Save and resume: one file, always whole, because it is written beside its name and then renamed."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from fmlab.errors import TrainingError
from fmlab.training.config import FREE, TrainConfig
from fmlab.training.optimisers import Optimisers
from fmlab.training.order import set_random_states

NAME = "checkpoint.pt"


def save(
    path: Path, model: nn.Module, optimiser: Optimisers, states: list[dict], config: TrainConfig, step: int, cases: int
) -> None:
    """Write everything that the step after this one depends on. step: steps done. states: random states by process.

    The schedule's step is ``step``; the sampler's position is ``step * accumulate * batch``, kept for the reader.
    """
    position = step * config.accumulate * config.batch
    whole = {"step": step, "position": position, "cases": cases, "config": asdict(config), "random": states,
             "model": model.state_dict(), "optimiser": optimiser.state_dict()}
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            torch.save(whole, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # the latter from torch's own writer
        raise TrainingError(f"{path} cannot be written ({_short(error)}); make room, and train again: it goes on from the last "
                            "checkpoint, which is whole.") from error
    finally:
        with suppress(OSError):  # a folder that cannot be written holds no part either
            part.unlink(missing_ok=True)


def load(path: Path, model: nn.Module, optimiser: Optimisers, config: TrainConfig, cases: int, rank: int, processes: int) -> int:
    """Put the state of ``path`` into model, optimiser and generators; the number of steps done.

    TrainingError if the file is unreadable or belongs to another training. With another number of processes the order of cases
    goes on all the same; only dropout then draws other numbers, so the generators are left as they are.
    """
    try:
        whole = torch.load(path, map_location="cpu", weights_only=True)
        _same_training(path, whole, config, cases)
        step = whole["step"]
        if type(step) is not int or step < 0:
            raise ValueError(f"its step is {step!r}")
        model.load_state_dict(whole["model"])
        optimiser.load_state_dict(whole["optimiser"])
        if len(whole["random"]) == processes:
            set_random_states(whole["random"][rank])
    except TrainingError:
        raise
    except Exception as error:  # torch.load and load_state_dict raise many kinds
        raise TrainingError(
            f"{path} does not fit this training ({_short(error)}); move it away, or train in a new folder.") from error
    return step


def _same_training(path: Path, whole: dict, config: TrainConfig, cases: int) -> None:
    then, now = whole["config"] | {"cases": whole["cases"]}, asdict(config) | {"cases": cases}
    names = [name for name in now if name not in FREE and then.get(name) != now[name]]
    changed = "; ".join(f"{name} was {then.get(name)!r} and is {now[name]!r}" for name in names)
    if changed:
        raise TrainingError(f"{path} was made with other settings: {_short(changed)}. Set them back, or train in a new folder.")


def _short(said: object) -> str:
    return " ".join(str(said).split())[:300] or type(said).__name__
