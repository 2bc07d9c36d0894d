"""The loop: draw cases, forward, loss, backward, clip, update, write down; and stop with a sentence when something breaks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate
from tqdm.auto import tqdm

from fmlab.errors import TrainingError
from fmlab.training import checkpoint
from fmlab.training.allocator import freed_memory_kept
from fmlab.training.config import TrainConfig
from fmlab.training.distributed import Place, place
from fmlab.training.log import Log, read_log
from fmlab.training.optimisers import Optimisers, optimisers
from fmlab.training.order import Drawn, Order, cases_of, loader, name_of, random_states, seeded
from fmlab.training.schedules import learning_rate

Loss = Callable[[nn.Module, object], Tensor]


@dataclass(frozen=True)
class Result:
    """What a training leaves: the log's lines (see ``read_log``) and the checkpoint, in ``folder``."""

    folder: Path
    log: list[dict]

    @property
    def checkpoint(self) -> Path:
        """The file with the last weights, under "model": ``torch.load(..., weights_only=True)``."""
        return self.folder / checkpoint.NAME

    def __str__(self) -> str:
        first, last, seconds = self.log[0]["loss"], self.log[-1]["loss"], sum(line["seconds"] for line in self.log)
        return f"{len(self.log)} steps in {seconds:.1f} s, loss {first:.4g} at first, {last:.4g} at last; {self.checkpoint}"


def train(
    model: nn.Module, loss: Loss, data: Dataset | DataLoader, config: TrainConfig, folder: Path | str, resume: bool = True,
    progress: bool = True,
) -> Result:
    """Train the weights of ``model`` that require gradients, in place; log and checkpoint go to ``folder``.

    loss: called as ``loss(model, batch)``; the mean over the batch's cases, a scalar. data: cases by index (mappings of tensors,
    or what your collate function takes); of a DataLoader its data set and collate function are used. A model that has an
    ``after_step(lr)`` is told of each step (a proximal one, say). Where ``folder`` holds a
    checkpoint of the same settings the run goes on from there, on CPU bit for bit as if it had never stopped; ``resume=False``
    refuses such a folder. The caller's random generators are left as they were. Under torchrun it is one of several processes.

    Raises TrainingError: loss or gradient not finite (step, case and last good checkpoint are named), GPU memory exhausted,
    a folder or data set that does not serve.
    """
    with place(config.device) as here, seeded(config.seed, here.rank):
        folder, was_training = Path(folder), model.training
        order = Order(len(cases_of(data)), config.seed)
        if config.batch % here.processes:
            raise TrainingError(f"batch={config.batch} does not divide among {here.processes} processes; make it a multiple.")
        if not resume and (folder / checkpoint.NAME).exists():
            raise TrainingError(f"{folder} holds a training already; choose a new folder, or resume=True to go on with it.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{folder} cannot be made ({error.strerror}); choose a folder on a disk of yours.") from error
        model.to(here.device).train()
        if not any(weight.requires_grad for weight in model.parameters()):
            raise TrainingError("No weight of the model requires a gradient; unfreeze what you want to train.")
        optimiser = optimisers(model, config)
        try:
            with freed_memory_kept(here.device.type == "cpu"):
                _Run(here, model, loss, data, order, config, folder, optimiser).go(progress and here.rank == 0)
        finally:
            model.train(was_training)
        result = Result(folder, read_log(folder))
        if progress and here.rank == 0:
            print(result)
        return result


@dataclass
class _Run:
    """One training under way: what its steps share."""

    here: Place
    model: nn.Module
    loss: Loss
    data: Dataset | DataLoader
    order: Order
    config: TrainConfig
    folder: Path
    optimiser: Optimisers

    def start(self) -> int:
        """Resume where there is a checkpoint; the number of steps already done."""
        path, here = self.folder / checkpoint.NAME, self.here
        if not path.exists():
            return 0
        return checkpoint.load(path, self.model, self.optimiser, self.config, self.order.cases, here.rank, here.processes)

    def go(self, progress: bool) -> None:
        """All steps that are not yet done."""
        config, here, start = self.config, self.here, self.start()
        here.gather(start)  # nobody writes a checkpoint before everybody has read it
        if progress and start:
            print(f"going on after step {start} of {config.steps}")
        network = here.wrap(self.model, config.unused_parameters)
        shares = (self.share(number) for number in range(start * config.accumulate, config.steps * config.accumulate))
        batches = loader(self.data, config.seed, shares, config.workers, here.device.type == "cuda")
        log = Log(self.folder, start) if here.rank == 0 else None
        try:
            with tqdm(total=config.steps, initial=start, desc="training", leave=False, disable=None if progress else True) as bar:
                for step in range(start, config.steps):
                    line = self.step(step, network, batches)
                    if log:
                        log.add(**line)
                    if (step + 1) % config.every == 0 or step + 1 == config.steps:
                        self.save(step + 1)
                    bar.set_postfix(loss=f"{line['loss']:.4g}", refresh=False)
                    bar.update()
        finally:
            if log:
                log.close()

    def share(self, number: int) -> list[tuple[int, int]]:
        """What this process draws in a pass of the run."""
        return self.order.share(number, self.config.batch, self.here.rank, self.here.processes)

    def step(self, step: int, network: nn.Module, batches: Iterator) -> dict:
        """One update of the weights; the log's line."""
        began, config = time.perf_counter(), self.config
        lr = learning_rate(config, step)
        self.optimiser.set_lr(lr)
        self.optimiser.zero_grad()
        try:
            passes = range(config.accumulate)
            losses = torch.stack([self.one_pass(network, next(batches), last=k + 1 == config.accumulate) for k in passes])
            values = self.here.stack(losses)  # (processes, accumulate): all see the same numbers, so all stop together
            norm = nn.utils.clip_grad_norm_(self.optimiser.weights, config.clip or math.inf)
            if not bool(torch.isfinite(values).all() & torch.isfinite(norm)):
                raise TrainingError(self.not_finite(step, losses))
            self.optimiser.step()
            if after_step := getattr(self.model, "after_step", None):
                after_step(lr)
        except torch.cuda.OutOfMemoryError as error:
            raise TrainingError(self.out_of_memory(step)) from error
        mean, seconds = float(values.mean()), time.perf_counter() - began
        return {"step": step + 1, "loss": mean, "lr": lr, "norm": float(norm), "seconds": seconds}

    def one_pass(self, network: nn.Module, batch: object, last: bool) -> Tensor:
        """Forward and backward of one batch; its loss, detached. Only the step's last pass sends gradients around."""
        with nullcontext() if last or network is self.model else network.no_sync():
            value = self.forward(network, batch)
            (value / self.config.accumulate).backward()
        return value.detach().float()

    def forward(self, network: nn.Module, batch: object) -> Tensor:
        """The loss of a batch, under bf16 autocast where that is wanted."""
        device, precision = self.here.device, self.config.precision
        wanted = precision == "bf16-everywhere" or (precision == "bf16" and device.type == "cuda")
        with torch.autocast(device.type, torch.bfloat16, enabled=wanted):
            return self.loss(network, moved(batch, device))

    def save(self, step: int) -> None:
        """The checkpoint after ``step`` steps, written by rank 0 with the random states of all."""
        states = self.here.gather(random_states())
        if self.here.rank == 0:
            path = self.folder / checkpoint.NAME
            checkpoint.save(path, self.model, self.optimiser, states, self.config, step, self.order.cases)

    def not_finite(self, step: int, losses: Tensor) -> str:
        """The sentence for a loss or gradient that is NaN or infinite: step, cases of all processes, last good checkpoint."""
        passes = range(step * self.config.accumulate, (step + 1) * self.config.accumulate)
        fine = torch.isfinite(losses).tolist()
        bad = [draw for number, good in zip(passes, fine) if not good for draw in self.share(number)]
        names = sum(self.here.gather(self.culprits(bad)), [])
        what, where = ("loss", ", ".join(names)) if names else ("gradient", "any of the step's cases")
        return (f"The {what} is not finite at step {step + 1}, case {where}; look at that case's values and labels, or lower lr "
                f"({self.config.lr:g}). {self.last_good()}")

    def culprits(self, draws: list[tuple[int, int]]) -> list[str]:
        """The names of those cases whose loss is not finite when computed alone; of all, if none is to blame by itself."""
        drawn, collate = Drawn(cases_of(self.data), self.config.seed), getattr(self.data, "collate_fn", default_collate)
        items = [(index, drawn[position, index]) for position, index in draws]
        alone = []
        for index, item in items:
            with torch.no_grad():
                try:
                    good = bool(torch.isfinite(self.forward(self.model, collate([item]))))
                except (RuntimeError, ValueError):  # some layers refuse a batch of one
                    good = True
            if not good:
                alone.append(name_of(item, index))
        return alone or [name_of(item, index) for index, item in items]

    def out_of_memory(self, step: int) -> str:
        """The advice when the GPU's memory is exhausted."""
        batch, more = max(1, self.config.batch // 2), self.config.accumulate * 2
        return (f"The GPU's memory is exhausted at step {step + 1}: take a smaller patch, or a smaller batch (batch={batch}, "
                f"accumulate={more} makes the same steps), or a smaller profile (FMLAB_PROFILE=laptop or ci). {self.last_good()}")

    def last_good(self) -> str:
        """Where the run can go on."""
        path = self.folder / checkpoint.NAME
        if not path.exists():
            return "There is no checkpoint yet."
        done = torch.load(path, map_location="cpu", weights_only=True)["step"]
        return f"The last good checkpoint is {path}, after step {done}."


def moved(batch: object, device: torch.device) -> object:
    """The batch with every tensor in it (in mappings, lists and tuples) on the device."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: moved(value, device) for key, value in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)(moved(value, device) for value in batch)
    return batch
