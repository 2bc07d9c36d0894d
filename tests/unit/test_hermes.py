"""Hermes: the two attentions and the prototypes by hand, what is asked and what is not, its loss, loading, bad input."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from fmlab import hub
from fmlab.errors import ModelError
from fmlab.pretraining import hermes_medformer, hermes_resunet
from fmlab.pretraining.hermes import SIZES, objective
from fmlab.pretraining.hermes_priors import NULL, Attention, Exchange, asked_tasks, modality_ids
from fmlab.pretraining.published import hermes as of_masks

TINY = dict(tasks=4, modalities=3, widths=(4, 4, 8, 8, 16), blocks=1, depths=(1, 1, 2, 1, 1), head=4)
NETWORKS = {"R": hermes_resunet.HermesR, "M": hermes_medformer.HermesM}
both = pytest.mark.parametrize("kind", NETWORKS)


def model(kind="R", seed=0, **changes):
    torch.manual_seed(seed)
    return NETWORKS[kind](**(TINY | changes)).eval()


def volume(samples=2):
    return torch.randn(samples, 1, 32, 16, 16, generator=torch.Generator().manual_seed(5))


def test_attention_by_hand():
    torch.manual_seed(0)
    layer, queries, context = Attention(6, heads=2), torch.randn(1, 3, 6), torch.randn(1, 5, 6)
    q, (k, v) = layer.to_q(queries)[0], layer.to_kv(context)[0].chunk(2, -1)
    heads = [torch.softmax(q[:, s] @ k[:, s].T / 3 ** 0.5, -1) @ v[:, s] for s in (slice(0, 3), slice(3, 6))]
    assert torch.allclose(layer(queries, context)[0], layer.to_out(torch.cat(heads, -1)), atol=1e-6)


@torch.no_grad()
def test_features_hear_what_the_priors_have_learnt():
    """Without what the priors take from the features, or what the features take from the priors, nothing of it arrives."""
    torch.manual_seed(0)
    layer, features, priors = Exchange(8, 2), torch.randn(1, 5, 8), torch.randn(1, 3, 8)
    for sublayer in (layer.prior_ffn.fn.fc2, layer.feat_ffn.fn.fc2):
        sublayer.weight.zero_(), sublayer.bias.zero_()
    learnt = priors + layer.prior_aggregate_block.fn(F.layer_norm(priors, (8,)), F.layer_norm(features, (8,)))
    heard = features + layer.feat_aggregate_block.fn(F.layer_norm(features, (8,)), F.layer_norm(learnt, (8,)))
    found = layer(features, priors)
    assert torch.allclose(found[0], heard, atol=1e-5) and torch.allclose(found[1], learnt, atol=1e-5)


@torch.no_grad()
def test_both_ways_by_hand():
    """One head and one token: each voxel takes the token's value, the token takes the mean of voxels by their agreement."""
    torch.manual_seed(0)
    layer = hermes_medformer.BothWays(4, 4, heads=1)
    x, token = torch.randn(1, 4, 2, 3, 2), torch.randn(1, 1, 4)
    features, tokens = layer(x, token)
    q, v = layer.feat_qv(x).flatten(2)[0].chunk(2)
    tq, tv = layer.map_qv(token)[0, 0].chunk(2)
    assert torch.allclose(features, layer.feat_out(tv[None, :, None, None, None].expand(1, 4, 2, 3, 2)), atol=1e-5)
    assert torch.allclose(tokens[0, 0], layer.map_out(v @ (tq @ q / 2).softmax(0)), atol=1e-5)


def test_a_channel_is_place_in_head_and_head():
    layer = hermes_medformer.BothWays(4, 6, heads=2)
    h = torch.arange(6.0).expand(1, 1, 6)
    assert layer._heads(h)[0, :, 0].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert torch.equal(layer._joined(layer._heads(h)), h)


@torch.no_grad()
def test_a_semantic_map_is_made_of_means():
    torch.manual_seed(0)
    maker = hermes_medformer.SemanticMap(4)
    maker.semantic_proj.weight.zero_()  # equal weights: each token is the mean of all voxels
    x = torch.randn(2, 4, 3, 4, 5)
    made = maker(x)
    assert made.shape == (2, hermes_medformer.MAP, 4)
    assert torch.allclose(made[:, 7], maker.base_proj(x).mean((2, 3, 4)), atol=1e-6)


@both
@torch.no_grad()
def test_channels_are_the_tasks_asked(kind):
    net, x = model(kind).double(), volume().double()
    answer = net.answer(x, [2, 0, 3], [0, 2])
    assert answer.logits.shape == (2, 3, 32, 16, 16) and answer.modality.shape == (2, 3)
    assert torch.allclose(net(x, [3, 2, 0], [0, 2]), answer.logits[:, [2, 0, 1]], atol=1e-6)
    z, prototypes = answer.features[1, :, 3, 4, 5], answer.prototypes[1]
    assert torch.allclose(answer.logits[1, :, 3, 4, 5], prototypes @ z, atol=1e-4)
    assert (answer.logits[:, 0] - answer.logits[:, 1]).abs().max() > 1e-3
    assert (answer.aux is None) == (kind == "R") and (kind == "R" or answer.aux.shape == answer.logits.shape)


@both
@torch.no_grad()
def test_samples_of_one_batch_come_out_as_if_alone(kind):
    net, x = model(kind).double(), volume().double()
    together = net(x, [[1, 2], [0]], [1, NULL])
    assert torch.allclose(together[:1], net(x[:1], [1, 2], 1), atol=1e-6)
    assert torch.allclose(together[1:], net(x[1:], torch.tensor([[0, NULL]]), 2), atol=1e-6)
    assert (together[:1] - net(x[:1], [1, 2], 0)).abs().max() > 1e-3  # the modality is heard


@both
def test_what_was_not_asked_learns_nothing(kind):
    net, x = model(kind).train(), volume()
    target = torch.randint(0, 2, (2, 2, 32, 16, 16)).float()
    w, modality = torch.tensor([[1, 1], [1, 0]]), torch.tensor([0, NULL])
    target[1, 1] = -1
    answer = net.answer(x, [[1, 2], [1]], modality)
    answer.logits.retain_grad()
    loss = objective(answer, target, w, modality)
    loss.backward()
    assert not answer.logits.grad[1, 1].any() and answer.logits.grad[1, 0].any()
    for name, p in net.named_parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all(), name
        if name.endswith("task_prior"):
            assert not p.grad[[0, 3]].any() and p.grad[1].any() and p.grad[2].any()
        if name.endswith("modality_prior"):
            assert not p.grad[1].any() and p.grad[0].any() and p.grad[2].any()


@torch.no_grad()
def test_the_objective_is_the_sum_of_its_parts():
    target, w, modality = (torch.rand(2, 2, 32, 16, 16) > 0.5).float(), torch.ones(2, 2), torch.tensor([NULL, 1])
    r, m = (model(kind).answer(volume(), [0, 1], modality) for kind in NETWORKS)
    masks, seen = of_masks(r.logits, target, w), F.cross_entropy(r.modality[1:], modality[1:])
    assert torch.isclose(objective(r, target, w, modality), masks + 0.01 * seen)
    assert torch.equal(objective(r, target, w, torch.tensor([NULL, NULL])), masks)
    masks = 0.5 * of_masks(m.logits, target, w) + 0.5 * of_masks(m.aux, target, w)
    assert torch.isclose(objective(m, target, w, modality, weight=0), masks)


def test_lists_are_filled_up():
    x = torch.zeros(2, 1)
    assert asked_tasks([[3], [0, 1]], x, 4).tolist() == [[3, NULL], [0, 1]]
    assert asked_tasks([2, 0], x, 4).tolist() == [[2, 0], [2, 0]] == asked_tasks(torch.tensor([2, 0]), x, 4).tolist()
    assert modality_ids(NULL, x, 6).tolist() == [5, 5] and modality_ids([0, NULL], x, 6).tolist() == [0, 5]


def test_counts():
    with torch.device("meta"):
        published, medformer = hub.build("hermes"), hub.build("hermes", size="medformer")
    assert sum(p.numel() for p in published.parameters()) == 60_884_998
    assert sum(p.numel() for p in medformer.parameters()) == 47_129_990
    assert sum(p.numel() for p in hub.build("hermes", size="nano", tasks=30, modalities=1).parameters()) <= 1_400_000


@torch.no_grad()
def test_nano_asks_any_list_of_structures():
    net = hub.build("hermes", size="nano", tasks=30, modalities=1).eval()
    for side, asked in ((32, [4]), (48, [29, 0, 7, 11, 2])):
        assert net(torch.randn(1, 1, side, side, side), asked).shape == (1, len(asked), side, side, side)


@both
def test_official_layouts(kind, capsys):
    theirs, ours = model(kind, 1), model(kind, 2)
    wrapped = {"model_state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}, "epoch": 200}
    report = hub.load_official(ours, wrapped)
    assert len(report.matched) == len(ours.state_dict()) and "0 missing, 0 unexpected" in capsys.readouterr().out
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values()))
    other = model(kind, 3, tasks=5)  # one task more: everything but the tables
    report = hub.load_official(other, theirs.state_dict(), allow_missing=("*.task_prior",))
    assert len(report.missing) == 5 and all(key.endswith(".task_prior") for key in report.missing)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: hub.build("hermes", size="huge"), ", ".join(SIZES)),
    (lambda: model(tasks=0), "at least 1"),
    (lambda: model(depths=(1, 1)), "five depths"),
    (lambda: model("M", widths=(4, 4, 8, 8)), "five widths"),
    (lambda: model(widths=(4, 4, 8, 10, 16)), "multiples of a head's 4"),
    (lambda: model("M", fusion=-1), "0 or more"),
    (lambda: model()(torch.zeros(1, 1, 16, 16, 24), [0]), "multiple of 16"),
    (lambda: model("M")(torch.zeros(1, 1, 16, 16, 16), [0]), "single voxel"),
    (lambda: model()(volume(), [0, 4]), "numbered 0 to 3"),
    (lambda: model()(volume(), [-2]), "asks for none"),
    (lambda: model()(volume(), []), "one list of whole numbers"),
    (lambda: model()(volume(), [[0], [1], [2]]), "for 2 samples"),
    (lambda: model()(volume(), torch.tensor([0.5])), "whole numbers"),
    (lambda: model()(volume(), [0], 3), "0 to 2"),
    (lambda: model()(volume(), [0], [0, 1, 2]), "one a sample"),
])
def test_refused(call, words):
    with pytest.raises(ModelError) as error:
        call()
    assert words in str(error.value)
