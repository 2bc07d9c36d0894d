"""The CLIP-driven model gives the official vectors, numbers and logits; label transfer and post-processing the official masks."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from fill import filled_state
from parity_files import arrays, parity_cases, seed_of
from torch import Tensor, nn

from fmlab import hub
from fmlab.backbones import SuPreMUNet, SwinUNETR
from fmlab.pretraining.clip_driven import ClipDriven
from fmlab.pretraining.clip_driven_data import CLASSES, DATA_SETS, PARENTS, SPELLINGS, data_set, dataset_of, template
from fmlab.pretraining.clip_driven_labels import as_classes, label_transfer, with_sides
from fmlab.pretraining.postprocess_clip_driven import postprocessed

TOLERANCE = {"unet": 1e-5, "swin_unetr": 1e-4}  # of the largest value
BUILT = {"unet": SuPreMUNet, "swin_unetr": SwinUNETR}


def size_of(path: Path) -> str:
    return "swin_unetr" if "swin" in path.stem else "unet"


def network(path: Path, stored: dict[str, np.ndarray]) -> ClipDriven:
    """The model of a file: classes from its arrays; the learnt variant where the file has no text branch."""
    classes, vision = stored["controller"].shape[1], stored["gap"].shape[1]
    table = torch.zeros(classes, 512) if "text_to_vision_prerelu" in stored else None
    in_channels = stored["input_u8"].shape[1]
    model = ClipDriven(BUILT[size_of(path)](in_channels=in_channels), [str(k) for k in range(classes)], table, vision)
    model.load_state_dict(filled_state(model.state_dict(), seed_of(stored)))
    return model.eval()


def compare(ours: Tensor, stored: dict[str, np.ndarray], name: str, tolerance: float) -> None:
    """A whole array, its strided copy, its window and its moments, whichever the file holds."""
    found = [key for key in stored if re.fullmatch(rf"{name}(_s\d+|_crop|_stats|)", key)]
    assert found, f"nothing of {name}"
    for key in found:
        rest, theirs = key.removeprefix(name), stored[key]
        if rest.startswith("_s") and rest[2:].isdigit():
            step = int(rest[2:])
            mine = ours[:, :, ::step, ::step, ::step]
        elif rest == "_crop":
            mine = ours[:, :, 8:14, 9:15, 10:16]
        elif rest == "_stats":
            flat = ours.flatten(2).double()
            mine = torch.stack([flat.mean(2), flat.std(2), flat.amin(2), flat.amax(2)], 2)
        else:
            mine = ours
        assert mine.shape == theirs.shape, key
        assert np.abs(mine.numpy() - theirs).max() <= tolerance * np.abs(theirs).max(), key


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("universal", "clip_unet", "clip_swinunetr"))
def test_every_stage(path: Path):
    stored, tolerance = arrays(path), TOLERANCE[size_of(path)]
    model = network(path, stored)
    x = torch.from_numpy(stored["input_u8"]).float() / 255
    deep, z = model.backbone.deep_and_features(x)
    compare(deep, stored, "backbone_deep", tolerance)
    compare(z, stored, "backbone_out", tolerance)
    f = model.GAP(deep).flatten(1)
    compare(f, stored, "gap", tolerance)
    compare(model.text_to_vision(model.organ_embedding), stored, "text_to_vision_prerelu", tolerance)
    compare(model.theta(f, range(len(model.classes))), stored, "controller", tolerance)
    compare(model.precls_conv(z), stored, "precls", tolerance)
    logits = model(x)
    compare(logits, stored, "logits", tolerance)
    few = model(x, [5, 0])  # a part of the classes is a part of the answer
    assert (few - logits[:, [5, 0]]).abs().max() <= 1e-6 * logits.abs().max()


@pytest.mark.parametrize("path", parity_cases("universal", "manifest_clip_unet", "manifest_clip_swinunetr", suffix=".json"))
def test_official_checkpoints_fit(path: Path):
    manifest = json.loads(path.read_text())
    size = size_of(path)
    model = built(size)
    assert sum(p.numel() for p in model.parameters()) == manifest["n_parameters"]
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == dict(manifest["entries"])
    official = {}
    for key, shape in manifest["entries"]:
        kind = torch.int64 if key in manifest["dtypes_nonfloat"] else torch.float32
        if size == "swin_unetr":
            key = key.removeprefix("backbone.")  # as published; its loader puts it back
        official["module." + key] = torch.full(shape, 1, dtype=kind)
    saved = {"net": official, "optimizer": {"state": {}}, "scheduler": {}, "epoch": 500}
    report = hub.load_official(model, saved)
    assert len(report.matched) == manifest["n_state"] and not report.missing + report.unexpected
    assert all((value == 1).all() for value in model.state_dict().values())


@pytest.mark.parametrize("path", parity_cases("universal", "dataset_templates", suffix=".json"))
def test_tables_of_classes_and_data_sets(path: Path):
    told = json.loads(path.read_text())["clip_driven_universal_model"]
    spelt = {int(k): name for k, name in told["prompt_spellings_used_for_embeddings"].items()}
    for k, name in told["classes_1based"].items():
        assert CLASSES[int(k) - 1] == name or SPELLINGS[CLASSES[int(k) - 1]] == name
    assert {CLASSES[k - 1]: name for k, name in spelt.items()} == SPELLINGS
    parents = {CLASSES[k - 1]: list(parents) for k, parents in PARENTS.items()}
    assert parents == told["parent_organ_of_tumour"]
    assert set(DATA_SETS) == set(told["datasets"])
    for key, facts in told["datasets"].items():
        known = data_set(key)
        by_start = {words.split(" ")[0].split("_")[0]: value for words, value in facts.items()}
        assert list(known.annotated) == facts["annotated_1based"], key
        if "raw" in by_start:
            assert list(known.values) == by_start["raw"], key
        assert list(known.paired) == by_start.get("left", []), key
        assert [list(pair) for pair in known.tumours.items()] == by_start.get("tumour", []), key
        assert [list(pair) for pair in known.exported.items()] == by_start.get("export", []), key


def transfers(path: Path) -> dict[str, dict[str, np.ndarray]]:
    cases: dict[str, dict[str, np.ndarray]] = {}
    for key, value in arrays(path).items():
        case, field = key.split("/")
        cases.setdefault(case, {})[field] = value
    return cases


@pytest.mark.parametrize("path", parity_cases("universal", "clip_label_transfer"))
def test_label_transfer(path: Path):
    for name, case in transfers(path).items():
        key, annotated = dataset_of(str(case["name"])), case["annotated_1based"] - 1
        assert (template(key).nonzero().flatten().numpy() == annotated).all(), name
        classes = as_classes(case["raw"], key)
        assert (classes == case["template"]).all(), name
        assert (with_sides(classes, data_set(key).paired) == case["after_rl_split"]).all(), name
        y = label_transfer(case["raw"], key)
        assert (y[annotated] == case["post_label_annotated"]).all(), name
        assert (np.delete(y, annotated, 0) == -1).all(), name


@pytest.mark.parametrize("path", parity_cases("universal", "clip_postprocess"))
def test_postprocessing(path: Path):
    stored = arrays(path)
    shape = tuple(stored["shape"])
    given, wanted = (np.unpackbits(stored[name])[: np.prod(shape)].reshape(shape) > 0 for name in ("pred_in", "pred_out"))
    found = postprocessed(torch.from_numpy(given)).numpy()
    for k in range(shape[0]):
        assert (found[k] == wanted[k]).all(), CLASSES[k]


@pytest.mark.parametrize("path", parity_cases("universal", "loss_clip_driven"))
def test_the_name_of_a_case_tells_its_template(path: Path):
    for name, case in transfers(path).items():
        for said, key, mask in zip(case["names"], case["keys"], case["mask"]):
            assert dataset_of(str(said)) == str(key), name
            assert (template(str(key)).numpy() == mask).all(), name


@pytest.mark.parametrize(("size", "counts"), [("unet", (19_416_417, 19_073_600)), ("swin_unetr", (62_595_315, 62_186_610))])
def test_published_counts(size: str, counts: tuple[int, int]):
    assert (number(built(size)), number(built(size).backbone)) == counts


def test_the_count_does_not_depend_on_the_number_of_classes():
    with torch.device("meta"):
        few = hub.build("clip_driven", size="unet", classes=CLASSES[:9])
        learnt = hub.build("clip_driven", size="unet", text="learned")
    assert number(few) == number(built("unet"))
    assert number(learnt) == number(few) - (512 * 256 + 256) + 32 * 256  # a vector a class, and no layer for texts


@lru_cache
def built(size: str) -> ClipDriven:
    """A model of published size whose values do not matter."""
    return hub.build("clip_driven", size=size)


def number(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
