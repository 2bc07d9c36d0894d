"""SAM gives the official outputs: encoder block by block, every kind of prompt, and the whole way from a raw picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from interactive_files import filled_model, images, manifest_of, prompts, same
from parity_files import arrays, metadata, parity_cases
from torch import nn

from fmlab import hub
from fmlab.interactive.automatic import boxes_of, stability
from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.preprocess_sam import resized
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.sam import SIZES, Sam

MODELS = parity_cases("interactive", "sam_tiny_model", "sam_*_model")
MODELS = [case for case in MODELS if case.id == "absent" or case.id.split("_")[1] not in ("med2d", "med3d")]
DECODERS = parity_cases("interactive", "sam_promptdecoder")


def settings(config: dict) -> dict:
    """A file's config in our words."""
    return dict(size=config["img_size"], patch=config["patch_size"], channels=config["embed_dim"], depth=config["depth"],
                heads=config["num_heads"], everywhere=config["global_attn_indexes"], window=config["window_size"],
                prompt_channels=config["prompt_embed_dim"], decoder_heads=config["dec_heads"], mlp=config["mlp_dim"],
                hidden=config["iou_hidden"])


def network(stored: dict[str, np.ndarray]) -> Sam:
    return filled_model(Sam(**settings(metadata(stored)["config"])), stored)


def decoded(model: nn.Module, stored: dict, name: str, features: torch.Tensor) -> dict[str, torch.Tensor]:
    """All that a decoder call is made of, under the files' names."""
    given = prompts(stored, name)
    sparse, dense = model.prompt_encoder(**given)
    image_pe = model.prompt_encoder.dense_positions()
    hidden, changed = model.mask_decoder.read(features, image_pe, sparse, dense)
    masks, iou = model.mask_decoder(features, image_pe, sparse, dense)
    flat = dense if "masks" in given else dense.flatten(2)[..., 0]
    return {"sparse": sparse, "dense": flat, "masks_all4": masks, "iou_all4": iou, "twoway_tokens_out": hidden,
            "twoway_image_out": changed.flatten(2).transpose(1, 2), "upscaled": model.mask_decoder.output_upscaling(changed)}


@torch.no_grad()
@pytest.mark.parametrize("literal", [False, True], ids=["rows", "literal"])
@pytest.mark.parametrize("path", MODELS)
def test_image_encoder(path: Path, literal: bool):
    stored = arrays(path)
    encoder = network(stored).image_encoder
    if literal:
        for block in encoder.blocks:
            block.attn.forward = block.attn.literal
    x = images(stored, "enc_x")
    tokens = encoder.patch_embed(x) + encoder.pos_embed
    same(tokens, stored["enc_after_pos"], "after the positions")
    for number, block in enumerate(encoder.blocks):
        tokens = block(tokens)
        same(tokens, stored[f"enc_block{number}"], f"block {number}")
    same(encoder(x), stored["enc_out"], "features")
    same(encoder(torch.zeros_like(x)), stored["enc_zero_out"], "features of nothing")


@torch.no_grad()
@pytest.mark.parametrize("path", MODELS)
def test_every_kind_of_prompt(path: Path):
    stored = arrays(path)
    model, features = network(stored), torch.from_numpy(stored["enc_out"])
    same(model.prompt_encoder.dense_positions(), stored["dense_pe"], "dense positions")
    for name in {key.split("__")[0] for key in stored if "__" in key}:
        for part, ours in decoded(model, stored, name, features).items():
            if f"{name}__{part}" in stored:
                theirs = stored[f"{name}__{part}"]
                same(ours, theirs, f"{name} {part}", 2e-3 if theirs.dtype == np.float16 else 2e-5)
        masks, iou = model.decode(features, **prompts(stored, name))
        same(masks, stored[f"{name}__masks_all4"][:, 1:], f"{name}, three masks")
        masks, iou = model.decode(features, **prompts(stored, name), multimask=False)
        same(iou, stored[f"{name}__iou_all4"][:, :1], f"{name}, one mask's IoU")


@torch.no_grad()
@pytest.mark.parametrize("path", DECODERS)
def test_decoder_of_published_width(path: Path):
    stored = arrays(path)
    config = metadata(stored)["config"]
    size = 16 * config["grid"][0]
    model = Sam(size=size, channels=8, depth=1, heads=1, window=2, prompt_channels=config["prompt_embed_dim"],
                decoder_heads=config["dec_heads"], mlp=config["mlp_dim"], hidden=config["iou_hidden"])
    filled_model(model, stored, check=False)
    features = torch.from_numpy(stored["image_embedding"])
    same(model.prompt_encoder.dense_positions(), stored["dense_pe"], "dense positions")
    for name in {key.split("__")[0] for key in stored if "__" in key}:
        given = {"boxes": stored["boxes"]} if "box" in name else {}
        given |= {"points": stored["points"], "labels": stored["labels"]} if "pt" in name else {}
        given |= {"masks": stored["mask_input"]} if "mask" in name else {}
        flat = {f"{name}__{key}": value for key, value in given.items()}
        for part, ours in decoded(model, stored | flat, name, features).items():
            if f"{name}__{part}" in stored:
                same(ours, stored[f"{name}__{part}"], f"{name} {part}")


@pytest.mark.parametrize("size", ["vit_b", "vit_l", "vit_h"])
def test_published_sizes(size: str):
    with torch.device("meta"):
        model = hub.build("sam", size=size)
    counts = {"vit_b": (93_735_472, 89_670_912), "vit_l": (312_342_832, 308_278_272), "vit_h": (641_090_608, 637_026_048)}
    assert (number(model), number(model.image_encoder)) == counts[size]
    assert number(model.prompt_encoder) == 6_220 and number(model.mask_decoder) == 4_058_340
    assert [[key, list(value.shape)] for key, value in model.state_dict().items()] == manifest_of(f"sam_{size}")


def number(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_sizes_are_named():
    assert set(SIZES) == {"vit_b", "vit_l", "vit_h", "nano"}


PREDICTORS = parity_cases("interactive", "sam_*_predictor")


@torch.no_grad()
@pytest.mark.parametrize("path", PREDICTORS)
def test_predictor_from_a_raw_picture(path: Path):
    """Picture to features, prompts scaled, full-size logits, packed masks, and a second call with the first one's logits."""
    stored = arrays(path)
    predictor = SamPredictor(filled_model(Sam(**settings(metadata(stored)["config"])), stored, check="fill_keys" in stored))
    predictor.set_image(stored["raw_image"])
    np.testing.assert_array_equal(resized(stored["raw_image"], predictor.model.size), stored["resized_uint8"])
    same(predictor.features, stored["features"], "features")
    points, labels = torch.from_numpy(stored["point_coords"]), torch.from_numpy(stored["point_labels"])
    one, both = Prompts(points[:1], labels[:1]), Prompts(points, labels)
    boxed = Prompts(points[:0], labels[:0], torch.from_numpy(stored["box"]))
    same(predictor.as_seen(both)["points"][0], stored["point_coords_model"], "points as the model sees them")
    same(predictor.as_seen(boxed)["boxes"], stored["box_model"], "box as the model sees it")
    first = predictor.predict(one)
    answers = {"pt": first, "pts": predictor.predict(both), "box": predictor.predict(boxed),
               "iter2": predictor.predict(both, first.low[first.best])}
    for name, found in answers.items():
        same(found.iou, stored[f"{name}__iou"], f"{name} IoU")
        same(found.low, stored[f"{name}__low_res"], f"{name} logits")
        if f"{name}__logits_fullres" in stored:
            theirs = stored[f"{name}__logits_fullres"]
            same(found.logits, theirs, f"{name}, full size", 2e-3 if theirs.dtype == np.float16 else 2e-5)
            packed = np.unpackbits(stored[f"{name}__mask_packbits"])[: found.masks.numel()].reshape(found.masks.shape)
            apart = found.masks.numpy() != packed.astype(bool)
            assert np.abs(found.logits.numpy()[apart]).max(initial=0) < 2e-5, name  # none but where the logit is nought
    stable = stability(first.low, 0.02)
    same(stable, stored["pt__stability_offset0.02_on_low_res"][0], "stability", 1e-6)
    np.testing.assert_array_equal(boxes_of(first.masks), stored["pt__boxes_xyxy_fullres"])
