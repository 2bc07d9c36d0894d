"""Each layer of adaptation gives the official outputs, alone and in its block; ARENA and AdaLoRA along a whole training."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from few_shot_files import close, entries, fill, shapes
from fill import filled
from parity_files import arrays, metadata, parity_cases, seed_of
from torch import nn
from torch.nn import functional as F

from fmlab.adaptation import adalora, arena
from fmlab.adaptation.adalora import SVDLinear
from fmlab.adaptation.adaptformer import AdaptFormerBlock, Bottleneck
from fmlab.adaptation.arena import Gated, soft_threshold
from fmlab.adaptation.cnn_adapter import Parallel, Series
from fmlab.adaptation.compacter import PHM, CompacterBlock
from fmlab.adaptation.lora import LoRAConv3d, LoRALinear
from fmlab.adaptation.sora import SoRALinear
from fmlab.adaptation.spatial_adapter import SpatialAdapter
from fmlab.backbones.suprem_unet import ConvNormReLU, Down

HF = ((r"^base_layer\.", "base."), (r"^lora_(A|B)\.default\.weight$", r"\1"))
SORA = ((r"^lora_", ""), (r"^gate$", "v"))
SVD = ((r"lora_A$", "Q"), (r"lora_B$", "P"), (r"lora_E$", "E"), (r".*ranknum$", ""), (r"^(\d\.)?(weight|bias)$", r"\1base.\2"))
PARALLEL = ((r"^conv\.", "0.base."), (r"^parallel_conv\.0\.conv\.weight$", "0.alpha"), (r"^bns\.0\.", "1."))
SERIES = ((r"^conv\.", "0.base."), (r"^bns\.0\.0\.conv\.0\.", "0.norm."), (r"^bns\.0\.0\.conv\.1\.weight$", "0.alpha"),
          (r"^bns\.0\.1\.", "1."))


def input_of(stored: dict[str, np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(stored["x"])


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("few_shot", "lora_qkv"))
def test_lora(path: Path):
    stored = arrays(path)
    rank, dim = shapes(stored)["A"]
    layer = fill(LoRALinear(nn.Linear(dim, 3 * dim), rank, metadata(stored)["scale"]), stored)
    close(layer(input_of(stored)), stored["y"])
    close(layer.merged().weight, stored["merged_weight"])


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("few_shot", "arena_qkv"))
def test_arena(path: Path):
    stored = arrays(path)
    rank, dim = shapes(stored)["A"]
    layer = fill(Gated(nn.Linear(dim, 3 * dim), rank), stored)
    close(layer.v, stored["gates"])
    close(layer(input_of(stored)), stored["y"])
    close(layer.base.weight + layer.delta(), stored["merged_weight"])
    layer.v.copy_(torch.from_numpy(stored["gates_pruned"]))
    assert arena.prune(nn.Sequential(layer)) == (np.count_nonzero(stored["gates_pruned"]), rank)
    close(layer(input_of(stored)), stored["y_pruned"])
    close(layer.merged()(input_of(stored)), stored["y_pruned"])


@pytest.mark.parametrize("path", parity_cases("few_shot", "arena_trajectory"))
def test_arena_training(path: Path):
    stored = arrays(path)
    meta = metadata(stored)
    inputs, outputs, rank = meta["dims"]
    layer = fill(Gated(nn.Linear(inputs, outputs), rank), stored)
    layer.base.requires_grad_(False)
    with torch.no_grad():
        layer.B.zero_()
        layer.v.copy_(torch.linspace(-0.9, 0.9, rank))
    optimiser = torch.optim.AdamW([layer.A, layer.B, layer.v], lr=meta["lr"], weight_decay=0)
    losses, gates = [], []
    for _ in range(meta["steps"]):
        loss = F.mse_loss(layer(torch.from_numpy(stored["X"])), torch.from_numpy(stored["Y"]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        arena.after_step(layer, meta["lr"], meta["lam"])
        losses.append(loss.detach())
        gates.append(layer.v.detach().clone())
    close(torch.stack(losses), stored["losses"])
    close(torch.stack(gates), stored["gates"])
    close(layer.delta(), stored["delta_final"])


@pytest.mark.parametrize("path", parity_cases("few_shot", "prox_soft_threshold"))
def test_proximal_step(path: Path):
    stored = arrays(path)
    wanted = {key: key.removeprefix("out_lr") for key in stored if key.startswith("out_lr")}
    assert wanted
    for key, said in wanted.items():  # "1em3" is 1e-3, "02" is 0.2
        lr = float(said.replace("em", "e-") if "em" in said else f"{said[0]}.{said[1:]}")
        close(soft_threshold(torch.from_numpy(stored["v"]), metadata(stored)["lam"] * lr), stored[key])


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("few_shot", "adaptformer_mlp"))
def test_adaptformer(path: Path):
    stored = arrays(path)
    close(torch.from_numpy(stored["x_mlp"]) + bottleneck(stored)(input_of(stored)), stored["y"])


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("few_shot", "peer_adaptformer_official"))
def test_adaptformer_of_its_authors(path: Path):
    stored = arrays(path)
    beside = bottleneck(stored)(input_of(stored))
    close(beside, stored["y_branch"])
    close(input_of(stored) + beside, stored["y_residual"])


def bottleneck(stored: dict[str, np.ndarray]) -> Bottleneck:
    width, dim = shapes(stored)["down.weight"]
    return fill(Bottleneck(dim, width, metadata(stored)["scale"], dropout=0.1), stored)


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("few_shot", "linear_probe"))
def test_linear_probe(path: Path):
    stored = arrays(path)
    classes, channels = shapes(stored)["weight"][:2]
    close(fill(nn.Conv3d(channels, classes, 1), stored)(input_of(stored)), stored["y"])


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("few_shot", "spatial_adapter"))
def test_spatial_adapter(path: Path):
    stored = arrays(path)
    given = shapes(stored)
    first = next(shape for name, shape in given.items() if name.endswith("W1"))
    model = SpatialAdapter(first[0], first[-1])
    if "1.weight" in given:
        model = nn.Sequential(model, nn.Conv3d(first[0], given["1.weight"][0], 1))
    close(fill(model, stored)(input_of(stored)), stored["y"])


def level(stored: dict[str, np.ndarray], module: nn.Module) -> nn.Module:
    """The published U-Net's layers with a parallel adapter at each convolution. Their norms take the batch's statistics in
    testing too; the running ones, which the original updates and never reads, are not compared."""
    for layer in [each for each in module.modules() if isinstance(each, ConvNormReLU)]:
        layer.conv1 = Parallel(layer.conv1)
    return fill(module, stored)


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("few_shot", "cnn_parallel_adapter"))
def test_cnn_adapter(path: Path):
    stored = arrays(path)
    outputs, inputs = shapes(stored)["conv1.alpha"][:2]
    close(level(stored, ConvNormReLU(inputs, outputs, "batch"))(input_of(stored)), stored["y"])


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("few_shot", "cnn_down_transition_adapter"))
def test_cnn_adapter_in_a_level(path: Path):
    stored = arrays(path)
    width, inputs = shapes(stored)["ops.0.conv1.alpha"][:2]
    skip = level(stored, Down(inputs, width, "batch"))(input_of(stored))
    close(skip, stored["y_skip"])
    close(F.max_pool3d(skip, 2), stored["y_pooled"])


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("few_shot", "peer_residual_parallel_adapters", "peer_residual_series_adapters"))
def test_residual_adapters(path: Path):
    stored = arrays(path)
    kind, rules = (Parallel, PARALLEL) if "parallel" in path.stem else (Series, SERIES)
    outputs, inputs, size, _ = shapes(stored, rules)["0.base.weight"]
    conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    close(fill(nn.Sequential(kind(conv), nn.BatchNorm2d(outputs)), stored, rules)(input_of(stored)), stored["y"])


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("few_shot", "peer_hf_lora_conv3d"))
def test_lora_of_a_convolution(path: Path):
    stored = arrays(path)
    meta, given = metadata(stored), shapes(stored, HF)
    outputs, inputs, size = given["base.weight"][:3]
    conv = nn.Conv3d(inputs, outputs, size, padding=size // 2)
    layer = fill(LoRAConv3d(conv, meta["r"], meta["alpha"] / meta["r"]), stored, HF)
    assert layer.A.numel() + layer.B.numel() == meta["n_lora"]
    close(layer(input_of(stored)), stored["y"])
    close(layer.delta(), stored["delta_weight"])
    close(layer.merged()(input_of(stored)), stored["y"])


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("few_shot", "peer_sora_delta"))
def test_sora(path: Path):
    stored = arrays(path)
    meta, given = metadata(stored), entries(stored, SORA)
    base = nn.Linear(meta["dim_in"], meta["dim_out"], bias=False)
    base.weight.zero_()  # the file has only what is added
    layer = SoRALinear(base, meta["r"], meta["alpha"])
    assert layer.scale == pytest.approx(meta["scaling"])
    layer.load_state_dict(given | {"v": given["v"][0], "base.weight": base.weight})  # its gates are (1, r)
    close(layer(input_of(stored)), stored["y"])


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("few_shot", "peer_adalora_svdlinear"))
def test_adalora(path: Path):
    stored = arrays(path)
    rank, alpha = metadata(stored)["r"], metadata(stored)["scaling"]
    layer = fill(svd_linear(stored, "", rank, alpha), stored, SVD)
    assert layer.scale == pytest.approx(alpha / rank, rel=1e-5)
    ranknum = float(filled("ranknum", (1,), seed_of(stored))[0])
    layer.scale = alpha / (ranknum + 1e-5)  # the note says that it was put back to r before y was made; it was not
    close(layer(input_of(stored)), stored["y"])


def svd_linear(stored: dict[str, np.ndarray], at: str, rank: int, alpha: float = 1.0) -> SVDLinear:
    """A layer of the sizes that the file's layer ``at`` has."""
    outputs, inputs = shapes(stored, SVD)[f"{at}base.weight"]
    return SVDLinear(nn.Linear(inputs, outputs), rank, alpha)


@pytest.mark.parametrize("path", parity_cases("few_shot", "peer_adalora_allocator"))
def test_adalora_training(path: Path):
    stored = arrays(path)
    said = {name: float(value) for name, value in re.findall(r"(\w+) ([\d.]+(?:e-?\d+)?)", metadata(stored)["settings"])}
    steps, first, target = int(said["total"]), int(said["lora_r"]), int(said["target"])
    model = nn.Sequential(*(svd_linear(stored, f"{k}.", first) for k in range(stored["active"].shape[1])))
    fill(model, stored, SVD)
    options = dict(target=target, steps=steps, warm=said["warm"] / steps, final=said["final"] / steps,
                   interval=int(said["interval"]))
    assert adalora.BETA == said["betas"]
    ours = [weight for name, weight in model.named_parameters() if "base" not in name]
    optimiser = torch.optim.AdamW(ours, lr=said["AdamW"], weight_decay=0)
    x, y = torch.from_numpy(stored["X"]), torch.from_numpy(stored["Y"])
    for step, ranks in enumerate(stored["active"]):
        penalty = adalora.penalty(model, said["orth"])
        optimiser.zero_grad()
        (F.mse_loss(model(x), y) + penalty).backward()
        optimiser.step()
        adalora.after_step(model, said["AdamW"], **options)
        found = [int(layer.E.count_nonzero()) for layer in model]
        assert found == ranks.tolist(), f"step {step}"
        assert float(penalty.detach()) == pytest.approx(float(stored["orth"][step]), rel=1e-4)
        ends = first * len(model), target * len(model), said["warm"], said["final"], steps
        assert adalora.budget(step, *map(int, ends)) == stored["budget"][step]


@torch.no_grad()
@pytest.mark.parametrize("path", parity_cases("few_shot", "swin_block"))
def test_swin_block(path: Path):
    from monai.networks.nets.swin_unetr import SwinTransformerBlock

    stored = arrays(path)
    meta, given = metadata(stored), shapes(stored)
    dim, linear1 = meta["dim"], next(shape for name, shape in given.items() if name.endswith("linear1.weight"))
    block = SwinTransformerBlock(dim, meta["heads"], meta["window"], meta["shift"], mlp_ratio=linear1[0] / dim)
    if "attn.qkv.A" in given:
        kind = Gated if "attn.qkv.v" in given else LoRALinear
        block.attn.qkv = kind(block.attn.qkv, given["attn.qkv.A"][0])
    elif "beside.down.weight" in given:
        block = AdaptFormerBlock(block, given["beside.down.weight"][0])
    elif "after_mlp.A" in given:
        block = CompacterBlock(block, tuple(PHM(dim, dim, given["after_mlp.A"][0]) for _ in range(2)))
    close(fill(block, stored)(input_of(stored), torch.from_numpy(stored["mask"])), stored["y"])
