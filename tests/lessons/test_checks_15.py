"""Lesson 15: right answers pass, whatever their style, and the exercises are what the package does."""

from __future__ import annotations

import pytest
import torch

from fmlab import hub
from fmlab.errors import ModelError
from fmlab.lessons.check import judge
from fmlab.lessons.exercise import exercise
from fmlab.lessons.quiz import questions
from fmlab.pretraining import genesis, mae, sparse_mae
from fmlab.pretraining.transfer import transfer


def hidden_by_index(prediction, x, visible):
    deviation, mean = torch.std_mean(x, (2, 3, 4), keepdim=True)  # n - 1, as torch has it
    wrong = (prediction - (x - mean) / deviation.clamp(min=1e-6)) ** 2
    return wrong[(~visible).expand_as(wrong)].mean()


def hidden_by_weights(prediction, x, visible):
    flat = x.flatten(2)
    z = (flat - flat.mean(2, keepdim=True)) / (flat.std(2, keepdim=True, correction=0) + 1e-6)
    hidden = (visible.logical_not() * torch.ones_like(x)).flatten(2)
    return (hidden * (prediction.flatten(2) - z).square()).sum() / hidden.sum()


def hidden_in_loops(prediction, x, visible):
    total, count = 0, 0
    for n in range(len(x)):
        for c in range(x.shape[1]):
            cube = x[n, c]
            target = (cube - cube.mean()) / max(float(cube.std()), 1e-6)
            total = total + (prediction[n, c] - target)[~visible[n, 0]].pow(2).sum()
            count += int((~visible[n, 0]).sum())
    return total / count


def hidden_per_cube(prediction, x, visible):
    """Every cube hides as many blocks, so that the mean of means is the mean."""
    return sum(hidden_by_index(p[None], y[None], v[None]) for p, y, v in zip(prediction, x, visible)) / len(x)


RIGHT = [("15-hidden", hidden_by_index), ("15-hidden", hidden_by_weights), ("15-hidden", hidden_in_loops),
         ("15-hidden", hidden_per_cube)]


@pytest.mark.parametrize(("name", "function"), RIGHT, ids=[function.__name__ for _, function in RIGHT])
def test_right_answers_pass(name, function):
    outcome = judge(exercise(name), function)
    assert outcome.passed, outcome.message


def test_the_last_hints_are_nearly_the_answer():
    def hinted(prediction, x, visible):
        deviation, mean = torch.std_mean(x, (2, 3, 4), keepdim=True)
        hidden = (~visible).expand_as(x)
        wrong = (prediction - (x - mean) / deviation.clamp(min=1e-6)) ** 2
        return wrong[hidden].mean()

    hints = " ".join(exercise("15-hidden").hints)
    assert all(code in hints for code in (
        "torch.std_mean(x, (2, 3, 4), keepdim=True)", "hidden = (~visible).expand_as(x)", "wrong[hidden].mean()",
        "wrong = (prediction - (x - mean) / deviation.clamp(min=1e-6)) ** 2"))
    assert judge(exercise("15-hidden"), hinted).passed


def test_the_exercise_is_the_packages_loss():
    """With the numbers of a pass of the real thing, masks and all."""
    torch.manual_seed(1)
    x = torch.rand(2, 1, 16, 16, 16)
    visible = mae.grown(mae.visible_blocks(2, (16,) * 3), (16,) * 3)
    prediction = hub.build("mae", width=4)(mae.hidden_as_mean(x, visible)).detach()
    ours = float(mae.hidden_mse(prediction, x, visible))
    assert float(exercise("15-hidden").reference(prediction, x, visible)) == pytest.approx(ours)
    assert float(hidden_by_index(prediction, x, visible)) == pytest.approx(ours, rel=1e-3)


def test_a_prefix_that_nobody_knows_arrives_nowhere_and_is_refused():
    """As the lesson shows it: the lenient load is silent, the checklist is not."""
    model, file = hub.build("nano", classes=5, width=4), hub.build("mae", width=4).state_dict()
    file = {f"encoder.{key}": value for key, value in file.items()}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.load_state_dict(file, strict=False)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    with pytest.raises(ModelError, match="nothing was loaded"):
        transfer(model, file, mae.TRANSFERS)


def test_what_is_hidden_reaches_the_visible_of_the_dense_encoder_only():
    """The leak of section 5, for a difference among hidden voxels that keeps the cube's mean."""
    torch.manual_seed(2)
    x, visible = torch.rand(1, 1, 16, 16, 16), mae.visible_blocks(1, (16,) * 3)
    shown = mae.grown(visible, x.shape[2:])
    other = torch.where(shown, x, torch.rand_like(x))
    backbone = hub.build("mae", width=4).backbone
    with torch.no_grad():
        dense = [(a - b).abs() for a, b in zip(backbone.encode(x), backbone.encode(other))]
        sparse = [(a - b).abs() for a, b in zip(*(sparse_mae.sparse_levels(backbone, image, visible) for image in (x, other)))]
    assert all(float((d * mae.grown(visible, d.shape[2:])).max()) > 0 for d in dense)
    assert all(float(d.max()) == 0 for d in sparse)


def test_quiz_has_five_questions():
    assert len(questions("15")) == 5


def test_the_quiz_tells_how_much_of_swin_unetr_is_its_encoder():
    """The numbers of q4: the part of the network that the pretext trained, by ``parts``."""
    from fmlab.backbones import SwinUNETR

    model = SwinUNETR()
    total = sum(p.numel() for p in model.parameters())
    encoder = sum(p.numel() for name, p in model.named_parameters() if name.startswith(model.parts["encoder"]))
    assert encoder / total == pytest.approx(0.13, abs=0.005)


def test_genesis_counts_every_voxel():
    """q1: an image that is left alone costs something too."""
    torch.manual_seed(3)
    nothing = genesis.Chances(flip=0.0, shuffle=0.0, curve=0.0, paint=0.0)
    model = hub.build("genesis", width=4)
    assert genesis.loss(model, {"image": torch.rand(1, 1, 16, 16, 16)}, nothing).item() > 0


def test_a_training_of_few_steps_has_a_line_too():
    from fmlab.lessons import pretexts

    for steps, points in ((4, 4), (12, 9)):
        fig, told = pretexts.first_steps({"scratch": [{"loss": 1 / (n + 1)} for n in range(steps)]}, {"scratch": 0.5})
        assert len(fig.axes[0].lines[0].get_xdata()) == points and "Dice 0.50" in told


def test_an_arm_of_the_transfer_curves_looks_the_same_in_every_panel():
    from fmlab.lessons import pretexts

    fig, told = pretexts.transfer_curves(["C11", "C12"])
    colours = [{text.get_text(): handle.lines[0].get_color() for text, handle in
                zip(ax.get_legend().get_texts(), ax.containers)} for ax in fig.axes]
    assert colours[0]["scratch"] == colours[1]["scratch"] and len(set(colours[0].values())) == len(colours[0])
    assert [label.get_text() for label in fig.axes[1].get_xticklabels()] == ["1", "10", "50", "100"]
    assert told.startswith("Transfer curves") and "C11, scratch" in told


def test_collapses_are_drawn_over_steps():
    from fmlab.lessons import pretexts
    from fmlab.pretraining.distillation import Collapse

    fig, told = pretexts.collapses({"no centre": [Collapse(0.3, 0.7, 0.4, 0.5), Collapse(0.0, 0.1, 0.1, 0.5)]}, every=5)
    assert fig.axes[0].lines[0].get_xdata().tolist() == [0, 5]
    assert "no centre: 0.70 at first, 0.10 at the end, information 0.00" in told
