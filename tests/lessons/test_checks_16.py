"""Lesson 16: right answers pass, whatever their style; the exercises are what the package does; what its figures are made of."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fmlab import hub
from fmlab.adaptation import attach
from fmlab.adaptation.lora import LoRALinear
from fmlab.adaptation.results import Result, table
from fmlab.adaptation.spatial_adapter import SpatialAdapter
from fmlab.lessons import five_scans, what_it_costs
from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise
from fmlab.lessons.quiz import questions
from fmlab.metrics import Score, summarise
from fmlab.volume import Volume

SIDE = 32


def probe_einsum(z, weight, bias, rows):
    return torch.einsum("bcxyz,kc->bkxyz", z, weight[rows]) + bias[rows][:, None, None, None]


def probe_conv(z, weight, bias, rows):
    return F.conv3d(z, weight[rows][..., None, None, None], bias[rows])


def probe_linear(z, weight, bias, rows):
    return F.linear(z.movedim(1, -1), weight[rows], bias[rows]).movedim(-1, 1)


def probe_whole_then_rows(z, weight, bias, rows):
    """More work, and the same answer."""
    return F.conv3d(z, weight[:, :, None, None, None], bias)[:, rows]


def probe_in_loops(z, weight, bias, rows):
    return torch.stack([(z * weight[k].view(-1, 1, 1, 1)).sum(1) + bias[k] for k in rows.tolist()], 1)


def spatial_same(z, w1, w2):
    return z + F.conv3d(F.conv3d(z, w1, padding="same").relu(), w2, padding="same")


def spatial_by_kernel(z, w1, w2):
    inside = torch.clamp(F.conv3d(z, w1, padding=w1.shape[-1] // 2), min=0)
    return F.conv3d(inside, w2, padding=w2.shape[2] // 2) + z


def lora_two_ways(x, w0, b0, A, B, scale):
    return F.linear(x, w0, b0) + scale * F.linear(F.linear(x, A), B), w0 + scale * B @ A


def lora_merged_first(x, w0, b0, A, B, scale):
    merged = torch.addmm(w0, B, A, alpha=scale)
    return F.linear(x, merged, b0), merged


def lora_at_signs(x, w0, b0, A, B, scale):
    return [x @ w0.T + b0 + (x @ A.T @ B.T) * scale, w0 + (B * scale) @ A]


RIGHT = [("16-probe", probe_einsum), ("16-probe", probe_conv), ("16-probe", probe_linear), ("16-probe", probe_whole_then_rows),
         ("16-probe", probe_in_loops), ("16-spatial", spatial_same), ("16-spatial", spatial_by_kernel),
         ("16-lora", lora_two_ways), ("16-lora", lora_merged_first), ("16-lora", lora_at_signs)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


@pytest.mark.parametrize(("name", "code"), [
    ("16-probe", "F.conv3d(z, weight[rows][..., None, None, None], bias[rows])"),
    ("16-spatial", "return z + F.conv3d(inside, w2, padding=\"same\")"),
    ("16-lora", "merged = w0 + scale * B @ A"),
])
def test_the_last_hint_is_nearly_the_answer(name, code):
    assert code in exercise(name).hints[-1]


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    return hub.build("fseft").eval()


def test_the_probe_is_the_packages(base):
    """On the head of a whole model, with the rows of known organs."""
    names = ("spleen", "liver", "colon")
    rows = torch.tensor([base.structures.index(name) for name in names])
    x = torch.rand(1, 1, SIDE, SIDE, SIDE)
    probe = attach(deepcopy(base), "linear_probe", names).model
    with torch.no_grad():
        mine = probe_einsum(base.backbone.features(x), base.head.weight.flatten(1), base.head.bias, rows)
        torch.testing.assert_close(mine, probe(x), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(mine, base(x)[:, rows], atol=1e-5, rtol=1e-5)


def test_the_spatial_adapter_is_the_packages():
    torch.manual_seed(1)
    adapter, z = SpatialAdapter(4), torch.randn(2, 4, 5, 6, 7)
    assert torch.equal(spatial_same(z, adapter.W1, adapter.W2), z)  # as it begins
    nn.init.normal_(adapter.W2, std=0.3)
    torch.testing.assert_close(spatial_same(z, adapter.W1, adapter.W2), adapter(z))


def test_lora_and_its_merge_are_the_packages():
    torch.manual_seed(2)
    layer, x = LoRALinear(nn.Linear(6, 18), 3, 0.5), torch.randn(4, 5, 6)
    nn.init.normal_(layer.B)
    y, merged = lora_two_ways(x, layer.base.weight, layer.base.bias, layer.A, layer.B, layer.scale)
    torch.testing.assert_close(y, layer(x))
    torch.testing.assert_close(merged, layer.merged().weight)


def test_the_rank_that_is_asked_for_is_tripled(base):
    """Section 4: A of a LoRA of rank 4 has 12 rows."""
    adapter = attach(deepcopy(base), "lora", rank=4)
    assert {len(weight) for name, weight in adapter.trainable.items() if name.endswith("qkv.A")} == {12}


def test_no_rank_gives_the_printed_count():
    """Section 5: 68.1K without the head of 49 is no multiple of what a rank costs, 4 x 1440 numbers, within its digits."""
    assert not any(68_050 <= 4 * 1440 * rank + 49 < 68_200 for rank in range(1, 100))


def test_with_both_at_zero_lora_never_begins():
    """Quiz, question 3."""
    layer, x = LoRALinear(nn.Linear(6, 18), 3), torch.randn(5, 6)
    nn.init.zeros_(layer.A)
    layer(x).square().sum().backward()
    assert not layer.A.grad.any()
    assert not layer.B.grad.any()


# ---- what it costs

def test_costs_are_those_of_the_adapter_and_a_probe_keeps_nothing(base):
    x = torch.rand(1, 1, SIDE, SIDE, SIDE)
    found = {cost.method: cost for cost in what_it_costs.costs(base, ("linear_probe", "lora", "full"), ("liver", "spleen"), x, 1)}
    assert found["linear_probe"].trained == 2 * base.backbone.channels + 2
    assert found["linear_probe"].activations == 0
    assert found["full"].trained > 100 * found["lora"].trained
    assert 0.5 < found["lora"].activations / found["full"].activations < 0.9
    assert found["linear_probe"].file < found["lora"].file < found["full"].file
    assert found["linear_probe"].seconds < found["full"].seconds
    assert not hasattr(base, "adapted")  # it was left alone
    figure, told = what_it_costs.drawn(list(found.values()))
    assert len(figure.axes) == 3
    assert "linear_probe: 26 numbers, 0% of the activations" in told


def test_kinds_add_up_to_the_count(base):
    adapter = attach(deepcopy(base), "bitfit", ("liver",))
    found = what_it_costs.kinds(adapter)
    assert sum(found.values()) == adapter.count
    assert next(iter(found)).endswith("relative_position_bias_table")


@pytest.mark.parametrize(("window", "side"), [(3, 3), (3, 2), (4, 3)])
def test_unreached_rows_are_those_that_no_pair_reads(window, side):
    """Counted by hand, with Swin's numbering; the smaller grid uses the first entries of the large one's, as published."""
    places = torch.cartesian_prod(*[torch.arange(window)] * 3)
    apart = places[:, None] - places[None] + window - 1
    index = (apart * torch.tensor([(2 * window - 1) ** 2, 2 * window - 1, 1])).sum(-1)
    read = {int(row) for row in index[:side**3, :side**3].flatten()}
    assert what_it_costs.unreached(index, side**3) == (2 * window - 1) ** 3 - len(read)
    assert what_it_costs.unreached(index, window**3) == 0


def test_dice_before_training_is_that_of_the_likeliest_structure():
    target = torch.zeros(3, 4, 4, 4, dtype=torch.uint8)
    target[0, :2], target[1, 2:] = 1, 1  # the third is not in the cube, and does not count
    right = torch.cat([target[:2].float() * 2 - 1, -torch.ones(1, 4, 4, 4)])

    class Says(nn.Module):
        def __init__(self, logits):
            super().__init__()
            self.logits = logits

        def forward(self, x):
            return self.logits[None]

    cubes = [{"image": torch.zeros(1, 4, 4, 4), "target": target}] * 2
    models = {"right": Says(right), "swapped": Says(right[[1, 0, 2]]), "nothing": Says(-right.abs())}
    found = what_it_costs.before_training(models, cubes)
    assert {name: dice.mean for name, dice in found.items()} == {"right": 1.0, "swapped": 0.0, "nothing": 0.0}
    assert all(dice.patients == 2 for dice in found.values())


def test_an_adapter_that_begins_at_random_breaks_the_network_and_one_at_zero_does_not():
    torch.manual_seed(3)
    net, x = hub.build("universal", structures=("liver", "spleen"), width=4).eval(), torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        before = net(x)
        zero, random = (attach(deepcopy(net), "cnn_adapter", begin=begin).model(x) for begin in ("zero", "random"))
    assert torch.equal(zero, before)
    assert float((random - before).abs().max() / before.std()) > 0.5


# ---- five scans

def test_hospital_f_keeps_its_people_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("FMLAB_DATA", str(tmp_path))
    pool, test = five_scans.scans(1, 1)
    assert not set(pool.patients) & set(test.patients)
    body = pool[0]
    assert body.shape[2] <= SIDE  # a cube is as high, so a scan is few of them
    assert all(body.mask(name).any() for name in five_scans.KNOWN)
    again = five_scans.upper_abdomen(60_000, "F")
    assert torch.equal(again.labels, body.labels)


def test_two_parts_share_no_voxel_and_leave_none_out():
    image = torch.arange(4 * 4 * 10.0).view(1, 4, 4, 10)
    scan = Volume(image, np.diag([8.0, 8, 8, 1]), labels=torch.ones_like(image, dtype=torch.uint8), name="one")
    lower, upper = five_scans.two_parts(scan)
    assert (len(lower), len(upper)) == (1, 1)
    assert not set(lower.patients) & set(upper.patients)
    torch.testing.assert_close(torch.cat([lower[0].image, upper[0].image], -1), image, atol=1e-3, rtol=0)
    assert lower[0].shape[2] == 6
    assert upper[0].world((0, 0, 0))[2] == pytest.approx(lower[0].world((0, 0, 6))[2])


@pytest.mark.parametrize(("slices", "share"), [(2, 0.01), (2, 0.99), (3, 0.5)])
def test_each_part_has_a_slice_at_least(slices, share):
    image = torch.rand(1, 3, 3, slices)
    parts = five_scans.two_parts(Volume(image, np.diag([8.0, 8, 8, 1]), labels=torch.ones_like(image, dtype=torch.uint8)), share)
    assert min(part[0].shape[2] for part in parts) >= 1


def result(method, shots, dice, count=7):
    return Result({"method": method, "shots": shots, "seed": 0, "decoder": False, "options": {}}, dict(zip("abcd", dice)), count,
                  1.0, 1, "")


def test_gains_are_taken_person_by_person():
    """People differ by far more than the method changes, and the paired interval knows."""
    zero = dict(zip("abcd", (0.5, 0.6, 0.7, 0.8)))
    raced = [result("full", 1, (0.48, 0.58, 0.68, 0.78)), result("linear_probe", 1, (0.51, 0.61, 0.71, 0.81), 1)]
    figure, told = five_scans.gains(raced, zero)
    assert "full less no training: -0.020 [-0.020, -0.020] with 1 shot" in told
    assert "linear_probe less no training: 0.010 [0.010, 0.010] with 1 shot" in told
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["no training", "full, 7 numbers", "linear_probe, 1 number"]


def test_a_table_says_as_many_digits_as_it_is_asked_for():
    raced = [result("full", 1, (0.5, 0.6, 0.7, 0.8)), result("lora", 1, (0.504, 0.604, 0.704, 0.804))]
    assert "0.00 [0.00, 0.00]" in table(raced, against="full")
    assert "0.004 [0.004, 0.004]" in table(raced, against="full", digits=3)


def test_organs_come_best_first_with_their_intervals():
    def score(name, dice):
        return Score(structure=name, dice=dice, nsd=1.0, hd95=0.0, volume_error=0.0, volume_ml=1.0, status="ok")

    cases = {who: [score("liver", dice), score("colon", dice / 2)] for who, dice in (("a", 0.8), ("b", 0.9))}
    figure, told = five_scans.by_organ(summarise(cases))
    assert told.index("liver 0.85 [0.80, 0.90]") < told.index("colon 0.4")
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["colon (2)", "liver (2)"]


def test_quiz_has_five_questions():
    assert len(questions("16")) == 5
