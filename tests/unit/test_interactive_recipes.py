"""The training of the promptable weights, a few steps of each stage: what moves in which, and that it can be broken off."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data_scripts import interactive_recipes as recipes
from data_scripts.recipe import Plan
from fmlab.interactive.cubes import Cubes
from fmlab.interactive.learning import MOST, sam_loss, sam_med3d_loss
from fmlab.interactive.textures import Textures
from fmlab.settings import data_folder
from fmlab.vocabulary import ID
from fmlab.volume import Volume


@pytest.fixture
def plan(fresh_cache, tmp_path) -> Plan:
    return Plan(None, 0, "float32", tmp_path)


def cubes() -> Cubes:
    """Of one made-up scan with a liver and a spleen, 48 voxels of 6 mm a side."""
    drawn = torch.zeros(1, 48, 48, 48, dtype=torch.uint8)
    drawn[0, 8:28, 10:30, 10:34], drawn[0, 32:42, 14:26, 12:28] = ID["liver"], ID["spleen"]
    image = 40.0 * (drawn > 0) + 5 * torch.randn(drawn.shape, generator=torch.Generator().manual_seed(0))
    scan = Volume(image, np.diag([6.0, 6.0, 6.0, 1.0]), drawn, name="made up")
    return Cubes([scan], ("liver", "spleen"), 32, 6.0)


def parts(name: str, stage: int) -> tuple[dict, dict]:
    """Weights of the encoder and of the decoder at the end of a stage."""
    folder = next((data_folder() / "trainings").glob(f"{name}-nano-*"))
    state = torch.load(folder / f"stage{stage}" / "checkpoint.pt", weights_only=True)["model"]
    return tuple({key: value for key, value in state.items() if key.startswith(part)}
                 for part in ("image_encoder", "mask_decoder"))


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


def test_stages_of_the_training_in_3d(plan):
    stages = (recipes.Stage(2, 1e-3, 0, 2), recipes.Stage(2, 1e-3, 1, 2, (recipes.as_glance,)),
              recipes.Stage(2, 1e-3, MOST, 1, (recipes.mask_prompts, recipes.opposites), decoder_alone=True),
              recipes.Stage(1, 1e-3, MOST, 1))
    model, log = recipes.learned(plan, "sam_med3d", sam_med3d_loss, cubes(), stages)
    assert len(log) == 7 and np.isfinite([line["loss"] for line in log]).all()
    assert not model.training and all(weight.requires_grad for weight in model.parameters())
    (e1, d1), (e2, d2), (e3, d3), (e4, d4) = (parts("sam_med3d", n) for n in (1, 2, 3, 4))
    assert same(e2, e3) and not same(d2, d3)  # the third trains the decoder alone
    assert not same(e1, e2) and not same(e3, e4) and not same(d1, d2)
    again, _ = recipes.learned(plan, "sam_med3d", sam_med3d_loss, cubes(), stages)  # from the checkpoints
    assert same(model.state_dict(), again.state_dict())


def test_a_glance_teaches_encoder_and_heads_and_leaves_the_transformer(plan):
    """Only AdamW's and Muon's weight decay moves what a glance does not use, and that by a factor."""
    model, log = recipes.learned(plan, "sam_textures", sam_loss, Textures(), (recipes.Stage(3, 1e-3, 0, 3),))
    assert len(log) == 3
    gradients = {key for key, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert {key.split(".")[0] for key in gradients} == {"image_encoder", "prompt_encoder", "mask_decoder"}
    assert not any("transformer" in key for key in gradients)
    assert any("output_upscaling" in key for key in gradients) and any("hypernetworks" in key for key in gradients)


def test_fewer_steps_keep_the_proportions():
    for steps in (1, 7, 1000):
        counts = recipes.shared_out(steps, [stage.steps for stage in recipes.SOLID])
        assert sum(counts) == steps and len(counts) == 4
    assert recipes.shared_out(1140, [stage.steps for stage in recipes.SOLID]) == [500, 100, 280, 260]
