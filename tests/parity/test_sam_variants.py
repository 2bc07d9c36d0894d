"""SAM-Med2D, MA-SAM and 3DSAM-adapter give the official outputs, and have the published entries and counts."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from interactive_files import filled_model, images, manifest_of, prompts, same
from parity_files import arrays, metadata, parity_cases
from torch import Tensor, nn

from fmlab import hub
from fmlab.interactive import ma_sam, medsam, sam3d_adapter, sam_med2d
from fmlab.interactive.mask_prompts import best_logits
from fmlab.interactive.sam import Sam

MED2D = parity_cases("interactive", "sam_med2d")
MASAM = parity_cases("interactive", "masam")
ADAPTER3D = parity_cases("interactive", "3dsam_adapter")


def number(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def entries(model: nn.Module) -> list:
    """[key, shape] of all, in order, as manifests have it."""
    return [[key, list(value.shape)] for key, value in model.state_dict().items()]


def near(ours: Tensor, theirs: np.ndarray, where: str) -> None:
    """2e-5 of the array's deviation, where that is above one: the facts give no absolute number for these systems."""
    same(ours, theirs, where, 2e-5 * max(1.0, float(theirs.astype(np.float64).std())))


def settings(config: dict) -> dict:
    """What a file's config says of a SAM, in our words."""
    return dict(size=config["img_size"], patch=config.get("patch_size", 16), channels=config["embed_dim"], depth=config["depth"],
                heads=config["num_heads"], everywhere=config["global_attn_indexes"], window=config["window_size"],
                prompt_channels=config["prompt_embed_dim"], decoder_heads=config["dec_heads"], mlp=config["mlp_dim"],
                hidden=config["iou_hidden"])


@torch.no_grad()
@pytest.mark.parametrize("path", MED2D)
def test_sam_med2d_image_encoder(path: Path):
    stored = arrays(path)
    encoder = filled_model(Sam(**settings(metadata(stored)["config"]), block=sam_med2d.AdapterBlock), stored).image_encoder
    x = images(stored, "image_f16", "image")
    same(encoder.blocks[0].Adapter(torch.from_numpy(stored["adapter0_in"])), stored["adapter0_out"], "the first adapter")
    tokens = encoder.patch_embed(x) + encoder.pos_embed
    for i, block in enumerate(encoder.blocks):
        tokens = block(tokens)
        same(tokens[: len(stored[f"enc_block{i}"])], stored[f"enc_block{i}"], f"block {i}")
    same(encoder(x), stored["enc_out"], "features")
    same(encoder(torch.zeros_like(x[:1])), stored["enc_zero_out"], "features of nothing")


@torch.no_grad()
@pytest.mark.parametrize("path", MED2D)
def test_sam_med2d_prompts(path: Path):
    stored = arrays(path)
    model = filled_model(Sam(**settings(metadata(stored)["config"]), block=sam_med2d.AdapterBlock), stored)
    features = torch.from_numpy(stored["enc_out"])
    for name in {key.split("__")[0] for key in stored if "__" in key}:
        given = prompts(stored, name)
        if "boxes" in given:
            given["boxes"] = given["boxes"].flatten(0, -2)
        if "mask" in name and "masks" not in given:
            given["masks"] = torch.from_numpy(stored["mask_input_sigmoid"])
        same(model.prompt_encoder(**given)[0], stored[f"{name}__sparse"], f"{name}, tokens")
        three, iou = model.decode(features, **given)
        single, iou_of_single = model.decode(features, **given, multimask=False)
        same(torch.cat([iou_of_single, iou], 1), stored[f"{name}__iou_all4"], f"{name}, IoU")
        assert iou.argmax(1).tolist() == stored[f"{name}__best_idx_of_3"].tolist()
        same(best_logits(three, iou), stored[f"{name}__best_low_res"], f"{name}, best of three")
        if f"{name}__masks_all4" in stored:
            same(torch.cat([single, three], 1), stored[f"{name}__masks_all4"], f"{name}, all masks")


def test_sam_med2d_published_size():
    with torch.device("meta"):
        model = hub.build("sam_med2d")
    assert number(model) == 271_241_776
    adapters = sum(p.numel() for name, p in model.named_parameters() if ".Adapter." in name)
    assert adapters == 180_504_576
    assert sum(p.numel() for p in sam_med2d.trainable(model)) == adapters + 6_220 + 4_058_340
    assert entries(model) == manifest_of("sam_med2d_vit_b")


def ma_sam_settings(config: dict) -> dict:
    own = {ours: config[name] for ours, name in (("classes", "num_classes"), ("slices", "slices"), ("rank", "rank"),
                                                 ("scale", "scale"), ("between", "adapter_dim")) if name in config}
    return settings(config) | own


@torch.no_grad()
@pytest.mark.parametrize("path", MASAM)
def test_ma_sam(path: Path):
    stored = arrays(path)
    model = filled_model(ma_sam.MaSam(**ma_sam_settings(metadata(stored)["config"])), stored)
    stacks = images(stored, "image_gray_f16", "image_gray")
    encoder = model.sam.image_encoder.ImageEncoderViT
    tokens = encoder.patch_embed(stacks.flatten(0, 1)[:, None].expand(-1, 3, -1, -1)) + encoder.pos_embed
    for i, block in enumerate(encoder.blocks):
        tokens = block(tokens)
        near(tokens, stored[f"enc_block{i}"], f"block {i}")
    features = model.encode(stacks)
    near(features, stored["enc_out"], "features")
    near(model.encode(torch.zeros_like(stacks)), stored["enc_zero_out"], "features of nothing")
    logits, iou = model.decode(features)
    near(logits, stored["low_res_logits"], "logits")
    near(iou, stored["iou_predictions"], "IoU")
    assert torch.equal(model(stacks).flatten(0, 1), logits)


@pytest.mark.parametrize(("size", "total", "trained", "adapters"), [
    ("vit_b", 117.4, 30.1, 24_818_688), ("vit_h", 729.9, 96.8, 91_414_528)])
def test_ma_sam_published_sizes(size: str, total: float, trained: float, adapters: int):
    with torch.device("meta"):
        model = hub.build("ma_sam", size=size)
    assert entries(model) == manifest_of(f"masam_{size}")
    parts = {name: p.numel() for name, p in model.named_parameters()}
    assert round(sum(parts.values()) / 1e6, 1) == total
    assert sum(n for name, n in parts.items() if ".adapter_" in name) == adapters
    assert sum(n for name, n in parts.items() if "FacT" in name) == 73_728 or size != "vit_b"
    assert round(sum(p.numel() for p in ma_sam.trainable(model)) / 1e6, 1) == trained


def adapter_settings(config: dict) -> dict:
    return dict(size=config["vol"], enlarged=config["up"], patch=config["patch_size"], channels=config["embed_dim"],
                depth=config["depth"], heads=config["num_heads"], everywhere=config["global_attn_indexes"],
                window=config["window_size"], cube=config["cubic_window_size"], outputs=config["out_chans"],
                point_heads=config["pe_heads"], mlp=config["mlp_dim"], head=config["mlahead"])


@torch.no_grad()
@pytest.mark.parametrize("path", ADAPTER3D)
def test_sam3d_adapter(path: Path):
    stored = arrays(path)
    config = metadata(stored)["config"]
    model = filled_model(sam3d_adapter.Sam3DAdapter(**adapter_settings(config)), stored, constant=".attn_mask")
    encoder, small = model.encoder, images(stored, "vol_small_f16", "vol_small")
    volume = torch.kron(small, torch.ones([config["vol"] // n for n in small.shape]))[None, None]
    enlarged = torch.nn.functional.interpolate(volume, [config["up"]] * 3, mode="trilinear", align_corners=False)
    patches, sampled = encoder.patch_embed(enlarged[0].movedim(0, 1).expand(-1, 3, -1, -1)), stored["after_patch_embed_sub"]
    steps = [slice(None, None, ours // theirs) for ours, theirs in zip(patches.shape, sampled.shape)]
    near(patches[tuple(steps)], sampled, "patches of slices")

    x = encoder.placed(encoder.tokens(volume))
    found = {"after_pos": x, "adapter0_out": x + encoder.blocks[0].adapter(x)}
    for kind, modules in (("block", encoder.blocks), ("feat", encoder.neck_3d)):
        for i, module in enumerate(modules):
            module.register_forward_hook(lambda _, given, out, name=f"{kind}{i}": found.__setitem__(name, out))
    model.prompt_encoders[-1].register_forward_hook(lambda _, given, out: found.__setitem__("prompt_out", out))
    logits = model(volume, torch.from_numpy(stored["points"])[..., [0, 2, 1]])  # theirs are (slice, column, row)
    found["logits_hwd"] = logits.movedim(2, -1)
    places = {match[1]: match for match in (re.fullmatch(r"(\w+?)_stride(\d+)(?:_off(\d+))?", name) for name in stored) if match}
    assert set(places) == set(found)
    for name, match in places.items():
        at = (slice(int(match[3] or 0), None, int(match[2])),) * 3
        tokens = name.startswith(("after", "adapter", "block"))  # channels come last
        near(found[name][:, *at] if tokens else found[name][..., *at], stored[match[0]], name)
    assert list(found["logits_hwd"].shape) == stored["logits_shape_hwd"].tolist()
    assert abs(float(logits.mean()) - float(stored["logits_dhw_mean"])) <= 2e-5
    bits = np.packbits((logits.softmax(1)[0, 1] > 0.5).numpy()) ^ stored["prob1_packbits_dhw"]
    assert np.unpackbits(bits).sum() <= 2  # voxels whose probability is one half but for rounding


def test_sam3d_adapter_published_size():
    with torch.device("meta"):
        model = hub.build("sam3d_adapter")
    assert entries(model) == manifest_of("3dsam_adapter_vit_b")
    assert (number(model.encoder), number(model.decoder)) == (104_056_588, 7_088_256)
    assert [number(encoder) for encoder in model.prompt_encoders] == [3_164_160] * 4
    sam3d_adapter.trainable(model)
    assert sum(p.numel() for p in model.encoder.parameters() if p.requires_grad) == 15_209_984
    assert all(p.requires_grad for part in (model.prompt_encoders, model.decoder) for p in part.parameters())


def test_medsam_published_size():
    with torch.device("meta"):
        model = hub.build("medsam")
    assert entries(model) == manifest_of("sam_vit_b")
    assert number(model) == 93_735_472
    assert sum(p.numel() for p in medsam.trainable(model)) == 93_729_252
