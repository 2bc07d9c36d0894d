"""Lesson 03: right answers pass, whatever their style, the exercises are what the package does, and its helpers measure right."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn import functional as F

from data_scripts import record_flat_or_deep
from fmlab import cohorts
from fmlab.backbones.counting import Layer, costs
from fmlab.errors import LessonError
from fmlab.lessons import flat_or_deep, flat_or_deep_figures, flat_or_deep_runs
from fmlab.lessons.check import judge
from fmlab.lessons.checks_03 import Reader
from fmlab.lessons.exercise import exercise
from fmlab.lessons.quiz import questions
from fmlab.phantom.visits import any_visit
from fmlab.pretraining.inflation import inflate, inflated
from fmlab.slice_inference import voted
from fmlab.vocabulary import ID


def inflate_by_padding(kernel, depth, how):
    if how == "mean":
        return (kernel / depth).unsqueeze(4).expand(-1, -1, -1, -1, depth)
    return F.pad(kernel.unsqueeze(4), (depth // 2, depth // 2))


def inflate_by_zeros(kernel, depth, how):
    new = torch.zeros(*kernel.shape, depth)
    if how == "centre":
        new[..., depth // 2] = kernel
    else:
        for k in range(depth):
            new[..., k] = kernel / depth
    return new


def costs_from_the_end(layers, dims, side):
    reach = 1
    for _, _, kernel, stride in reversed(layers):
        reach = (reach - 1) * stride + kernel
    parameters, adds, values = [], [], []
    for inputs, outputs, kernel, stride in layers:
        side = (side - 1) // stride + 1
        parameters.append(inputs * outputs * kernel**dims)
        adds.append(parameters[-1] * side**dims)
        values.append(outputs * side**dims)
    return sum(parameters), sum(adds), sum(values), reach**dims


def costs_as_floats(layers, dims, side):
    return tuple(map(float, costs_from_the_end(layers, dims, side)))


def vote_by_permute(ask, volume):
    x = ask(volume).permute(1, 0, 2, 3)
    y = ask(volume.permute(1, 0, 2)).permute(1, 2, 0, 3)
    z = ask(volume.permute(2, 0, 1)).permute(1, 2, 3, 0)
    return (x + y + z).argmax(0)


def vote_slice_by_slice(ask, volume):
    total = 0
    for axis in range(3):
        total = total + torch.stack([ask(one[None])[0] for one in volume.unbind(axis)], 1 + axis) / 3
    return total.max(0).indices.numpy()


RIGHT = [("03-inflate", inflate_by_padding), ("03-inflate", inflate_by_zeros), ("03-costs", costs_from_the_end),
         ("03-costs", costs_as_floats), ("03-vote", vote_by_permute), ("03-vote", vote_slice_by_slice)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


def test_the_last_hints_are_nearly_the_answer():
    for name, codes in {
            "03-inflate": ["share = torch.full((depth,), 1 / depth)", "if how == \"centre\":", "share = torch.zeros(depth)",
                           "share[depth // 2] = 1", "return kernel[..., None] * share"],
            "03-costs": ["for inputs, outputs, kernel, stride in layers:", "side = -(-side // stride)",
                         "weights = inputs * outputs * kernel**dims", "parameters += weights", "adds += weights * side**dims",
                         "values += outputs * side**dims", "reach += (kernel - 1) * step", "step *= stride",
                         "return parameters, adds, values, reach**dims"],
            "03-vote": ["answers = [ask(volume.movedim(axis, 0)).movedim(1, 0).movedim(1, 1 + axis) for axis in range(3)]",
                        "torch.stack(answers).mean(0).argmax(0)"]}.items():
        hints = " ".join(exercise(name).hints)
        assert all(code in hints for code in codes), name


def test_the_exercises_are_the_packages():
    kernel = torch.randn(3, 2, 5, 3)
    for how in ("mean", "centre"):
        assert torch.allclose(inflate_by_zeros(kernel, 5, how), inflated(kernel, 5, how))
    layers = [(1, 8, 3, 2), (8, 16, 5, 1), (16, 16, 3, 2), (16, 4, 1, 1)]
    for dims in (2, 3):
        assert costs_from_the_end(layers, dims, 17) == tuple(costs([Layer(*each) for each in layers], dims, 17))
    ask, volume = Reader(4), torch.rand(3, 5, 7)
    assert torch.equal(vote_by_permute(ask, volume), voted(ask, volume).argmax(0))


def test_quiz_has_five_questions():
    assert len(questions("03")) == 5


def test_what_quiz_and_text_say_of_a_third_axis():
    """q2: three times the parameters, by far less than three times the multiply-adds, on the same voxels."""
    sizes = {arm: sum(p.numel() for p in flat_or_deep.network(arm).parameters()) for arm in ("2-D", "3-D")}
    adds = {arm: flat_or_deep.cost_of_a_step(arm) for arm in ("2-D", "3-D")}
    assert 2.8 < sizes["3-D"] / sizes["2-D"] < 3.1
    assert 1 < adds["3-D"] / adds["2-D"] < 2


# ---- flat_or_deep

@pytest.fixture(scope="module")
def pool():
    """Four cubes of 8 voxels: a bright block on dark ground, as class 1."""
    images, labels = torch.zeros(4, 8, 8, 8), torch.zeros(4, 8, 8, 8, dtype=torch.long)
    for n in range(4):
        images[n, n:n + 4, 2:6, 1:5], labels[n, n:n + 4, 2:6, 1:5] = 1, 1
    images += torch.arange(8) / 100  # so that a slice says where it is
    return flat_or_deep.Pool(images, labels)


def test_every_arm_sees_each_voxel_once_an_epoch(pool):
    solid, flat = flat_or_deep.Spent(pool, 3), flat_or_deep.Spent(pool, 2)
    assert sum(flat[n]["labels"].numel() for n in range(len(flat))) == sum(solid[n]["labels"].numel() for n in range(len(solid)))
    rebuilt = torch.stack([flat[n]["labels"] for n in range(len(flat))]).view(4, 8, 8, 8).movedim(1, 3)
    assert torch.equal(rebuilt, pool.labels)
    assert flat_or_deep.per_step(flat) * 8 * 8 == flat_or_deep.per_step(solid) * 8**3


def test_the_control_sees_the_slices_of_the_cubes_that_the_solid_arm_sees(pool):
    together, solid = flat_or_deep.Spent(pool, 2, together=True), flat_or_deep.Spent(pool, 3)
    assert len(together) == len(solid) and flat_or_deep.per_step(together) == flat_or_deep.per_step(solid)
    item, cube = together[2], solid[2]
    assert item["image"].shape == (8, 1, 8, 8)
    assert torch.equal(item["image"][:, 0].movedim(0, 2), cube["image"][0])
    assert torch.equal(item["labels"].movedim(0, 2), cube["labels"])
    model = flat_or_deep.network("2-D").eval()
    batch = {key: value[None] for key, value in item.items()}
    slices = {"image": item["image"], "labels": item["labels"]}
    assert flat_or_deep.objective(model, batch, pool.weights) == flat_or_deep.objective(model, slices, pool.weights)


def test_three_axes_are_all_seen(pool):
    spent = flat_or_deep.Spent(pool, 2, axes=(0, 1, 2))
    assert len(spent) == 3 * 4 * 8
    for axis in range(3):
        item = spent[3 * 3 + axis]  # slice 3 of the first cube
        assert torch.equal(item["labels"], pool.labels[0].select(axis, 3))
        assert torch.equal(item["image"][0], pool.images[0].select(axis, 3))


def test_a_stack_is_the_slice_and_its_neighbours(pool):
    spent = flat_or_deep.Spent(pool, 2, stack=3)
    assert torch.equal(spent[8 + 4]["image"], pool.images[1][:, :, 3:6].movedim(2, 0))
    assert torch.equal(spent[8]["image"], pool.images[1][:, :, [0, 0, 1]].movedim(2, 0))
    assert torch.equal(spent[8 + 4]["labels"], pool.labels[1][:, :, 4])


class Same(torch.nn.Module):
    """Answers with what it is given."""

    dims = 3

    def forward(self, logits):
        return logits


def test_the_loss_is_lower_for_what_is_right_and_counts_only_what_is_shown(pool):
    def said(probability):
        logits = torch.full((4, 9, 8, 8, 8), -9.0)
        logits[:, 0] = 0.0
        logits[:, 1] = torch.where(pool.labels == 1, probability, -probability)
        return flat_or_deep.objective(Same(), {"image": logits, "labels": pool.labels}, pool.weights)

    assert said(9.0) < said(0.5) < said(-9.0)
    assert float(said(9.0)) < 0.05  # the seven structures that nobody sees cost nothing
    assert float((pool.weights[pool.labels]).mean()) == pytest.approx(1, abs=1e-4)


def test_budgets():
    assert flat_or_deep.steps_of("2-D", "voxels", 100) == 100 == flat_or_deep.steps_of("3-D", "compute", 100)
    more = flat_or_deep.steps_of("2-D", "compute", 100)
    assert more * flat_or_deep.cost_of_a_step("2-D") == pytest.approx(100 * flat_or_deep.cost_of_a_step("3-D"), rel=0.01)
    with pytest.raises(LessonError, match="No arm is called '4-D'"):
        flat_or_deep.network("4-D")
    assert flat_or_deep.steps_of("2-D", "longer", 100) == 300
    with pytest.raises(LessonError, match="no budget 'time'"):
        flat_or_deep_runs.run("2-D", "time", 0, None)


def test_an_inflated_arm_begins_with_the_flat_one(pool):
    flat = flat_or_deep.trained("2-D", pool, 2)
    begun = flat_or_deep.network("3-D")
    inflate(flat.model, begun, "centre")
    net = flat_or_deep.trained("3-D, inflated at centre", pool, 1, before=flat.model)
    assert net.model.dims == 3 and not net.model.training
    moved = (net.model.level1.conv.weight - begun.level1.conv.weight).detach().abs().max()
    assert 0 < float(moved) < 0.05


def test_any_size_goes_through_any_net():
    values = torch.rand(9, 13, 5)
    for arm in ("2-D", "2-D, three axes", "2.5-D", "3-D"):
        p = flat_or_deep.Net(arm, flat_or_deep.network(arm)).probabilities(values)
        assert p.shape == (9, 9, 13, 5) and torch.allclose(p.sum(0), torch.ones(9, 13, 5), atol=1e-5)


def test_thick_slices():
    values = torch.arange(7.0).expand(2, 2, 7)
    labels = torch.tensor([1, 1, 2, 0, 0, 3, 3]).expand(2, 2, 7)
    image, coarse = flat_or_deep.thick(values, labels, 3)
    assert image.shape == (2, 2, 2) and image[0, 0].tolist() == [1, 4]
    assert coarse[0, 0].tolist() == [1, 0]


def test_jaggedness_is_one_for_the_truth_and_for_a_rougher_mask_that_is_rough_everywhere():
    grid = torch.stack(torch.meshgrid(*[torch.arange(16.0)] * 3, indexing="ij"))
    ball = (grid - 7.5).square().sum(0) < 36
    assert flat_or_deep.jaggedness(ball, ball) == 1
    shifted = torch.stack([ball[:, :, z].roll(z % 2 * 2, 0) for z in range(16)], 2)
    assert flat_or_deep.jaggedness(shifted, ball) > 1.5
    assert flat_or_deep.jaggedness(shifted, ball, axis=1) < 1
    rough = ball ^ (torch.rand(ball.shape, generator=torch.Generator().manual_seed(0)) < 0.1)
    assert flat_or_deep.jaggedness(rough, ball) == pytest.approx(1, abs=0.1)
    assert not flat_or_deep.jaggedness(torch.zeros_like(ball), ball) >= 0  # NaN


def test_classes_are_those_of_the_structures():
    found = flat_or_deep.classes(torch.tensor([0, ID["liver"], ID["lung_upper_lobe_right"], ID["pancreas"]]))
    assert found.tolist() == [0, 2, 1, 0]


# ---- stored runs

def test_the_recorder_makes_what_is_missing_and_what_it_keeps_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(flat_or_deep_runs, "PAIRS", (("2-D", "voxels"), ("3-D, inflated by mean", "voxels")))
    monkeypatch.setattr(flat_or_deep, "people", one_person)
    monkeypatch.setattr(flat_or_deep_runs, "people", one_person)
    arguments = ["--seeds", "0", "--steps", "2", "--cubes", "4", "--folder", str(tmp_path)]
    record_flat_or_deep.main(arguments)
    path = tmp_path / flat_or_deep_runs.STORED.name
    first = path.read_bytes()
    record_flat_or_deep.main(arguments)
    assert path.read_bytes() == first
    flat, solid = flat_or_deep_runs.recorded(path)
    assert (flat.arm, flat.steps, flat.voxels) == ("2-D", 2, 2 * 2 * 24**3)
    assert flat.multiply_adds < solid.multiply_adds
    assert 0 <= flat.mean("thin", ("liver", "spleen")) <= 1
    net = flat_or_deep_runs.recorded_net("2-D", tmp_path / flat_or_deep_runs.NETS.name)
    assert not net.model.training
    with pytest.raises(LessonError, match="no network of '3-D'"):
        flat_or_deep_runs.recorded_net("3-D", tmp_path / flat_or_deep_runs.NETS.name)


def one_person(*given):
    return cohorts.phantoms(1, "A", 8.0, 5000, 1, False, any_visit)


def test_the_stored_runs_say_what_the_lesson_says_of_them():
    """Sections 5, 6 and 8: over the seeds that there are, of each arm."""
    found = flat_or_deep_runs.recorded()
    assert {(point.arm, point.budget) for point in found} == set(flat_or_deep_runs.PAIRS)

    def mean(arm, budget="voxels", what="thin", structures=flat_or_deep.STRUCTURES):
        values = [point.mean(what, structures) for point in found if (point.arm, point.budget) == (arm, budget)]
        return sum(values) / len(values)

    for structures in (flat_or_deep.LARGE, flat_or_deep.LONG):
        assert mean("2-D", structures=structures) > mean("3-D", structures=structures) + 0.15
    assert mean("2-D", "compute") > mean("2-D") > mean("2.5-D")
    assert abs(mean(flat_or_deep.TOGETHER) - mean("3-D")) < 0.1 < mean("2-D") - mean(flat_or_deep.TOGETHER)
    assert mean("3-D", "longer") - mean("3-D") > 2 * (mean("2-D", "longer") - mean("2-D")) > 0
    assert min(mean("3-D, inflated at centre"), mean("3-D, inflated by mean")) > mean("3-D") + 0.03
    organs = ("liver", "spleen", "colon")
    assert mean("2-D", what="jagged", structures=organs) > mean("2.5-D", what="jagged", structures=organs) > mean(
        "3-D", what="jagged", structures=organs)
    assert abs(mean("2-D", what="thick") - mean("2-D")) < 0.03
    for arm in ("3-D", "2-D, three axes"):
        assert mean(arm) - mean(arm, what="thick") > 0.05
        assert abs(mean(arm) - mean(arm, what="resampled")) < 0.05


def test_the_networks_that_ship_are_those_of_the_first_seed():
    """One of them, on one of the people that it was tested on; half precision may change some voxels."""
    point = next(point for point in flat_or_deep_runs.recorded() if (point.arm, point.budget, point.seed) == ("2-D", "voxels", 0))
    body = one_person()[0]
    score = flat_or_deep.scored(flat_or_deep_runs.recorded_net("2-D"), body)
    assert score.thin == pytest.approx(point.thin[body.name], abs=0.01)


def test_the_figures_say_in_words_what_they_show():
    found = flat_or_deep_runs.recorded()
    for figure in (flat_or_deep_figures.by_arm, flat_or_deep_figures.by_structure, flat_or_deep_figures.by_thickness):
        fig, words = figure(found)
        assert fig.axes and "2.5-D" in words and "nan" not in words
    logs = {"scratch": [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.5}]}
    assert "scratch 2.50, Dice 0.10" in flat_or_deep_figures.first_steps(logs, {"scratch": 0.1})[1]


def test_runs_that_cannot_be_read(tmp_path):
    with pytest.raises(LessonError, match="record_flat_or_deep"):
        flat_or_deep_runs.recorded(tmp_path / "none.jsonl")
    broken = tmp_path / "broken.jsonl"
    broken.write_text(json.dumps({"arm": "2-D"}) + "\n")
    with pytest.raises(LessonError, match="cannot be read"):
        flat_or_deep_runs.recorded(broken)
