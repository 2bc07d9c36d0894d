"""An adapter as a file: what was trained, with what is needed to put it into its base model again."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fmlab.errors import ModelError

KEY = "fmlab-adapter"
SAID = {"method": str, "options": dict, "decoder": bool, "base": str, "structures": (list, int, type(None)), "seed": int}


FILLED = 1024  # a rank, a width or a number of structures up to this is tried, however little the file holds


def named(path: str | Path) -> Path:
    """The path, ending in .safetensors; "rate0.5" becomes "rate0.5.safetensors"."""
    path = Path(path)
    return path if path.suffix == ".safetensors" else path.with_name(f"{path.name}.safetensors")


def write(path: Path, said: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Tensors, and SAID about them, by atomic rename. ModelError where the file is there already, or cannot be written."""
    if os.path.exists(path):  # False, too, for a name that no system takes
        raise ModelError(f"{path} is there already; choose another name, or delete it.")
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}  # a shared one is refused
    draft = path.with_name(f".fmlab-{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(plain, draft, {KEY: json.dumps(said, default=float)})
        draft.chmod(0o644)  # safetensors makes files that only their owner can read
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be written ({_short(error)}); make room, or choose another place.") from error
    finally:
        with suppress(OSError):  # a folder that is none, or cannot be written, holds no draft either
            draft.unlink(missing_ok=True)


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What an adapter's file says about itself, and its tensors. ModelError for a file that ``write`` did not make so."""
    try:
        with safe_open(path, framework="pt") as file:
            said = json.loads((file.metadata() or {})[KEY])
            if wrong := [name for name, kind in SAID.items() if not isinstance(said[name], kind)]:
                raise ValueError(f"its {wrong[0]} cannot be {said[wrong[0]]!r}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            sizes = [said["structures"], *(value for name, value in said["options"].items() if name != "steps")]
            if any(isinstance(size, int) and size > max(FILLED, sum(map(Tensor.numel, tensors.values()))) for size in sizes):
                raise ValueError("it says a size that its tensors cannot fill")
            return said, tensors
    except Exception as error:  # safetensors, torch and json raise many kinds
        raise ModelError(f"{path} is no adapter that was saved by fmlab, or is damaged ({_short(error)}); give a file that "
                         "adapter.save wrote.") from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
