"""Models Genesis: how much each corruption touches, measured; what none of them may touch; the network of one channel."""

from __future__ import annotations

import pytest
import torch

from fmlab import hub
from fmlab.errors import ModelError, ScanError
from fmlab.pretraining import genesis
from fmlab.pretraining.genesis import PUBLISHED, Chances, bezier, corrupted, curved, flipped, painted_inside, painted_outside

CUBE = (64, 64, 32)  # published
NOTHING = Chances(flip=0, shuffle=0, curve=0, paint=0)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def unlike(count: int, paint) -> torch.Tensor:
    """The share of noise in each of ``count`` cubes of -1, as noise lies in [0, 1)."""
    cube = torch.full((1, *CUBE), -1.0)
    return torch.stack([(paint(cube) >= 0).float().mean() for _ in range(count)])


# --- coverage as measured on the released code --------------------


def test_shuffling_reaches_82_percent():
    shares = [genesis.shuffle_sources(CUBE, PUBLISHED.boxes)[1].float().mean().item() for _ in range(2)]
    assert sum(shares) / 2 == pytest.approx(0.82, abs=0.01)


def test_inpainting_covers_5_and_a_half_percent():
    shares = unlike(400, painted_inside)
    assert shares.mean() == pytest.approx(0.055, abs=0.004)
    assert shares.min() == 0 and shares.quantile(0.95) == pytest.approx(0.084, abs=0.005)


def test_outpainting_leaves_a_third():
    shares = unlike(300, painted_outside)
    assert shares.mean() == pytest.approx(0.68, abs=0.01) and shares.quantile(0.05) == pytest.approx(0.61, abs=0.015)
    assert (shares > 0.8).float().mean() == pytest.approx(0.05, abs=0.03)  # one window only: nothing lies between two and one


def test_chances_of_everything(monkeypatch):
    """Also that nothing at all happens to one pair in two hundred."""
    done = []
    for name in ("shuffled", "curved", "painted_outside", "painted_inside"):
        monkeypatch.setattr(genesis, name, lambda x, *_, name=name: (done[-1].add(name), x)[1])
    tiny = torch.zeros(1, 1, 14, 14, 14)
    for _ in range(4000):
        done.append(set())
        corrupted(tiny)
    for name, share in (("shuffled", 0.5), ("curved", 0.9), ("painted_outside", 0.72), ("painted_inside", 0.18)):
        assert sum(name in what for what in done) / 4000 == pytest.approx(share, abs=0.025)
    assert sum(not what for what in done) / 4000 == pytest.approx(0.005, abs=0.004)
    assert not any({"painted_outside", "painted_inside"} <= what for what in done)


def test_flips_go_on_with_a_chance_of_four_tenths(monkeypatch):
    drawn = []
    monkeypatch.setattr(torch.Tensor, "flip", lambda self, axis: (drawn.append(axis), self)[1])
    for _ in range(3000):
        flipped(torch.zeros(1, 2, 2, 2))
    assert len(drawn) / 3000 == pytest.approx(0.4 + 0.16 + 0.064, abs=0.04) and set(drawn) == {1, 2, 3}


# --- invariants ---------------------------------------------------


def test_shuffling_moves_values_no_further_than_a_box():
    cube = torch.arange(20 * 30 * 14, dtype=torch.float32).view(1, 20, 30, 14)
    source, covered = genesis.shuffle_sources((20, 30, 14), 400)
    assert torch.equal(cube.flatten()[source], source.float())
    place, origin = (torch.stack(torch.unravel_index(index, (20, 30, 14))) for index in (torch.arange(len(source)), source))
    assert ((place - origin).abs().amax(1) < torch.tensor([2, 3, 1])).all()  # sides of 2, 3 and 1
    assert (source[~covered] == (~covered).nonzero()[:, 0]).all() and (source != torch.arange(len(source))).any()


def test_one_box_is_a_permutation_of_what_is_in_it():
    source, covered = genesis.shuffle_sources((40, 40, 40), 1)
    assert 1 <= covered.sum() <= 64 and torch.equal(source[covered].sort().values, covered.nonzero()[:, 0])
    box = torch.stack(torch.unravel_index(covered.nonzero()[:, 0], (40, 40, 40)))
    assert (box.amax(1) - box.amin(1) + 1).prod() == covered.sum()


def test_boxes_overlap_and_read_the_original():
    """Values are lost and others come twice, which a permutation of the permuted would not do."""
    source, covered = genesis.shuffle_sources((30, 30, 30), 3000)
    assert covered.float().mean() > 0.5 and (source.bincount(minlength=27000) > 1).any()


def test_of_two_boxes_the_later_counts(monkeypatch):
    """All boxes have one size and fill the cube of 14: the last one alone decides, however they are grouped."""
    monkeypatch.setattr(genesis, "_below", lambda limits: limits - 1)  # the largest, at the far corner: all in one place
    torch.manual_seed(3)
    source, covered = genesis.shuffle_sources((40, 40, 40), 200)
    torch.manual_seed(3)
    orders = torch.rand(200, 64).argsort(1)
    assert covered.sum() == 64 and torch.equal(source[covered], covered.nonzero()[:, 0][orders[-1]])


def test_a_bezier_curve_goes_from_corner_to_corner():
    for _ in range(5):
        controls = torch.rand(2, 2, dtype=torch.float64)
        for rising in (True, False):
            x, y = bezier(controls, rising, points=1000)
            assert (x.diff() >= 0).all() and x[0] == 0 and x[-1] == 1
            assert (y[0], y[-1]) == ((0, 1) if rising else (1, 0)) and y.min() >= 0 and y.max() <= 1
            assert not rising or (y.diff() >= 0).all()
    x, y = bezier(torch.tensor([[1 / 3, 1 / 3], [2 / 3, 2 / 3]], dtype=torch.float64), True)
    assert torch.allclose(x, y)  # controls on the diagonal: the identity


def test_half_of_the_curves_invert_the_contrast():
    ends = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)
    inverted = sum(float(curved(ends)[0, 0]) == 1 for _ in range(60))
    assert 15 < inverted < 45
    grey = torch.rand(1, 8, 8, 8)
    out = curved(grey)
    assert out.shape == grey.shape and 0 <= out.min() and out.max() <= 1


def test_painting_keeps_what_it_does_not_paint():
    cube = 2 + torch.rand(1, *CUBE)
    inner, outer = painted_inside(cube), painted_outside(cube)
    for painted in (inner, outer):
        kept = painted >= 2
        assert torch.equal(painted[kept], cube[kept]) and painted[~kept].max() < 1 and not kept.all()
    rim = torch.ones(CUBE, dtype=torch.bool)
    rim[3:-3, 3:-3, 3:-3] = False
    assert (inner[0][rim] >= 2).all()


def test_channels_share_the_noise_inside():
    painted = painted_inside(torch.full((2, *CUBE), -1.0))
    assert torch.equal(painted[0], painted[1])


def test_the_target_is_flipped_along_and_nothing_else():
    cubes = torch.rand(3, 1, 16, 16, 16)
    x, y = corrupted(cubes, Chances(flip=1, shuffle=0, curve=0, paint=0))
    assert torch.equal(x, y) and torch.equal(y.flatten(1).sort(1).values, cubes.flatten(1).sort(1).values)
    x, y = corrupted(cubes, NOTHING)
    assert torch.equal(x, cubes) and torch.equal(y, cubes)
    before = cubes.clone()
    corrupted(cubes, Chances(flip=0, shuffle=1, curve=1, paint=1, boxes=50))
    assert torch.equal(cubes, before)


# --- the loss and the network -------------------------------------


def test_the_loss_counts_every_voxel():
    cubes = torch.rand(2, 1, 16, 16, 16)
    value = genesis.loss(lambda x: x.logit(eps=1e-6) + 0.1, {"image": cubes}, NOTHING)
    wanted = ((cubes.logit(eps=1e-6) + 0.1).sigmoid() - cubes).square().mean()
    assert torch.allclose(value, wanted)
    model = genesis.genesis(width=2)
    genesis.loss(model, {"image": cubes}).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_the_published_network_has_its_parameters():
    model = genesis.genesis("suprem_unet")
    assert sum(p.numel() for p in model.parameters()) == 19_073_600 + 65
    official = {f"module.{key.replace('head.', 'out_tr.final_conv.').removeprefix('backbone.')}": value
                for key, value in model.state_dict().items()}
    assert len(hub.load_official(genesis.genesis("suprem_unet"), {"state_dict": official}).missing) == 0


@pytest.mark.parametrize(("cubes", "words"), [
    (torch.zeros(1, 1, 16, 16, 13), "sides of 14"), (torch.zeros(1, 16, 16, 16), "takes"),
    (torch.full((1, 1, 16, 16, 16), 1.5), "window the image"), (torch.full((1, 1, 16, 16, 16), -0.1), "window the image")])
def test_bad_cubes_are_refused(cubes, words):
    with pytest.raises(ScanError, match=words):
        corrupted(cubes)


def test_an_unknown_backbone_is_refused():
    with pytest.raises(ModelError, match="no backbone 'vit'"):
        genesis.genesis("vit")
