"""Weights, checkpoints, adapters and cached bodies, damaged or made to do harm: one sentence, and none of their code runs."""

from __future__ import annotations

import ast
import json
import os
import pickle
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_phantoms import fake_sample
from fuzzing import Fuzz, mutated, odd_json, sentence
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_models import base
from torch import nn

import fmlab
from fmlab import adaptation, hub, phantom_cache
from fmlab.contrastive import flair
from fmlab.errors import FmlabError, ModelError, TrainingError
from fmlab.training import checkpoint
from fmlab.training.config import TrainConfig
from fmlab.training.optimisers import optimisers
from fmlab.training.order import random_states, seeded

pytestmark = pytest.mark.filterwarnings("ignore")
ROOT = Path(fmlab.__file__).parents[1]


def odd_safetensors(path: Path, key: str, rng: np.random.Generator) -> bytes:
    """A file of safetensors with odd words about itself, with other tensors, or with broken bytes."""
    content = path.read_bytes()
    if rng.random() < 0.4:
        return mutated(content, rng, head=2000)
    with safe_open(path, framework="pt") as file:
        said, tensors = json.loads(file.metadata()[key]), load_file(path)
    kind, name = rng.random(), str(rng.choice(list(tensors)))
    if kind < 0.6:
        said = odd_json(said, rng)
    elif kind < 0.8:
        tensors[name] = [torch.zeros(0), torch.zeros(3), tensors[name].double(), torch.zeros(2, 2, dtype=torch.bool),
                         tensors[name][..., :1]][int(rng.integers(5))].contiguous()
    else:
        tensors |= {f"{name}.x": tensors.pop(name)}
    draft = path.with_name("draft")
    save_file(tensors, draft, {key: json.dumps(said)} if rng.random() < 0.95 else None)
    content = draft.read_bytes()
    draft.unlink()
    return content


def odd_torch(whole: dict, path: Path, rng: np.random.Generator) -> bytes:
    """A file of torch.save with odd values in it, or with broken bytes."""
    path.unlink(missing_ok=True)
    torch.save(odd_state(whole, rng) if rng.random() < 0.6 else whole, path, _use_new_zipfile_serialization=rng.random() < 0.8)
    content = path.read_bytes()
    return mutated(content, rng, head=1500) if rng.random() < 0.5 else content


def odd_state(whole: dict, rng: np.random.Generator) -> object:
    """A nest of dicts and lists in which one place holds something else."""
    tree = deepcopy(whole)
    odd = [None, -1, "x", [], {}, torch.zeros(0), torch.zeros(3, dtype=torch.complex64), torch.zeros(2).to_sparse(), 10**30, True,
           torch.zeros(3, device="meta"), float("nan"), {3: torch.zeros(2)}, tree]  # the last one holds itself
    node = tree
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = keys[int(rng.integers(len(keys)))]
        inside = node[key]
        if isinstance(inside, dict | list) and inside and rng.random() < 0.8:
            node = inside
            continue
        node[key] = odd[int(rng.integers(len(odd)))]
        return tree if rng.random() < 0.95 else odd[int(rng.integers(len(odd) - 1))]


def test_fuzz_safetensors(tmp_path, capsys):
    fuzz = Fuzz("safetensors")
    path = hub.save(hub.build("universal", width=2), tmp_path / "right.safetensors", seed=1)
    broken = tmp_path / "broken.safetensors"
    for rng in fuzz:
        broken.write_bytes(odd_safetensors(path, "fmlab", rng))
        found = fuzz.hold(lambda: hub.load("universal", broken), tmp_path)
        assert isinstance(found, nn.Module | ModelError)
    capsys.readouterr()
    fuzz.tell()


def test_fuzz_official(tmp_path, capsys):
    """Files of torch.save, as the official weights are."""
    fuzz, path = Fuzz("official"), tmp_path / "broken.pth"
    state = dict(hub.build("universal", width=2).state_dict())
    for rng in fuzz:
        path.write_bytes(odd_torch({"net": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, path, rng))
        found = fuzz.hold(lambda: hub.load("universal", path, width=2), tmp_path)
        assert isinstance(found, nn.Module | ModelError)
    capsys.readouterr()
    fuzz.tell()


def test_a_model_that_does_not_fit_is_left_as_it_was(tmp_path, capsys):
    model = hub.build("universal", width=2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for odd in (torch.zeros(3).to_sparse(), torch.zeros(1, dtype=torch.complex64), torch.zeros(1, device="meta"), torch.zeros(0)):
        state = {key: torch.ones_like(value) for key, value in before.items()}
        state[list(state)[-1]] = odd.expand(before[list(state)[-1]].shape) if odd.numel() == 1 else odd
        with pytest.raises(ModelError):
            hub.load_official(model, state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("config", [{"width": width} for width in (10**6, 10**12, -1, "x", 1e300)] + [{"x": 1}])
def test_a_small_file_may_not_claim_a_model_of_terabytes(tmp_path, config, capsys):
    path = hub.save(hub.build("universal", width=2), tmp_path / "right.safetensors")
    said = json.dumps({"name": "universal", "config": config})
    save_file(load_file(path), broken := tmp_path / "large.safetensors", {"fmlab": said})
    with pytest.raises(ModelError) as caught:
        hub.load("universal", broken)
    sentence(caught.value)


def test_loading_draws_no_random_numbers_but_the_builders(tmp_path, capsys):
    """The look at a file's size, before it is believed, leaves the generator where it was: lessons draw what they always drew."""
    path = hub.save(hub.build("universal", width=2), tmp_path / "right.safetensors")
    torch.manual_seed(0)
    hub.build("universal", width=2)
    expected = torch.rand(3)
    torch.manual_seed(0)
    hub.load("universal", path)
    assert torch.equal(torch.rand(3), expected)


CONFIG = TrainConfig(steps=4, batch=1)


def trained(folder: Path) -> tuple[nn.Module, object, dict]:
    """A tiny training's model, optimiser and checkpoint, with something in the optimiser's state."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    optimiser = optimisers(model, CONFIG)
    model(torch.ones(2, 3)).sum().backward()
    optimiser.step()
    checkpoint.save(folder / checkpoint.NAME, model, optimiser, [random_states()], CONFIG, 2, 5)
    return model, optimiser, torch.load(folder / checkpoint.NAME, weights_only=True)


def test_fuzz_checkpoint(tmp_path):
    fuzz, path = Fuzz("checkpoint"), tmp_path / checkpoint.NAME
    model, optimiser, whole = trained(tmp_path)
    for rng in fuzz:
        path.write_bytes(odd_torch(whole, path, rng))
        with seeded(0):
            found = fuzz.hold(lambda: checkpoint.load(path, model, optimiser, CONFIG, 5, 0, 1), tmp_path)
        assert isinstance(found, TrainingError) or type(found) is int and found >= 0
    fuzz.tell()


def test_fuzz_adapter(tmp_path):
    fuzz, methods = Fuzz("adapter"), ("lora", "affine", "bitfit")
    for method in methods:
        adaptation.attach(base("unet"), method, **({"rank": 2} if method == "lora" else {})).save(tmp_path / method)
    model, broken = base("unet"), tmp_path / "broken.safetensors"
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for rng in fuzz:
        broken.write_bytes(odd_safetensors(tmp_path / f"{rng.choice(methods)}.safetensors", "fmlab-adapter", rng))
        found = fuzz.hold(lambda model=model: adaptation.load(model, broken), tmp_path)
        if isinstance(found, ModelError):
            now = model.state_dict()
            assert now.keys() == before.keys() and all(torch.equal(value, now[key]) for key, value in before.items())
            assert not hasattr(model, "adapted")
        else:
            model = base("unet")
    fuzz.tell()


def test_fuzz_phantom():
    """A cached body that is damaged is made again, and is then the same."""
    fuzz = Fuzz("phantom")
    body = phantom_cache.Body(3, "A", 8.0, False, "test")
    phantom_cache.make(body, fake_sample)
    content, right = body.path.read_bytes(), phantom_cache.load(body, fake_sample)
    for rng in fuzz:
        body.path.write_bytes(mutated(content, rng, head=len(content)))
        found = fuzz.hold(lambda: phantom_cache.load(body, fake_sample))
        assert torch.equal(found.labels, right.labels) and found.shape == right.shape
        assert not list(body.path.parent.glob(".*"))
    fuzz.tell(both=False)


# ---- nothing that is loaded may run ----


class Bomb:
    """Makes a folder when it is unpickled: what an attacker's file would do, only worse."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


def test_the_bomb_does_go_off_where_pickles_are_believed(tmp_path):
    torch.save({"a": Bomb(tmp_path / "fired")}, tmp_path / "a.pt")
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert (tmp_path / "fired").is_dir()


def loads(path: Path) -> dict[str, object]:
    """Every way in which fmlab takes a file that could be a pickle: suffix -> function."""
    model, optimiser = nn.Linear(1, 1), None
    return {".pt": lambda: hub.load("universal", path, width=2), ".pth": lambda: flair._tensors(path),
            ".safetensors": lambda: hub.load("universal", path), "checkpoint.pt":
            lambda: checkpoint.load(path, model, optimiser, CONFIG, 5, 0, 1), "adapter.safetensors":
            lambda: adaptation.load(base("unet"), path), ".tar": lambda: hub.load("universal", path, width=2)}


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("ending", list(loads(Path())))
def test_a_bomb_in_a_file_of_weights_does_not_go_off(tmp_path, ending, new_format):
    fired, path = tmp_path / "fired", tmp_path / f"a{ending}"
    _, _, whole = trained(tmp_path)
    for content in (whole | {"random": Bomb(fired)}, Bomb(fired), {"net": {"w": torch.zeros(1), "x": Bomb(fired)}},
                    whole | {"model": {"w": Bomb(fired)}}):
        path.unlink(missing_ok=True)
        torch.save(content, path, _use_new_zipfile_serialization=new_format)
        with pytest.raises(FmlabError) as caught:
            loads(path)[ending]()
        sentence(caught.value)
        path.write_bytes(pickle.dumps(content if isinstance(content, Bomb) else Bomb(fired)))
        with pytest.raises(FmlabError):
            loads(path)[ending]()
    assert not fired.exists()


def test_a_bomb_in_the_cache_of_bodies_does_not_go_off(tmp_path):
    body = phantom_cache.Body(3, "A", 8.0, False, "test")
    phantom_cache.make(body, fake_sample)
    with np.load(body.path) as stored:
        arrays = dict(stored)
    for name in arrays:
        np.savez(body.path, **(arrays | {name: np.array([Bomb(tmp_path / "fired")], dtype=object)}))
        phantom_cache.load(body, fake_sample)
    assert not (tmp_path / "fired").exists()


def test_no_code_of_ours_believes_pickles():
    """No pickle, marshal, dill, joblib, yaml.load; torch.load with weights_only=True, np.load without allow_pickle=True."""
    found = []
    folders = ("fmlab", "data_scripts", "tutorials", "benchmarks")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                found += [f"{path}: {name}" for name in names if name.split(".")[0] in ("pickle", "marshal", "dill", "joblib")]
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
                whose, given = ast.unparse(node.func.value), {word.arg: ast.unparse(word.value) for word in node.keywords}
                if (whose == "torch" and given.get("weights_only") != "True" or whose == "yaml"
                        or whose == "np" and given.get("allow_pickle", "False") != "False"):
                    found.append(f"{path}:{node.lineno}: {ast.unparse(node)}")
    assert len(files) > 100 and not found
