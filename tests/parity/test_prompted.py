"""DoDNet, UniSeg, Hermes and Med3D give the official outputs, inside and at the end; they and MultiTalent have the official names
in their order, and MultiTalent the official regions.

UniSeg's instance norms over few voxels enlarge rounding, by another factor on each processor (1e-5 to 3e-5 of the largest value
at its bottleneck), so there we compute in float64, where all processors agree and what is left is the official rounding, 1e-5.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from fill import filled_state
from parity_files import arrays, parity_cases, seed_of
from torch import nn

from fmlab import hub
from fmlab.pretraining.multitalent_regions import DATASETS, values_of

INPUTS = {"x = u8/255*2-1": (127.5, 127.5), "x=(u8-127.5)/64": (127.5, 64)}  # note of a file -> what to subtract, to divide by


def filled(stored: dict[str, np.ndarray], name: str, **config) -> nn.Module:
    """A model in whose official names the weights of the fill rule were found, all of them."""
    model = hub.build(name, **config).eval()
    report = hub.load_official(model, filled_state(model.state_dict(), seed_of(stored)))
    assert len(report.matched) == len(model.state_dict())
    return model


def volume(stored: dict[str, np.ndarray]) -> torch.Tensor:
    shift, scale = INPUTS[str(stored["input_note"]).split(";")[0].strip()]
    return torch.from_numpy((stored["input_u8"].astype(np.float32) - np.float32(shift)) / np.float32(scale))


def same(ours: torch.Tensor, stored: dict[str, np.ndarray], key: str, tolerance: float = 1e-5) -> None:
    """Within the tolerance of the largest value; a key that ends with _sN holds every N-th voxel."""
    theirs = stored[key]
    if every := re.search(r"_s(\d+)$", key):
        ours = ours[(..., *[slice(None, None, int(every[1]))] * 3)]
    assert ours.shape == theirs.shape, key
    assert np.abs(ours.numpy() - theirs).max() <= tolerance * np.abs(theirs).max(), key


def same_logits(ours: torch.Tensor, stored: dict[str, np.ndarray], tolerance: float = 1e-5) -> None:
    every = int(stored.get("logits_stride", 2))  # some files thin logits_s2 out by more than its name says
    same(ours[..., ::every, ::every, ::every], {"logits": stored["logits_s2"]}, "logits", tolerance)
    same(ours[:, :, 4:12, 5:13, 6:14], stored, "logits_crop", tolerance)
    same(statistics(ours), stored, "logits_stats", tolerance)


def statistics(ours: torch.Tensor) -> torch.Tensor:
    """(B, K, 4): mean, standard deviation, smallest and largest of each channel."""
    exact = ours.double().flatten(2)
    return torch.stack([exact.mean(2), exact.std(2), exact.amin(2), exact.amax(2)], 2)


def watched(model: nn.Module, *names: str) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Filled in the next forward pass: name of a part -> what went in, what came out."""
    passed = {}
    for name in names:
        model.get_submodule(name).register_forward_hook(
            lambda _, given, found, name=name: passed.__setitem__(name, (given[0], found)))
    return passed


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("universal", "dodnet"))
def test_dodnet(path: Path):
    stored = arrays(path)
    hidden, tasks = stored["precls_s4"].shape[1], stored["controller_in"].shape[1] - stored["deep"].shape[1]
    model = filled(stored, "dodnet", tasks=tasks, outputs=stored["logits_s2"].shape[1], hidden=hidden,
                   in_channels=stored["input_u8"].shape[1])
    near = 4e-5  # rounding in twenty layers: against float64 both we and the official values are off by 1e-5
    passed = watched(model, "fusionConv", "controller", "precls_conv")
    logits = model(volume(stored), torch.from_numpy(stored["task_id"]))
    same(passed["fusionConv"][1], stored, "deep", near)
    same(passed["controller"][0].flatten(1), stored, "controller_in")
    same(passed["controller"][1].flatten(1), stored, "controller")
    same(passed["precls_conv"][1], stored, "precls_s4")
    same_logits(logits, stored, near)


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("universal", "uniseg_c*"))
def test_uniseg(path: Path):
    stored = arrays(path)
    patch, tasks = stored["input_u8"].shape[2:], stored["dynamic_prompt"].shape[1]
    model = filled(stored, "uniseg", patch=patch, tasks=tasks, classes=stored["logits_s2"].shape[1]).double()
    near = 2e-5
    passed = watched(model, "fusion_layer")
    x = volume(stored).double()
    scales = model.train().scales(x, int(stored["task_id"]))  # all of them; its layers are the same in testing
    assert len(scales) == int(stored["n_outputs"])
    same(passed["fusion_layer"][0], stored, "bottleneck_and_prompt", near)
    same(passed["fusion_layer"][1], stored, "dynamic_prompt", near)
    same_logits(scales[0], stored, near)
    for number, logits in enumerate(scales[1:], 1):
        same(logits[..., ::2, ::2, ::2] if number == 1 else logits, stored, f"ds{number}", near)


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("universal", "hermes_r", "hermes_m"))
def test_hermes(path: Path):
    stored = arrays(path)
    size, head = ("medformer", "out_classifier") if "aux_stats" in stored else ("published", "out")
    model = filled(stored, "hermes", size=size, modalities=stored["modality_logits"].shape[1],
                   in_channels=stored["input_u8"].shape[1])
    passed = watched(model, f"{head}.norm", "mod_out.norm")
    answer = model.answer(volume(stored), torch.from_numpy(stored["tgt_idx"]), torch.from_numpy(stored["mod_idx"][:, 0]))
    near = 1e-4  # forty layers and more; against float64 we are off by 1e-5 at the deepest level
    same(passed[f"{head}.norm"][0], stored, "task_prior_concat", near)
    same(passed["mod_out.norm"][0], stored, "modality_prior_concat", near)
    same(answer.prototypes, stored, "classifier_weights", near)
    same(answer.modality, stored, "modality_logits", near)
    same(answer.features, stored, "feat_s8", near)
    same_logits(answer.logits, stored, near)
    if answer.aux is not None:
        same(answer.aux, stored, "aux_s4", near)
        same(statistics(answer.aux), stored, "aux_stats", near)


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("universal", "med3d_resnet*"))
def test_med3d(path: Path):
    stored = arrays(path)
    model = filled(stored, "med3d", depth=depth_of(path), classes=stored["out"].shape[1], in_channels=stored["input_u8"].shape[1])
    passed = watched(model, "layer4")
    out = model(volume(stored))
    h = passed["layer4"][1]
    every = h.shape[1] // stored["layer4_s2"].shape[1]  # it is thinned out along the channels only
    assert np.abs(h[:, ::every].numpy() - stored["layer4_s2"]).max() <= 1e-5 * np.abs(stored["layer4_s2"]).max()
    same(out, stored, "out")


def depth_of(path: Path) -> int:
    return int(re.search(r"resnet(\d+)", path.stem)[1])


def of_manifest(path: Path, manifest: dict) -> tuple[str, dict]:
    """Name and config of the model that a manifest lists."""
    name, shapes = path.stem.split("_")[1], dict(manifest["entries"])
    if name == "hermes":
        tables = [shape for key, shape in shapes.items() if key.endswith("_prior")][:2]
        size = "medformer" if manifest["config"]["model"] == "hermes_medformer" else "published"
        return name, dict(size=size, tasks=tables[0][0] - 1, modalities=tables[1][0], in_channels=manifest["config"]["in_chan"])
    if name == "multitalent":
        plan = manifest["plan"]
        config = dict(pools=json.loads(plan["pool_op_kernel_sizes"]), kernels=json.loads(plan["conv_kernel_sizes"]))
        if "num_blocks_encoder" not in plan:
            return name, config
        blocks = [int(count) for count in re.findall(r"\d+", plan["num_blocks_encoder"])]
        return name, config | dict(size="resenc", pools=config["pools"][1:], blocks=blocks)  # theirs begin with the first level
    if name == "med3d":
        return name, dict(depth=depth_of(path), classes=shapes["conv_seg.6.weight"][0])
    if name == "dodnet":
        return name, dict(tasks=shapes["controller.weight"][1] - shapes["GAP.0.weight"][0])
    _, tasks, *deep = shapes["intermedia_prompt"]
    patch = tuple(n * s for n, s in zip(deep, (16, 32, 32)))
    return name, dict(tasks=tasks, patch=patch, classes=shapes["seg_outputs.0.weight"][0])


MANIFESTS = parity_cases("universal", *(f"manifest_{name}" for name in ("dodnet", "uniseg", "hermes", "multitalent", "med3d")),
                         suffix=".json")


@pytest.mark.parametrize("path", MANIFESTS)
def test_names_order_and_counts(path: Path):
    manifest = json.loads(path.read_text())
    name, config = of_manifest(path, manifest)
    with torch.device("meta"):
        model = hub.build(name, **config)
    assert [[key, list(value.shape)] for key, value in model.state_dict().items()] == manifest["entries"]
    assert sum(p.numel() for p in model.parameters()) == manifest["n_parameters"]
    integers = [key for key, value in model.state_dict().items() if not value.is_floating_point()]
    assert len(integers) == len(manifest["dtypes_nonfloat"])


@pytest.mark.parametrize("path", parity_cases("universal", "multitalent_regions", suffix=".json"))
def test_regions_of_multitalent(path: Path):
    official = json.loads(path.read_text())
    assert list(values_of().items()) == [(name, tuple(values)) for name, values in official["regions"].items()]
    assert {name: list(regions) for name, regions in DATASETS.items()} == official["valid_regions"]
