"""The training loop: it learns, it resumes bit for bit after SIGKILL, and it stops with a sentence that helps."""

from __future__ import annotations

import importlib.util
import json
import math
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fmlab import train as shell
from fmlab.errors import SettingsError, TrainingError
from fmlab.training import TrainConfig, curve, learning_rate, read_log, train
from fmlab.training.demo import Balls, loss, net
from fmlab.training.optimisers import optimisers
from fmlab.training.order import Drawn, Order, random_states, seeded, set_random_states

HERE = Path(__file__).parent
SMALL = TrainConfig(steps=6, lr=1e-2, batch=2, every=2, device="cpu")

_spec = importlib.util.spec_from_file_location("training_recipes", HERE / "training_recipes.py")
recipes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(recipes)


@pytest.fixture(autouse=True)
def one_thread():
    """Sums over several threads may be ordered otherwise in the processes that are compared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(recipe, config, folder, **options):
    """A recipe trained from its seeded first weights; the weights."""
    with seeded(config.seed):
        model, function, data = recipe()
    train(model, function, data, config, folder, progress=False, **options)
    return model.state_dict()


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_it_learns_and_leaves_log_checkpoint_and_curve(tmp_path, capsys):
    torch.manual_seed(0)
    model = net().eval()
    result = train(model, loss, Balls(8), TrainConfig(steps=40, lr=1e-2, warmup=4, device="cpu"), tmp_path)
    losses = [line["loss"] for line in result.log]
    assert np.mean(losses[-5:]) < 0.3 * losses[0]
    assert [line["step"] for line in result.log] == list(range(1, 41))
    assert set(result.log[0]) == {"step", "loss", "lr", "norm", "seconds"}
    assert not model.training  # as it was
    assert capsys.readouterr().out.splitlines() == [str(result)]
    saved = torch.load(result.checkpoint, weights_only=True)
    assert (saved["step"], saved["position"]) == (40, 80) and equal(saved["model"], model.state_dict())
    figure = curve(result.log)
    assert len(figure.axes) == 2 and len(figure.axes[0].lines[0].get_xdata()) == 40
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "log.jsonl"]


@pytest.mark.parametrize("kill", range(2))
def test_killed_and_resumed_equals_uninterrupted(tmp_path, kill):
    config = TrainConfig(steps=120, lr=1e-2, warmup=5, schedule="poly", accumulate=2, every=3, batch=2, seed=kill, device="cpu")
    whole = run(recipes.noisy, config, tmp_path / "whole")
    at = random.randrange(4, 40)
    command = [sys.executable, "-m", "fmlab.train", str(tmp_path / "killed"), "--recipe", "training_recipes:noisy"]
    options = ("steps", "lr", "warmup", "schedule", "accumulate", "every", "batch", "seed", "device")
    command += [f"--{option}={getattr(config, option)}" for option in options]
    process = subprocess.Popen(command, env=recipes.environment(), stdout=subprocess.DEVNULL)
    wait_for_lines(tmp_path / "killed" / "log.jsonl", at, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, f"asked to be killed at step {at}, it had ended before"
    done = torch.load(tmp_path / "killed" / "checkpoint.pt", weights_only=True)["step"]
    assert 3 <= done < config.steps
    assert equal(run(recipes.noisy, config, tmp_path / "killed"), whole), f"killed at step {at}, checkpoint at {done}"
    logs = [[(x["step"], x["loss"], x["lr"], x["norm"]) for x in read_log(tmp_path / name)] for name in ("whole", "killed")]
    assert logs[0] == logs[1]


def wait_for_lines(path, count, process, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.001)
    raise AssertionError(f"{path} never had {count} lines; the process returned {process.poll()}")


def test_muon_takes_the_matrices_and_resumes_bit_for_bit(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 4))
    muon, adamw = optimisers(model, replace(SMALL, optimiser="muon")).members
    assert [p.shape for g in muon.param_groups for p in g["params"]] == [(8, 2), (4, 8)]
    assert all(p.ndim == 1 for g in adamw.param_groups for p in g["params"]) and isinstance(muon, torch.optim.Muon)

    def recipe():
        torch.manual_seed(1)
        layers = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        x = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
        return layers, lambda net, batch: (net(batch) - batch.sum(1, keepdim=True)).square().mean(), list(x)

    config = replace(SMALL, lr=3e-2, steps=60, optimiser="muon", schedule="constant", every=60)
    whole = run(recipe, config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        interrupted(recipe, replace(config, every=20), tmp_path / "half", after=30)
    assert equal(whole, run(recipe, config, tmp_path / "half"))
    log = read_log(tmp_path / "whole")
    assert sum(line["loss"] for line in log[-10:]) < sum(line["loss"] for line in log[:10]) / 4 and log[-1]["lr"] == config.lr


def interrupted(recipe, config, folder, after):
    """A run that is broken off in its loss after so many steps."""
    with seeded(config.seed):
        model, function, data = recipe()
    calls = iter(range(after))

    def loss_until(net, batch):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return function(net, batch)

    train(model, loss_until, data, config, folder, progress=False)


def test_workers_and_a_loader_change_nothing(tmp_path):
    config = replace(SMALL, steps=3)
    alone = run(recipes.noisy, config, tmp_path / "alone")
    assert equal(run(recipes.noisy, replace(config, workers=1), tmp_path / "workers"), alone)

    def in_a_loader():
        model, function, data = recipes.noisy()
        return model, function, DataLoader(data, batch_size=5, shuffle=True)
    assert equal(run(in_a_loader, config, tmp_path / "loader"), alone)


def test_accumulation_equals_the_larger_batch(tmp_path):
    large = run(recipes.steady, replace(SMALL, batch=4), tmp_path / "large")
    small = run(recipes.steady, replace(SMALL, batch=1, accumulate=4), tmp_path / "small")
    assert max((large[key] - small[key]).abs().max() for key in large) < 1e-5


def test_a_failed_save_leaves_the_last_checkpoint_whole(tmp_path, monkeypatch):
    from fmlab.training import checkpoint
    run(recipes.steady, SMALL, tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    monkeypatch.setattr(checkpoint.torch, "save", lambda whole, file: (file.write(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        checkpoint.save(tmp_path / "checkpoint.pt", net(), optimisers(net(), SMALL), [], SMALL, 1, 1)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def test_a_finished_run_is_not_trained_again_nor_overwritten(tmp_path):
    first = run(recipes.steady, SMALL, tmp_path)
    assert equal(run(recipes.steady, SMALL, tmp_path), first)
    assert len(read_log(tmp_path)) == SMALL.steps
    with pytest.raises(TrainingError, match="lr was 0.01 and is 0.02"):
        run(recipes.steady, replace(SMALL, lr=0.02), tmp_path)
    with pytest.raises(TrainingError, match="holds a training already"):
        run(recipes.steady, SMALL, tmp_path, resume=False)
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match="does not fit this training"):
        run(recipes.steady, SMALL, tmp_path)


def test_nan_names_step_case_and_checkpoint(tmp_path):
    order = Order(8, SMALL.seed)
    position = next(p for p in range(8) if order[p] == 3)
    config = replace(SMALL, every=1, batch=1, steps=8)
    with pytest.raises(TrainingError, match=rf"loss is not finite at step {position + 1}, case 3 \(ball 3\)") as error:
        run(recipes.poisoned, config, tmp_path / "one")
    assert str(tmp_path / "one" / "checkpoint.pt") in str(error.value) if position else "no checkpoint" in str(error.value)
    assert all(math.isfinite(line["loss"]) for line in read_log(tmp_path / "one")) and len(read_log(tmp_path / "one")) == position
    with pytest.raises(TrainingError, match=r"step 1, case 3 \(ball 3\); .*no checkpoint"):  # only the one, of eight in the pass
        run(recipes.poisoned, replace(config, batch=8), tmp_path / "eight")


def test_a_gradient_that_is_not_finite_stops_before_it_reaches_the_weights(tmp_path):
    model = net(dropout=0.0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(TrainingError, match="gradient is not finite at step 1"):
        train(model, lambda m, b: (loss(m, b) * 0).sqrt(), Balls(4, 8), SMALL, tmp_path, progress=False)
    assert equal(before, model.state_dict())


def test_out_of_memory_ends_with_advice(tmp_path):
    def greedy(model, batch):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(TrainingError, match="smaller patch.*batch=1, accumulate=2.*FMLAB_PROFILE"):
        train(net(), greedy, Balls(4, 8), SMALL, tmp_path, progress=False)


def test_what_cannot_be_trained_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="empty"):
        train(net(), loss, [], SMALL, tmp_path)
    with pytest.raises(TrainingError, match="n-th case"):
        train(net(), loss, iter([]), SMALL, tmp_path)
    with pytest.raises(TrainingError, match="unfreeze"):
        train(net().requires_grad_(False), loss, Balls(4), SMALL, tmp_path)
    for wrong in ({"steps": 0}, {"batch": 1.5}, {"lr": math.nan}, {"schedule": "step"}, {"precision": "fp16"}, {"clip": 0.0}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            replace(SMALL, **wrong)


def test_bf16_everywhere_trains_on_a_cpu(tmp_path):
    seen = []

    def watched(model, batch):
        seen.append(model(batch["image"]).dtype)
        return loss(model, batch)

    torch.manual_seed(0)
    model = net()
    config = TrainConfig(steps=20, lr=1e-2, warmup=2, precision="bf16-everywhere", device="cpu")
    losses = [line["loss"] for line in train(model, watched, Balls(4), config, tmp_path / "everywhere", progress=False).log]
    assert set(seen) == {torch.bfloat16} and np.mean(losses[-3:]) < 0.7 * losses[0]
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    seen.clear()
    train(model, watched, Balls(4), SMALL, tmp_path / "cuda only", progress=False)  # "bf16": as it always was on a CPU
    assert set(seen) == {torch.float32}


def test_frozen_weights_stay(tmp_path):
    model = net()
    model[0].requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    train(model, loss, Balls(4, 8), SMALL, tmp_path, progress=False)
    assert torch.equal(before["0.weight"], model[0].weight) and not torch.equal(before["3.weight"], model[3].weight)


def test_schedules_by_their_formulas():
    config = TrainConfig(steps=110, lr=2.0, warmup=10)
    assert [learning_rate(config, k) for k in (0, 9, 10)] == pytest.approx([0.2, 2.0, 2.0])
    assert learning_rate(config, 60) == pytest.approx(1.0)
    assert learning_rate(config, 35) == pytest.approx(1 + math.cos(math.pi / 4))
    poly = replace(config, schedule="poly", power=0.9)
    assert learning_rate(poly, 60) == pytest.approx(2 * 0.5**0.9)
    assert learning_rate(replace(config, schedule="constant"), 109) == 2.0
    assert 0 < learning_rate(poly, 109) < 0.05 and 0 < learning_rate(config, 109) < 0.001
    assert learning_rate(TrainConfig(steps=3, warmup=5), 2) == pytest.approx(0.6e-3)


def test_every_epoch_has_every_case_once_and_processes_share_a_pass():
    order = Order(7, seed=1)
    epochs = [[order[p] for p in range(7 * e, 7 * e + 7)] for e in range(3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs) and epochs[0] != epochs[1]
    together = order.share(2, 4)
    assert sorted(order.share(2, 4, 0, 2) + order.share(2, 4, 1, 2)) == sorted(together) and len(together) == 4


def test_a_draw_depends_on_its_position_alone():
    drawn = Drawn(recipes.Jittered(4, 8), seed=5)
    first, again, later = drawn[0, 1], drawn[0, 1], drawn[1, 1]
    assert torch.equal(first["image"], again["image"]) and not torch.equal(first["image"], later["image"])


def test_the_callers_random_numbers_are_left_alone(tmp_path):
    states = random_states()
    run(recipes.noisy, SMALL, tmp_path)
    now = random_states()
    assert torch.equal(states["torch"], now["torch"]) and torch.equal(states["numpy"][1], now["numpy"][1])
    assert states["random"] == now["random"]
    set_random_states(states)


def test_a_torn_line_ends_the_log(tmp_path):
    (tmp_path / "log.jsonl").write_text(json.dumps({"step": 1}) + '\n{"step": 2, "lo')
    assert read_log(tmp_path) == [{"step": 1}] and read_log(tmp_path / "nowhere") == []


def test_the_shell_runs_a_recipe_and_refuses_in_a_sentence(tmp_path, capsys):
    assert shell.main([str(tmp_path), "--steps", "2", "--clip", "none", "--device", "cpu"]) == 0
    assert (tmp_path / "curve.png").stat().st_size > 1000
    assert shell.main([str(tmp_path), "--recipe", "fmlab.nowhere:nothing"]) == 1
    assert "There is no recipe 'fmlab.nowhere:nothing'" in capsys.readouterr().err


def test_freed_memory_is_kept_on_linux_and_nowhere_promised(monkeypatch):
    from fmlab.training import allocator

    with allocator.freed_memory_kept() as kept:
        assert kept is sys.platform.startswith("linux")
    with allocator.freed_memory_kept(False) as kept:
        assert kept is False
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    with allocator.freed_memory_kept() as kept:
        assert kept is False
