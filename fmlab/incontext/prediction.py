"""From an in-context model to masks: sigmoid, the mean over support sets and flips, arg max over classes, slice by slice.

    y = 1/M sum_m sigma(f_theta(x, S_m))          S_m drawn independently of the examples

Source: Butoi et al. 2023, doi:10.1109/ICCV51070.2023.01960, section 4.1. The mean is over probabilities, which the paper leaves
open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from fmlab.errors import ModelError
from fmlab.incontext.examples import Examples
from fmlab.incontext.material import axis_number, back, pictures
from fmlab.vocabulary import structure
from fmlab.volume import Volume
from fmlab.windows import SOFT_TISSUE, Window

Support = Mapping[str, Examples]
FLIPS = {"left-right": -1, "up-down": -2}


@dataclass(frozen=True, eq=False)
class Prediction:
    """probabilities: (B, K, H, W), of each class on its own. classes: their K names."""

    probabilities: Tensor
    classes: tuple[str, ...]

    @property
    def labels(self) -> Tensor:
        """(B, H, W) int64: 0, or 1 + the index of the most probable class where that is above one half."""
        best, winner = self.probabilities.max(1)
        return torch.where(best > 0.5, winner + 1, 0)

    def mask(self, name: str) -> Tensor:
        """(B, H, W) bool: where this class wins."""
        if name not in self.classes:
            raise ModelError(f"{name!r} was not predicted; there are {', '.join(self.classes)}.")
        return self.labels == self.classes.index(name) + 1


def predict(model: nn.Module, image: Tensor, support: Support, classes: Sequence[str] | None = None, shots: int = 16,
            ensemble: int = 1, tta: Sequence[str] = (), seed: int = 0, chunk: int | None = 16) -> Prediction:
    """Segment pictures (B, 1, H, W) in [0, 1] by examples: ``support`` has some for each class, ``classes`` are asked for (all).

    shots: S, the examples of a support set. ensemble: M, how many sets are drawn; of S examples or fewer in all only one can be.
    tta: flips of FLIPS, of query and support together, whose results are flipped back and averaged with the plain one. seed: of
    the draws. chunk: supports at a time, for memory. The model's device is used; the result is on the CPU.

    Raises ModelError for classes without examples, numbers below 1, unknown flips, and what the model refuses.
    """
    wanted = tuple(support if classes is None else classes)
    if missing := [name for name in wanted if name not in support] or ([] if wanted else ["any class"]):
        raise ModelError(f"There are no examples of {', '.join(missing)}; give some, as by examples_of(volumes, structure).")
    if shots < 1 or ensemble < 1:
        raise ModelError(f"shots={shots}, ensemble={ensemble}: give 1 or more of each.")
    if strange := [name for name in tta if name not in FLIPS]:
        raise ModelError(f"There is no flip {strange[0]!r}; choose of {', '.join(FLIPS)}.")
    generator = torch.Generator().manual_seed(seed)
    found = torch.zeros(len(image), len(wanted), *image.shape[2:])
    for k, name in enumerate(wanted):
        for drawn in support_sets(support[name], shots, ensemble, generator):
            for axes in ((), *((FLIPS[name],) for name in tta)):
                views = [x.flip(axes) for x in (image, drawn.images, drawn.masks)]
                found[:, k] += probability(model, *views, chunk).flip(axes)[:, 0]
        found[:, k] /= _passes(support[name], shots, ensemble) * (1 + len(tta))
    return Prediction(found, wanted)


def support_sets(examples: Examples, shots: int, ensemble: int, generator: torch.Generator) -> Iterator[Examples]:
    """M support sets of S examples, each drawn from all of them; one set where there are not more than S."""
    return (examples.draw(shots, generator) for _ in range(_passes(examples, shots, ensemble)))


@torch.no_grad()
def probability(model: nn.Module, query: Tensor, images: Tensor, masks: Tensor, chunk: int | None = None) -> Tensor:
    """sigma(f_theta(x, S)), on the CPU, of pictures (B, 1, H, W) with one support set (S, 1, H, W) for all; one at a time.

    Computed on the model's device, on CUDA in bf16.
    """
    weight = next(model.parameters())
    query, images, masks = (x.to(weight) for x in (query, images, masks))
    with torch.autocast(weight.device.type, torch.bfloat16, enabled=weight.device.type == "cuda"):
        return torch.cat([model(x[None], images[None], masks[None], chunk=chunk).float().sigmoid() for x in query]).cpu()


def predict_volume(model: nn.Module, volume: Volume, support: Support, axis: str = "axial", classes: Sequence[str] | None = None,
                   shots: int = 16, ensemble: int = 1, tta: Sequence[str] = (), seed: int = 0,
                   window: Window | None = SOFT_TISSUE, progress: bool = True) -> Volume:
    """The volume with labels on its own grid, slice by slice along an axis; classes are names of the vocabulary.

    The examples are of the same axis, size and window. Slices are read, predicted and put back one by one, so memory does not
    grow with the volume. A structure is looked for in every slice: this model was shown slices that have it, and may find it
    where it is not. Raises ModelError and ScanError as ``predict`` and ``material`` do, VocabularyError for unknown classes.
    """
    wanted = tuple(support if classes is None else classes)
    ids = torch.tensor([0] + [structure(name).id for name in wanted], dtype=torch.uint8)
    size = next(iter(support.values())).images.shape[-1] if support else 64
    labels, number = torch.zeros(volume.shape, dtype=torch.uint8), axis_number(axis)
    for index in tqdm(range(volume.shape[number]), desc=f"{axis} slices", leave=False, disable=None if progress else True):
        shown = pictures(volume, axis, [index], size, window)
        found = predict(model, shown, support, wanted, shots, ensemble, tta, seed)
        flat = replace(found, probabilities=back(volume, found.probabilities[0], axis)[None])
        labels.select(number, index).copy_(ids[flat.labels[0]])
    return replace(volume, labels=labels[None].to(volume.image.device), annotated=frozenset(wanted))


def _passes(examples: Examples, shots: int, ensemble: int) -> int:
    return ensemble if len(examples) > shots else 1
