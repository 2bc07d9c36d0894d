"""Lesson 18: right answers pass, the exercises are what the package does, and gates and ranks do what the lesson says of them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fmlab import hub
from fmlab.adaptation import arena, attach
from fmlab.adaptation.arena import Gated
from fmlab.adaptation.lora import LoRALinear
from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise
from fmlab.lessons.quiz import questions


def gated_by_diagonal(x, w0, a, b, v):
    delta = b @ torch.diag(v) @ a
    return F.linear(x, w0) + F.linear(x, delta), delta


def gated_on_a(x, w0, a, b, v):
    delta = b @ (v[:, None] * a)
    return x @ (w0 + delta).T, delta


def gated_token_by_token(x, w0, a, b, v):
    return x @ w0.T + ((x @ a.T) * v) @ b.T, sum(v[i] * torch.outer(b[:, i], a[i]) for i in range(len(v)))


def threshold_by_torch(v, move, lr, lam):
    return F.softshrink(v + move, lam * lr)


def threshold_by_cases(v, move, lr, lam):
    u, by = v + move, lam * lr
    return torch.where(u > by, u - by, torch.where(u < -by, u + by, 0 * u))


def threshold_by_minimum(v, move, lr, lam):
    u = v + move
    return u - u.clamp(-lam * lr, lam * lr)


def prune_by_number(a, b, v):
    left = v.nonzero().flatten()
    return a.index_select(0, left), b.index_select(1, left) @ torch.diag(v[left])


def prune_fold_first(a, b, v):
    return a[v != 0], (b * v)[:, v != 0]


RIGHT = [("18-gated", gated_by_diagonal), ("18-gated", gated_on_a), ("18-gated", gated_token_by_token),
         ("18-threshold", threshold_by_torch), ("18-threshold", threshold_by_cases), ("18-threshold", threshold_by_minimum),
         ("18-prune", prune_by_number), ("18-prune", prune_fold_first)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


LAST_HINTS = {
    "18-gated": ("`delta = (B * v) @ A`", "`x @ (W0 + delta).T, delta`"),
    "18-threshold": ("`u = v + move`", "`u.sign() * (u.abs() - lam * lr).clamp(min=0)`"),
    "18-prune": ("`left = v != 0`", "`A[left], B[:, left] * v[left]`"),
}


@pytest.mark.parametrize("name", LAST_HINTS)
def test_the_hints_end_in_the_answer(name):
    first, answer = LAST_HINTS[name]
    assert all(code in " ".join(exercise(name).hints) for code in LAST_HINTS[name])
    arguments = {"18-gated": "x, W0, A, B, v", "18-threshold": "v, move, lr, lam", "18-prune": "A, B, v"}[name]
    found: dict = {}
    exec(f"def hinted({arguments}):\n    {first.strip('`')}\n    return {answer.strip('`')}", found)
    assert judge(exercise(name), found["hinted"]).passed


@pytest.fixture(scope="module")
def opened():
    """An adapter of a network with random weights, B no longer 0 and half of the gates closed."""
    torch.manual_seed(0)
    adapter = attach(hub.build("fseft").eval(), "arena", ["liver"], rank=2)
    for layer in arena.gated(adapter.model):
        nn.init.normal_(layer.B, std=0.5)
        layer.v.data[::2] = 0
    return adapter


def test_the_solutions_are_the_packages_functions(opened):
    layer = arena.gated(opened.model)[0]
    x = torch.randn(3, 4, layer.A.shape[1])
    with torch.no_grad():
        y, delta = gated_on_a(x, layer.base.weight, layer.A, layer.B, layer.v)
        bias = 0 if layer.base.bias is None else layer.base.bias
        assert torch.allclose(y + bias, layer(x), atol=1e-5) and torch.allclose(delta, layer.delta(), atol=1e-6)
        small = copy.deepcopy(layer)
        small.keep(small.open)
        a, b = prune_fold_first(layer.A, layer.B, layer.v)
        assert torch.equal(a, small.A) and torch.equal(b, small.B * small.v)
    v = layer.v.detach().clone()
    moved = nn.Module()
    moved.layer = Gated(nn.Linear(4, 4), len(v))
    moved.layer.v.data = v - 0.03
    arena.after_step(moved, lr=0.2, lam=0.5)
    assert torch.allclose(moved.layer.v, threshold_by_cases(v, torch.tensor(-0.03), 0.2, 0.5))


def test_pruned_and_merged_it_is_the_same_function_at_the_base_models_cost(opened):
    """Section 5 of the lesson."""
    adapter = copy.deepcopy(opened)
    base = sum(p.numel() for p in hub.build("fseft", structures=["liver"]).parameters())
    x = torch.rand(1, 1, 32, 32, 32)
    with torch.no_grad():
        before = adapter.model(x)
        left, ranks = arena.prune(adapter.model)
        assert 0 < left < ranks
        assert torch.allclose(adapter.model(x), before, atol=1e-4 * float(before.std()))
        merged = adapter.merge()
        assert torch.allclose(merged(x), before, atol=1e-3 * float(before.std()))
    assert sum(p.numel() for p in merged.parameters()) == base


def test_with_gates_of_one_it_is_lora_number_for_number():
    """Why the lesson's table has no row for that control."""
    x, went = torch.rand(5, 6), []
    for make in (lambda base: Gated(base, 4, gates="ones"), lambda base: LoRALinear(base, 4)):
        torch.manual_seed(1)
        layer = make(nn.Linear(6, 18))
        trained = [layer.A, layer.B]
        assert not getattr(layer, "v", layer.base.weight.new_ones(())).requires_grad
        optimiser = torch.optim.Adam(trained, 1e-2)
        for _ in range(5):
            optimiser.zero_grad()
            (layer(x) - 1).square().mean().backward()
            optimiser.step()
        went.append(layer(x).detach())
    assert torch.equal(*went)


def test_size_can_move_between_gate_and_column():
    """c v and B / c: the same update, another l1 norm."""
    layer = Gated(nn.Linear(6, 6), 4)
    nn.init.normal_(layer.B)
    before, norm = layer.delta().detach(), layer.v.abs().sum().item()
    layer.v.data *= 0.1
    layer.B.data /= 0.1
    assert torch.allclose(layer.delta(), before, atol=1e-6)
    assert layer.v.abs().sum().item() == pytest.approx(0.1 * norm, rel=1e-5)


def test_quiz_has_five_questions():
    assert len(questions("18")) == 5
