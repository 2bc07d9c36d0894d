"""Recipes at the published scale: each is built, its cubes fit its loss, and its printed command says what the table says."""

from __future__ import annotations

import importlib
import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from data_scripts import published_recipes as recipes
from data_scripts.one_case import Settings
from fmlab import hub, train
from fmlab.errors import DataError, ModelError
from fmlab.pretraining.med3d import Med3D
from fmlab.pretraining.targets import targets
from fmlab.pretraining.text_embeddings import Random
from fmlab.templates import annotated_by
from fmlab.training import TrainConfig
from fmlab.vocabulary import ID

REPOSITORY = Path(recipes.__file__).parents[1]
DRAWN = {"lits": ("liver", "liver_tumor"), "amos22": ("liver", "spleen", "kidney_left", "aorta")}
TINY = {"unimiss": (48, 48, 16), "desd": (64, 32, 32), "suprem": (64, 32, 32), "mae": (64, 32, 32),
        "genesis": (64, 32, 32), "med3d": (32, 32, 16), "dodnet": (32, 32, 16)}
SMALLER = {"clip_driven": lambda: hub.build("clip_driven", size="nano", classes=list(recipes.OF_CLIP), text="random"),
           "swin_ssl": lambda: hub.build("swin_ssl", width=8)}
"""Instead of the benchmark's tiny ones, which take seconds."""


def prepared_scan(folder: Path, name: str, spacing: float, case: int = 0) -> None:
    """A made-up scan as ``data_scripts.prepare`` leaves one: soft tissue with a slab for each structure."""
    rng = np.random.default_rng(case)
    image = rng.normal(40, 10, (72, 70, 68)).astype(np.int16)
    labels = np.zeros(image.shape, np.uint8)
    for n, structure in enumerate(DRAWN.get(name, ())):
        labels[10:60, 10:60, 12 * n + 8:12 * n + 20] = ID[structure]
    facts = {"key": {"name": f"{name}-{case}"}, "modality": "CT", "annotated": sorted(annotated_by(name)), "info": {}}
    place = folder / "prepared" / name / Settings(spacing).tag
    place.mkdir(parents=True, exist_ok=True)
    np.savez(place / f"{case}.npz", image=image, labels=labels, affine=np.diag([spacing] * 3 + [1.0]),
             facts=np.frombuffer(json.dumps(facts).encode(), np.uint8))


@pytest.fixture
def two_scans(fresh_cache) -> Path:
    """One of LiTS and one of AMOS22, at every spacing that a method wants."""
    for spacing in {setting.spacing for setting in recipes.SETTINGS.values()}:
        for name in DRAWN:
            prepared_scan(fresh_cache, name, spacing)
    return fresh_cache


@pytest.fixture
def benchmark(monkeypatch):
    """benchmarks/pretraining_step.py as a module."""
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    return importlib.import_module("pretraining_step")


@pytest.fixture(autouse=True)
def no_clip(monkeypatch):
    """No text tower, whatever this machine has."""
    def missing(**options):
        raise ModelError("There are no weights.")
    monkeypatch.setattr(recipes, "clip_from_transformers", missing)


@pytest.mark.filterwarnings("ignore:The classes get random vectors")
@pytest.mark.parametrize("method", recipes.METHODS)
def test_every_recipe_is_built_and_its_cubes_fit_its_loss(method, two_scans, benchmark, monkeypatch):
    """The network as published, its data and loss at a tiny size."""
    setting = recipes.SETTINGS[method]
    tiny = replace(setting, cut=replace(setting.cut, sides=TINY.get(method, (32, 32, 32))))
    monkeypatch.setitem(recipes.SETTINGS, method, tiny)
    model, loss, data = recipes.METHODS[method]()
    assert sum(weight.numel() for weight in model.parameters()) > 4e6
    assert len(data) == (1 if method in ("suprem", "dodnet", "uniseg") else 2)
    torch.manual_seed(0)
    batch = default_collate([data[n % len(data)] for n in range(2)])
    turned = tiny.cut.sides[::-1] if isinstance(data, recipes.Flat) else tiny.cut.sides
    assert batch["image"].shape == (2, 1, *turned) and batch["image"].std() > 0
    if method == "med3d":  # its branches are those of the data sets
        assert set(model.module.classes) == set(DRAWN)
        small = recipes.WithLoss(Med3D(10, model.module.classes, width=8), recipes.med3d_loss)
    elif method in SMALLER:
        small = SMALLER[method]()
    else:
        small = benchmark.STEPS[method](True)[0]
    value = loss(small.train(), batch)
    value.backward()
    gradients = [weight.grad for weight in small.parameters() if weight.requires_grad]
    assert value.isfinite() and any(gradient is not None and gradient.any() for gradient in gradients)
    assert setting.config.unused_parameters or all(gradient is not None for gradient in gradients)  # else DDP stops


def test_one_without_scans_says_what_to_run(fresh_cache):
    prepared_scan(fresh_cache, "lits", 4.0)  # of another spacing
    for method, recipe in recipes.METHODS.items():
        with pytest.raises(DataError, match=rf"prepare \w+ FOLDER --spacing {recipes.SETTINGS[method].spacing:g}"):
            recipe()
    with pytest.raises(DataError, match="one of btcv, abdomenct_12organ"):
        recipes.SETTINGS["suprem"].cohort()  # sets that lack one of the nine classes would not do


@pytest.mark.parametrize("method", recipes.METHODS)
def test_the_printed_command_is_the_table(method):
    setting = recipes.SETTINGS[method]
    for line, start in ((recipes.command(method), "fmlab.train"), (recipes.slurm(method), "docs/train.sbatch")):
        words = shlex.split(line)
        given = vars(train.parser().parse_args(words[words.index(start) + 1:]))
        assert given.pop("folder") == Path("runs") / method
        assert train.recipe(given.pop("recipe")) is recipes.METHODS[method]
        assert TrainConfig(**given) == setting.config
    assert f"--nproc-per-node={setting.gpus}" in recipes.command(method) and f"--gpus-per-node={setting.gpus}" in line
    assert setting.config.batch % setting.gpus == 0


def test_the_table_is_printed(capsys):
    assert recipes.main([]) == 0
    paragraphs = capsys.readouterr().out.strip().split("\n\n")
    assert [text.split()[0] for text in paragraphs] == list(recipes.METHODS) == list(recipes.SETTINGS)
    for text in paragraphs:
        assert all(f"\n  {word}" in text for word in (*recipes.COLUMNS, "data", "run", "slurm"))
    assert recipes.main(["dodnets"]) == 1 and "'dodnets'" in capsys.readouterr().err


@pytest.mark.parametrize("method", recipes.METHODS)
def test_what_is_cut_is_what_was_published(method):
    """The numbers of the patch in words, slices first where the authors have them so, are those of the cut."""
    setting = recipes.SETTINGS[method]
    words = setting.patch.replace(",", "").split()
    assert sorted(map(int, words[0:5:2])) == sorted(setting.cut.sides)
    assert setting.cut.taken[:2] == setting.cut.sides[:2]


def test_thick_slices_are_means_of_thin_ones():
    cut = recipes.Cut((2, 2, 3), recipes.window(0, 10), (1, 1, 2))
    assert cut.taken == (2, 2, 6) and recipes.SETTINGS["dodnet"].cut.taken == (192, 192, 120)
    assert cut.image(torch.arange(6.0).expand(2, 2, 6))[0, 0, 0].tolist() == pytest.approx([0.05, 0.25, 0.45])
    assert cut.labels(torch.arange(6).expand(2, 2, 6)).shape == (2, 2, 3)
    scored = replace(cut, scored=True).image(torch.arange(6.0).expand(2, 2, 6))
    assert scored.mean().abs() < 1e-6 and scored.std() == pytest.approx(1)


def test_evenly_means_data_sets_in_turn(fresh_cache):
    prepared_scan(fresh_cache, "lits", 1.5)
    for case in range(3):
        prepared_scan(fresh_cache, "amos22", 1.5, case)
    cut = recipes.Cut((16, 16, 16), recipes.SOFT_TISSUE)
    cohort = recipes.scans(1.5, ("amos22", "lits"))
    data = recipes.Labelled(cohort, cut, lambda labels, volume: {}, ["liver"], evenly=True)
    names = [data[n]["name"] for n in range(4)]
    assert [recipes.dataset_of(name) for name in names] == ["amos22", "lits"] * 2
    plain = recipes.Labelled(cohort, cut, lambda labels, volume: {}, ["liver"])
    assert [plain[n]["name"] for n in range(4)] == list(cohort.names)


def test_unions_and_numbers():
    labels = torch.tensor([0, ID["liver"], ID["liver_tumor"], ID["kidney_left"], ID["kidney_tumor_right"]]).view(5, 1, 1)
    labels = labels.to(torch.uint8)
    y, w = recipes.asked(labels, annotated_by("lits"), (("liver",), ("liver_tumor",), (), recipes.both("kidney")))
    assert y.flatten(1).tolist() == [[0, 1, 1, 0, 0], [0, 0, 1, 0, 0], [0] * 5, [0, 0, 0, 1, 1]] and w.tolist() == [1, 1, 0, 0]
    alone, _ = targets(labels, ["kidney_left", "kidney_right"], None)
    assert torch.equal(y[3], alone.amax(0))
    numbers = recipes.numbered(labels, (("liver",), ("liver_tumor",), recipes.both("kidney")))
    assert numbers.flatten().tolist() == [0, 1, 2, 3, 3]


@pytest.mark.parametrize("there", [True, False])
def test_clip_is_used_where_it_is(there, two_scans, monkeypatch):
    """A small network in the place of the large one, which knows its texts all the same."""
    build = recipes.hub.build
    monkeypatch.setattr(recipes.hub, "build", lambda name, size, **options: build(name, size="nano", **options))
    if there:
        monkeypatch.setattr(recipes, "clip_from_transformers", lambda **options: Random(512, seed=7))
        model = recipes.clip_driven()[0]
    else:
        with pytest.warns(UserWarning, match="random vectors, as CLIP's text tower is not here"):
            model = recipes.clip_driven()[0]
    assert torch.equal(model.organ_embedding, Random(512, seed=7 if there else 0)(model.classes))
    assert len(model.classes) == 31 and "Hepatic Vessel Tumor" not in model.classes


def test_the_benchmark_in_its_tiny_form(benchmark, capsys, monkeypatch):
    monkeypatch.setenv("FMLAB_DEVICE", "cpu")
    assert set(benchmark.STEPS) == set(recipes.METHODS)
    benchmark.main(["dodnet", "uniseg", "--tiny", "--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["dodnet", "uniseg"]
    assert all("cpu, tiny" in line and float(line.split()[-1]) > 0 for line in lines[:-1])
