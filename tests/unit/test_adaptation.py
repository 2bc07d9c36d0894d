"""Adaptation: every method begins as it says, trains what it says, can be taken away, saved, loaded and merged, or refuses."""

from __future__ import annotations

import re
from copy import deepcopy
from functools import cache

import pytest
import torch
from small_models import X, base, base_logits, logits, original, same, state_of, trained
from torch import nn

from fmlab.adaptation import METHODS, attach, load
from fmlab.adaptation.added import added
from fmlab.errors import ModelError
from fmlab.training import TrainConfig, train

NORMS = r"swinViT.*norm", r"level.*\.norm\."
BIASES = r"swinViT.*(attn|mlp).*bias", r"level.*\.bias$"
# method, options: which of the base model's tensors are trained, in the Swin and in the U-Net (None: no place for it there)
CASES = {
    "full": ("full", {}, ("", "")),
    "decoder": ("decoder", {}, (r"backbone\.decoder", r"backbone\.up")),
    "probe": ("linear_probe", {}, ("$x", "$x")),
    "spatial": ("spatial_adapter", {}, ("$x", "$x")),
    "spatial 2023": ("spatial_adapter", {"variant": "2023", "kernel": 1}, ("$x", "$x")),
    "bitfit": ("bitfit", {}, BIASES),
    "bitfit, paper": ("bitfit", {"variant": "paper"}, (r"swinViT.*\.bias$", r"level.*\.bias$")),
    "affine": ("affine", {}, NORMS),
    "lora": ("lora", {"rank": 2}, ("$x", "$x")),
    "lora, paper": ("lora", {"rank": 2, "variant": "paper"}, ("$x", "$x")),
    "adaptformer": ("adaptformer", {}, ("$x", None)),
    "adaptformer, paper": ("adaptformer", {"variant": "paper"}, ("$x", None)),
    "compacter": ("compacter", {}, (NORMS[0], None)),
    "compacter, paper": ("compacter", {"variant": "paper"}, (NORMS[0], None)),
    "cnn": ("cnn_adapter", {"norms": True}, (None, NORMS[1])),
    "cnn, random": ("cnn_adapter", {"begin": "random"}, (None, "$x")),
    "cnn, series": ("cnn_adapter", {"form": "series"}, (None, "$x")),
    "lite": ("lite_residual", {}, (None, BIASES[1])),
    "sora": ("sora", {}, ("$x", None)),
    "adalora": ("adalora", {}, ("$x", None)),
    "arena": ("arena", {"rank": 2}, ("$x", None)),
    "arena, frozen": ("arena", {"rank": 2, "gates": "frozen"}, ("$x", None)),
}
BASES = ("swin", "unet")
BOTH = [(case, base) for case in CASES for base, names in zip(BASES, CASES[case][2]) if names is not None]
LIVES = [(case, name) for case, name in BOTH if name == "unet" or case not in ("full", "probe", "spatial", "spatial 2023")]
UNMERGED = ("spatial", "spatial 2023", "adaptformer", "adaptformer, paper", "compacter", "compacter, paper", "cnn, series",
            "lite")
UNLIKE = ("spatial 2023", "compacter", "cnn, random")  # these do not begin as the base model


@cache
def _life(case: str, name: str):
    method, options, _ = CASES[case]
    adapter = trained(attach(base(name), method, **options))
    return adapter, logits(adapter.model)


def life(case: str, name: str):
    """One trained adapter of the case, to do with as one likes, and the logits of its model."""
    adapter, after = _life(case, name)
    return deepcopy(adapter), after


def plain(name: str) -> str:
    """A tensor's name in the base model."""
    return name.replace(".base.", ".")


# --- every method ---------------------------------------------------


def test_no_method_is_left_out():
    assert {method for method, _, _ in CASES.values()} == set(METHODS)


@pytest.mark.parametrize(("case", "name"), BOTH)
def test_it_begins_as_the_base_model_and_trains_what_it_says(case, name):
    method, options, chosen = CASES[case]
    before, rng = base_logits(name), torch.get_rng_state()
    adapter = attach(base(name), method, seed=3, **options)
    assert torch.equal(torch.get_rng_state(), rng)  # the seed is the adapter's own
    difference = (logits(adapter.model) - before).abs().max()
    assert difference > 1e-3 if case in UNLIKE else difference == 0
    own = dict(original(name).named_parameters())
    head = {f"head.{'1.' if method == 'spatial_adapter' else ''}{part}" for part in ("weight", "bias")}
    for key, weight in adapter.model.named_parameters():
        new = plain(key) not in own and key not in head
        expected = key in head or (not key.endswith(".v") or case != "arena, frozen" if new else
                                   bool(re.search(chosen[BASES.index(name)], plain(key))))
        assert weight.requires_grad == expected, key
    assert adapter.count == sum(weight.numel() for weight in adapter.trainable.values())


@pytest.mark.parametrize(("case", "name"), LIVES)
def test_what_is_frozen_stays_and_the_base_model_comes_back(case, name):
    (adapter, after), own, before = life(case, name), original(name).state_dict(), base_logits(name)
    for key, value in adapter.model.state_dict().items():
        if key not in adapter.trainable and plain(key) in own:
            assert torch.equal(value, own[plain(key)]), key
    assert (after - before).abs().max() > 1e-4
    values = {key: value.clone() for key, value in adapter.model.state_dict().items()}
    with adapter.without() as model:
        with adapter.without():
            pass
        assert torch.equal(logits(model), before) and model is adapter.model
    with pytest.raises(KeyError, match="mine"), adapter.without():
        raise KeyError("mine")
    assert all(module.on for _, module in added(adapter.model))
    assert all(torch.equal(value, values[key]) for key, value in adapter.model.state_dict().items())


@pytest.mark.parametrize(("case", "name"), LIVES)
def test_it_is_saved_and_loaded_into_the_base_model_in_eval_mode(case, name, tmp_path):
    adapter, after = life(case, name)
    again = load(base(name), adapter.save(tmp_path / "new" / "rate0.5"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["rate0.5.safetensors"]
    with torch.no_grad():  # as it comes, without eval(): dropout and norms of the method must know
        assert torch.equal(again.model(X), after)
    assert again.trainable.keys() == adapter.trainable.keys() and again.options == adapter.options
    with again.without() as model:
        assert torch.equal(logits(model), base_logits(name))


@pytest.mark.parametrize(("case", "name"), LIVES)
def test_merged_it_is_the_same_function_in_the_base_models_modules(case, name):
    adapter, after = life(case, name)
    if case in UNMERGED:
        before = state_of(adapter.model)
        with pytest.raises(ModelError, match="cannot be merged, as .* is no change of a weight"):
            adapter.merge()
        assert same(state_of(adapter.model), before)
        return
    model = adapter.merge()
    assert (logits(model) - after).abs().max() <= 1e-5 * after.abs().max()
    assert [key for key, _ in model.named_modules()] == [key for key, _ in original(name).named_modules()]
    assert model.state_dict().keys() == original(name).state_dict().keys() and not hasattr(model, "after_step")
    for again in (adapter.merge, lambda: adapter.save("never"), adapter.report, lambda: adapter.without().__enter__()):
        with pytest.raises(ModelError, match="was merged into its model"):
            again()
    attach(model, "linear_probe")  # a merged model is a base model


# --- what is refused ------------------------------------------------


@pytest.mark.parametrize(("name", "method", "options", "match"), [
    ("unet", "lorra", {}, "No method is called 'lorra'; choose one of full, decoder"),
    ("unet", "lora", {"r": 4}, "lora has no option 'r'; it takes rank, variant, scale"),
    ("unet", "full", {"rank": 4}, "full has no option 'rank'; it takes none"),
    ("unet", "lora", {"rank": 0}, "A rank of 0 cannot be"), ("unet", "lora", {"rank": 2.0}, "A rank of 2.0 cannot be"),
    ("unet", "lora", {"variant": "mine"}, "no variant 'mine'"), ("unet", "bitfit", {"variant": "mine"}, "no variant 'mine'"),
    ("unet", "spatial_adapter", {"kernel": 2}, "A kernel of 2"), ("unet", "cnn_adapter", {"form": "mine"}, "of form 'mine'"),
    ("unet", "arena", {}, "no attention for this method"), ("unet", "compacter", {}, "no attention for this method"),
    ("swin", "cnn_adapter", {}, "no 3x3x3 convolution"), ("swin", "lite_residual", {}, "no 3x3x3 convolution"),
    ("swin", "arena", {"gates": "shut"}, "'shut' gates"), ("swin", "arena", {"lam": -1}, "A lambda of -1"),
    ("swin", "adalora", {"rank": 8}, "A target of 8"), ("swin", "compacter", {"variant": "paper", "width": 25}, "do not divide"),
])
def test_a_method_that_cannot_be_leaves_the_model_as_it_was(name, method, options, match):
    model = base(name)
    before = state_of(model)
    with pytest.raises(ModelError, match=match):
        attach(model, method, structures=["liver"], **options)
    assert same(state_of(model), before)


def test_what_fails_halfway_is_undone(monkeypatch):
    model = base("unet")
    before = state_of(model)
    monkeypatch.setattr("fmlab.adaptation.selective.tune_decoder", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        attach(model, "spatial_adapter", ["liver"], decoder=True)
    with pytest.raises(ZeroDivisionError):
        attach(model, "lora", decoder=True)
    assert same(state_of(model), before)


def test_not_twice_not_on_anything_and_not_without_a_linear_head():
    adapter = attach(base("unet"), "bitfit")
    before = state_of(adapter.model)
    with pytest.raises(ModelError, match="has an adapter already"):
        attach(adapter.model, "lora")
    assert same(state_of(adapter.model), before)
    with pytest.raises(ModelError, match="attached to a Segmenter, and this is a Nano"):
        attach(base("unet").backbone, "lora")
    model = base("unet")
    model.head = nn.Conv3d(4, 30, kernel_size=3, padding=1)
    with pytest.raises(ModelError, match="no 1x1x1 convolution"):
        attach(model, "lora")


# --- in a training --------------------------------------------------


@pytest.mark.parametrize(("method", "options"), [("sora", {"rank": 1}), ("adalora", {"rank": 2, "target": 1, "steps": 2}),
                                                 ("arena", {"rank": 1, "step": "gradient"}), ("arena", {"rank": 1})])
def test_training_takes_the_methods_own_step_and_its_penalty_is_there(method, options, tmp_path):
    model = attach(base("swin"), method, **options).model
    steps, own = [], model.after_step
    model.after_step = lambda lr: (steps.append(lr), own(lr))
    penalties = []

    def loss(network, batch):
        penalties.append(network.penalty())
        return network(batch["image"]).square().mean() + penalties[-1]

    train(model, loss, [{"image": X[0]}], TrainConfig(2, lr=1e-2, batch=1, schedule="constant"), tmp_path, progress=False)
    assert steps == [1e-2, 1e-2] and len(penalties) == 2
    assert (float(torch.as_tensor(penalties[0]).detach()) > 0) == (options.get("step", "") == "gradient" or method != "arena")


def test_a_copy_of_an_adapted_model_steps_by_itself():
    adapter = attach(base("swin"), "arena", rank=1)
    other = deepcopy(adapter)
    gates = {key: value.clone() for key, value in adapter.model.state_dict().items() if key.endswith(".v")}
    other.model.after_step(0.1)
    for one, moved in ((adapter, False), (other, True)):
        assert all(torch.equal(one.model.state_dict()[key], value) != moved for key, value in gates.items())
    assert deepcopy(other.model).after_step.args[0] is not other.model


def test_the_rate_and_the_seed():
    draws = [attach(base("unet"), "lora", rank=1, seed=seed).model.state_dict()["backbone.level1.conv.A"] for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert attach(base("unet"), "lora").lr == 1e-3 and attach(base("unet"), "lora", decoder=True).lr == 1e-4
