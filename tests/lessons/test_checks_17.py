"""Lesson 17: right answers pass, whatever their style, the exercises are what the package does, and its helpers measure right."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from fmlab import hub
from fmlab.adaptation import attach, size_prior
from fmlab.adaptation.adapting import Trained
from fmlab.adaptation.heads import head_for
from fmlab.adaptation.results import table
from fmlab.backbones.caching import weights_hash
from fmlab.errors import LessonError
from fmlab.lessons import both, new_organs, planes
from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise
from fmlab.lessons.quiz import questions
from fmlab.metrics import Score
from fmlab.pretraining.hospitals import STRUCTURES
from fmlab.pretraining.masked import masked_bce_dice
from fmlab.pretraining.nano import NOVEL


def trained_by_ifs(names, peft):
    answer = []
    for name in names:
        if name in peft:
            answer.append(True)
        elif name.startswith("backbone."):
            answer.append(name.split(".")[1].startswith("decoder"))
        else:
            answer.append(True)
    return answer


def trained_by_sets(names, peft):
    yes = {name for name in names if name[:5] == "head." or ".decoder" in name} | set(peft)
    return np.array([name in yes for name in names])


def head_by_stack(base, own, wanted, fresh):
    rows = [(base, list(own).index(name)) if name in own else (fresh, k) for k, name in enumerate(wanted)]
    return torch.stack([pair[0][k] for pair, k in rows]), torch.stack([pair[1][k] for pair, k in rows])


def head_from_zeros(base, own, wanted, fresh):
    weight, bias = torch.empty_like(fresh[0]), torch.empty_like(fresh[1])
    where = {name: k for k, name in enumerate(own)}
    for k, name in enumerate(wanted):
        source, row = (base, where[name]) if name in where else (fresh, k)
        weight[k], bias[k] = source[0][row], source[1][row]
    return weight, bias


def size_by_where(share, expected, margin):
    largest = torch.maximum(share, torch.as_tensor(expected)).detach()
    return ((expected - share).abs() / largest - margin).relu()


def size_by_ifs(share, expected, margin):
    largest = max(float(share), expected)
    e = (expected - share) / largest
    if abs(float(e)) <= margin:
        return 0 * e
    return abs(e) - margin


RIGHT = [("17-trained", trained_by_ifs), ("17-trained", trained_by_sets), ("17-head", head_by_stack),
         ("17-head", head_from_zeros), ("17-size", size_by_where), ("17-size", size_by_ifs)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


def test_the_last_hints_are_nearly_the_answer():
    for name, codes in {
            "17-trained": ['[name in peft or name.startswith(("backbone.decoder", "head.")) for name in names]'],
            "17-head": ["weight, bias = fresh[0].clone(), fresh[1].clone()", "for k, name in enumerate(wanted)",
                        "if name in own:", "row = own.index(name)", "weight[k], bias[k] = base[0][row], base[1][row]"],
            "17-size": ["e = (expected - share) / torch.clamp(share.detach(), min=expected)",
                        "torch.clamp(e.abs() - margin, min=0)"]}.items():
        hints = " ".join(exercise(name).hints)
        assert all(code in hints for code in codes), name


@pytest.mark.parametrize(("method", "decoder"), [("decoder", False), ("lora", True), ("adaptformer", True), ("bitfit", True),
                                                 ("affine", True), ("spatial_adapter", True)])
def test_what_is_trained_is_what_attach_trains(method, decoder):
    """The names of PEFT are those that it trains without the decoder, the head apart."""
    alone = attach(hub.build("fseft"), method, ["sternum"])
    peft = [] if method == "decoder" else [name for name in alone.trainable if not name.startswith("head.1")
                                           and name not in ("head.weight", "head.bias")]
    adapter = attach(hub.build("fseft"), method, ["sternum"], decoder)
    names = [name for name, _ in adapter.model.named_parameters()]
    chosen = exercise("17-trained").reference(names, peft)
    assert {name for name, yes in zip(names, chosen) if yes} == set(adapter.trainable)


def test_the_blocks_on_the_skips_are_more_than_half_of_the_published_network():
    """A message, a quiz and the lesson say so, and how large the decoder is."""
    model = hub.build("fseft", size="published", structures=1)
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    assert sum(n for name, n in sizes.items() if name.startswith("backbone.encoder")) > sum(sizes.values()) / 2
    assert sum(n for name, n in sizes.items() if name.startswith("backbone.decoder")) == pytest.approx(19.6e6, rel=0.001)
    assert sum(sizes.values()) == pytest.approx(62.2e6, rel=0.001)


def test_the_head_is_the_packages():
    """With the names of the base model, in an order of the hospital's own."""
    model, wanted = hub.build("fseft"), ("sternum", "aorta", "gluteus_maximus_left", "liver")
    torch.nn.init.normal_(model.head.bias)
    theirs, _ = head_for(model, wanted, seed=4)
    fresh, _ = head_for(model, len(wanted), seed=4)
    flat = [(head.weight.detach().flatten(1), head.bias.detach()) for head in (model.head, fresh, theirs)]
    weight, bias = head_by_stack(flat[0], model.structures, wanted, flat[1])
    assert torch.equal(weight, flat[2][0]) and torch.equal(bias, flat[2][1])


@pytest.mark.parametrize("share", [0.01, 0.09, 0.5])
def test_the_penalty_is_the_packages(share):
    values, gradients = [], []
    for function in (size_by_where, size_prior.penalty):
        leaf = torch.tensor(share, dtype=torch.float64, requires_grad=True)
        values.append(value := function(leaf, 0.1, 0.3))
        gradients.append(torch.autograd.grad(value, leaf)[0])
    assert torch.allclose(*values) and torch.allclose(*gradients)


def test_quiz_has_five_questions():
    assert len(questions("17")) == 5


def test_the_numbers_of_the_published_table():
    """q4 and section 8: two thirds of LoRA's lead are the heart's, and the rows of which there are cells add up."""
    decoder, lora = np.array([25.98, 65.69, 64.23]), np.array([26.16, 76.12, 69.89])
    assert decoder.mean() == pytest.approx(51.97, abs=0.01) and lora.mean() == pytest.approx(57.39, abs=0.01)
    assert (lora - decoder)[1] / (lora - decoder).sum() == pytest.approx(2 / 3, abs=0.03)
    assert (lora - decoder)[0] == pytest.approx(0.18)


# ---- planes

def test_planes_find_what_a_plane_can_find_and_not_what_it_cannot():
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(3, 20, 20, 20, generator=rng)
    y = torch.stack([z[0] - z[1] > 1.5, z[0].abs() < 0.3, z[2] > 99]).to(torch.uint8)
    dice = planes.fitted(z, y).dice(z, y)
    assert dice[0] > 0.95 and dice[1] < 0.6 and np.isnan(dice[2])


def test_the_cut_is_the_best_of_all():
    rng = torch.Generator().manual_seed(1)
    score, y = torch.randn(60, 2, generator=rng), torch.rand(60, 2, generator=rng) < 0.2
    cut = planes.best_cut(score, y)
    for k in range(2):
        def dice(at, k=k):
            here = score[:, k] > at
            return float(2 * (here & y[:, k]).sum() / (here.sum() + y[:, k].sum()))
        assert dice(cut[k]) == pytest.approx(max(dice(at) for at in [*score[:, k], -99]))


def test_the_last_stage_is_z():
    model = hub.build("fseft").eval()
    way, x = planes.Stages(model.backbone), torch.rand(1, 1, 32, 32, 32)
    with torch.no_grad():
        parts = way.split(way(x)[0])
        assert torch.equal(parts["decoder1"], model.backbone(x)[0])
    assert [len(parts[name]) for name in way.names] == way.channels == [48, 24, 12, 12]
    assert not any(module._forward_hooks for module in model.modules())


def test_figures_of_planes_say_what_they_show():
    values = np.linspace(0.1, 0.9, len(STRUCTURES) + len(NOVEL))
    every = (*STRUCTURES, *NOVEL)
    fig, told = planes.by_structure({"trained": values, "blank": values / 2}, every, NOVEL)
    assert "sternum trained 0.90, blank 0.45" in told and len(fig.axes[0].get_yticks()) == len(every)
    fig, told = planes.along_the_way({"a": values, "b": values[::-1]}, every, NOVEL, ["A", "B"])
    assert f"new A {values[-5:].mean():.2f}, B {values[:5].mean():.2f}" in told


# ---- new organs

class _Cubes:
    """Two cubes as ``Shots`` gives them, of one new structure."""

    structures, shift = ("sternum",), False

    def __init__(self):
        torch.manual_seed(2)
        self.items = [{"image": torch.rand(1, 32, 32, 32), "target": (torch.rand(1, 32, 32, 32) < 0.3).to(torch.uint8),
                       "w": torch.ones(1, dtype=torch.uint8)} for _ in range(2)]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def test_the_base_models_answers_are_told_and_weigh_as_much_as_is_said():
    base = hub.build("fseft").eval()
    nn.init.zeros_(base.head.bias)  # else it is sure of everything
    cubes = _Cubes()
    told = both.Told(cubes, base)
    batch = {name: told[1][name][None] for name in ("image", "target", "w", "old")}
    model = attach(copy.deepcopy(base), "decoder", (*STRUCTURES, "sternum")).model.eval()
    with torch.no_grad():
        assert torch.equal(batch["old"][0], base(cubes.items[1]["image"][None])[0].sigmoid())
        nothing, once, twice = (float(both.objective(model, batch, weight)) for weight in (0, 1, 2))
        entropy = float(torch.nn.functional.binary_cross_entropy(batch["old"], batch["old"]))
        new = float(masked_bce_dice(model(batch["image"])[:, 16:], batch["target"], batch["w"]))
    assert nothing == pytest.approx(new)
    assert once - nothing == pytest.approx(entropy, rel=1e-4)  # at first it says what the base model says
    assert twice - nothing == pytest.approx(2 * (once - nothing), rel=1e-4)


def test_runs_are_read_as_they_were_kept_and_drawn_by_weight(tmp_path):
    points = [both.Point(weight, 2, 0, "h", {"liver": 0.9}, {"liver": old}, {"sternum": 1 - old}, "none")
              for weight, old in ((3.0, 0.8), (0.0, 0.1))]
    for point in points:
        both.record(point, tmp_path / "runs.jsonl")
    found = both.recorded(tmp_path / "runs.jsonl")
    assert found == points[::-1]
    told = both.trade_off(found)[1]
    assert "had 0.90 before" in told and "weight 0: old 0.10, new 0.90; weight 3: old 0.80, new 0.20" in told
    with pytest.raises(LessonError, match="record_both"):
        both.recorded(tmp_path / "none.jsonl")


def test_the_runs_that_ship_are_of_the_base_model_that_ships():
    found = both.recorded()
    assert {point.weight for point in found} == set(both.WEIGHTS)
    assert {point.base for point in found} == {weights_hash(hub.load("fseft", "nano").backbone)}
    assert all(set(point.new) == set(NOVEL) and set(point.old) == set(point.before) == set(STRUCTURES) for point in found)


def test_the_old_head_is_the_base_models_own():
    base, other = hub.build("fseft").eval(), hub.build("fseft").eval()
    model, x = new_organs.old_head_on(other.backbone, base), torch.rand(1, 1, 32, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(x), base.head(other.backbone(x)))
    assert model.structures == STRUCTURES


def test_the_prior_moves_the_share_towards_what_is_expected_and_only_a_copy_of_the_head():
    model, cubes = attach(hub.build("fseft"), "linear_probe", ["sternum"]).model.eval(), _Cubes()
    z, before = torch.randn(1, 12, 8, 8, 8), copy.deepcopy(model.head.state_dict())
    without, with_prior = new_organs.settled(model, z, 0.001, cubes, 20, (0, 20)).values()
    assert len(with_prior.shares) == 21 and with_prior.shares[0] == without.shares[0]
    assert with_prior.shares[-1] < without.shares[-1]
    assert all(torch.equal(value, before[name]) for name, value in model.head.state_dict().items())


def test_a_result_is_a_line_of_the_protocols_table():
    adapter = attach(hub.build("fseft"), "lora", ["sternum"], decoder=True)
    scored = {person: [_score("sternum", dice), _score("liver", float("nan"), 0.0)] for person, dice in (("a", 0.4), ("b", 0.6))}
    found = new_organs.result(Trained(adapter, [1.0], {3: {}}, 2.0), scored, shots=5)
    assert found.dice == {"a": 0.4, "b": 0.6} and found.step == 3
    assert "lora + decoder  0.50 [0.40, 0.60]" in table([found])
    assert new_organs.mean_dice(scored) == {"sternum": 0.5}


def test_parts_of_a_network_add_up():
    adapter = attach(hub.build("fseft"), "lora", NOVEL, decoder=True)
    lines = [line.split() for line in new_organs.parts(adapter.model).splitlines()[1:]]
    trained = {part: int(number.replace(",", "")) for part, number, _ in lines}
    assert sum(trained.values()) == adapter.count and trained["encoder"] == 0 and trained["decoder"] > 0 < trained["swinViT"]


def test_means_of_runs_says_so_without_any(monkeypatch):
    monkeypatch.setattr(new_organs.claims, "runs", lambda claim: ())
    assert new_organs.means_of_runs("C15") == "C15 has no run yet."


def _score(structure: str, dice: float, volume: float = 9.0) -> Score:
    return Score(structure, dice, dice, 1.0, 0.0, volume, "ok" if volume else "absent")
