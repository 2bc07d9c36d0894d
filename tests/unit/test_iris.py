"""Iris: what a task's tokens depend on and what not, what a query costs, tuning, retrieval, whole scans, and 3-D episodes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from fmlab import hub, metrics, randomise
from fmlab.errors import DataError, ModelError
from fmlab.incontext import nano
from fmlab.incontext.iris import Iris, loss
from fmlab.incontext.iris_volume import cut, segment_volume, task_of
from fmlab.incontext.residual_unet import Features
from fmlab.incontext.task_encoding import pool, shuffled, unshuffled
from fmlab.incontext.task_tokens import MemoryBank, retrieve, tune
from fmlab.incontext.volume_episodes import MadeUp, VolumeEpisodes
from fmlab.vocabulary import ID, region
from fmlab.volume import Volume

SMALL = {"widths": (4, 8, 8, 16), "channels": 64, "context": 3, "width": 4, "blocks": 1}
ORGANS = ("liver", "spleen", "pancreas")


@pytest.fixture(scope="module")
def model() -> Iris:
    torch.manual_seed(0)
    return hub.build("iris", **SMALL).requires_grad_(False)


def episode(batch=1, references=3, classes=3, size=(16, 16, 24), seed=0):
    """Query, reference images, reference masks."""
    generator = torch.Generator().manual_seed(seed)
    query = torch.rand(batch, 1, *size, generator=generator)
    images = torch.rand(batch, references, 1, *size, generator=generator)
    masks = torch.rand(batch, references, classes, *size, generator=generator)
    return query, images, (masks > 0.8).float()


def close(a, b, tolerance=2e-5):
    assert (a - b).abs().max().item() <= tolerance


def test_nano_ships_and_gives_all_classes_in_one_pass():
    nano_model = hub.build("iris")
    assert sum(p.numel() for p in nano_model.parameters()) < 750_000
    query, images, masks = episode(batch=2, references=1, classes=5, size=(16, 8, 8))
    tokens = nano_model.encode_task(images, masks)
    assert tokens.shape == (2, 5, 11, 64)
    assert nano_model.segment(query, tokens).shape == (2, 5, 16, 8, 8)


def test_published_widths_can_be_built():
    assert hub.build("iris", widths=(32, 64, 128, 256, 320), channels=512, blocks=1).stride == 16


def test_forward_is_encoding_and_segmenting(model):
    query, images, masks = episode(batch=2)
    close(model(query, images, masks), model.segment(query, model.encode_task(images, masks)), 0)


def test_one_task_serves_all_queries_of_any_size(model):
    _, images, masks = episode()
    tokens = model.encode_task(images, masks)
    queries = episode(batch=3, size=(24, 16, 8))[0]
    close(model.segment(queries, tokens), torch.cat([model.segment(query[None], tokens) for query in queries]))


def test_order_of_references_does_not_matter(model):
    _, images, masks = episode(references=4)
    order = [2, 0, 3, 1]
    close(model.encode_task(images, masks), model.encode_task(images[:, order], masks[:, order]))


def test_context_ensemble_is_the_mean_over_those_that_show_the_class(model):
    _, images, masks = episode(references=3)
    masks[:, 1, 0] = 0
    tokens, shown = model.encode_each(images, masks)
    task = model.encode_task(images, masks)
    assert shown[0].tolist() == [[True] * 3, [False, True, True], [True] * 3]
    close(task[:, 0], tokens[:, [0, 2], 0].mean(1))
    close(task[:, 1], tokens[:, :, 1].mean(1))


def test_order_of_classes_only_permutes_the_answer(model):
    query, images, masks = episode()
    close(model(query, images, masks)[:, [2, 0, 1]], model(query, images, masks[:, :, [2, 0, 1]]))


def test_a_class_does_not_notice_further_ones(model):
    query, images, masks = episode(classes=4)
    close(model(query, images, masks)[:, 1:2], model(query, images, masks[:, :, 1:2]))


def test_the_task_decides_the_answer(model):
    query, images, masks = episode()
    assert (model(query, images, masks) - model(query, images, 1 - masks)).abs().max() > 1e-3


def flops(function, *given) -> int:
    with FlopCounterMode(display=False) as counter:
        function(*given)
    return counter.get_total_flops()


def test_cost_is_flat_in_references_and_one_pass_is_cheaper_than_many():
    model, classes = hub.build("iris"), 6
    query, images, masks = episode(references=4, classes=classes, size=(24, 16, 16))
    few, many = model.encode_task(images[:, :1], masks[:, :1]), model.encode_task(images, masks)
    assert flops(model.segment, query, few) == flops(model.segment, query, many)
    assert flops(model.encode_task, images, masks) == 4 * flops(model.encode_task, images[:, :1], masks[:, :1])
    together = flops(model.segment, query, many)
    apart = sum(flops(model, query, images, masks[:, :, k : k + 1]) for k in range(classes))
    assert together < apart / 10  # 4 references, no cache: every class would encode all five volumes again
    assert together < 0.5 * classes * flops(model.segment, query, many[:, :1])


def features_and_masks(size=(16, 16, 16)):
    generator = torch.Generator().manual_seed(3)
    maps = [torch.randn(2, c, *(n // r for n in size), generator=generator) for c, r in ((3, 1), (4, 2), (5, 4))]
    return Features(tuple(maps[:-1]), maps[-1]), (torch.rand(2, 2, *size, generator=generator) > 0.7).float()


def test_full_pooling_is_the_masked_mean_at_full_resolution():
    features, masks = features_and_masks()
    large = [F.interpolate(level, size=masks.shape[2:], mode="nearest") for level in (*features.fine, features.coarse)]
    by_letter = torch.einsum("bcxyz,bkxyz->bkc", torch.cat(large, 1), masks) / masks.sum((2, 3, 4))[..., None]
    close(pool(features, masks), by_letter, 1e-5)


def test_a_single_voxel_survives_full_pooling_and_is_lost_in_coarse():
    features, masks = features_and_masks()
    masks.zero_()[:, 0, 5, 6, 7] = 1
    at_voxel = torch.cat([features.fine[0][:, :, 5, 6, 7], features.fine[1][:, :, 2, 3, 3], features.coarse[:, :, 1, 1, 1]], 1)
    close(pool(features, masks, "full")[:, 0], at_voxel, 1e-5)
    assert pool(features, masks, "coarse").abs().max() == 0
    masks[:, 0, 4:8, 4:8, 4:8] = 1  # a voxel of F, whole
    assert pool(features, masks, "coarse")[:, 0].abs().max() > 0


def test_pixel_shuffle_in_3d_is_undone_and_keeps_places():
    x = torch.arange(2 * 16 * 2 * 3 * 1).float().view(2, 16, 2, 3, 1)
    assert shuffled(x, 2).shape == (2, 2, 4, 6, 2)
    assert torch.equal(unshuffled(shuffled(x, 2), 2), x)
    assert torch.equal(shuffled(x[:, :8], 2)[:, 0, 2:, 4:, :].flatten(1), x[:, :8, 1, 2, 0])


def test_tuning_changes_the_task_alone_and_lowers_the_loss():
    torch.manual_seed(0)
    model = hub.build("iris", **SMALL)
    frozen = next(model.mask_decoder.parameters()).requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    query, images, masks = episode(classes=2)
    tokens = model.encode_task(images, masks).detach()
    tuned = tune(model, tokens, images[:, 0], masks[:, 0], steps=15, lr=0.05)
    entropy = [F.binary_cross_entropy_with_logits(model.segment(images[:, 0], t), masks[:, 0]).item() for t in (tokens, tuned)]
    assert entropy[1] < entropy[0] and tuned.shape == tokens.shape and not tuned.requires_grad
    assert all(p.grad is None for p in model.parameters()) and not frozen.requires_grad
    assert sum(p.requires_grad for p in model.parameters()) == len(list(model.parameters())) - 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_retrieval_takes_those_who_are_alike(model):
    query, images, masks = episode(references=4)
    tokens, shown = model.encode_each(images, masks)
    task, alike = retrieve(model, query, tokens[0], shown[0], nearest=1)
    assert task.shape == (1, 3, 4, 64) and alike.shape == (4, 3)
    found = (model.segment(query, tokens.mean(1)) > 0).flatten(2).any(2)[0]
    for k in range(3):
        wanted = tokens[0, alike[:, k].argmax(), k] if found[k] else tokens[0, :, k].mean(0)
        close(task[0, k], wanted)
    shown[0, 0] = False
    everybody = retrieve(model, query, tokens[0], shown[0], nearest=9)[0]
    close(everybody, tokens[:, 1:].mean(1))


def test_memory_bank_is_a_moving_average():
    bank, first, second = MemoryBank(alpha=0.75), torch.zeros(4, 8), torch.ones(4, 8)
    bank.update("liver", first)
    bank.update("liver", second)
    close(bank.task(["liver"]), torch.full((1, 1, 4, 8), 0.25), 1e-7)
    with pytest.raises(ModelError, match="no tokens of spleen"):
        bank.task(["liver", "spleen"])


SAID = {
    "one volume": (lambda q, i, m: (q, i[:, 0], m), "R volumes of one channel"),
    "two channels": (lambda q, i, m: (q, i.expand(-1, -1, 2, -1, -1, -1), m), "R volumes of one channel"),
    "no reference": (lambda q, i, m: (q, i[:, :0], m[:, :0]), "There is no reference"),
    "other count": (lambda q, i, m: (q, i, m[:, :2]), "do not fit"),
    "no class": (lambda q, i, m: (q, i, m[:, :, :0]), "do not fit"),
    "sides": (lambda q, i, m: (q, i[..., :20], m[..., :20]), "16 x 16 x 20 cannot be halved"),
    "one deep voxel": (lambda q, i, m: (q[..., :8, :8, :8], i, m), "at least 16"),
    "dtype": (lambda q, i, m: (q, i.double(), m), "references are torch.float64"),
    "values": (lambda q, i, m: (q, i * 300, m), "references run from"),
    "nan": (lambda q, i, m: (q * math.nan, i, m), "query run from nan"),
    "soft masks": (lambda q, i, m: (q, i, m * 0.5), "other values than 0 and 1"),
    "empty class": (lambda q, i, m: (q, i, m * torch.tensor([1.0, 0, 1]).view(3, 1, 1, 1)), "shows class 1"),
    "query channels": (lambda q, i, m: (q.expand(-1, 2, -1, -1, -1), i, m), "query has shape"),
    "query size": (lambda q, i, m: (q[..., :12], i, m), "16 x 16 x 12 cannot be halved"),
    "query values": (lambda q, i, m: (q - 1, i, m), "query run from"),
    "batch": (lambda q, i, m: (q.expand(3, *[-1] * 4), i.expand(2, *[-1] * 5), m.expand(2, *[-1] * 5)), "2 tasks do not fit 3"),
}


@pytest.mark.parametrize("case", SAID)
def test_bad_input_is_refused_with_its_own_sentence(model, case):
    spoil, said = SAID[case]
    with pytest.raises(ModelError, match=said):
        model(*spoil(*episode()))


def test_tokens_of_another_model_are_refused(model):
    query, images, masks = episode()
    with pytest.raises(ModelError, match="encode_task of the same model"):
        model.segment(query, torch.zeros(1, 3, 11, 64))
    with pytest.raises(ModelError, match="one mask a class"):
        tune(model, model.encode_task(images, masks), images[:, 0], masks[:, 0, :2])


@pytest.mark.parametrize(("config", "said"), [
    ({"widths": (8, 16)}, "3 levels"), ({"channels": 60}, "multiple of 16"), ({"blocks": 0}, "1 block"),
    ({"channels": 48}, "multiple of 64"), ({"pooling": "max"}, "full, coarse")])
def test_a_config_that_cannot_be_is_refused(config, said):
    with pytest.raises(ModelError, match=said):
        hub.build("iris", **config)


def test_learns_two_episodes_by_heart():
    torch.manual_seed(0)
    model = hub.build("iris", widths=(4, 8, 16), channels=16, context=2, width=8, blocks=1)
    labels = torch.zeros(2, 2, 16, 16, 16, dtype=torch.long)  # two episodes of two people: an object is 1, another is 2
    for e, (a, b) in enumerate((((3, 10), (10, 4)), ((9, 3), (3, 11)))):
        for p in range(2):
            labels[e, p, a[0] + p : a[0] + p + 4, a[1] - p : a[1] - p + 4, 4:12] = 1
            labels[e, p, b[0] - p : b[0] - p + 4, b[1] + p - 2 : b[1] + p + 2, 5:11] = 2
    images = torch.tensor([0.2, 0.5, 0.8])[labels][:, :, None] + 0.05 * torch.rand(2, 2, 1, 16, 16, 16)
    batch = {"images": images, "masks": torch.stack([labels == 1, labels == 2], 2).byte()}
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(80):
        optimiser.zero_grad()
        value = loss(model, batch)
        value.backward()
        optimiser.step()
    assert value.item() < 0.2
    query, reference = images[:, 0], images[:, 1:]
    found = model(query, reference, batch["masks"][:, 1:].float()) > 0
    assert all(metrics.dice(found[e, k], batch["masks"][e, 0, k] > 0) > 0.85 for e in range(2) for k in range(2))


def body(name: str, seed: int = 0, patient: str = "", annotated=ORGANS) -> Volume:
    """A tiny abdomen of 8 mm voxels: a liver with a tumour, a spleen, a pancreas, each of its own HU."""
    rng = np.random.default_rng(seed)
    labels = torch.zeros(20, 18, 22, dtype=torch.uint8)
    for organ, (x, y, z), r in (("liver", (12, 8, 12), 4), ("spleen", (5, 9, 12), 2), ("pancreas", (9, 11, 8), 2)):
        x, y, z = np.array([x, y, z]) + rng.integers(-1, 2, 3)
        labels[x - r : x + r, y - r : y + r, z - r : z + r] = ID[organ]
    labels[12, 8, 12] = ID["liver_tumor"]
    hu = torch.full(labels.shape, 30.0)
    for organ, value in (("liver", 110), ("liver_tumor", 60), ("spleen", 140), ("pancreas", 90)):
        hu[labels == ID[organ]] = value
    hu[:, :3] = -1000
    return Volume(hu[None], np.diag([8.0, 8, 8, 1]), labels[None], frozenset(annotated), name=name,
                  info={"patient": patient} if patient else {})


def episodes(**options) -> VolumeEpisodes:
    given = {"classes": 3, "window": (16, 16, 16), "ranges": randomise.NONE, "made_up": MadeUp(0, 0, 0), **options}
    return VolumeEpisodes([body(f"body-{seed}", seed) for seed in range(4)], ORGANS, **given)


def test_an_episode_is_reproducible_and_as_described():
    data = episodes(people=3, ranges=replace(randomise.STRONG, cut=1.0), made_up=MadeUp())
    torch.manual_seed(5)
    first = data[0]
    torch.manual_seed(5)
    again = data[7]
    assert all(torch.equal(first[key], again[key]) for key in ("images", "masks")) and first["name"] == again["name"]
    assert first["images"].shape == (3, 1, 16, 16, 16) and first["masks"].shape == (3, 3, 16, 16, 16)
    assert first["images"].dtype == torch.float32 and 0 <= first["images"].min() and first["images"].max() <= 1
    assert set(first["masks"].unique().tolist()) <= {0, 1}
    assert not torch.equal(data[0]["images"], data[0]["images"])


def test_masks_lie_on_their_images():
    torch.manual_seed(0)
    data = episodes(classes=1)
    for _ in range(5):
        item = data[0]
        values = data.values(torch.tensor([{"liver": 110.0, "spleen": 140.0, "pancreas": 90.0}[item["classes"]]]))
        inside = item["images"][item["masks"].bool()]
        assert (inside - values).abs().median() < 0.02  # the edges are read between two voxels


def test_nobody_is_an_example_for_himself():
    scans = [body("monday", 0, "p1"), body("tuesday", 1, "p1"), body("other", 2, "p2"), body("third", 3, "p3")]
    data = VolumeEpisodes(scans, ORGANS, people=3, window=(16, 16, 16))
    for _ in range(20):
        names = data[0]["name"].split()
        assert len(set(names)) == 3 and len({"monday", "tuesday"} & set(names)) == 1
    with pytest.raises(DataError, match="No structure is shown by 3"):
        VolumeEpisodes(scans[:3], ORGANS, people=3)


def test_a_held_out_structure_is_never_asked_for():
    hidden = {i for name in nano.HELD_OUT for i in region(name)}
    assert not hidden & {ID[name] for name in nano.TASKS}
    scans = [body(f"body-{seed}", seed, annotated=(*ORGANS, "liver_tumor")) for seed in range(2)]
    data = VolumeEpisodes(scans, nano.TASKS, classes=4, window=(16, 16, 16), made_up=MadeUp())
    asked = {name for _ in range(30) for name in data[0]["classes"].replace(", mirrored", "").replace("half of ", "").split("; ")}
    assert asked and not any(name in asked_for for asked_for in asked for name in nano.HELD_OUT)


def test_made_up_tasks_are_the_same_part_in_everybody():
    torch.manual_seed(1)
    halves = episodes(classes=1, made_up=MadeUp(0, 0, 1))
    items = [item for item in (halves[0] for _ in range(30)) if item["classes"].startswith("half")]
    assert items
    for item in items:
        assert (item["masks"].flatten(1).sum(1) > 0).all()
    mirrored, plain = episodes(made_up=MadeUp(1, 0, 0)), episodes()
    torch.manual_seed(2)
    one = mirrored[0]
    torch.manual_seed(2)
    other = plain[0]
    assert all(torch.equal(one[key].flip(2), other[key]) for key in ("images", "masks"))


def test_episodes_that_cannot_be_are_refused():
    with pytest.raises(DataError, match="2 people and a class"):
        episodes(people=1)
    with pytest.raises(DataError, match="has no labels"):
        VolumeEpisodes([replace(body("bare"), labels=None)], ORGANS)


def test_loss_asks_nothing_of_a_class_that_nobody_shows(model):
    torch.manual_seed(0)
    batch = {"images": torch.rand(1, 2, 1, 16, 16, 16), "masks": torch.zeros(1, 2, 1, 16, 16, 16).byte()}
    assert loss(model, batch) == 0
    batch["masks"][0, 1, 0, 4:8, 4:8, 4:8] = 1  # shown by the second: the first is to be left empty, the second not asked
    with_object = loss(model, batch)
    batch["images"][0, 1, 0, :2] = 0.5  # the second's image matters for the task only
    assert 0 < with_object != loss(model, batch)


def test_a_volume_in_and_a_volume_out(model):
    references, query = [body("one", 1), body("two", 2)], body("three", 3)
    tokens = task_of(model, references, ORGANS, window=(16, 16, 16))
    assert tokens.shape == (1, 3, 4, 64)
    found = segment_volume(model, query, tokens, ORGANS, window=(16, 16, 16), crumb_ml=0)
    assert found.shape == query.shape and found.annotated == frozenset(ORGANS)
    assert set(found.labels.unique().tolist()) <= {0, *(ID[name] for name in ORGANS)}
    with pytest.raises(ModelError, match="None of 2 references shows duodenum"):
        task_of(model, references, ["duodenum"], window=(16, 16, 16))
    with pytest.raises(ModelError, match="2 names"):
        segment_volume(model, query, tokens, ORGANS[:2])


def test_windows_are_cut_inside_and_padded_outside():
    x = torch.arange(10.0).view(1, 10, 1, 1).expand(1, 10, 4, 10)
    assert cut(x, (1, 2, 5), (4, 4, 4))[0, :, 0, 0].tolist() == [0, 1, 2, 3]
    assert cut(x, (5.5, 2, 5), (4, 4, 4))[0, :, 0, 0].tolist() == [4, 5, 6, 7]
    padded = cut(x, (9, 0, 0), (4, 8, 16))
    assert padded.shape == (1, 4, 8, 16) and padded[0, :, 3, 8].tolist() == [6, 7, 8, 9] and padded[0, :, 0].abs().max() == 0
