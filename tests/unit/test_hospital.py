"""What lesson 09 is made of: stacks of slices, another system's preprocessing, counts, and its two experiments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fmlab import hub
from fmlab.errors import DataError, PromptError
from fmlab.interactive import nano as interactive_nano
from fmlab.interactive import sam as plain
from fmlab.interactive.pictures import Scene, drawn, grey
from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.sam import Sam
from fmlab.interactive.scenes import body_scenes
from fmlab.lessons import claims, hospital, stacks
from fmlab.lessons.experiments import c02, c09
from fmlab.vocabulary import ID
from fmlab.volume import Volume


def body(name="A", seed=0):
    """A liver in slices 1 to 4 and an aorta in all 7, upright in x, y, z; noise."""
    labels = torch.zeros(1, 40, 32, 7, dtype=torch.uint8)
    labels[:, 4:20, 6:18, 1:5] = ID["liver"]
    labels[:, 24:32, 20:28] = ID["aorta"]
    image = torch.from_numpy(np.random.default_rng(seed).normal(40, 30, labels.shape)).float() + 100 * (labels > 0)
    return Volume(image, np.eye(4), labels=labels, name=f"phantom-{name}-{seed}")


@pytest.fixture(scope="module")
def little():
    torch.manual_seed(0)
    return Sam(size=64, patch=8, channels=32, depth=1, heads=2, everywhere=(0,), window=4, prompt_channels=32, decoder_heads=2,
               mlp=32, hidden=32).eval()


# ---- stacks

def test_slices_of_a_structure_lie_as_pictures_do():
    volume = body()
    for name, slices in (("liver", 4), ("aorta", 7)):
        thing = stacks.boxed(volume, name, 40)
        assert thing.slices.shape == thing.mask.shape == (slices, 40, 40)
        expected = np.zeros((40, 40), bool)
        expected[4:36] = drawn(volume, name, "axial", 3)  # 32 rows in the middle of 40
        assert np.array_equal(thing.mask[2].numpy(), expected)
        assert torch.equal(thing.slices, stacks.axial(volume, 40)[1:5] if name == "liver" else stacks.axial(volume, 40))
    assert stacks.boxed(volume, "liver", 40).box.tolist() == [4, 4 + 14, 19, 4 + 25]


def test_the_box_is_around_all_slices():
    volume = body()
    volume.labels[:, 20:24, 6:18, 4] = ID["liver"]  # one slice reaches further
    assert stacks.boxed(volume, "liver", 40).box.tolist() == [4, 18, 23, 29]


def test_slices_of_a_stack_have_sams_mean_and_deviation():
    volume = body()
    thing = stacks.boxed(volume, "liver", 40)
    assert float(stacks.axial(volume, 40).min()) == pytest.approx(-114.5 / 57.6, abs=0.01)
    hu = volume.image[volume.labels == ID["liver"]].clamp(-200, 250).mean()
    low, high = volume.image.clamp(-200, 250).aminmax()
    unit = float((hu - low) / (high - low))
    assert float(thing.slices[thing.mask].mean()) == pytest.approx((255 * unit - 114.5) / 57.6, abs=0.05)


def test_stacks_hold_neighbours_within_a_structure():
    volume = body()
    data = stacks.Stacks([volume], ("liver",), size=40, slices=3)
    whole, turned = stacks.axial(volume, 40), set()
    for seed in range(20):
        torch.manual_seed(seed)
        item = data[0]
        assert item["labels"].shape == (3, 40, 40) and item["labels"].dtype == torch.int64 and item["box"].shape == (4,)
        found = [(n, up) for n in (1, 2) for up in (True, False)
                 if torch.equal(item["image"], whole[n : n + 3] if up else whole[n : n + 3].flip(0))]
        assert len(found) == 1
        turned.add(found[0])
    assert turned == {(1, True), (1, False), (2, True), (2, False)}
    torch.manual_seed(3)
    once = data[0]["image"]
    torch.manual_seed(3)
    assert torch.equal(once, data[1]["image"])


def test_stacks_need_volumes_that_show_something():
    with pytest.raises(DataError, match="spleen"):
        stacks.Stacks([body()], ("spleen",), size=40)


@pytest.fixture(scope="module")
def nano_sam():
    torch.manual_seed(0)
    return plain.sam("nano").eval()


@pytest.fixture(scope="module")
def volume_sam(nano_sam):
    """One whose adapters and low-rank changes do something."""
    model = stacks.VolumeSam(nano_sam).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if not parameter.any() and ("adapter" in name or "FacT" in name):
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def test_a_new_volume_sam_is_the_sam_in_every_slice(nano_sam):
    thing = stacks.boxed(body(), "liver")
    model = stacks.VolumeSam(nano_sam).eval()
    found, count = stacks.slice_by_slice(model, thing), len(thing.slices)
    with torch.no_grad():
        low, _ = nano_sam(thing.slices[:, None].expand(-1, 3, -1, -1), boxes=thing.box.expand(count, -1), multimask=False)
    expected = torch.nn.functional.interpolate(low, thing.mask.shape[1:], mode="bilinear")[:, 0] > 0
    assert expected.any() and (found != expected).float().mean() < 1e-4  # rounding may turn a pixel on the outline
    with torch.no_grad():
        torch.testing.assert_close(model(thing.slices[None, [0, 0, 1]], thing.box[None])[0, 1], low[0, 0], atol=1e-4, rtol=1e-4)


def test_of_a_volume_sam_the_encoder_stays_frozen(nano_sam):
    model = stacks.VolumeSam(nano_sam)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert "FacTu.weight" in trained
    assert "sam.image_encoder.blocks.0.Block.adapter_conv.weight" in trained
    assert not any(name.startswith("sam.image_encoder.") and "adapter" not in name and "FacTs" not in name for name in trained)


def test_each_slice_is_the_middle_of_its_stack(volume_sam):
    thing = stacks.boxed(body(), "liver")
    found = stacks.slice_by_slice(volume_sam, thing, together=3)
    alone = stacks.slice_by_slice(volume_sam, thing, neighbours=False)
    for n, stack in enumerate(([0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3])):
        for which, masks in ((stack, found), ([n, n, n], alone)):
            low = volume_sam(thing.slices[which][None], thing.box[None])[:, 1:2]
            answer = torch.nn.functional.interpolate(low, (128, 128), mode="bilinear")[0, 0] > 0
            assert float((masks[n] != answer).float().mean()) < 1e-3
    assert not torch.equal(found, alone)


def test_loss_of_stacks_falls_with_the_right_answer(volume_sam):
    batch = torch.utils.data.default_collate([stacks.Stacks([body()], ("liver",))[0]])
    right = 20.0 * (2.0 * batch["labels"] - 1)
    assert stacks.stack_loss(lambda images, boxes: right, batch) < 1e-3 < stacks.stack_loss(volume_sam, batch)


# ---- ways in, counts, files

def test_sams_way_in_is_that_of_the_predictor(little):
    one = Scene(grey(body(), "axial", 3), drawn(body(), "liver", "axial", 3), "liver", "A")
    predictor = SamPredictor(little)
    predictor.set_image(one.image)
    told = c02.prompts(one, 0)["a box"]
    low, frame = hospital.through("SAM", little, one)
    box = torch.tensor([4.0, 14.0, 19.0, 25.0])
    found = predictor.predict(type(told)(told.points, told.labels, box))
    torch.testing.assert_close(low[0], found.low, atol=1e-5, rtol=1e-4)
    assert np.array_equal(hospital.mask_of("SAM", low, frame), found.mask.numpy())


def test_other_ways_in_give_other_answers(little):
    one = Scene(grey(body(), "axial", 3), drawn(body(), "liver", "axial", 3), "liver", "A")
    lows = [hospital.through(way, little, one)[0] for way in hospital.WAYS_IN]
    assert not any(torch.allclose(a, b, atol=1e-3) for i, a in enumerate(lows) for b in lows[:i])


def test_medsam_takes_the_sigmoid_first():
    low = torch.tensor([[[[-1.0, 9.0]]]])
    frame = hospital.WAYS_IN["SAM"].preprocess(np.zeros((8, 8), np.uint8), 8)[1]
    ours, theirs = (int(hospital.mask_of(way, low, frame).sum()) for way in ("SAM", "MedSAM"))
    assert ours > theirs  # logits: 0 lies near the -1; probabilities: 0.27 and 1


def test_counts_are_the_papers():
    assert hospital.counts("MedSAM", "vit_b") == (93_735_472, 93_729_252)
    assert hospital.counts("SAM-Med2D", "vit_b")[0] == 271_241_776
    assert hospital.counts("3DSAM-adapter", "vit_b")[0] == 104_056_588 + 4 * 3_164_160 + 7_088_256
    assert [round(n / 1e6, 1) for n in hospital.counts("MA-SAM", "vit_b")] == [117.4, 30.1]


def test_a_picture_of_ones_own(tmp_path):
    Image.fromarray(np.arange(60, dtype=np.uint8).reshape(6, 10)).save(tmp_path / "mine.png")
    image, told = hospital.picture_and_box(tmp_path / "mine.png", (1, 1, 5, 4))
    assert image.shape == (6, 10) and told.box.tolist() == [1, 1, 5, 4]
    with pytest.raises(PromptError):
        hospital.picture_and_box(tmp_path / "mine.png", (11, 1, 50, 4))
    with pytest.raises(DataError, match="path of a PNG"):
        hospital.picture_and_box(tmp_path / "none.png", (1, 1, 5, 4))


# ---- C02 and C09

@pytest.fixture
def clinics(monkeypatch, little):
    """A person for each hospital, and a model of random weights, whatever it is called."""
    def bodies(counts, spacing, first_seed):
        return [body(name, seed) for name, count in counts.items() for seed in range(count)]

    monkeypatch.setattr(interactive_nano, "bodies", bodies)
    monkeypatch.setattr(hub, "load", lambda name, label: little)


def test_c02_asks_both_models_the_same(little):
    one = body_scenes([body()], ("liver",))[0]
    row = c02.dices({what: SamPredictor(little) for what in c02.MODELS}, one, 5)
    assert row["bodies"] == row["textures"] and set(row["bodies"]) == set(c02.WAYS)
    first, again, other = (c02.prompts(one, seed) for seed in (5, 5, 6))
    assert torch.equal(first["a box"].box, again["a box"].box) and not torch.equal(first["a box"].box, other["a box"].box)
    (x, y), = first["a click"].points.int().tolist()
    assert one.mask[y, x] and first["a click"].labels.tolist() == [1]


def test_c02_is_as_good_as_the_smaller_of_its_two_differences():
    rows = [{"bodies": {"a box": 0.9, "a click": 0.6}, "textures": {"a box": 0.5, "a click": 0.5}},
            {"bodies": {"a box": 0.7, "a click": 0.8}, "textures": {"a box": 0.5, "a click": 0.5}}]
    assert c02.effect(rows) == pytest.approx(0.2)
    rows[0]["bodies"]["a box"] = 0.1
    assert c02.effect(rows) == pytest.approx(-0.1)


def test_c02_runs_from_end_to_end(clinics, tmp_path):
    run = c02.run(1, c02.Setting(people=1, pictures=2, real=False, structures=("liver", "kidney_left")), command="a test")
    assert run.claim == "C02" and set(run.values) == {f"phantom-{name}-0" for name in "ABCDEF"}
    assert set(run.values.values()) == {0.0}  # the same model twice
    assert run.details["objects"] == {"often pointed at, ABCD": 4, "often pointed at, EF": 2, "textured shapes": 2}
    claims.record(run, tmp_path)


def test_c02_pictures_of_shapes_are_always_the_same_and_leave_the_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = c02.texture_scenes(2, size=64)
    assert torch.equal(torch.rand(1), expected)
    for one, again in zip(first, c02.texture_scenes(2, size=64)):
        assert np.array_equal(one.image, again.image) and np.array_equal(one.mask, again.mask) and one.mask.any()


def test_c09_relaxes_in_pixels_of_a_large_picture():
    mask = np.zeros((100, 512), bool)
    mask[40:60, 200:300] = True
    boxes = torch.stack([c09.BOXES["relaxed by up to 20"](mask, np.random.default_rng(seed)) for seed in range(60)])
    out = boxes - torch.tensor([200.0, 40.0, 299.0, 59.0])
    assert out[:, :2].min() == -10 and out[:, 2:].max() == 10 and out[:, :2].max() == 0 == out[:, 2:].min()
    assert c09.BOXES["tight"](mask, np.random.default_rng(0)).tolist() == [200, 40, 299, 59]


def test_c09_effect():
    assert c09.effect({"tight": 0.8, "relaxed by up to 20": 0.7, "trembling": 0.1}) == pytest.approx(0.1)


def test_c09_runs_from_end_to_end(clinics, tmp_path):
    run = c09.run(2, c09.Setting(people=1), command="a test")
    assert run.claim == "C09" and len(run.values) == 6 and run.details["objects"] == 12
    assert set(run.details["mean"]) == set(c09.BOXES)
    claims.record(run, tmp_path)
