"""A SAM behind a canvas: a slice is encoded once, places arrive in the right order, and a replay gives the same masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fmlab.interactive.clicking import AskSam
from fmlab.interactive.pictures import Scene, grey
from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.sam import Sam
from fmlab.lessons.ask_sam import ask_sam, marks
from fmlab.lessons.click_curves import bill, over_clicks
from fmlab.lessons.prompted import coloured, corrected, pointed_at, prompted
from fmlab.lessons.where_tokens_look import where_tokens_look
from fmlab.viewer import Answer, Canvas
from fmlab.vocabulary import ID
from fmlab.volume import Volume


@pytest.fixture
def predictor() -> SamPredictor:
    torch.manual_seed(3)
    return SamPredictor(Sam(size=64, patch=8, channels=32, depth=2, heads=2, everywhere=(1,), window=3, prompt_channels=32,
                            decoder_heads=2, mlp=32, hidden=32))


@pytest.fixture
def scan() -> Volume:
    """40 x 24 x 6 voxels, no two slices alike."""
    values = torch.from_numpy(np.random.default_rng(0).normal(40, 80, (1, 40, 24, 6))).float()
    return Volume(values, np.diag([2.0, 2.0, 3.0, 1.0]), modality="CT", name="noise")


def canvas_on(image, predictor) -> Canvas:
    ask, prepare = ask_sam(predictor, image)
    return Canvas(image, ask, ("one", "two"), prepare=prepare, autosave=False)


def test_a_click_in_row_and_column_is_sams_x_and_y(predictor, scan):
    canvas = canvas_on(scan, predictor)
    canvas.point(5, 30, index=2)
    predictor.set_image(grey(scan, "axial", 2))
    direct = predictor.predict(Prompts.of(2).click((30, 5)))
    assert np.array_equal(canvas.annotation.mask(canvas.annotation.key("one", "axial", 2)), direct.mask.numpy())
    assert 0 < direct.mask.sum() < direct.mask.numel()  # else anything would be equal


def test_a_box_keeps_its_last_pixels(predictor, scan):
    canvas = canvas_on(scan, predictor)
    canvas.box((3, 10), (20, 35), index=2)
    predictor.set_image(grey(scan, "axial", 2))
    direct = predictor.predict(Prompts(torch.zeros(0, 2), torch.zeros(0), torch.tensor([10.0, 3, 34, 19])))
    assert np.array_equal(canvas.annotation.mask(canvas.annotation.key("one", "axial", 2)), direct.mask.numpy())


def test_clicks_are_told_one_by_one_each_with_the_logits_before(predictor, scan):
    canvas, ask = canvas_on(scan, predictor), AskSam(predictor)
    clicks = [((30, 5), 1), ((12, 20), 0), ((22, 9), 1)]
    for (x, y), label in clicks:
        canvas.point(y, x, label, index=1)
    predictor.set_image(grey(scan, "axial", 1))
    prompts = Prompts.of(2)
    for place, label in clicks:
        prompts = prompts.click(place, bool(label))
        mask = ask(prompts)
    assert np.array_equal(canvas.annotation.mask(canvas.annotation.key("one", "axial", 1)), mask)


def test_each_slice_is_encoded_once_and_one_click_more_is_one_decode(predictor, scan, monkeypatch):
    encoded, decoded = [], []
    encode, decode = predictor.model.image_encoder.forward, predictor.model.decode
    monkeypatch.setattr(predictor.model.image_encoder, "forward", lambda x: encoded.append(1) or encode(x))
    monkeypatch.setattr(predictor.model, "decode", lambda *a, **k: decoded.append(1) or decode(*a, **k))
    canvas = canvas_on(scan, predictor)
    for index, name in ((1, "one"), (4, "one"), (1, "two"), (1, "one")):
        canvas.point(5, 30, index=index, name=name)
        canvas.point(6, 31, index=index, name=name)
    assert len(encoded) == 2 and len(decoded) == 8


def test_answers_do_not_depend_on_what_was_asked_before(predictor, scan):
    canvas = canvas_on(scan, predictor)
    canvas.point(5, 30, index=1)
    canvas.point(18, 12, 0, index=1)
    canvas.point(9, 22, index=4, name="two")
    canvas.undo()
    canvas.point(9, 20, index=1)
    canvas.undo()
    again = canvas_on(scan, predictor)
    assert np.array_equal(again.replay(canvas.recording), canvas.labels())
    fresh = canvas_on(scan, predictor)
    fresh.point(5, 30, index=1)
    fresh.point(18, 12, 0, index=1)
    assert np.array_equal(fresh.labels(), canvas.labels()) and fresh.labels().any()


def test_nothing_asked_is_nothing_found_and_a_plain_picture_will_do(predictor):
    picture = np.random.default_rng(1).integers(0, 255, (24, 40), dtype=np.uint8)
    canvas = canvas_on(picture, predictor)
    canvas.point(5, 30)
    canvas.point(5, 30, 0)  # both signs on one pixel: no warning
    predictor.set_image(picture)
    assert canvas.labels().shape == (24, 40)
    canvas.undo()
    assert np.array_equal(canvas.mask("one"), predictor.predict(Prompts.of(2).click((30, 5))).mask.numpy())
    canvas.clear()
    assert not canvas.labels().any()


def test_tokens_look_at_places_of_the_picture(predictor, scan):
    picture = grey(scan, "axial", 1)
    predictor.set_image(picture)
    maps = where_tokens_look(predictor, Prompts.of(2).click((30, 5)))
    assert maps.shape == (7, *picture.shape)  # IoU, four masks, the click, a filling one
    assert torch.equal(maps.amax((1, 2)), torch.ones(7)) and bool((maps >= 0).all())


def test_a_token_that_is_like_one_place_looks_there(predictor, scan, monkeypatch):
    """With keys that differ at one place of the grid only, and queries like them."""
    picture = np.zeros((64, 64), np.uint8)
    predictor.set_image(picture)
    attention = predictor.model.mask_decoder.transformer.layers[0].cross_attn_token_to_image
    keys = torch.zeros(1, 64, 16)
    keys[0, 8 * 2 + 5] = 5.0  # row 2, column 5 of 8 x 8
    monkeypatch.setattr(attention.q_proj, "forward", lambda q: torch.ones(*q.shape[:2], 16))
    monkeypatch.setattr(attention.k_proj, "forward", lambda k: keys)
    row, column = np.unravel_index(int(where_tokens_look(predictor, Prompts.of(2).click((3, 3)))[5].argmax()), (64, 64))
    assert 16 <= row < 24 and 40 <= column < 48


def test_pictures_with_prompts_show_each_sign_and_the_box():
    mask = np.zeros((20, 30), bool)
    mask[4:11, 10:25] = True
    told = pointed_at(mask)
    assert told.points.tolist() == [[17.0, 7.0]] and told.labels.tolist() == [1]
    both = Prompts(told.points, told.labels, torch.tensor([9.0, 3, 25, 11])).click((2, 2), positive=False)
    picture = np.zeros((20, 30), np.uint8)
    fig = prompted([picture] * 2, [mask] * 2, [both, None], titles=["a", "b"])
    marks = [line.get_marker() for line in fig.axes[0].lines if len(line.get_xdata()) and line.get_linestyle() == "None"]
    assert marks == ["P", "X"] and any(line.get_linestyle() == ":" for line in fig.axes[0].lines)
    assert not [line for line in fig.axes[1].lines if len(line.get_xdata())]
    near = prompted([picture], [mask], [told], [mask], margin=2).axes[0]
    assert near.get_xlim() == (17 - 9, 17 + 9) and near.get_ylim() == (7 + 9, 7 - 9)
    labels = np.zeros((20, 30), int)
    labels[2:5, 2:5], labels[8:12, 8:12] = 1, 7
    assert len(coloured(picture, labels).axes[1].images) == 2


def test_marks_are_of_the_slices_that_were_prompted(scan):
    labels = torch.zeros(scan.image.shape, dtype=torch.uint8)
    labels[:, 10:20, 4:14] = ID["liver"]
    labels[:, 30:32, 4:6] = ID["aorta"]
    drawn = Volume(scan.image, scan.affine, labels=labels)
    half = np.zeros((24, 40), bool)
    half[10:20, 10:15] = True  # rows run from the front: voxels j = 4 to 13 are rows 10 to 19
    canvas = Canvas(scan, lambda request: Answer(half, 0.5), ("liver", "aorta", "spleen", "stomach"), autosave=False)
    canvas.point(12, 12, index=1)
    canvas.point(13, 12, index=1)
    canvas.box((3, 4), (9, 9), index=2)
    canvas.point(12, 12, index=1, name="spleen")
    canvas.point(1, 1, index=0)
    canvas.undo()  # a slice that was prompted no more
    assert marks(canvas, drawn).splitlines() == ["liver: Dice 0.67 on 2 slices, 3 prompts", "aorta: no prompts yet",
                                                 "spleen: not drawn in the reference", "stomach: no prompts yet"]


def test_corrected_tells_what_it_is_to_tell(predictor):
    picture = np.random.default_rng(1).integers(0, 255, (64, 64), dtype=np.uint8)
    truth = np.zeros((64, 64), bool)
    truth[10:30, 20:50] = True
    thing, seen = Scene(picture, truth, "liver", "somebody"), []
    steps = corrected(predictor, thing, 3, lambda found: seen.append(found) or found.low[found.best])
    assert [len(step.prompts.points) for step in steps] == [1, 2, 3] and len(seen) == 3
    assert steps[0].prompts.points.tolist() == pointed_at(truth).points.tolist()
    alone = [step.dice for step in corrected(predictor, thing, 3, lambda found: None)]
    assert alone[0] == steps[0].dice and alone[1:] != [step.dice for step in steps][1:]


def test_curves_say_in_words_what_they_show():
    curves = [{"here": np.array([0.2, 0.4, 0.5]), "there": np.array([0.2, 0.3, 0.3])},
              {"here": np.array([0.4, 0.6, 0.7]), "there": np.array([0.4, 0.3, 0.5])}]
    assert "here 0.30, 0.50, 0.60; there 0.30, 0.30, 0.40. A tight box alone: 0.80." in over_clicks(curves, 0.8).alt
    scan = {"without prompts": 0.75, "after": [0.5, 0.8], "clicks a round": 300, "structures": 28, "slices": 90}
    said = "a body, 90 slices and 28 structures: 0.75 without prompts, 0.50 after 300 clicks, 0.80 after 600."
    assert said in bill({"a body": scan}).alt
