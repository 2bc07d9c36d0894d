"""One loop trains everything in the course: ``train(model, loss, data, TrainConfig(...), folder)``.

``loop`` is the loop, to be read. ``config``: what may be set. ``schedules``: the learning rate at each step. ``order``: which
case comes when, and with which randomness. ``checkpoint``: save and resume. ``log``: JSONL and curve. ``distributed``: several
processes under torchrun. ``demo``: a net and a task of a few seconds. ``python -m fmlab.train`` is the same loop from a shell.

Words. Pass: one forward and backward, of ``batch`` cases over all processes. Step: one update of the weights, after
``accumulate`` passes. Position: the how-many-th case of the whole run; who comes there depends on the seed alone, and so do the
random numbers that its augmentation draws. Therefore a run is the same however often it was killed, and nearly the same (the
order of sums differs) however many processes share it.
"""

from __future__ import annotations

from fmlab.training.config import TrainConfig
from fmlab.training.log import curve, read_log
from fmlab.training.loop import Result, train
from fmlab.training.schedules import learning_rate

__all__ = ["Result", "TrainConfig", "curve", "learning_rate", "read_log", "train"]
