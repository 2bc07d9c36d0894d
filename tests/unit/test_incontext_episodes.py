"""Tasks from bodies, balanced and never with the query's own subject; episodes that their seed makes again."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from fmlab import phantom
from fmlab.errors import DataError, ScanError
from fmlab.incontext import nano
from fmlab.incontext.augment import NONE
from fmlab.incontext.bodies import Bodies, ids_by_slice
from fmlab.incontext.episodes import Episodes
from fmlab.incontext.material import AXES
from fmlab.incontext.readers import redrawn
from fmlab.incontext.shapes import Shapes
from fmlab.vocabulary import ID, parts, region
from fmlab.volume import Volume

BOXES = {"liver": ((2, 8), (3, 10), (2, 9), 110), "liver_tumor": ((4, 6), (5, 8), (4, 7), 60),
         "spleen": ((9, 14), (2, 7), (3, 8), 130)}


def person(name, shown=tuple(BOXES), centre="A", annotated=None):
    """A body of 16 x 14 x 12 voxels, water with organs as boxes."""
    image, labels = torch.zeros(1, 16, 14, 12), torch.zeros(1, 16, 14, 12)
    for organ in shown:
        *sides, hu = BOXES[organ]
        box = (0, *(slice(*side) for side in sides))
        image[box], labels[box] = hu, ID[organ]
    return Volume(image, np.diag([8.0, 8, 8, 1]), labels, annotated, name=name, info={"centre": centre})


def people(count=5, **options):
    return [person(f"p{i}", centre="AAABB"[i % 5], **options) for i in range(count)]


@pytest.fixture(scope="module")
def bodies():
    """Two small bodies with everything in them."""
    return [phantom.sample(seed, centre, 16.0, field_of_view="torso") for seed, centre in ((0, "A"), (1, "B"))]


@pytest.mark.parametrize("number", range(3))
def test_ids_by_slice_is_a_plain_count(number):
    labels = torch.randint(0, 256, (5, 7, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    found = ids_by_slice(labels, number)
    assert found.shape == (labels.shape[number], 256) and found.sum() == labels.numel()
    for index in range(labels.shape[number]):
        for value in range(256):
            assert found[index, value] == (labels.select(number, index) == value).sum()


def test_tasks_are_what_two_people_show():
    source = Bodies([*people(2, shown=["liver"]), person("p2"), person("p3", ["spleen"], annotated={"liver"})],
                    ["liver", "spleen", "pancreas"], ["axial", "coronal"], size=32)
    assert source.tasks == {("liver", "axial"): [0, 1, 2], ("liver", "coronal"): [0, 1, 2]}  # p3 does not say that it is a spleen
    with pytest.raises(DataError, match="No two of these volumes"):
        Bodies(people(1), ["liver"])
    with pytest.raises(DataError, match="'bare' has no labels"):
        Bodies([Volume(torch.zeros(1, 4, 4, 4), np.eye(4), name="bare")], ["liver"])
    with pytest.raises(ScanError, match="no axis 'oblique'"):
        Bodies(people(), ["liver"], ["oblique"])


def test_only_slices_that_show_enough_are_examples():
    low = person("low")
    low.labels[0, 2:4, 3:5, 9] = ID["liver"]  # 4 voxels on top, of 42 at most
    slices = Bodies([low, person("p1")], ["liver", "liver_tumor"], size=64).bodies[0].slices
    assert slices["liver", "axial"].tolist() == list(range(2, 9))
    assert slices["liver_tumor", "axial"].tolist() == [4, 5, 6]
    assert ("liver_tumor", "coronal") in slices
    assert ("liver_tumor", "axial") not in Bodies(people(2), ["liver", "liver_tumor"], size=16).tasks  # 6 pixels of the picture


def test_each_task_is_drawn_as_often_as_another(monkeypatch):
    source = Bodies([*people(5), *(person(f"q{i}", ["liver"]) for i in range(20))], ["liver", "spleen"], size=16)
    seen, plain = Counter(), source._example
    monkeypatch.setattr(source, "_example", lambda body, task, rng: seen.update([task]) or plain(body, task, rng))
    rng = np.random.default_rng(0)
    for _ in range(600):
        source.draw(rng, 1)
    assert len(seen) == 6 and all(70 < count < 130 for count in seen.values())  # although five times as many show a liver


def test_the_querys_subject_is_never_in_its_support():
    source, rng, queries = Bodies(people(5), ["liver", "spleen"], size=16), np.random.default_rng(0), Counter()
    for count in (2, 3, 6, 9) * 40:  # also more than there are people
        images, masks, names = source.draw(rng, count)
        assert len(names) == len(images) == len(masks) == count and names[0] not in names[1:]
        assert len(set(names)) == len(names) or count > 2  # nobody twice unless there are too few
        queries[names[0]] += 1
    assert len(queries) == 5
    assert all(len(set(source.draw(rng, 5)[2])) in (2, 3, 5) for _ in range(20))  # B has 2 people, A has 3


def test_half_of_the_episodes_stay_in_one_hospital():
    source = Bodies([person(f"{c}{i}", centre=c) for c in "AB" for i in range(6)], ["liver"], size=16)
    rng = np.random.default_rng(0)
    alone = sum(len({name[0] for name in source.draw(rng, 5)[2]}) == 1 for _ in range(300))
    assert 125 < alone < 185  # one half, and the few of the other half that happen to


def test_pictures_are_windowed_alike_in_an_episode_and_masks_hold_their_parts():
    plain = Bodies(people(3), ["liver"], ["axial"], size=16, jitter=False)
    images, masks, _ = plain.draw(np.random.default_rng(0), 3)
    assert images.shape == masks.shape == (3, 1, 16, 16)
    values = sorted({round(v, 4) for v in images[masks.bool()].tolist()})
    assert values in ([0.6706], [0.5529, 0.6706]) and set(masks.unique().tolist()) == {0, 1}  # 60 and 110 HU in -175 to 250
    assert (masks.sum((1, 2, 3)) == 42).all()  # the liver with its tumour, 6 x 7 voxels
    jittered = Bodies(people(3), ["liver"], ["axial"], size=16)
    episodes = [jittered.draw(np.random.default_rng(seed), 3)[0] for seed in range(10)]
    assert all(x.min() >= 0 and x.max() <= 1 for x in episodes)
    assert len({round(x[0].max().item(), 3) for x in episodes}) > 5


def test_a_task_may_be_asked_for():
    source = Bodies(people(3), ["liver", "spleen"], size=16)
    for seed in range(5):
        _, masks, _ = source.draw(np.random.default_rng(seed), 2, ("spleen", "axial"))
        assert (masks.sum((1, 2, 3)) == 25).all()


def test_what_is_held_out_is_never_a_task(bodies):
    hidden = {name for held in nano.HELD_OUT for name in (held, *parts(held))}
    assert {"kidney_tumor_left", "kidney_medulla_right"} <= hidden
    assert not hidden & set(nano.TASKS) and {"liver", "spleen", "heart", "lung_tumor_left"} <= set(nano.TASKS)
    shown = Bodies(bodies, nano.TASKS, size=32).tasks
    assert not hidden & {name for name, _ in shown} and len({name for name, _ in shown}) > 20
    assert {axis for _, axis in shown} == set(AXES)
    asked = Bodies(bodies, nano.HELD_OUT, size=32).tasks
    assert ("kidney_left", "axial") in asked  # they are there


def test_masks_of_bodies_are_the_structures(bodies):
    source = Bodies(bodies, ["liver"], ["axial"], size=24)
    _, masks, names = source.draw(np.random.default_rng(0), 2)
    for mask, name in zip(masks, names):
        body = next(b for b in bodies if b.name == name)
        areas = torch.isin(body.labels[0], torch.tensor(region("liver"), dtype=torch.uint8)).sum((0, 1))
        assert mask.sum() >= 0.5 * areas.max() * 0.8


class Always:
    """A source of one number, which says who each is."""

    def __init__(self, value, names=None):
        self.value, self.names = value, names

    def draw(self, rng, count):
        images = torch.full((count, 1, 8, 8), self.value) + torch.from_numpy(rng.random((count, 1, 8, 8), np.float32)) / 10
        return images, (images > self.value + 0.05).float(), self.names or [f"{self.value} {i}" for i in range(count)]


def test_an_episode_follows_from_torchs_seed():
    episodes = Episodes([Shapes(16)], support=3)
    torch.manual_seed(4)
    first, other = episodes[0], episodes[0]
    torch.manual_seed(4)
    again = episodes[17]  # the number says nothing
    assert all(torch.equal(first[key], again[key]) for key in ("query", "target", "images", "masks"))
    assert not torch.equal(first["query"], other["query"])
    assert {key: tuple(value.shape) for key, value in first.items() if key != "name"} == {
        "query": (1, 16, 16), "target": (1, 16, 16), "images": (3, 1, 16, 16), "masks": (3, 1, 16, 16)}
    assert len(Episodes([Shapes(16)], length=7)) == 7


def test_sources_are_drawn_by_their_weights():
    torch.manual_seed(0)
    episodes = Episodes([Always(0.1), Always(0.5), Always(0.8)], [3, 1, 0], support=1, augmentation=NONE)
    seen = Counter(episodes[i]["name"] for i in range(400))
    assert 260 < seen["0.1 0"] < 340 and seen["0.8 0"] == 0
    even = Counter(Episodes([Always(0.1), Always(0.5)], support=1, augmentation=NONE)[i]["name"] for i in range(200))
    assert 70 < even["0.1 0"] < 130


def test_the_query_comes_first_and_readers_draw_it_anew():
    torch.manual_seed(0)
    plain = Episodes([Always(0.3)], support=2, augmentation=NONE)[0]
    torch.testing.assert_close(plain["target"], (plain["query"] > 0.35).float())
    torch.testing.assert_close(plain["masks"], (plain["images"] > 0.35).float())
    torch.manual_seed(0)
    drawn = Episodes([Always(0.3)], support=2, augmentation=NONE, drawn_by=redrawn)[0]
    assert torch.equal(drawn["images"], plain["images"]) and not torch.equal(drawn["masks"], plain["masks"])
    assert not torch.equal(drawn["target"], plain["target"])


def test_a_source_that_leaks_is_refused():
    with pytest.raises(DataError, match="Always drew anna as query and as its own example"):
        Episodes([Always(0.3, ["anna", "ben", "anna"])], support=2)[0]
    for weights in ([1], [1, -1], [0, 0]):
        with pytest.raises(DataError, match="give each source a share"):
            Episodes([Always(0.1), Always(0.5)], weights)
    with pytest.raises(DataError, match="give each source"):
        Episodes([])
    with pytest.raises(DataError, match="support of 0 examples"):
        Episodes([Always(0.1)], support=0)
