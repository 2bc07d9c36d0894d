"""Values and gradients of the masked losses against the official implementations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from parity_files import arrays, parity_cases, parity_root

from fmlab.pretraining import masked, published

Loss = Callable[[torch.Tensor], torch.Tensor]


def cases_of(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """The cases of a loss file, CASE/field, each with its fields."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    for name, value in arrays(path).items():
        if "/" in name:
            case, field = name.split("/", 1)
            cases.setdefault(case, {})[field] = value
    assert cases, f"{path.name} holds no CASE/field arrays"
    return cases


def agrees(loss: Loss, logits: np.ndarray, value: np.ndarray, gradient: np.ndarray | None, where: str) -> None:
    """Value within 1e-5 relative; gradient within 1e-4 of its largest entry."""
    x = torch.from_numpy(logits).requires_grad_()
    result = loss(x)
    torch.testing.assert_close(result.detach().double(), torch.tensor(float(value)).double(), rtol=1e-5, atol=1e-6,
                               msg=lambda text: f"{where}: {text}")
    if gradient is not None:
        result.backward()
        same_gradient(x.grad, gradient, where)


def same_gradient(ours: torch.Tensor, theirs: np.ndarray, where: str) -> None:
    limit = 1e-4 * float(np.abs(theirs).max()) + 1e-12
    assert float((ours - torch.from_numpy(theirs)).abs().max()) <= limit, f"gradient of {where}"


@pytest.mark.parametrize("path", parity_cases("universal", "loss_clip_driven"))
def test_clip_driven(path):
    for name, case in cases_of(path).items():
        y, w = torch.from_numpy(case["target"]), torch.from_numpy(case["mask"])
        for loss, value, gradient in (
            (masked.clip_driven_dice, "dice_official", "dice_grad"),
            (masked.clip_driven_bce, "bce_official", "bce_grad"),
            (masked.clip_driven, "total_official", ""),
            (lambda x, y, w: masked.clip_driven_dice(x, y, w, "volume"), "dice_wholevolume_not_official", ""),
        ):
            agrees(lambda x: loss(x, y, w), case["logits"], case[value], case.get(gradient), f"{name}, {value}")  # noqa: B023


DODNET_W = ("target", lambda case: case["target"].reshape(*case["target"].shape[:2], -1)[..., 0] != -1)
FORMS = {  # system -> field of the target, how w is told, Dice, BCE
    "loss_suprem": ("target", lambda case: np.ones(case["target"].shape[:2]), published.suprem_dice, masked.clip_driven_bce),
    "loss_hermes": ("label", lambda case: case["tgt_idx"] >= 0, published.hermes_dice, masked.clip_driven_bce),
    "loss_dodnet": (*DODNET_W, published.dodnet_dice, published.dodnet_bce),
}


@pytest.mark.parametrize("path", parity_cases("universal", *FORMS))
def test_dice_and_cross_entropy(path):
    system = next(stem for stem in FORMS if path.stem.startswith(stem))
    field, told, dice, bce = FORMS[system]
    for name, case in cases_of(path).items():
        y, w = torch.from_numpy(case[field]), torch.from_numpy(told(case))
        agrees(lambda x: dice(x, y, w), case["logits"], case["dice"], case["dice_grad"], f"{name}, dice")  # noqa: B023
        agrees(lambda x: bce(x, y, w), case["logits"], case["bce"], case["bce_grad"], f"{name}, bce")  # noqa: B023


def region_table(path: Path) -> dict:
    """Regions and which data set annotates them: beside the file, or in the folder of public files."""
    for folder in (path.parent, parity_root() / "universal", Path(__file__).resolve().parents[3] / "shared/parity/universal"):
        if (folder / "multitalent_regions.json").is_file():
            return json.loads((folder / "multitalent_regions.json").read_text())
    pytest.skip(f"no multitalent_regions.json beside {path}; it names the regions of the label values")


@pytest.mark.parametrize("path", parity_cases("universal", "loss_multitalent"))
def test_multitalent(path):
    table = region_table(path)
    for name, case in cases_of(path).items():
        w = torch.tensor([[region in table["valid_regions"][str(task)] for region in table["regions"]] for task in case["tasks"]])
        batch, total, bce, dice, finest = bool(case["batch_dice"]), 0.0, 0.0, 0.0, None
        for scale, weight in enumerate(case["ds_weights"].tolist()):
            x, drawn = torch.from_numpy(case[f"logits{scale}"]).requires_grad_(), torch.from_numpy(case[f"target{scale}"])
            y = torch.cat([torch.isin(drawn, drawn.new_tensor(values)) for values in table["regions"].values()], 1)
            total = total + weight * masked.multitalent(x, y, w, batch)
            bce = bce + weight * masked.multitalent_bce(x, y, w)
            dice = dice + weight * masked.multitalent_dice(x, y, w, batch)
            finest = x if scale == 0 else finest
        for ours, theirs in ((total, "total"), (bce, "ce"), (dice, "dc")):
            assert ours.item() == pytest.approx(float(case[theirs]), rel=1e-5, abs=1e-5), (name, theirs)
        total.backward()
        same_gradient(finest.grad, case["grad0_validchannels"], name)


@pytest.mark.parametrize("path", parity_cases("universal", "loss_uniseg"))
def test_uniseg(path):
    for name, case in cases_of(path).items():
        scales = range(len(case["weights"]))
        logits = [torch.from_numpy(case[f"logits{s}"]).requires_grad_() for s in scales]
        labels = [torch.from_numpy(case[f"target{s}"]) for s in scales]
        loss = published.uniseg(logits, labels, int(case["task_class"]), case["weights"].tolist())
        assert loss.item() == pytest.approx(float(case["loss"]), rel=1e-5, abs=1e-6), name
        loss.backward()
        for s in scales:
            same_gradient(logits[s].grad, case[f"grad{s}"], f"{name}, scale {s}")


@pytest.mark.parametrize("path", parity_cases("few_shot", "dice_loss"))
def test_fseft_dice(path):
    stored = arrays(path)
    smooth = json.loads(str(stored["meta"])).get("smooth", 1)
    logits = torch.logit(torch.from_numpy(stored["predict"]).double())  # the file holds probabilities, our losses take logits
    y, w = torch.from_numpy(stored["target"]), torch.from_numpy(stored["annotation_mask"])
    assert masked.masked_dice(logits, y, torch.ones_like(w), smooth).item() == pytest.approx(float(stored["loss"]), rel=1e-5)
    assert masked.masked_dice(logits, y, w, smooth).item() == pytest.approx(float(stored["loss_masked"]), rel=1e-5)
