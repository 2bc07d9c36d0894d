"""One way in: ``attach`` freezes a model, puts one method's parameters into it, and gives back an ``Adapter``."""

from __future__ import annotations

import inspect
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fmlab.adaptation import (
    adalora,
    adaptformer,
    arena,
    cnn_adapter,
    compacter,
    lite_residual,
    lora,
    selective,
    sora,
    spatial_adapter,
)
from fmlab.adaptation.added import Update, added, turned_off
from fmlab.adaptation.arena import Gated
from fmlab.adaptation.heads import head_for
from fmlab.adaptation.report import Report, report
from fmlab.backbones.caching import weights_hash
from fmlab.backbones.segmenter import Segmenter
from fmlab.errors import ModelError
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
                 structures: tuple[str, ...] | None, start: dict[str, Tensor]):
        self.model, self.method, self.options, self.decoder = model, method, options, decoder
        self.base_hash, self.structures, self._start = base_hash, structures, start
        self.is_merged = False

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
        """Within it, the model is the base model, but for a new head, which is as it began."""
        now = {name: weight.detach().clone() for name, weight in self.trainable.items() if name in self._start}
        self._write(self._start)
        try:
            with turned_off(self.model):
                yield self.model
        finally:
            self._write(now)

    def _write(self, values: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in values.items():
                self.model.get_parameter(name).copy_(value)

    def merge(self) -> Segmenter:
        """The model with every addition folded into the layer it stands beside: the same function at the base model's cost.

        Gates that are 0 are left out, as they add nothing. Raises ModelError, with the model unchanged, for a method that cannot
        be merged (what has a non-linearity in it), and when it was merged before; ``save`` first, as afterwards only the whole
        model can be saved.
        """
        self._unmerged("merged again")
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

        Raises ModelError after a merge, and where the file is there already.
        """
        self._unmerged("saved")
        path = Path(path).with_suffix(".safetensors")
        if path.exists():
            raise ModelError(f"{path} is there already; choose another name, or delete it.")
        said = {"method": self.method, "options": self.options, "decoder": self.decoder, "base": self.base_hash,
                "structures": self.structures or list(self.model.head.modules())[-1].out_channels}
        tensors = {name: weight.detach().cpu().contiguous() for name, weight in self.saved().items()}
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(tensors, draft, {"fmlab-adapter": json.dumps(said)})
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        return path

    def saved(self) -> dict[str, Tensor]:
        """What is trained, the head, and what the method drew and froze, or counted (gates, statistics of norms)."""
        return {name: value for name, value in self.model.state_dict().items()
                if name in self.trainable or name.startswith("head.") or _is_new(name, self.model)}

    def _unmerged(self, what: str) -> None:
        if self.is_merged:
            raise ModelError(f"The adapter was merged into its model, so it cannot be {what}; attach a new one, or save the "
                             "model with hub.save.")

    def _stop(self) -> None:
        for name in ("after_step", "penalty"):
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
    if not (isinstance(model, Segmenter) and hasattr(model.backbone, "parts")):
        raise ModelError(f"An adapter is attached to a Segmenter, and this is a {type(model).__name__}; put a head on a "
                         "backbone.")
    if method not in METHODS:
        raise ModelError(f"No method is called {method!r}; choose one of {', '.join(METHODS)}.")
    if hasattr(model, "adapted") or any(True for _ in added(model)):
        raise ModelError("The model has an adapter already; merge it first, or load the base model again.")
    put = METHODS[method].put
    known = list(inspect.signature(put).parameters)[1:]
    if strange := sorted(set(options) - set(known)):
        raise ModelError(f"{method} has no option {strange[0]!r}; it takes {', '.join(known) or 'none'}.")
    head, names = head_for(model, structures, seed)
    base_hash = "" if head.weight.is_meta else weights_hash(model.backbone)
    before = [weight.requires_grad for weight in model.parameters()]
    model.requires_grad_(False)
    try:
        with seeded(seed):
            put(model, **options)
    except ModelError:
        for weight, was in zip(model.parameters(), before, strict=True):
            weight.requires_grad_(was)
        raise
    _set_head(model, head)
    if decoder:
        selective.tune_decoder(model)
    model.to(head.weight.device)
    model.structures = names
    full_options = {name: value.default for name, value in list(inspect.signature(put).parameters.items())[1:]} | options
    model.adapted = method
    if (steps := METHODS[method].steps) is not None:
        model.after_step = partial(steps.after_step, model, **_taken(steps.after_step, full_options))
        model.penalty = partial(steps.penalty, model, **_taken(steps.penalty, full_options))
    start = {name: weight.detach().clone() for name, weight in model.named_parameters()
             if weight.requires_grad and not _is_new(name, model)}
    return Adapter(model, method, full_options, decoder, base_hash, names, start)


def load(model: Segmenter, path: str | Path) -> Adapter:
    """Put a saved adapter into the base model that it was trained on, in place.

    Raises ModelError, with the model unchanged, for a file that is no adapter, and for a base model with other weights.
    """
    said, tensors = _read(Path(path))
    if said["base"] != (found := weights_hash(model.backbone)):
        raise ModelError(f"{path} was trained on a base model with the hash {said['base']}, and this one has {found}; load the "
                         "weights that it was trained on.")
    adapter = attach(model, said["method"], said["structures"], said["decoder"], **said["options"])
    for name, module in added(model):
        if isinstance(module, Gated):  # pruned layers are smaller than attach makes them
            module.keep(torch.arange(len(tensors[f"{name}.v"])))
    state = model.state_dict()
    for name, value in tensors.items():
        state[name].copy_(value)
    return adapter


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What an adapter's file says about itself, and its tensors."""
    try:
        with safe_open(path, framework="pt") as file:
            said = json.loads((file.metadata() or {})["fmlab-adapter"])
            return said, {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{path} is no adapter that was saved by fmlab, or is damaged: {error}; give a file that "
                         "adapter.save wrote.") from error


def _set_head(model: Segmenter, head: nn.Conv3d) -> None:
    """The head in its place, behind a spatial adapter where there is one."""
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
