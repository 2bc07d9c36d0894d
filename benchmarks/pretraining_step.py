"""One step of every pre-training at its real size: seconds, memory at most, loss; profile ``gpu`` of what the course does small.

    python benchmarks/pretraining_step.py [METHOD ...] [--rounds 3] [--tiny]

Where a method's backbone can be Swin UNETR it is one, of feature size 48 on cubes of 96^3; the others keep their own published
network and patch. Noise for cubes, as what they hold costs nothing; forward under bf16 autocast on CUDA, backward, AdamW. The
first step is to warm up, the median of the others counts. Memory is that of the device; on a CPU what the process grew by, at its
highest, which is nothing where an earlier method needed more. --tiny: the same code on small nets and cubes, for a CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import time
from collections.abc import Callable

import torch
from backbones import resident_peak
from torch import Tensor, nn

from data_scripts import published_recipes as recipes
from fmlab import hub, settings
from fmlab.backbones import SwinUNETR
from fmlab.pretraining import clip_driven, desd, genesis, suprem, swin_ssl, unimiss
from fmlab.pretraining.hermes_priors import NULL
from fmlab.pretraining.med3d import Med3D
from fmlab.pretraining.pyramid import NANO, SMALL
from fmlab.training.loop import moved

Step = tuple[nn.Module, Callable[[nn.Module, dict], Tensor], dict]
Sides = tuple[int, int, int]


def cubes(count: int, sides: Sides, **more: object) -> dict:
    """A batch of ``count`` images of noise in [0, 1], and what else the loss reads."""
    return {"image": torch.rand(count, 1, *sides), **more}


def masks(count: int, classes: int, sides: Sides) -> dict:
    """Target of noise; everything is annotated."""
    return {"target": (torch.rand(count, classes, *sides) > 0.9).to(torch.uint8), "w": torch.ones(count, classes)}


def classes_of(count: int, classes: int, sides: Sides) -> dict:
    """Labels of noise, classes that exclude each other."""
    return {"labels": torch.randint(classes, (count, 1, *sides), dtype=torch.uint8)}


def clip_driven_step(tiny: bool) -> Step:
    """Swin UNETR of 48 in any case, as the groups of the head's norms want it; all 31 classes asked."""
    names, sides = list(recipes.OF_CLIP), (64, 32, 32) if tiny else (96, 96, 96)
    model = hub.build("clip_driven", size="swin_unetr", classes=names, text="random")
    return model, clip_driven.objective, cubes(2, sides, **masks(2, len(names), sides))


def suprem_step(tiny: bool) -> Step:
    """Swin UNETR under a linear head, nine classes."""
    size, sides = (12, (64, 32, 32)) if tiny else (48, (96, 96, 96))
    model = hub.build("swin_unetr", feature_size=size, classes=len(recipes.OF_ATLAS))
    return model, suprem.fully_annotated, cubes(2, sides, **masks(2, len(recipes.OF_ATLAS), sides))


def dodnet_step(tiny: bool) -> Step:
    """Its own network and patch."""
    sides = (16, 32, 32) if tiny else (64, 192, 192)
    model = hub.build("dodnet", size="nano" if tiny else "published")
    return model, recipes.dodnet_loss, cubes(2, sides, task=torch.tensor([0, 1]), **masks(2, 2, sides))


def uniseg_step(tiny: bool) -> Step:
    """Its own network and patch."""
    sides = (32, 32, 32) if tiny else (64, 192, 192)
    model = hub.build("uniseg", size="nano", patch=sides) if tiny else hub.build("uniseg", inputs=(1,))
    batch = cubes(2, sides, task=torch.tensor([0, 1]), classes=torch.tensor([3, 2]), **classes_of(2, 2, sides))
    return recipes.WithLoss(model, recipes.uniseg_loss), recipes.own_loss, batch


def hermes_step(tiny: bool) -> Step:
    """Hermes-R at its own patch; the second sample is asked less than the first."""
    sides = (32, 32, 32) if tiny else (128, 128, 128)
    model = hub.build("hermes", size="nano" if tiny else "published")
    batch = cubes(2, sides, task=torch.tensor([[0, 1, 2], [3, 4, NULL]]), modality=torch.tensor([0, 0]), **masks(2, 3, sides))
    batch["w"][1, 2] = 0
    return recipes.WithLoss(model, recipes.hermes_loss), recipes.own_loss, batch


def med3d_step(tiny: bool) -> Step:
    """ResNet-50 at its own patch, two branches."""
    sides = (16, 32, 32) if tiny else (56, 448, 448)
    branches = {"msd_liver": 3, "msd_spleen": 2}
    model = Med3D(10, branches, width=16) if tiny else Med3D(50, branches)
    batch = cubes(2, sides, dataset=list(branches), **classes_of(2, 2, sides))
    return recipes.WithLoss(model, recipes.med3d_loss), recipes.own_loss, batch


def mae_step(tiny: bool) -> Step:
    """Swin UNETR, blocks of 16^3."""
    size, sides = (12, (64, 32, 32)) if tiny else (48, (96, 96, 96))
    return hub.build("swin_unetr", feature_size=size, classes=1), recipes.mae_loss, cubes(2, sides)


def sparse_mae_step(tiny: bool) -> Step:
    """The nano U-Net, as only it is computed sparsely; at the published cube."""
    width, sides = (8, (32, 32, 32)) if tiny else (32, (160, 160, 160))
    return hub.build("sparse_mae", width=width), recipes.sparse_mae_loss, cubes(1, sides)


def genesis_step(tiny: bool) -> Step:
    """Swin UNETR."""
    size, sides = (12, (64, 32, 32)) if tiny else (48, (96, 96, 96))
    return hub.build("swin_unetr", feature_size=size, classes=1), genesis.loss, cubes(2, sides)


def swin_ssl_step(tiny: bool) -> Step:
    """Swin UNETR's encoder and three heads."""
    size, sides = (12, (64, 64, 64)) if tiny else (48, (96, 96, 96))
    return hub.build("swin_ssl", backbone="swin_unetr", feature_size=size), swin_ssl.loss, cubes(2, sides)


def unimiss_step(tiny: bool) -> Step:
    """Its own pyramid; a turn of volumes, the dearer one."""
    config, outputs = (NANO, 256) if tiny else (SMALL, 65_536)
    model = hub.build("unimiss", outputs=outputs, hidden=256 if tiny else 2048, bottleneck=64 if tiny else 256, **config)
    return model, unimiss.loss, cubes(2 if tiny else 24, tuple(config["sides"]))


def desd_step(tiny: bool) -> Step:
    """Swin UNETR's encoder, a head on each of its four stages."""
    size, sides, outputs = (12, (64, 32, 32), 256) if tiny else (48, (96, 96, 96), 60_000)
    widths = [size * 2**level for level in range(5)]
    model = desd.DeSD(SwinUNETR(feature_size=size), widths, (1, 2, 3, 4), outputs=outputs, batch_norm=True)
    return model, desd.loss, cubes(2, sides)


STEPS: dict[str, Callable[[bool], Step]] = {
    "clip_driven": clip_driven_step, "suprem": suprem_step, "dodnet": dodnet_step, "uniseg": uniseg_step, "hermes": hermes_step,
    "med3d": med3d_step, "mae": mae_step, "sparse_mae": sparse_mae_step, "genesis": genesis_step, "swin_ssl": swin_ssl_step,
    "unimiss": unimiss_step, "desd": desd_step}


def run(method: str, tiny: bool, rounds: int, device: torch.device) -> tuple[float, int, float]:
    """Median seconds of a step, memory at most in bytes, and the last loss."""
    torch.manual_seed(0)
    before = resident_peak()
    model, loss, batch = STEPS[method](tiny)
    model, batch = model.to(device).train(), moved(batch, device)
    optimiser, seconds = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-4), []
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    for _ in range(rounds + 1):
        start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16) if cuda else contextlib.nullcontext():
            value = loss(model, batch)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        last = float(value.detach())  # waits for the device's forward pass
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:]), torch.cuda.max_memory_allocated() if cuda else resident_peak() - before, last


def main(arguments: list[str] | None = None) -> None:
    """A line a method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"of {', '.join(STEPS)}; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true")
    wanted, device = parser.parse_args(arguments), settings.device()
    if strange := [name for name in wanted.methods if name not in STEPS]:
        parser.error(f"there is no method {strange[0]!r}; choose of {', '.join(STEPS)}")
    for method in wanted.methods or STEPS:
        seconds, memory, value = run(method, wanted.tiny, wanted.rounds, device)
        print(f"{method:11} {device.type}, {'tiny' if wanted.tiny else 'real size'}: {seconds:.3f} s a step, "
              f"{memory / 2**20:.0f} MiB at most, loss {value:.4f}", flush=True)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    load = f", load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores" if hasattr(os, "getloadavg") else ""
    print(f"({wanted.rounds} rounds, {name}{load})")


if __name__ == "__main__":
    main()
