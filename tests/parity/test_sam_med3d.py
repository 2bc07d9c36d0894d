"""SAM-Med3D gives the official outputs: habits of its positions, windows larger than the grid, and two clicks in a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from interactive_files import filled_model, images, manifest_of, prompts, same
from parity_files import arrays, metadata, parity_cases
from torch import nn
from torch.nn import functional as F

from fmlab import hub
from fmlab.interactive.sam_med3d import SamMed3D

MODELS = parity_cases("interactive", "sam_med3d")


def network(stored: dict[str, np.ndarray]) -> SamMed3D:
    config = metadata(stored)["config"]
    decoder = {ours: config[theirs] for ours, theirs in (("decoder_heads", "dec_heads"), ("mlp", "mlp_dim")) if theirs in config}
    model = SamMed3D(
        size=config["img_size"], patch=config["patch_size"], channels=config["embed_dim"], depth=config["depth"],
        heads=config["num_heads"], everywhere=config["global_attn_indexes"], window=config["window_size"],
        prompt_channels=config["prompt_embed_dim"], hidden=config["iou_hidden"], **decoder)
    return filled_model(model, stored)


def given(model: SamMed3D, stored: dict[str, np.ndarray], name: str) -> dict[str, torch.Tensor]:
    """The prompts of a call; its mask is the file's, or zeros."""
    masks = {}
    if "mask" in name:
        masks["masks"] = model.no_mask() if "zero" in name else images(stored, "mask_input")
    return masks | prompts(stored, name)


@torch.no_grad()
@pytest.mark.parametrize("literal", [False, True], ids=["closed", "literal"])
@pytest.mark.parametrize("path", MODELS)
def test_image_encoder(path: Path, literal: bool):
    stored = arrays(path)
    encoder = network(stored).image_encoder
    if literal:
        for block in encoder.blocks:
            block.attn.forward = block.attn.literal
    x = images(stored, "image_f16")
    tokens = encoder.patch_embed(x) + encoder.pos_embed
    same(tokens, stored["enc_after_pos"], "after the positions")
    for number, block in enumerate(encoder.blocks):
        tokens = block(tokens)
        if f"enc_block{number}" in stored:
            same(tokens, stored[f"enc_block{number}"], f"block {number}")
    same(encoder(x), stored["enc_out"], "features")
    same(encoder(torch.zeros_like(x)), stored["enc_zero_out"], "features of nothing")


@torch.no_grad()
@pytest.mark.parametrize("path", MODELS)
def test_every_kind_of_prompt(path: Path):
    stored = arrays(path)
    model, features = network(stored), torch.from_numpy(stored["enc_out"])
    same(model.prompt_encoder.dense_positions(), stored["dense_pe"], "dense positions")
    for name in {key.split("__")[0] for key in stored if key.endswith("__sparse")}:
        asked = given(model, stored, name)
        sparse, dense = model.prompt_encoder(**asked)
        same(sparse, stored[f"{name}__sparse"], f"{name} sparse")
        theirs = stored[f"{name}__dense"]
        same(dense[(..., *(slice(n) for n in theirs.shape[2:]))], theirs, f"{name} dense")
        three, iou_of_three = model.decode(features, **asked, multimask=True)
        one, iou_of_one = model.decode(features, **asked)
        same(torch.cat([iou_of_one, iou_of_three], 1), stored[f"{name}__iou_all4"], f"{name} IoU")
        same(one, stored[f"{name}__mask0"], f"{name} mask")
        if f"{name}__masks1to3_f16" in stored:
            same(three, stored[f"{name}__masks1to3_f16"], f"{name} three masks", 2e-3)


@torch.no_grad()
@pytest.mark.parametrize("path", MODELS)
def test_two_clicks(path: Path):
    stored = arrays(path)
    model, clicks = network(stored), prompts(stored, "iter")
    features, logits = model.image_encoder(images(stored, "image_f16")), model.no_mask()
    for number in range(1, clicks["labels"].shape[1] + 1):
        logits, iou = model.decode(features, clicks["points"][:, :number], clicks["labels"][:, :number], logits)
        same(logits, stored[f"iter__low{number}"], f"logits {number}")
        same(iou, stored[f"iter__iou{number}"], f"IoU {number}")
    whole = F.interpolate(logits, size=(model.size,) * 3, mode="trilinear", align_corners=False).sigmoid()
    shape = tuple(stored["iter__final_shape"])
    mask = np.unpackbits(stored["iter__final_mask_packbits"])[: np.prod(shape)].reshape(shape).astype(bool)
    assert tuple(whole.shape) == shape
    sure = (whole - 0.5).abs().numpy() > 1e-5
    assert np.array_equal(whole.numpy()[sure] > 0.5, mask[sure]) and sure.mean() > 0.99


def test_published_size():
    with torch.device("meta"):
        model = hub.build("sam_med3d", size="vit_b_ori")
    parts = model, model.image_encoder, model.prompt_encoder, model.mask_decoder
    assert [number(part) for part in parts] == [100_509_232, 92_924_928, 8_668, 7_575_636]
    assert [[key, list(value.shape)] for key, value in model.state_dict().items()] == manifest_of("sam_med3d_vit_b_ori")


def number(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
