"""Patches, randomisation and the universal model: image and labels move together, w is the hospital's, three losses run."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fmlab import hub, phantom, randomise
from fmlab.cohorts import Case, Cohort
from fmlab.errors import DataError
from fmlab.pretraining.patches import Patches
from fmlab.pretraining.targets import protocol_left_out, targets
from fmlab.pretraining.universal import LOSSES, UNIVERSAL, any_visit, universal
from fmlab.randomise import AIR, NONE, STRONG, geometry, scanner, tissue
from fmlab.training import TrainConfig, train
from fmlab.vocabulary import ID
from fmlab.volume import Volume
from fmlab.windows import WIDE

SOME = ("liver", "spleen", "kidney_left", "pancreas", "lung_left")


def cohort(*volumes: Volume) -> Cohort:
    return Cohort("test", tuple(Case(v.name, v.name, lambda v=v: v) for v in volumes))


@pytest.fixture(scope="module")
def bodies() -> tuple[Volume, ...]:
    """One body of each of two hospitals, 8 mm, partly labelled."""
    return tuple(phantom.sample(seed, centre, 8.0, partial=True) for seed, centre in ((1, "A"), (2, "C")))


def blocks(shape=(20, 18, 16)) -> Volume:
    """Random whole HU, two blocks with labels."""
    image = torch.randint(-1000, 1000, (1, *shape), generator=torch.Generator().manual_seed(0)).float()
    labels = torch.zeros(1, *shape, dtype=torch.uint8)
    labels[:, 3:9, 4:10, 3:12], labels[:, 11:16, 5:12, 4:9] = ID["liver"], ID["spleen"]
    return Volume(image, np.diag([4.0, 4, 4, 1]), labels, frozenset({"liver", "spleen"}), name="blocks")


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- Patches -----------------------------------------------------


@pytest.mark.parametrize("ranges", [STRONG, NONE])
def test_an_item(bodies, ranges):
    data = Patches(cohort(*bodies), SOME, side=16, ranges=ranges)
    assert len(data) == 2
    for index, body in enumerate(bodies):
        item = data[index]
        assert set(item) == {"image", "target", "w", "name"} and item["name"] == body.name
        assert item["image"].shape == (1, 16, 16, 16) and item["image"].dtype is torch.float32
        assert item["target"].shape == (5, 16, 16, 16) and item["target"].dtype is torch.uint8 and item["target"].max() <= 1
        assert item["w"].shape == (5,) and item["w"].dtype is torch.uint8
        assert 0 <= item["image"].min() and item["image"].max() <= 1
    batch = next(iter(DataLoader(data, batch_size=2)))
    assert batch["image"].shape == (2, 1, 16, 16, 16) and batch["w"].shape == (2, 5)


def test_a_seed_gives_the_same_cube(bodies):
    data = Patches(cohort(*bodies), SOME, side=16)

    def drawn(seed):
        torch.manual_seed(seed)
        return data[0]

    one, same, other = drawn(3), drawn(3), drawn(4)
    assert all(torch.equal(one[key], same[key]) for key in ("image", "target", "w"))
    assert not torch.equal(one["image"], other["image"])
    assert not torch.equal(data[0]["image"], data[0]["image"])  # another cube at each call


def test_w_is_what_the_hospital_annotates(bodies):
    structures = ("liver", "spleen", "heart", "trachea", "hepatic_vessels")
    data = Patches(cohort(*bodies), structures, side=16)
    seen = set()
    for index, body in enumerate(bodies):
        for draw in range(8):
            torch.manual_seed(draw)
            w = dict(zip(structures, data[index]["w"].tolist()))
            seen.add(tuple(w.values()))
            for name in structures[:4]:
                assert w[name] == (name in body.annotated)
    assert len(seen) > 1  # the hospitals differ
    unknown = replace(bodies[0], annotated=None)
    assert Patches(cohort(unknown), SOME, side=16)[0]["w"].sum() == 0


def test_what_a_hospital_takes_out_is_known(bodies):
    volume = next(phantom.sample(0, centre, 8.0, partial=True) for centre in "ABCDEF" if protocol_left_out(centre))
    data = Patches(cohort(volume), ["hepatic_vessels"], side=16)
    assert data.scans[0].left_out == ("hepatic_vessels",)
    bare = replace(volume, info={})
    assert Patches(cohort(bare), ["hepatic_vessels"], side=16).scans[0].left_out == ()


def test_cubes_are_centred_near_what_is_annotated(bodies):
    data = Patches(cohort(bodies[0]), ("spleen",), side=16, ranges=NONE)
    torch.manual_seed(0)
    met = sum(bool(data[0]["target"].any()) for _ in range(60))
    assert met > 36  # two in three are centred within a quarter of the cube


def test_a_cube_without_randomness_is_cut_from_the_scan(monkeypatch):
    volume = blocks()
    data = Patches(cohort(volume), ("liver", "spleen"), side=8, ranges=NONE)
    corner = np.array([4, 5, 6])
    monkeypatch.setattr(Patches, "_centre", lambda *_: corner + 3.5)  # the middle of eight voxels
    item, box = data[0], (slice(4, 12), slice(5, 13), slice(6, 14))
    assert torch.allclose(item["image"][0], WIDE(volume.image[0])[box], atol=1e-4)
    assert torch.equal(item["target"], targets(volume.labels[0][box].contiguous(), ("liver", "spleen"), {"liver", "spleen"})[0])
    assert item["target"].flatten(1).sum(1).min() > 0


def test_outside_of_the_scan_there_is_air(monkeypatch):
    volume = blocks()
    data = Patches(cohort(volume), ("liver", "spleen"), side=8, ranges=NONE)
    monkeypatch.setattr(Patches, "_centre", lambda *_: np.array([-0.5, 8.5, 8.5]))
    item = data[0]
    assert (item["image"][0, :4] == 0).all() and (item["image"][0, 4:] > 0).any() and not item["target"][:, :4].any()
    assert torch.allclose(item["image"][0, 4:], WIDE(volume.image[0])[:4, 5:13, 5:13], atol=1e-4)


def test_a_scan_without_labels_is_refused():
    bare = Volume(torch.zeros(1, 8, 8, 8), np.eye(4), name="bare")
    with pytest.raises(DataError, match="'bare' has no labels.*leave it out"):
        Patches(cohort(bare), SOME)


def test_an_annotated_structure_that_is_not_there_is_no_hindrance():
    volume = replace(blocks(), labels=torch.zeros(1, 20, 18, 16, dtype=torch.uint8))
    item = Patches(cohort(volume), ("liver", "pancreas"), side=8)[0]
    assert item["w"].tolist() == [1, 0] and not item["target"].any()


# --- randomisation -----------------------------------------------


def test_none_switches_everything_off():
    assert all(getattr(NONE, field.name) == 0 for field in fields(NONE))
    volume = blocks()
    image, labels = volume.image[0], volume.labels[0]
    for seed in range(12):
        assert torch.equal(tissue(image, labels, NONE, generator(seed)), image)
        same, drawn = scanner(image, labels, NONE, generator(seed))
        assert torch.allclose(same, image, atol=1e-3) and torch.equal(drawn, labels)
        assert torch.equal(randomise.gamma(WIDE(image), NONE, generator(seed)), WIDE(image))


@pytest.mark.parametrize("seed", range(8))
def test_geometry_moves_image_and_labels_together(seed):
    hu = {ID["liver"]: 110.0, ID["spleen"]: 420.0, 0: -300.0}
    labels = torch.zeros(40, 40, 40, dtype=torch.uint8)
    labels[6:22, 8:30, 10:30], labels[24:36, 10:30, 8:28] = ID["liver"], ID["spleen"]
    image = torch.empty(40, 40, 40)
    for name, value in hu.items():
        image[labels == name] = value
    moved, drawn = geometry(image, labels, np.full(3, 19.5), 40, STRONG, generator(seed))
    assert moved.dtype is torch.float32 and drawn.dtype is torch.uint8 and moved.shape == drawn.shape == (40, 40, 40)
    assert set(drawn.unique().tolist()) == set(hu)  # nearest: no id is born of two others
    for name in (ID["liver"], ID["spleen"]):
        assert float(moved[drawn == name].median()) == pytest.approx(hu[name], abs=0.1)
        assert float(moved[drawn == name].mean()) == pytest.approx(hu[name], abs=70)  # borders are mixed with what is beside
        assert 0.3 < (drawn == name).sum() / (labels == name).sum() < 2.5
    assert not torch.equal(drawn, labels)


def test_turning_is_turning():
    """A lone block keeps its volume and centre where only ``turn`` is on; ``size`` makes it smaller and larger."""
    labels = torch.zeros(48, 48, 48, dtype=torch.uint8)
    labels[14:34, 17:31, 19:29] = 1
    image = torch.where(labels == 1, 50.0, AIR)
    for seed in range(5):
        _, drawn = geometry(image, labels, np.full(3, 23.5), 48, replace(NONE, turn=20.0), generator(seed))
        assert (drawn == 1).sum() / (labels == 1).sum() == pytest.approx(1, abs=0.03)
        place = (drawn == 1).nonzero().float()
        assert torch.allclose(place.mean(0), torch.full((3,), 23.5), atol=0.3)
    scaled = [geometry(image, labels, np.full(3, 23.5), 48, replace(NONE, size=0.2), generator(seed))[1] for seed in range(8)]
    shares = [float((drawn == 1).sum() / (labels == 1).sum()) for drawn in scaled]
    assert min(shares) < 0.8 and max(shares) > 1.2


def test_tissue_spares_air_and_bone():
    image = torch.tensor([-1000.0, -700, 50, 60, 1200]).repeat(4, 4, 1)
    labels = torch.zeros(image.shape, dtype=torch.uint8)
    labels[..., 2] = ID["liver"]
    changed = tissue(image, labels, replace(STRONG, gut=0), generator(1)) - image
    assert (changed[..., [0, 1, 4]] == 0).all() and (changed[..., 2:4] != 0).all()
    fixed = tissue(image, labels, replace(NONE, organ=20.0), generator(1)) - image
    assert (fixed[..., 3] == 0).all() and (fixed[..., 2] != 0).all()  # what is not drawn has no shift of its own


def test_the_scanner_cuts_image_and_labels_alike():
    image, labels = torch.full((12, 12, 12), 40.0), torch.full((12, 12, 12), ID["liver"], dtype=torch.uint8)
    cuts = 0
    for seed in range(20):
        lit, drawn = scanner(image, labels, replace(NONE, cut=1.0), generator(seed))
        cuts += bool((drawn == 0).any())
        assert torch.equal(lit == AIR, drawn == 0)
    assert cuts == 20 and (image == 40).all() and (labels == ID["liver"]).all()  # what was given stays
    assert scanner(image - 1060, labels, STRONG, generator(0))[0].min() >= AIR


# --- the universal model -----------------------------------------


def test_thirty_structures_rare_at_first():
    model = universal(width=4)
    assert len(set(UNIVERSAL)) == 30 and sorted(UNIVERSAL, key=ID.get) == list(UNIVERSAL)
    assert model.structures == UNIVERSAL and model.exclusive is False
    assert torch.allclose(model.head.bias, torch.tensor(-4.0)) and model.head.bias.shape == (30,)
    with torch.no_grad():
        assert model(torch.rand(1, 1, 16, 16, 16)).shape == (1, 30, 16, 16, 16)
    assert hub.build("universal", structures=["liver", "spleen"]).structures == ("liver", "spleen")


@pytest.mark.parametrize("exclusive", [True, False])
def test_it_is_saved_with_its_structures(exclusive, tmp_path):
    model = hub.build("universal", structures=["liver", "spleen", "aorta"], width=4, exclusive=exclusive)
    path = hub.save(model, tmp_path / "small.safetensors", seed=1)
    again = hub.load("universal", path)
    assert again.structures == ("liver", "spleen", "aorta") and again.exclusive is exclusive and not again.training
    x = torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        assert torch.equal(again(x), model.eval()(x))


@pytest.mark.parametrize("name", LOSSES)
def test_the_losses_train(name, bodies, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = universal(SOME, width=4)
        patches = Patches(cohort(*bodies), SOME, side=16)
        kept = [patches[0], patches[1]]  # the same two cubes in every step
        log = train(model, LOSSES[name], kept, TrainConfig(12, lr=1e-2, device="cpu"), tmp_path, progress=False).log
    assert log[-1]["loss"] < log[0]["loss"]


def test_only_the_masked_loss_asks_nothing_of_the_unannotated(bodies):
    torch.manual_seed(0)
    model = universal(SOME, width=4)
    item = Patches(cohort(bodies[0]), SOME, side=16, ranges=NONE)[0]
    batch = {"image": item["image"][None], "target": item["target"][None], "w": torch.tensor([[1, 1, 0, 0, 1]])}
    for name, loss in LOSSES.items():
        bias = torch.autograd.grad(loss(model, batch), model.head.bias)[0]
        silent = (bias == 0).tolist()
        assert silent == ([False, False, True, True, False] if name == "masked" else [False] * 5)
        if name != "masked":
            assert (bias[2:4] > 0).all()  # descent pushes them down, drawn or not


def test_any_visit_hides_the_hospital():
    visits = [any_visit(seed, "B", 8.0, partial=True) for seed in range(3)]
    again = any_visit(1, "B", 8.0, partial=True)
    assert torch.equal(visits[1].image, again.image) and len({v.info["phase"] for v in visits}) > 1
    assert all(v.annotated == visits[0].annotated for v in visits)
