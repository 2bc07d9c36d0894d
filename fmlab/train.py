"""``python -m fmlab.train FOLDER --recipe package.module:function --steps 400``, alone or under torchrun: ``train`` from a shell.

A recipe is a function without arguments that returns (model, loss, data), as ``fmlab.training.train`` takes them. With two
processes: ``torchrun --nproc-per-node=2 -m fmlab.train FOLDER ...``. The same command again goes on where the run was stopped.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path

from fmlab.errors import FmlabError, SettingsError
from fmlab.training import TrainConfig, curve, train
from fmlab.training.order import seeded

_TYPES = {"int": int, "float": float, "str": str, "float | None": lambda text: None if text == "none" else float(text),
          "str | None": str, "bool": lambda text: text.lower() in ("1", "true", "yes")}


def recipe(name: str) -> Callable:
    """The function that "package.module:function" names; SettingsError if there is none."""
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(f"There is no recipe {name!r} ({error}); write it as package.module:function.") from error


def parser() -> argparse.ArgumentParser:
    """FOLDER, --recipe, and one option for each field of TrainConfig."""
    made = argparse.ArgumentParser(prog="python -m fmlab.train", description=__doc__.splitlines()[0])
    made.add_argument("folder", type=Path, help="log.jsonl, checkpoint.pt and curve.png go here")
    made.add_argument("--recipe", default="fmlab.training.demo:balls", help="package.module:function (default: %(default)s)")
    for field in fields(TrainConfig):
        default = 100 if field.default is MISSING else field.default
        option = f"--{field.name.replace('_', '-')}"
        made.add_argument(option, type=_TYPES[field.type], default=default, help="default: %(default)s")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run a recipe; 0, or 1 after a sentence on what went wrong."""
    given = vars(parser().parse_args(arguments))
    folder, name = given.pop("folder"), given.pop("recipe")
    try:
        config = TrainConfig(**given)
        with seeded(config.seed):  # the same first weights in every process, and at every resume
            model, loss, data = recipe(name)()
        result = train(model, loss, data, config, folder)
    except FmlabError as error:
        print(error, file=sys.stderr)
        return 1
    if int(os.environ.get("RANK", 0)) == 0:
        curve(result.log).savefig(folder / "curve.png", dpi=120)
    return 0


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    sys.exit(main())
