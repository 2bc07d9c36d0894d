"""Compare the course's seven pre-trainings with three seeds each: ``python -m data_scripts.compare_pretrainings``.

Seed 0 is the weights that ship; the other seeds are trained here, 4 to 8 minutes each on one core, and kept in
FMLAB_DATA/trainings. What is in the record already is not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from torch import nn

from data_scripts.course_evaluation import evaluate
from data_scripts.pretraining_cards import asked
from fmlab import hub
from fmlab.lessons.experiments import pretrainings
from fmlab.lessons.experiments.pretrainings import NAMES, SHORT
from fmlab.lessons.experiments.transfer_curves import Setting
from fmlab.pretraining import nano
from fmlab.settings import data_folder

PRECISION = "float32"  # of everything: bfloat16 on a CPU gives NaN now and then


def main(arguments: list[str] | None = None) -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts.compare_pretrainings", description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"of {'; '.join(NAMES)} (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: %(default)s")
    parser.add_argument("--file", type=Path, default=pretrainings.STORED, help="where to (default: what ships)")
    given = parser.parse_args(arguments)
    if strange := [name for name in given.methods if name not in NAMES]:
        parser.error(f"no method is called {strange[0]!r}; choose of {', '.join(NAMES)}")
    there = {(line.method, line.seed) for line in pretrainings.recorded(given.file)} if given.file.exists() else set()
    for seed in given.seeds:
        for name in given.methods or NAMES:
            if (name, seed) not in there:
                line = one(name, seed)
                pretrainings.record(line, given.file)
                print(f"seed {seed}, {name}: {line.zero_shot or 'no answer of its own'}, new structures "
                      f"{np.mean(list(line.novel.values())):.3f}", flush=True)


def one(name: str, seed: int) -> pretrainings.Compared:
    """Pre-train or load, test as it is, fine-tune and test."""
    method, steps = ("uniseg", nano.STEPS) if name == SHORT else (name, nano.METHODS[name].steps if name != "scratch" else 0)
    model = pretrained(method, seed, steps) if steps else None
    zero_shot = as_it_is(asked(model)) if method in nano.SUPERVISED else {}
    ships = seed == 0 and method in pretrainings.U_NETS
    folder = data_folder() / "trainings" / (f"short-{steps}" if name == SHORT else "equal")  # C11 keeps its own, in bf16
    dice = pretrainings.novel(method, seed, None if ships else model, Setting(precision=PRECISION), folder)
    return pretrainings.compared_with(name, seed, steps, zero_shot, dice)


def pretrained(method: str, seed: int, steps: int) -> nn.Module:
    """The weights that ship for seed 0, else trained here or gone on with."""
    if seed == 0 and steps == nano.METHODS[method].steps:
        return hub.load(method, "nano")
    folder = data_folder() / "trainings" / f"{method}-nano-seed{seed}-{steps}"
    return nano.trained(method, seed, folder, steps, PRECISION, progress=False)[0]


def as_it_is(model: nn.Module) -> dict[str, float]:
    """Place -> mean Dice over the 16 structures (over those that are in it, for the real CT)."""
    found = evaluate(model, spacing=nano.SPACING, side=nano.SIDE)
    groups = {group: found.mean(group, model.structures) for group in found.groups}
    return groups | ({"real CT": float(np.mean(list(found.real.values())))} if found.real else {})


if __name__ == "__main__":
    main()
