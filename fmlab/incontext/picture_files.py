"""Two-dimensional material from files: a picture and a mask, PNG or JPEG, as examples; and a source of episodes made of such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fmlab.errors import DataError
from fmlab.incontext.examples import Examples
from fmlab.incontext.material import squared


def read_picture(path: str | Path, size: int = 64, labels: bool = False, upside_down: bool = False) -> Tensor:
    """A picture file as grey values in [0, 1], by its minimum and maximum, or as a mask of 0 and 1: (1, size, size).

    It is padded to a square and made ``size`` pixels wide. labels: a mask, everything brighter than half. upside_down: for files
    whose first row is the patient's back. Raises DataError for what cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            grey = torch.from_numpy(np.asarray(file.convert("L"), dtype=np.float32).copy())
    except OSError as error:
        raise DataError(f"The picture {path} cannot be read ({error}); give a PNG or JPEG file.") from error
    grey = grey.flip(0) if upside_down else grey
    if labels:
        return squared((grey > 127).float(), (1.0, 1.0), size, labels=True)[None]
    low, high = float(grey.min()), float(grey.max())
    return squared((grey - low) / max(high - low, 1e-6), (1.0, 1.0), size, labels=False)[None].clamp(0, 1)


def read_examples(files: Sequence[tuple[Path, Path | Sequence[Path]]], size: int = 64, upside_down: bool = False) -> Examples:
    """Examples of one class from pairs of picture and mask files; several masks of one picture are joined. The subject is the
    picture's name."""
    images, masks, names = [], [], []
    for picture, mask in files:
        parts = [mask] if isinstance(mask, str | Path) else mask
        images.append(read_picture(picture, size, upside_down=upside_down))
        masks.append(torch.stack([read_picture(part, size, True, upside_down) for part in parts]).amax(0))
        names.append(Path(picture).stem)
    return Examples(torch.stack(images), torch.stack(masks), tuple(names))


class Pictures:
    """A source of episodes (see ``episodes.Source``) of examples that lie in memory: task -> Examples of two subjects or more."""

    name = "pictures"

    def __init__(self, tasks: Mapping[str, Examples]):
        self.tasks = {task: examples for task, examples in tasks.items() if len(set(examples.names)) >= 2}
        if not self.tasks:
            raise DataError("No task has examples of two subjects; an episode needs one as query and another one as support.")

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, list[str]]:
        """A query and ``count`` - 1 supports of other subjects, some of them twice where there are too few."""
        examples = self.tasks[list(self.tasks)[rng.integers(len(self.tasks))]]
        query = int(rng.integers(len(examples)))
        others = [i for i, name in enumerate(examples.names) if name != examples.names[query]]
        chosen = examples[[query, *map(int, rng.choice(others, count - 1, replace=len(others) < count - 1))]]
        return chosen.images, chosen.masks, list(chosen.names)
