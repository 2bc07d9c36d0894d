"""DeSD and UniMiSS: the formula by hand, who learns from whom, what collapse looks like in numbers and in a short training."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fmlab.errors import ModelError
from fmlab.pretraining import desd, unimiss
from fmlab.pretraining.distillation import Dino, Head, Teacher, collapse, dino, watch
from fmlab.pretraining.pyramid import Pyramid, PyramidBackbone
from fmlab.pretraining.views import view

SMALL = dict(dims=(4, 8, 8, 16), heads=(1, 1, 2, 2), sides=(16, 16, 8))


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Tiny(nn.Module):
    """An encoder of two convolutions, for trainings of a second."""

    parts = {"encoder": ("one.", "two.")}

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv3d(1, 8, 4, 4), nn.Conv3d(8, 16, 2, 2)

    def encode(self, x):
        level = self.one(x).relu()
        return [level, self.two(level).relu()]


def tiny(**settings) -> desd.DeSD:
    torch.manual_seed(0)
    return desd.DeSD(Tiny(), (8, 16), (0, 1), Dino(**settings), outputs=16, hidden=32, bottleneck=16, batch_norm=True)


# --- the pieces ---------------------------------------------------


def test_cross_entropy_by_hand():
    scores, p = torch.randn(3, 5), torch.rand(3, 5).softmax(1)
    wanted = -sum(p[n, k] * torch.log((scores[n] / 0.1).softmax(0)[k]) for n in range(3) for k in range(5)) / 3
    assert torch.allclose(dino(scores, p), wanted)


def test_a_head_gives_cosines_and_can_be_held():
    head = Head(6, outputs=9, hidden=8, bottleneck=4)
    z = torch.randn(3, 6)
    scores = head(z)
    assert scores.shape == (3, 9) and scores.abs().max() <= 1 + 1e-6
    head(z, frozen=True).square().sum().backward()
    assert (head.last.grad == 0).all() and head.mlp[0].weight.grad.any()


def test_the_teacher_is_the_students_past():
    student = nn.Linear(2, 2)
    teacher = Teacher(student, 2, Dino(ema=0.9, passes=10))
    assert not any(p.requires_grad for p in teacher.parameters())
    old = teacher.net.weight.clone()
    with torch.no_grad():
        student.weight += 1
    teacher.follow(student)
    assert torch.allclose(teacher.net.weight, old + 0.1) and int(teacher.passed) == 1
    teacher.passed.fill_(10)
    teacher.follow(student)
    assert torch.allclose(teacher.net.weight, old + 0.1)  # m has risen to 1


def test_centre_and_temperature():
    teacher = Teacher(nn.Linear(2, 3), 3, Dino(teacher=0.07, warm=0.04, warmup=10))
    scores = torch.randn(4, 3)
    assert torch.allclose(teacher.probabilities(scores), (scores / 0.04).softmax(1))
    teacher.recentre(scores)
    assert torch.allclose(teacher.centre, 0.1 * scores.mean(0))
    teacher.passed.fill_(5)
    assert torch.allclose(teacher.probabilities(scores), ((scores - teacher.centre) / 0.055).softmax(1))
    off = Teacher(nn.Linear(2, 3), 3, Dino(centre=None))
    off.recentre(scores)
    assert not off.centre.any()


def test_a_view_keeps_shape_and_range_and_differs():
    cubes = torch.rand(4, 1, 12, 10, 8)
    seen = view(cubes)
    assert seen.shape == cubes.shape and 0 <= seen.min() and seen.max() <= 1
    assert not torch.equal(seen, view(cubes)) and not torch.allclose(seen[0], cubes[0])


def test_a_view_scales_within_the_slices_alone(monkeypatch):
    from fmlab.pretraining import views

    monkeypatch.setattr(views, "MIRROR", 0.0)
    monkeypatch.setattr(views, "CHANGE", 0.0)
    planes = torch.rand(8).view(1, 1, 1, 1, 8).expand(1, 1, 6, 6, 8)  # differs from slice to slice only
    assert torch.allclose(view(planes), planes, atol=1e-5)


# --- collapse -----------------------------------------------------


def test_collapse_in_numbers():
    features = torch.randn(8, 5)
    varied = collapse(torch.eye(8), features)
    assert varied.information == pytest.approx(1) and varied.each == pytest.approx(0) and varied.spread > 0.7
    one = collapse(torch.eye(8)[[2] * 8], features[:1].expand(8, 5))
    assert (one.information, one.together, one.each, one.spread) == pytest.approx((0, 0, 0, 0), abs=1e-6)
    equal = collapse(torch.full((8, 8), 1 / 8), features)
    assert (equal.information, equal.together, equal.each) == pytest.approx((0, 1, 1))
    with pytest.raises(ModelError, match="two or more"):
        collapse(torch.eye(8)[:1], features[:1])


def kinds(count: int, side: int = 8) -> torch.Tensor:
    """Textures of three grains in four directions, (count, 1, side, side, side)."""
    grids = [(k, k, k) for k in (2, 4, 8)] + [(k, k, 1) for k in (2, 4, 8)] + [(k, 1, 1) for k in (2, 4, 8)] + [(1, 1, 8)]
    return torch.cat([F.interpolate(torch.rand(1, 1, *grids[n % 10]), size=(side,) * 3, mode="trilinear") for n in range(count)])


@pytest.mark.parametrize(("settings", "information", "together"), [
    (dict(), (0.05, 1), (0.1, 0.95)),
    (dict(centre=None), (-1e-6, 0.02), (0, 0.05)),  # one output takes all
    (dict(teacher=1.0, warm=1.0), (-1e-6, 0.02), (0.95, 1.001)),  # all outputs are equal
], ids=["both", "no centre", "no sharpening"])
def test_a_short_training_collapses_without_the_centre_or_the_low_temperature(settings, information, together):
    pool = kinds(40)
    draws = [torch.randperm(40)[:16] for _ in range(30)]
    seen = watch(tiny(ema=0.9, **settings), lambda step: pool[draws[step]], pool, steps=30, lr=3e-3, every=5)
    assert len(seen) == 7
    late = seen[-3:]
    assert information[0] <= sum(one.information for one in late) / 3 <= information[1]
    assert together[0] <= sum(one.together for one in late) / 3 <= together[1]


# --- DeSD ---------------------------------------------------------


def test_every_stage_learns_the_teachers_last_word_on_the_other_view(monkeypatch):
    model = tiny(ema=1.0, centre=None)  # nothing moves, and batch norm tells samples apart
    given = iter([kinds(4), kinds(8)[4:]])
    both = []
    monkeypatch.setattr(desd, "view", lambda _: both.append(next(given)) or both[-1])
    value = model(torch.zeros(4, 1, 8, 8, 8))
    terms = []
    for this, other in ((0, 1), (1, 0)):
        p = model.teacher.probabilities(model.teacher.net(both[other])[1])
        terms += [dino(scores, p) for scores in model.student(both[this]).values()]
    assert len(terms) == 4 and torch.allclose(value, sum(terms) / 4)
    own = [dino(scores, model.teacher.probabilities(model.teacher.net(both[n])[1])) for n in (0, 1)
           for scores in model.student(both[n]).values()]
    assert not torch.allclose(value, sum(own) / 4, rtol=0.01)
    assert list(model.teacher.net.heads) == ["1"] and list(model.student.heads) == ["0", "1"]


def test_gradient_reaches_the_student_and_the_teacher_moves_only_by_following():
    model = desd.desd(width=2, outputs=8, hidden=8, bottleneck=4, dino=dict(ema=0.5))
    images = torch.rand(3, 1, 16, 16, 16)
    model(images).backward()
    silent = [name for name, p in model.student.named_parameters() if p.grad is None]
    assert silent == [] and all(p.grad is None for p in model.teacher.parameters())
    with torch.no_grad():
        model.student.encoder.level1.conv.weight += 1
    before = model.teacher.net.encoder.level1.conv.weight.clone()
    model(images)
    assert torch.allclose(model.teacher.net.encoder.level1.conv.weight, before + 0.5, atol=1e-5)
    centre, passed = model.teacher.centre.clone(), int(model.teacher.passed)
    model.eval()(images)
    assert torch.equal(model.teacher.centre, centre) and int(model.teacher.passed) == passed  # nothing moves in testing


# --- UniMiSS ------------------------------------------------------


def test_pictures_and_volumes_share_all_but_what_is_named_so():
    net = Pyramid(**SMALL)
    volume, picture = torch.rand(2, 1, 16, 16, 8), torch.rand(2, 1, 16, 16)
    token, level = net(volume)
    assert token.shape == (2, 4) and level.shape == (2, 4, 8, 8, 8)
    token.sum().backward()
    used = {name for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    token, level = net(picture)
    assert token.shape == (2, 4) and level.shape == (2, 4, 8, 8)
    token.sum().backward()
    flat = {name for name, p in net.named_parameters() if p.grad is not None}
    assert {name for name in used ^ flat if "2D" not in name and "3D" not in name} == set()
    assert not any("2D" in name for name in used) and not any("3D" in name for name in flat)
    assert used | flat == {name for name, _ in net.named_parameters()}  # the decoder too: the token goes through it


@torch.no_grad()
def test_positions_of_another_size_are_interpolated_axis_by_axis():
    net = Pyramid(**SMALL)
    level = net.encoder[0].level
    ramp = torch.linspace(0, 1, 8).view(1, 1, 8, 1, 1).expand_as(level.position3D)
    level.position3D.copy_(ramp)
    level.blocks, level.norm = nn.ModuleList(), nn.Identity()
    _, out = level(None, torch.zeros(1, 4, 16, 24, 16))
    assert torch.allclose(out, out[..., :1, :1].expand_as(out)) and (out[0, 0, :, 0, 0].diff() >= 0).all()
    assert net(torch.rand(1, 1, 32, 48, 16))[1].shape == (1, 4, 16, 24, 16)


@torch.no_grad()
def test_slices_are_averaged_before_the_head():
    model = unimiss.unimiss(outputs=8, hidden=8, bottleneck=4, **SMALL)
    x = torch.rand(2, 1, 16, 16, 8)
    features = torch.stack([model.student.net(x[..., k])[0] for k in range(8)]).mean(0)
    assert torch.allclose(model.student.slices(x), model.student.head(features), atol=1e-6)


def test_four_terms_of_volumes_and_one_of_pictures(monkeypatch):
    model = unimiss.unimiss(outputs=8, hidden=8, bottleneck=4, **SMALL).eval()
    asked = []
    monkeypatch.setattr(unimiss, "dino", lambda s, p, t: asked.append((s, p)) or torch.zeros(()))
    model(torch.rand(2, 1, 16, 16, 8))
    assert len(asked) == 8  # four, each of both pairs of views
    assert len({id(p) for _, p in asked}) == 4 and len({id(s) for s, _ in asked}) == 4
    asked.clear()
    model(torch.rand(2, 1, 16, 16))
    assert len(asked) == 2


def test_turns():
    model = unimiss.unimiss(outputs=8, hidden=8, bottleneck=4, interval=2, **SMALL)
    batch = {"image": torch.rand(2, 1, 16, 16, 8), "flat": torch.rand(2, 1, 16, 16)}
    seen = []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0].ndim))
    for _ in range(6):
        unimiss.loss(model, batch)
    assert seen == [4, 4, 5, 5, 4, 4]
    assert unimiss.loss(model, {"image": batch["image"]}).isfinite() and seen[-1] == 5


def test_the_backbone_of_a_pyramid():
    backbone = PyramidBackbone(**SMALL)
    assert backbone.features(torch.rand(1, 1, 16, 32, 8)).shape == (1, 4, 16, 32, 8)


# --- what is refused ----------------------------------------------


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Dino(teacher=0.0), "temperatures"), (lambda: Dino(ema=1.5), "ema"),
    (lambda: desd.desd(width=2, levels=(0, 1)), "the last among them"), (lambda: desd.desd(width=2, levels=(3, 4)), "0 to 3"),
    (lambda: unimiss.unimiss(interval=0, **SMALL), "interval"), (lambda: Pyramid(dims=(4, 8)), "four dims"),
    (lambda: Pyramid(sides=(20, 16, 8)), "16 x 16 x 8"), (lambda: Pyramid(**SMALL)(torch.rand(1, 1, 16, 8)), "16 x 16"),
    (lambda: Pyramid(**SMALL)(torch.rand(1, 2, 16, 16)), "pictures")])
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(ModelError, match=words):
        make()
