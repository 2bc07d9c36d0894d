"""SegVol gives the official outputs: the image's tokens, and every combination of clicks, box and text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from interactive_files import filled_model, images, manifest_of, same
from parity_files import arrays, metadata, parity_cases
from torch import nn
from torch.nn import functional as F

from fmlab import hub
from fmlab.interactive.segvol import SegVol

MODELS = parity_cases("interactive", "segvol")


def network(stored: dict[str, np.ndarray]) -> SegVol:
    """The model, filled; sums are compared here, as newer versions of MONAI list entries that nothing reads."""
    config = metadata(stored)["config"]
    names = {"channels": "hidden", "encoder_mlp": "mlp", "depth": "layers", "heads": "heads"}
    decoder = {ours: config[theirs] for ours, theirs in (("decoder_heads", "dec_heads"), ("mlp", "mlp_dim"),
                                                         ("hidden", "iou_hidden")) if theirs in config}
    model = SegVol(size=config["image_size"], patch=config["patch_size"], **{k: config[v] for k, v in names.items()}, **decoder)
    filled_model(model, stored, check=False)
    state, sums = model.state_dict(), dict(zip(map(str, stored["fill_keys"]), stored["fill_sum"]))
    assert all("norm_cross_attn" in key for key in set(sums) ^ set(state))
    for key, value in state.items():
        np.testing.assert_allclose(value.double().sum().item(), sums[key], rtol=1e-9, atol=1e-5)
    return model


def given(stored: dict[str, np.ndarray], name: str) -> dict[str, torch.Tensor]:
    """The prompts that a call's name tells: pt, box, text, one after the other."""
    prompts = {}
    if "pt" in name:
        prompts |= {"points": torch.from_numpy(stored["points"]), "labels": torch.from_numpy(stored["labels"])}
    if "box" in name:
        prompts["boxes"] = torch.from_numpy(stored["boxes"]).reshape(-1, 6)
    if "text" in name:
        prompts["text"] = torch.from_numpy(stored["text_embedding"])
    return prompts


@torch.no_grad()
@pytest.mark.parametrize("path", MODELS)
def test_image_encoder(path: Path):
    stored = arrays(path)
    model = network(stored)
    same(model.image_encoder.tokens(images(stored, "image_f16")), stored["vit_tokens"], "tokens")
    same(model.prompt_encoder.dense_positions(), stored["dense_pe"], "dense positions")


@torch.no_grad()
@pytest.mark.parametrize("path", MODELS)
def test_every_combination_of_prompts(path: Path):
    stored = arrays(path)
    model = network(stored)
    features = model.image_encoder(images(stored, "image_f16"))
    for name in {key.split("__")[0] for key in stored if "__" in key}:
        prompts = given(stored, name)
        assert prompts, name
        spatial = {key: value for key, value in prompts.items() if key != "text"}
        sparse, _ = model.prompt_encoder(**spatial)
        if "text" in prompts:
            sparse = torch.cat([sparse, prompts["text"][:, None]], 1)
        same(sparse, stored[f"{name}__sparse"], f"{name} sparse")
        one, iou_of_one = model.decode(features, **prompts)
        three, iou_of_three = model.decode(features, **prompts, multimask=True)
        same(one, stored[f"{name}__mask0"], f"{name} mask")
        same(torch.cat([iou_of_one, iou_of_three], 1), stored[f"{name}__iou_all4"], f"{name} IoU")
        if f"{name}__masks_all4" in stored:
            same(torch.cat([one, three], 1), stored[f"{name}__masks_all4"], f"{name} four masks")
        if f"{name}__logits_fullsize_f16" in stored:
            full = F.interpolate(one, model.size, mode="trilinear", align_corners=False)
            same(full, stored[f"{name}__logits_fullsize_f16"], f"{name} at the size of the image", 2e-3)


def test_published_size():
    with torch.device("meta"):
        model = hub.build("segvol", size="vit")
    counts = [number(part) / 1e6 for part in (model.image_encoder, model.mask_decoder, model.prompt_encoder)]
    assert [round(count, 2) for count in counts] == [87.39, 29.92, 0.02]
    assert sum(value.numel() for value in model.prompt_encoder.state_dict().values()) == 17_996 + 1_152  # "19k"
    assert [[key, list(value.shape)] for key, value in model.state_dict().items()] == manifest_of("segvol_vit")


def number(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
