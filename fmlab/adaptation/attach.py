"""One way in: ``attach`` freezes a model, puts one method's parameters into it, and gives back an ``Adapter``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fmlab.adaptation import (
    adalora,
    adaptformer,
    arena,
    cnn_adapter,
    compacter,
    files,
    lite_residual,
    lora,
    selective,
    sora,
    spatial_adapter,
)
from fmlab.adaptation.added import Update, added, statistics, turned_off, unchanged_on_failure
from fmlab.adaptation.arena import Gated
from fmlab.adaptation.heads import head_for, recipe_for
from fmlab.adaptation.report import Report, report
from fmlab.backbones.caching import weights_hash
from fmlab.backbones.segmenter import Segmenter
from fmlab.errors import FmlabError, ModelError
from fmlab.training.order import seeded


@dataclass(frozen=True)
class Method:
    """put: what the method does to a frozen model. lr: FSEFT's rate for it. steps: a module with ``after_step`` and ``penalty``.

    black_box: theta_f is never changed, so its features may be kept.
    """

    put: Callable[..., None]
    lr: float
    steps: Any = None
    black_box: bool = False


METHODS: dict[str, Method] = {
    "full": Method(selective.full, 1e-4),
    "decoder": Method(selective.decoder, 1e-4),
    "linear_probe": Method(selective.linear_probe, 1e-2, black_box=True),
    "spatial_adapter": Method(spatial_adapter.spatial_adapter, 1e-4, black_box=True),
    "bitfit": Method(selective.bitfit, 1e-2),
    "affine": Method(selective.affine, 1e-2),
    "lora": Method(lora.lora, 1e-3),
    "adaptformer": Method(adaptformer.adaptformer, 1e-2),
    "cnn_adapter": Method(cnn_adapter.cnn_adapter, 1e-2),
    "lite_residual": Method(lite_residual.lite_residual, 1e-2),
    "compacter": Method(compacter.compacter, 1e-2),
    "sora": Method(sora.sora, 1e-3, sora),
    "adalora": Method(adalora.adalora, 1e-3, adalora),
    "arena": Method(arena.arena, 1e-3, arena),
}
"""Every method by its name. Rates: few_shot.md section 2; with the decoder tuned too, FSEFT takes 1e-4 for all."""
DECODER_LR = 1e-4


class Adapter:
    """What ``attach`` did to a model, and what can be done with it. The model itself is ``adapter.model``, changed in place."""

    def __init__(self, model: Segmenter, method: str, options: dict[str, Any], decoder: bool, base_hash: str,
                 structures: tuple[str, ...] | None, asked: tuple[str, ...] | int | None, seed: int, start: dict[str, Tensor]):
        self.model, self.method, self.options, self.decoder = model, method, options, decoder
        self.base_hash, self.structures, self.asked, self.seed, self._start = base_hash, structures, asked, seed, start
        self.is_merged = self.is_away = False

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        """Name -> parameter of everything that is trained, the head included."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}

    @property
    def count(self) -> int:
        """How many numbers are trained."""
        return sum(weight.numel() for weight in self.trainable.values())

    @property
    def lr(self) -> float:
        """FSEFT's learning rate for the method; 1e-4 with the decoder."""
        return DECODER_LR if self.decoder else METHODS[self.method].lr

    def report(self, side: int | None = None) -> Report:
        """What is trained, which of it is dead, how far from the base model, what it costs. side: of the cube (voxels) on which
        gradients and memory are measured, by default twice the backbone's stride."""
        return report(self, side)

    @contextmanager
    def without(self) -> Iterator[Segmenter]:
        """Within it, the model is the base model, but for a new head, which is as it began. ModelError after a merge."""
        self._unmerged("taken away")
        now = {name: value.clone() for name, value in self.model.state_dict().items() if name in self._start}
        was_away, self.is_away = self.is_away, True
        try:
            self._write(self._start)
            with turned_off(self.model):
                yield self.model
        finally:
            self._write(now)
            self.is_away = was_away

    def _write(self, values: dict[str, Tensor]) -> None:
        state = self.model.state_dict()
        for name, value in values.items():
            state[name].copy_(value)

    def merge(self) -> Segmenter:
        """The model with every addition folded into the layer it stands beside: the same function at the base model's cost.

        Gates that are 0 are left out, as they add nothing. Raises ModelError, with the model unchanged, for a method that cannot
        be merged (what has a non-linearity in it), and when it was merged before; ``save`` first, as afterwards only the whole
        model can be saved.
        """
        self._unmerged("merged again")
        self._there("merged")
        for name, module in added(self.model):
            if not isinstance(module, Update):
                raise ModelError(f"{self.method} cannot be merged, as {type(module).__name__} at {name} is no change of a "
                                 "weight; use the model as it is.")
        for name, module in list(added(self.model)):
            self.model.set_submodule(name, module.merged())
        self.is_merged = True
        self._stop()
        return self.model

    def save(self, path: str | Path) -> Path:
        """Write what was trained, a few kB, with the method and the base model's hash, for ``load``. Never over another file.

        path: .safetensors is added where it is missing. Raises ModelError after a merge, and where the file is there already.
        """
        self._unmerged("saved")
        self._there("saved")
        said = {"method": self.method, "options": self.options, "decoder": self.decoder, "base": self.base_hash,
                "structures": self.asked, "seed": self.seed}
        files.write(path := files.named(path), said, self.saved())
        return path

    def saved(self) -> dict[str, Tensor]:
        """What is or was trained, the head, what the method drew and froze, or counted, and statistics of norms that moved."""
        state = self.model.state_dict()
        still = {name for name, value in statistics(self.model).items()
                 if name in self._start and torch.equal(value, self._start[name].to(value.device))}
        chosen = (self.trainable.keys() | self._start.keys()) - still
        return {name: value for name, value in state.items()
                if name in chosen or name.startswith("head.") or _is_new(name, self.model)}

    def _unmerged(self, what: str) -> None:
        if self.is_merged:
            raise ModelError(f"The adapter was merged into its model, so it cannot be {what}; attach a new one, or save the "
                             "model with hub.save.")

    def _there(self, what: str) -> None:
        if self.is_away:
            raise ModelError(f"Within without() the model is the base model, so the adapter cannot be {what}; do it outside.")

    def _stop(self) -> None:
        for name in ("after_step", "penalty", "adapted"):
            self.model.__dict__.pop(name, None)


def attach(model: Segmenter, method: str, structures: Sequence[str] | int | None = None, decoder: bool = False, seed: int = 0,
           **options: Any) -> Adapter:
    """Freeze the model, put the method's parameters into it, in place, and let them, and the head, be trained.

    model: a ``Segmenter`` (any backbone with a linear head). method: one of METHODS. structures: what the new head answers, names
    or a number; a row of a structure that the model knows begins as the model's own, others begin at random; None keeps the
    head. decoder: tune the decoder as well. seed: of what begins at random. options: the method's own, see its function.

    Additive methods begin as the base model, unless their docstring says otherwise. ``training.train`` makes the method's own
    step after each of the optimiser's, and ``penalty`` of ``adaptation.objective`` is its term of the loss. A model on torch's
    "meta" device, which has shapes and no numbers, will do where only ``count`` is asked.
    Raises ModelError for a method, option or structure that there is not, for a method that the backbone has no place for, and
    for a model that was adapted before; the model is unchanged then.
    """
    _check_base(model)
    if method not in METHODS:
        raise ModelError(f"No method is called {method!r}; choose one of {', '.join(METHODS)}.")
    put = METHODS[method].put
    known = list(inspect.signature(put).parameters)[1:]
    if strange := sorted(set(options) - set(known)):
        raise ModelError(f"{method} has no option {strange[0]!r}; it takes {', '.join(known) or 'none'}.")
    head, names = head_for(model, structures, seed)
    base_hash = "" if head.weight.is_meta else weights_hash(model.backbone)
    full_options = {name: value.default for name, value in list(inspect.signature(put).parameters.items())[1:]} | options
    asked = None if structures is None else names or head.out_channels
    with unchanged_on_failure(model):
        model.requires_grad_(False)
        with seeded(seed):
            put(model, **options)
        _set_head(model, head, asked)
        if decoder:
            selective.tune_decoder(model)
        for _, module in added(model):  # in evaluation, a method's dropout and norms are to know it
            module.train((model if module.base is None else module.base).training)
        model.to(head.weight.device)
        model.adapted = method
        if (steps := METHODS[method].steps) is not None:
            model.after_step = partial(steps.after_step, model, **_taken(steps.after_step, full_options))
            model.penalty = partial(steps.penalty, model, **_taken(steps.penalty, full_options))
        start = {name: tensor.detach().clone() for name, tensor in [*model.named_parameters(), *statistics(model).items()]
                 if (tensor.requires_grad or not isinstance(tensor, nn.Parameter)) and not _is_new(name, model)}
    return Adapter(model, method, full_options, decoder, base_hash, names, asked, seed, start)


def load(model: Segmenter, path: str | Path) -> Adapter:
    """Put a saved adapter into the base model that it was trained on, in place.

    Raises ModelError, with the model unchanged, for a file that is no adapter, or is not whole, and for a base model with other
    weights.
    """
    said, tensors = files.read(path := files.named(path))
    _check_base(model)
    if said["base"] != (found := weights_hash(model.backbone)):
        raise ModelError(f"{path} was trained on a base model with the hash {said['base']}, and this one has {found}; load the "
                         "weights that it was trained on.")
    with unchanged_on_failure(model):
        adapter = _attached(model, path, said)
        for name, module in added(model):
            if isinstance(module, Gated) and f"{name}.v" in tensors:  # pruned layers are smaller than attach makes them
                module.keep(torch.arange(min(len(tensors[f"{name}.v"]), len(module.v)), device=module.v.device))
        state = model.state_dict()
        wrong = [name for name in tensors if name not in state or tensors[name].shape != state[name].shape]
        if wrong := wrong + [name for name in adapter.saved() if name not in tensors]:
            raise ModelError(f"{path} does not fit {type(model.backbone).__name__} with its head, as at {wrong[0]!r}; give the "
                             "model that it was trained on, or save the adapter again.")
    adapter._start |= {name: state[name].clone() for name in tensors if name not in adapter._start and not _is_new(name, model)}
    for name, value in tensors.items():
        state[name].copy_(value)
    return adapter


def _attached(model: Segmenter, path: Path, said: dict[str, Any]) -> Adapter:
    """``attach`` as a file says it was done; ModelError for options of which nothing can be made."""
    try:
        return attach(model, said["method"], said["structures"], said["decoder"], said["seed"], **said["options"])
    except FmlabError:
        raise
    except Exception as error:  # the layers raise many kinds for a rank of -1 or a seed of 10**30
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"{path} says of {said['method']} what nothing can be made of ({reason}); save the adapter again."
                         ) from error


def _check_base(model: nn.Module) -> None:
    """ModelError for what no adapter can be attached to."""
    if not (isinstance(model, Segmenter) and hasattr(model.backbone, "parts")):
        raise ModelError(f"An adapter is attached to a Segmenter, and this is a {type(model).__name__}; put a head on a "
                         "backbone.")
    if hasattr(model, "adapted") or any(True for _ in added(model)):
        raise ModelError("The model has an adapter already; merge it first, or load the base model again.")


def _set_head(model: Segmenter, head: nn.Conv3d, asked: tuple[str, ...] | int | None) -> None:
    """The head in its place, behind a spatial adapter where there is one, and what the model says about it."""
    if asked is not None:
        if hasattr(model, "recipe"):
            model.recipe = recipe_for(model, asked)
        vars(model).pop("structures", None)
        if not isinstance(asked, int):
            model.structures = asked
    if isinstance(model.head, nn.Sequential):
        model.head[-1] = head
    else:
        model.head = head
    model.head.requires_grad_(True)


def _taken(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """Those options that a function has a parameter for."""
    return {name: value for name, value in options.items() if name in inspect.signature(function).parameters}


def _is_new(name: str, model: nn.Module) -> bool:
    """Whether a parameter is a method's own, and not of the base model: beside a ``base``, not in one."""
    return any(name.startswith(f"{place}.") and not name.startswith(f"{place}.base.") for place, _ in added(model))
