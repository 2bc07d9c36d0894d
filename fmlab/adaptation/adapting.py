"""One adaptation: a base model, a method, a support set; its losses, and what its weights were along the way."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from fmlab.adaptation.attach import METHODS, Adapter
from fmlab.adaptation.black_box import Features, Head
from fmlab.adaptation.shots import Shots
from fmlab.errors import TrainingError
from fmlab.pretraining.masked import masked_bce_dice, masked_dice
from fmlab.training import TrainConfig, train
from fmlab.training.distributed import place

RATES: dict[str, float] = {
    "full": 1e-3, "decoder": 1e-2, "linear_probe": 3e-2, "spatial_adapter": 3e-3, "bitfit": 1e-2, "affine": 1e-2, "lora": 1e-2,
    "adaptformer": 1e-2, "cnn_adapter": 3e-3, "lite_residual": 3e-3, "compacter": 3e-3, "sora": 1e-2, "adalora": 1e-2,
    "arena": 1e-2}
"""Rates for the course's nano models and a hundred steps; the published ones are ``METHODS[...].lr``, for 200 epochs."""
DECODER_RATE = 1e-2  # with the decoder tuned, whatever the method


@dataclass(frozen=True)
class Budget:
    """What an adaptation may cost, the same for every method. steps of ``batch`` cubes. marks: how many times along the way its
    weights are kept, for the selection rules. rate: times the method's own. loss: "dice" as FSEFT has it, or "bce_dice"."""

    steps: int = 120
    batch: int = 2
    marks: int = 4
    rate: float = 1.0
    loss: str = "bce_dice"
    precision: str = "float32"


@dataclass(frozen=True)
class Trained:
    """losses: one a step. kept: step -> what was trained, by name, after it. seconds: of the training alone."""

    adapter: Adapter
    losses: list[float]
    kept: dict[int, dict[str, Tensor]]
    seconds: float

    def back_to(self, step: int) -> nn.Module:
        """The model as it was after a step that is in ``kept``."""
        state = self.adapter.model.state_dict()
        for name, value in self.kept[step].items():
            state[name].copy_(value)
        return self.adapter.model.eval()


def objective(model: nn.Module, batch: dict, loss: str = "dice") -> Tensor:
    """Soft Dice over the annotated structures, as FSEFT has it, or with cross-entropy; plus the method's own penalty."""
    term = masked_dice if loss == "dice" else masked_bce_dice
    value = term(model(batch["image"]), batch["target"], batch["w"])
    penalty = getattr(model, "penalty", None)
    return value if penalty is None else value + penalty()


def adapt(adapter: Adapter, shots: Shots, budget: Budget | None = None, seed: int = 0) -> Trained:
    """Train what the adapter lets be trained; black-box methods on stored features, so that theta_f runs once a cube.

    TrainingError for a loss that there is not, and what ``train`` raises.
    """
    budget = budget or Budget()
    if budget.loss not in ("dice", "bce_dice"):
        raise TrainingError(f"There is no loss {budget.loss!r} here; choose dice or bce_dice.")
    with place(None) as here:
        adapter.model.to(here.device)
    model, black_box = adapter.model, METHODS[adapter.method].black_box and not adapter.decoder
    data, network = (Features(model, shots), Head(model)) if black_box else (shots, model)
    rate = budget.rate * (DECODER_RATE if adapter.decoder else RATES[adapter.method])
    config = TrainConfig(budget.steps, lr=rate, weight_decay=0, warmup=max(1, budget.steps // 20), batch=budget.batch, seed=seed,
                         precision=budget.precision, clip=1.0, every=budget.steps)
    recorder = Recorder(adapter, marks(budget.steps, budget.marks), getattr(model, "after_step", None))
    network.after_step = recorder
    try:
        with tempfile.TemporaryDirectory() as temporary:
            log = train(network, lambda net, batch: objective(net, batch, budget.loss), data, config, temporary,
                        progress=False).log
    finally:
        del network.after_step
        if recorder.own is not None:
            model.after_step = recorder.own
    model.eval()
    return Trained(adapter, [line["loss"] for line in log], recorder.kept, sum(line["seconds"] for line in log))


def marks(steps: int, count: int) -> tuple[int, ...]:
    """Steps at which weights are kept, evenly apart; the last is always one."""
    return tuple(sorted({max(1, round(steps * (i + 1) / count)) for i in range(count)}))


@dataclass
class Recorder:
    """Called after each step: makes the method's own step, and keeps what is trained at the marks."""

    adapter: Adapter
    at: Sequence[int]
    own: object = None
    done: int = 0

    def __post_init__(self) -> None:
        self.kept: dict[int, dict[str, Tensor]] = {}

    def __call__(self, lr: float) -> None:
        if self.own is not None:
            self.own(lr)
        self.done += 1
        if self.done in self.at:
            self.kept[self.done] = {name: value.detach().cpu().clone() for name, value in self.adapter.saved().items()}
