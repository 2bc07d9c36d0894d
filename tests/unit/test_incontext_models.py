"""UniverSeg and Tyche: two forms of one function, what leaves it unchanged, and what it refuses."""

from __future__ import annotations

import re

import pytest
import torch

from fmlab import hub
from fmlab.errors import ModelError
from fmlab.incontext import candidates
from fmlab.incontext.episodes import SIZES, in_context, some

both = pytest.mark.parametrize("name", ["universeg", "tyche"])
SMALL = [4, 6, 8]


def build(name, seed=0, **config):
    torch.manual_seed(seed)
    return hub.build(name, **config).requires_grad_(False)


def episode(batch=1, shots=5, side=32, seed=0):
    """Query, support images, support masks."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (batch, 1, side, side), (batch, shots, 1, side, side), (batch, shots, 1, side, side)
    query, images, masks = (torch.rand(shape, generator=generator) for shape in shapes)
    return query, images, (masks > 0.6).float()


def ask(model, given, **options):
    """Logits; Tyche's noise is the same at each call."""
    if model.recipe["name"] == "tyche" and "noise" not in options:
        options["generator"] = torch.Generator().manual_seed(1)
    return model(*given, **options)


def apart(a, b):
    return (a - b).abs().max().item()


@both
def test_literal_and_fast_are_one_function_in_the_published_size(name):
    model, given = build(name), episode()
    assert apart(ask(model, given), ask(model, given, literal=True)) <= 5e-6
    assert sum(p.numel() for p in model.parameters()) == {"universeg": 1_182_785, "tyche": 1_774_785}[name]


@pytest.mark.parametrize(("name", "config"), [
    ("universeg", {"encoder_blocks": [(4, 6), (8, 5), (3, 7)], "decoder_blocks": [(5, 2), (9, 3)]}),
    ("universeg", {"encoder_blocks": [5]}), ("tyche", {"encoder_blocks": [5]}),
    ("tyche", {"encoder_blocks": SMALL, "cross_relu": False}), ("tyche", {"encoder_blocks": SMALL, "decoder_blocks": [5, 3]}),
], ids=str)
@pytest.mark.parametrize("shots", [1, 4])
def test_literal_and_fast_are_one_function_in_any_widths(name, config, shots):
    model, given = build(name, **config), episode(batch=2, shots=shots, side=16)
    assert apart(ask(model, given), ask(model, given, literal=True)) <= 5e-6


@both
def test_order_and_repetition_of_the_support_do_not_matter_but_its_content_does(name):
    model, (query, images, masks) = build(name, encoder_blocks=SMALL), episode()
    plain = ask(model, (query, images, masks))
    assert apart(plain, ask(model, (query, images.flip(1), masks.flip(1)))) <= 1e-5
    assert apart(plain, ask(model, (query, images.repeat(1, 2, 1, 1, 1), masks.repeat(1, 2, 1, 1, 1)))) <= 1e-5
    assert apart(plain, ask(model, (query, images, masks.flip(1)))) > 1e-3  # masks that belong to other images
    assert apart(plain, ask(model, (query, images, 1 - masks))) > 1e-2


@both
@pytest.mark.parametrize("literal", [False, True])
def test_each_of_a_batch_is_on_its_own(name, literal):
    model, given = build(name, encoder_blocks=SMALL), episode(batch=3)
    noise = {"noise": torch.randn(3, 4, 32, 32)} if name == "tyche" else {}
    together = ask(model, given, literal=literal, **noise)
    alone = [ask(model, [x[i : i + 1] for x in given], literal=literal, **{k: z[i : i + 1] for k, z in noise.items()})
             for i in range(3)]
    assert apart(together, torch.cat(alone)) <= 5e-6


@both
@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_chunks_change_nothing(name, chunk):
    model, given = build(name, encoder_blocks=SMALL), episode(batch=2)
    assert apart(ask(model, given), ask(model, given, chunk=chunk)) <= 5e-6


def changed(which, change):
    given = list(episode(shots=2, side=16))
    given[which] = change(given[which])
    return given


UNFIT = {
    "no support": [*episode(side=16)[:1], *(x[:, :0] for x in episode(side=16)[1:])],
    "a query of two channels": changed(0, lambda x: x.repeat(1, 2, 1, 1)),
    "support without sets": changed(1, lambda x: x[0]),
    "masks of two channels": changed(2, lambda x: x.repeat(1, 1, 2, 1, 1)),
    "fewer masks": changed(2, lambda x: x[:, :1]),
    "another batch": changed(0, lambda x: x.repeat(2, 1, 1, 1)),
    "another size": changed(0, lambda x: x[..., :12]),
    "sides of 18": [x[..., :14] for x in episode(side=18)],
    "mask values": changed(2, lambda x: x * 0.5),
    "mask NaN": changed(2, lambda x: x / 0),
    "HU": changed(0, lambda x: x * 100 - 50),
    "a support above 1": changed(1, lambda x: x + 0.5),
    "NaN": changed(0, lambda x: x * torch.nan),
    "one NaN in the support": changed(1, lambda x: x.index_fill(1, torch.tensor([1]), torch.nan)),
    "float64": changed(0, lambda x: x.double()),
    "bool masks": changed(2, lambda x: x.bool()),
    "another device": changed(1, lambda x: x.to("meta")),
}
SAID = {
    "no support": "support set is empty", "a query of two channels": "query has shape (1, 2, 16, 16); give one channel",
    "support without sets": "support images have shape (2, 1, 16, 16)",
    "masks of two channels": "masks (1, 2, 2, 16, 16) do not fit",
    "fewer masks": "masks (1, 1, 1, 16, 16) do not fit", "another batch": "differ in batch or size",
    "another size": "differ in batch or size", "sides of 18": "size of 18 x 14 cannot be halved",
    "mask values": "support masks hold other values than 0 and 1", "mask NaN": "support masks hold other values",
    "HU": "query run from -", "a support above 1": "support images run from", "NaN": "query run from nan",
    "one NaN in the support": "support images run from nan", "float64": "query are torch.float64 and the model is torch.float32",
    "bool masks": "support masks are torch.bool", "another device": "support images lie on meta and the model on cpu",
}


@both
@pytest.mark.parametrize("case", UNFIT)
def test_what_does_not_fit_is_refused_in_a_sentence(name, case):
    model = build(name, encoder_blocks=SMALL)
    with pytest.raises(ModelError, match=re.escape(SAID[case])):
        model(*UNFIT[case])


@both
def test_under_autocast_any_floating_dtype_may_come(name):
    model, given = build(name, encoder_blocks=SMALL), episode()
    with torch.autocast("cpu", torch.bfloat16):
        found = model(*(x.bfloat16() for x in given))
    assert found.dtype is torch.bfloat16 and torch.isfinite(found).all()


@pytest.mark.parametrize(("name", "config", "said"), [
    ("universeg", {"encoder_blocks": [4, 4], "decoder_blocks": [4, 4]}, "2 encoder and 2 decoder blocks make no U-Net"),
    ("universeg", {"encoder_blocks": []}, "0 encoder and 0 decoder"), ("universeg", {"encoder_blocks": [4, 0]}, "width is 0"),
    ("tyche", {"encoder_blocks": [(4, 4, 4)]}, "width is"), ("tyche", {"encoder_blocks": [4, (4, 6)]}, "need C_x = C_v"),
])
def test_widths_that_make_no_network_are_refused(name, config, said):
    with pytest.raises(ModelError, match=said):
        hub.build(name, **config)


@pytest.mark.parametrize(("name", "config", "cross"), [
    ("universeg", {}, 1), ("tyche", {}, 2), ("tyche", {"cross_relu": False}, 1)])
def test_weights_start_with_he_et_als_variance(name, config, cross):
    for key, value in build(name, **config).state_dict().items():
        if key.endswith("bias"):
            assert not value.any()
        elif value.numel() > 10_000:
            gain = value.var().item() * value[0].numel()
            assert gain == pytest.approx(cross if "cross" in key else 2, rel=0.1), key


def test_candidates_follow_their_noise():
    model, given, noise = build("tyche", encoder_blocks=SMALL), episode(batch=2), torch.randn(2, 4, 32, 32)
    found, order = model(*given, noise=noise), [2, 0, 3, 1]
    assert found.shape == (2, 4, 32, 32)
    assert apart(found[:, order], model(*given, noise=noise[:, order])) <= 1e-5
    assert all(apart(found[:, i], found[:, j]) > 1e-3 for i in range(4) for j in range(i))
    assert model(*given, candidates=1).shape == (2, 1, 32, 32)


def test_a_generator_makes_candidates_again_and_each_call_makes_others():
    model, given = build("tyche", encoder_blocks=SMALL), episode()
    once, again = (model(*given, 3, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(once, again)
    assert apart(model(*given, 3), model(*given, 3)) > 1e-3


@pytest.mark.parametrize(("options", "said"), [
    ({"candidates": 0}, "0 candidates cannot be drawn"), ({"noise": torch.randn(1, 3, 16, 32)}, "noise has shape"),
    ({"noise": torch.randn(2, 3, 32, 32)}, "noise has shape"), ({"noise": torch.randn(1, 0, 32, 32)}, "noise has shape"),
    ({"noise": torch.randn(1, 3, 1, 32, 32)}, "noise has shape"), ({"noise": torch.randn(1, 3, 32, 32).double()}, "float64"),
    ({"noise": torch.randn(1, 3, 32, 32, device="meta")}, "noise images lie on meta"),
])
def test_noise_that_does_not_fit_is_refused(options, said):
    with pytest.raises(ModelError, match=said):
        build("tyche", encoder_blocks=SMALL)(*episode(), **options)


def test_losses_of_a_batch_reach_all_that_the_answer_depends_on():
    query, images, masks = episode(batch=2, shots=16, side=16)
    batch = {"query": query, "images": images, "masks": masks, "target": (query > 0.5).float()}
    for name, loss in (("universeg", in_context), ("tyche", candidates.several_candidates)):
        model = build(name, encoder_blocks=SMALL).requires_grad_(True)
        loss(model, batch).backward()
        silent = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        assert silent == [f"dec_blocks.1.support.vmapped.conv.{kind}" for kind in ("weight", "bias")]
    assert {some(batch)[0].shape[1] for _ in range(100)} == set(SIZES)
