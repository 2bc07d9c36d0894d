"""Simulated interaction: what is pointed at, how the passes go, what is learned, how a model is examined."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fmlab import hub
from fmlab.errors import DataError, PromptError
from fmlab.held_out import HELD_OUT, TASKS
from fmlab.interactive import learning, starts
from fmlab.interactive.clicking import at_random, dice_after, in_the_middle
from fmlab.interactive.clicks import Clicks
from fmlab.interactive.cubes import Cubes
from fmlab.interactive.glance import cross_entropy, places_in, weights_at
from fmlab.interactive.pictures import drawn, grey, largest_slice, scene
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.simulation import Pass, passes, tight
from fmlab.interactive.slices import Ranges, Slices, largest_object, object_at, toned
from fmlab.interactive.textures import Textures
from fmlab.interactive.two_way import TwoWayTransformer
from fmlab.vocabulary import ID
from fmlab.volume import Volume

LIVER, SPLEEN, KIDNEY = ID["liver"], ID["spleen"], ID["kidney_left"]


def body(seed: int = 0, labels: bool = True) -> Volume:
    """A made-up scan of 40 x 36 x 30 voxels of 4 mm: a liver, a spleen in two pieces, a kidney, which is held out."""
    rng = np.random.default_rng(seed)
    drawn = torch.zeros(1, 40, 36, 30, dtype=torch.uint8)
    drawn[0, 22:34, 10:26, 5:25] = LIVER
    drawn[0, 4:10, 4:12, 6:24] = SPLEEN
    drawn[0, 4:12, 22:30, 6:24] = SPLEEN
    drawn[0, 14:20, 4:10, 6:24] = KIDNEY
    image = 40.0 * (drawn > 0) + torch.from_numpy(rng.normal(0, 5, drawn.shape)).float()
    return Volume(image, np.diag([4.0, 4.0, 4.0, 1.0]), drawn if labels else None, name=f"body {seed}")


@pytest.fixture(scope="module")
def pictures() -> Slices:
    return Slices([body(0), body(1)], TASKS, size=48, objects=3, ranges=Ranges(least=12))


@pytest.fixture(scope="module")
def cubes() -> Cubes:
    return Cubes([body(0), body(1)], TASKS, side=16, spacing=8.0, objects=3)


def test_objects_are_single_pieces_of_structures_that_may_be_asked_for(pictures: Slices):
    names = set()
    for n in range(30):
        item = pictures[n]
        assert item["image"].shape == (1, 48, 48) and 0 <= float(item["image"].min()) <= float(item["image"].max()) <= 1
        assert item["masks"].shape == (3, 48, 48) and item["masks"].flatten(1).sum(1).min() >= 12
        for mask in item["masks"].numpy().astype(bool):
            assert np.array_equal(largest_object(mask), mask)
        names |= set(item["names"].split("; "))
    assert {"liver", "spleen"} <= names <= {"liver", "spleen", "body"} and "kidney_left" in HELD_OUT


def test_a_picture_follows_from_torchs_seed(pictures: Slices, cubes: Cubes):
    for data in (pictures, cubes):
        items = []
        for seed in (5, 5, 6):
            torch.manual_seed(seed)
            items.append(data[0])
        assert torch.equal(items[0]["image"], items[1]["image"]) and not torch.equal(items[0]["image"], items[2]["image"])


def test_cubes_hold_the_structure_in_their_middle(cubes: Cubes):
    for n in range(10):
        item = cubes[n]
        assert item["image"].shape == (1, 16, 16, 16) and item["masks"].shape == (3, 16, 16, 16)
        assert item["masks"].flatten(1).sum(1).min() >= 24
        assert set(item["names"].split("; ")) <= {"liver", "spleen", "body"}


def test_what_cannot_be_pointed_at():
    with pytest.raises(DataError, match="no labels"):
        Slices([body(labels=False)], TASKS)
    with pytest.raises(DataError, match="no labels"):
        Cubes([body(labels=False)], TASKS)
    with pytest.raises(DataError, match="no scans"):
        Slices([], TASKS)
    with pytest.raises(DataError, match="None of these"):
        Cubes([body()], ["gallbladder"])


def test_pieces_and_tones():
    mask = np.zeros((10, 10), bool)
    mask[:2, :2] = mask[5:, 5:] = True
    assert largest_object(mask).sum() == 25
    sizes = {int(object_at(mask, np.random.default_rng(seed)).sum()) for seed in range(20)}
    assert sizes == {4, 25}
    ramp = torch.linspace(0, 1, 50)[None]
    assert 0 <= float(toned(ramp, np.random.default_rng(0)).min()) <= float(toned(ramp, np.random.default_rng(0)).max()) <= 1


def perfect_after(count: int, truth: Tensor, log: list):
    """A decoder that draws half of the truth until it has had ``count`` clicks."""
    def decode(points, labels, boxes, masks, multimask):
        log.append({"points": points, "labels": labels, "boxes": boxes, "masks": masks, "multimask": multimask})
        clicks = 0 if points is None else points.shape[1]
        drawn = truth.clone()
        if clicks < count:
            drawn[:, : truth.shape[1] // 2] = False
        logits = torch.where(drawn, 5.0, -5.0)[:, None]
        masks = 3 if multimask else 1
        return logits.repeat(1, masks, *[1] * (truth.ndim - 1)), torch.arange(masks).float().expand(len(truth), -1)
    return decode


@pytest.fixture
def truth() -> Tensor:
    found = torch.zeros(2, 20, 24, dtype=torch.bool)
    found[0, 4:16, 6:18] = found[1, 2:18, 10:14] = True
    return found


def test_passes_click_on_what_is_wrong_and_carry_the_last_logits(truth: Tensor):
    log: list[dict] = []
    answers = list(passes(perfect_after(3, truth, log), truth, np.random.default_rng(0), 4))
    assert [call["points"].shape[1] for call in log] == [1, 2, 3, 4]
    assert [call["multimask"] for call in log] == [True, False, False, False]
    assert log[0]["masks"] is None and torch.equal(log[1]["masks"], answers[0].low[:, 2:])
    for n, mask in enumerate(truth):
        inside = [bool(mask[int(y), int(x)]) for x, y in log[3]["points"][n]]
        assert all(inside) and log[3]["labels"][n].tolist() == [1, 1, 1, 1]
        assert [int(y) < 10 for x, y in log[1]["points"][n]][1]  # the second click is in the half that was missed
    assert torch.equal(answers[2].best(), truth)


def test_passes_that_begin_with_a_box(truth: Tensor):
    log: list[dict] = []
    list(passes(perfect_after(1, truth, log), truth, np.random.default_rng(0), 3, box=tight))
    assert log[0]["points"] is None and log[0]["boxes"].tolist() == [[6, 4, 17, 15], [10, 2, 13, 17]]
    assert [call["multimask"] for call in log] == [False] * 3 and log[2]["points"].shape == (2, 2, 2)


@pytest.mark.parametrize(("name", "item"), [
    ("sam", {"image": torch.rand(2, 1, 128, 128), "masks": torch.zeros(2, 2, 128, 128)}),
    ("sam_med3d", {"image": torch.randn(1, 1, 32, 32, 32), "masks": torch.zeros(1, 2, 32, 32, 32)})])
def test_a_loss_reaches_every_part_that_is_asked(name: str, item: dict):
    item["masks"][:, 0, 4:20, 6:22], item["masks"][:, 1, 8:12, 20:30] = 1, 1
    model = hub.build(name, size="nano")
    loss = {"sam": learning.sam_loss, "sam_med3d": learning.sam_med3d_loss}[name]
    torch.manual_seed(0)
    for _ in range(4):
        loss(model, item).backward()
    still = {key for key, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())}
    unused = "point_embeddings", "no_mask_embed", "output_hypernetworks_mlps"  # of clicks and masks that did not happen
    assert not {key for key in still if not any(part in key for part in unused)}, still


def test_mask_0_and_the_best_of_the_others_learn():
    truth = torch.zeros(1, 6, 6, dtype=torch.bool)
    truth[:, :3] = True
    good, unsure = torch.where(truth[0], 3.0, -3.0), torch.zeros(6, 6)
    logits = torch.stack([unsure, good, unsure, -good])[None].requires_grad_()
    learning.answer_loss(Pass(logits, torch.zeros(1, 4), logits), truth).backward()
    assert [bool(x.any()) for x in logits.grad[0]] == [True, True, False, False]


def test_how_much_inside_and_outside_weigh():
    """A mask of one pixel in a hundred: to draw nothing costs as much as to draw everything, or as the share says."""
    truth = torch.zeros(1, 1, 10, 10)
    truth[..., 0, 0] = 1
    logits = torch.where(truth > 0, 0.0, -100.0)  # log 2 inside, nothing outside
    inside = [float(cross_entropy(logits, truth, share)) for share in (1.0, 0.0, 0.5)]
    weights = 1 / 2, 1 / 100, 1 / (1 + 99**0.5)
    assert inside == pytest.approx([weight * np.log(2) / 2 for weight in weights])  # the mean is over one pixel more


@pytest.mark.parametrize(("name", "at"), [("sam", (40.0, 88.0)), ("sam_med3d", (5.0, 12.0, 26.0))])
def test_a_glance_reads_the_features_where_the_click_is(name: str, at: tuple[float, ...]):
    """Features that tell of their place by which alone they differ: the token there is that of the place."""
    model = hub.build(name, size="nano").eval()
    grid = model.image_encoder.grid
    places = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in grid], indexing="ij"))
    places = places.flip(0) if name == "sam" else places
    patch = model.image_encoder.patch
    features = torch.zeros(1, model.prompt_encoder.channels, *grid)
    features[:, : len(at)] = places
    seen: list[Tensor] = []
    for head in model.mask_decoder.output_hypernetworks_mlps:
        head.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    points = torch.tensor(at)[None, None]
    with torch.no_grad():
        weights = weights_at(model, features, points)
        token = model.prompt_encoder.points(points, torch.ones(1, 1), fill=False)
    there = (torch.tensor(at) + 0.5) / patch - 0.5
    assert weights.shape == (1, 1, model.prompt_encoder.channels // 8) and len(seen) == 4
    torch.testing.assert_close((seen[0] - token)[0, 0, : len(at)], there, atol=1e-4, rtol=0)


def test_places_lie_in_their_masks():
    masks = torch.zeros(2, 20, 30, dtype=torch.bool)
    masks[0, 3:5, 20:28], masks[1, 19, 0] = True, True
    places = places_in(masks, 50).long()
    assert places.shape == (2, 50, 2) and len({tuple(p) for p in places[0].tolist()}) > 8
    assert all(masks[n, y, x] for n in range(2) for x, y in places[n].tolist())
    cube = torch.zeros(1, 6, 7, 8, dtype=torch.bool)
    cube[0, 1, 2, 3] = True
    assert places_in(cube, 2).tolist() == [[[1, 2, 3], [1, 2, 3]]]


@torch.no_grad()
def test_a_decoder_that_begins_as_a_glance_reads_where_the_click_is():
    torch.manual_seed(0)
    model, cubes = hub.build("sam_med3d", size="nano").eval(), torch.randn(2, 1, 32, 32, 32)
    starts.look_where_it_points(model)
    starts.begin_as_glance(model, cubes)
    seen: list[Tensor] = []
    reader = model.mask_decoder.transformer.layers[0].cross_attn_token_to_image
    reader.register_forward_hook(lambda module, given, _: seen.extend(module.split(f(x)) for f, x in
                                                                      ((module.q_proj, given[0]), (module.k_proj, given[1]))))
    points = torch.tensor([[[6.0, 14, 25]], [[30, 2, 17]], [[17, 21, 9]]])
    model.decode(model.image_encoder(cubes[:1]), points, torch.ones(3, 1), model.no_mask(3))
    queries, keys = seen
    weights = (queries @ keys.mT / queries.shape[-1] ** 0.5).softmax(-1)[:, :, 1].mean(1)  # of mask 0
    places = torch.stack(torch.unravel_index(weights.argmax(1), (8, 8, 8)), dim=1)
    assert ((places - ((points[:, 0] + 0.5) / 4 - 0.5)).abs() <= 1).all()


def test_positions_begin_alike_where_they_are_near():
    torch.manual_seed(0)
    encoder = hub.build("sam", size="nano").image_encoder
    starts.begin_with_places(encoder)
    rows = encoder.pos_embed.detach()[0, :, 0]
    likeness = torch.nn.functional.cosine_similarity(rows[:1], rows, dim=1)
    assert float(rows.std()) == pytest.approx(0.5, abs=0.1) and likeness[1] > 0.9 > 0.5 > likeness[-1]


@torch.no_grad()
def test_a_start_that_looks_where_it_points():
    torch.manual_seed(0)
    model = hub.build("sam", size="nano").eval()
    starts.look_where_it_points(model)
    assert any(isinstance(module, TwoWayTransformer) for module in model.modules())
    attention = model.mask_decoder.transformer.layers[0].cross_attn_token_to_image
    token, _ = model.prompt_encoder(torch.tensor([[[30.0, 90.0]]]), torch.tensor([[1]]))
    scores = attention.q_proj(token[:, :1]) @ attention.k_proj(model.prompt_encoder.dense_positions().flatten(2).mT).mT
    place = int(scores[0, 0].argmax())
    assert abs(place % 16 - 30 / 8) <= 1.5 and abs(place // 16 - 90 / 8) <= 1.5


def test_dice_after_each_click(truth: Tensor):
    mask, asked = truth[0].numpy(), []

    def ask(prompts: Prompts) -> np.ndarray:
        asked.append(len(prompts.points))
        found = mask.copy()
        found[:10] &= len(prompts.points) >= 2
        return found

    dices = dice_after(ask, mask, 4)
    assert asked == [1, 2] and dices[0] < 1 and dices[1:].tolist() == [1, 1, 1]
    assert dice_after(ask, mask, 3, at_random, seed=3)[-1] == 1


def test_policies_of_examination(truth: Tensor):
    mask, nothing = truth[0].numpy(), np.zeros((20, 24), bool)
    rng = np.random.default_rng(0)
    first = in_the_middle(nothing, mask, rng)
    assert isinstance(first, Clicks) and mask[int(first.points[0, 1]), int(first.points[0, 0])]
    assert torch.equal(first.points, in_the_middle(nothing, mask, rng).points)
    assert int(at_random(~mask, mask, rng).labels[0]) in (0, 1)


def test_scenes_are_upright_and_of_the_largest_piece():
    scan = body()
    one = scene(scan, "spleen")
    assert one.image.dtype == np.uint8 and one.image.shape == one.mask.shape == (36, 40)
    assert one.mask.sum() == 8 * 8 and largest_slice(scan, "spleen") in range(6, 24)
    rows, columns = np.nonzero(one.mask)
    assert columns.max() < 12 and rows.max() <= 36 - 22  # the second axis points upwards
    assert drawn(scan, "liver", "coronal", 15).shape == (30, 40)
    assert grey(scan, "sagittal", 25).std() > 0
    with pytest.raises(PromptError, match="axis"):
        grey(scan, "oblique", 3)
    with pytest.raises(PromptError, match="none of number"):
        grey(scan, "axial", 30)
    with pytest.raises(PromptError, match="does not show"):
        scene(scan, "gallbladder")


def test_pictures_of_textures_hold_whole_pieces_and_follow_from_the_seed():
    data, items = Textures(64, objects=4), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        items.append(data[0])
    assert torch.equal(items[0]["image"], items[1]["image"]) and not torch.equal(items[0]["image"], items[2]["image"])
    for item in items:
        assert item["image"].shape == (1, 64, 64) and item["masks"].shape == (4, 64, 64)
        assert 0 <= float(item["image"].min()) <= float(item["image"].max()) <= 1 and item["image"].std() > 0.01
        for mask in item["masks"].numpy().astype(bool):
            assert 40 <= mask.sum() <= 0.6 * mask.size and np.array_equal(largest_object(mask), mask)


@torch.no_grad()
def test_the_small_model_in_3d_has_one_code_for_a_click_and_its_place():
    """The published one has two: the first axes of a click and of the image's tokens are exchanged."""
    torch.manual_seed(0)
    for size, found in (({"size": "nano"}, True), ({"size": "nano", "textbook": False}, False)):
        model = hub.build("sam_med3d", **size).eval()
        starts.look_where_it_points(model)
        attention = model.mask_decoder.transformer.layers[0].cross_attn_token_to_image
        token, _ = model.prompt_encoder(torch.tensor([[[5.0, 26.0, 13.0]]]), torch.tensor([[1]]))
        scores = attention.q_proj(token[:, :1]) @ attention.k_proj(model.prompt_encoder.dense_positions().flatten(2).mT).mT
        place = np.array(np.unravel_index(int(scores[0, 0].argmax()), (8, 8, 8)))
        assert bool((np.abs(place - np.array([5, 26, 13]) / 4) <= 1.5).all()) == found
