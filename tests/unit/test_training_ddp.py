"""Two gloo processes under a real torchrun give what one process gives with the same global batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import fmlab
from fmlab import train as shell
from fmlab.training import read_log

HERE = Path(__file__).parent
OPTIONS = ["--steps=8", "--lr=1e-2", "--batch=4", "--accumulate=2", "--warmup=2", "--every=3", "--device=cpu"]


def launch(folder: Path, recipe: str) -> subprocess.CompletedProcess:
    """Two processes under torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "fmlab.train"]
    command += [str(folder), "--recipe", f"training_recipes:{recipe}", *OPTIONS]
    path = os.pathsep.join([str(HERE), str(Path(fmlab.__file__).parents[1])])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch was built without torch.distributed")
def test_two_processes_equal_one(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    assert shell.main([str(tmp_path / "one"), "--recipe", "training_recipes:steady", *OPTIONS]) == 0
    done = launch(tmp_path / "two", "steady")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("8 steps") == 1  # one process speaks
    saved = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("one", "two")]
    assert [len(whole["random"]) for whole in saved] == [1, 2]
    one, two = (whole["model"] for whole in saved)
    assert max(float((one[key] - two[key]).abs().max()) for key in one) < 1e-4
    losses = [[line["loss"] for line in read_log(tmp_path / name)] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4) and losses[0][-1] < losses[0][0]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch was built without torch.distributed")
def test_nan_in_one_process_stops_both_with_the_case(tmp_path):
    done = launch(tmp_path, "poisoned")
    assert done.returncode != 0
    assert done.stderr.count("The loss is not finite at step 1, case 3 (ball 3)") == 2, done.stderr[-2000:]
