"""The canvas's Python side: prompts, masks, undo, recordings, what is kept and what is refused; the browser's side is in
tests/browser."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import time

import numpy as np
import pytest
import torch
from PIL import Image

from fmlab.errors import ScanError
from fmlab.lessons.alt_text import silent_images
from fmlab.viewer import Answer, Canvas, static
from fmlab.viewer.annotation import PREPARED
from fmlab.viewer.layers import Packed, joined
from fmlab.volume import Volume

SHAPE = (20, 16, 12)
AFFINE = np.array([[2.0, 0, 0, -7], [0, 2, 0.3, 4], [0, 0, 3, 10], [0, 0, 0, 1]])


def scan(name: str = "blocks") -> Volume:
    """Every voxel has a value of its own."""
    return Volume(torch.arange(float(np.prod(SHAPE))).reshape(1, *SHAPE), AFFINE, modality="other", name=name)


def reached(request) -> np.ndarray:
    """A model that knows what it is asked: squares (cubes) around positive points and the box, none around negative ones."""
    mask = np.zeros(request.image.shape, bool)
    if request.box is not None:
        mask[tuple(slice(a, b) for a, b in request.box.T)] = True
    for point, label in zip(request.points, request.labels, strict=True):
        mask[tuple(slice(max(0, n - 1), n + 2) for n in point)] = bool(label)
    return mask


def ask(request) -> Answer:
    return Answer(reached(request), 0.5 + 0.01 * len(request.points))


def canvas(image=None, ask=ask, classes=("liver", "spleen"), **more) -> Canvas:
    return Canvas(scan() if image is None else image, ask, classes, **({"autosave": False} | more))


def heard(drawn: Canvas, *events: dict) -> dict:
    """What the browser sends, and what it gets back."""
    drawn._hear(drawn, {"type": "do", "token": "t", "events": list(events)}, [])
    return drawn._view


def test_a_request_has_the_picture_that_the_model_sees_and_all_prompts_of_its_class():
    asked = []
    drawn = canvas(ask=lambda request: asked.append(request) or ask(request), index=5)
    drawn.point(2, 7)
    drawn.point(9, 3, label=0)
    drawn.box((1, 2), (6, 9))
    drawn.point(0, 0, name="spleen")
    drawn.point(15, 19, index=6)
    first, third, other, upper = asked[0], asked[2], asked[3], asked[4]
    assert first.image.shape == (16, 20) and first.previous is None and first.box is None
    assert first.image[2, 7] == scan().image[0, 7, 16 - 1 - 2, 5]  # as fmlab.incontext.material's upright: columns along x
    assert third.points.tolist() == [[2, 7], [9, 3]] and third.labels.tolist() == [1, 0]
    assert third.box.tolist() == [[1, 2], [6, 9]]
    assert third.xy.tolist() == [[7, 2], [3, 9]] and third.xyxy.tolist() == [2, 1, 8, 5]
    assert np.array_equal(third.previous, reached(asked[1]))
    assert (other.name, other.index, len(other.points)) == ("spleen", 5, 1)
    assert (upper.name, upper.axis, upper.index, upper.points.tolist()) == ("liver", "axial", 6, [[15, 19]])


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_masks_lie_on_the_grid_where_they_were_clicked(axis):
    from fmlab.incontext.material import axis_number, upright

    drawn = canvas(axis=axis, index=4)
    drawn.box((3, 5), (6, 10), name="spleen")
    flat = upright(torch.from_numpy(drawn.labels()).select(axis_number(axis), 4)).numpy()
    assert (flat[3:6, 5:10] == 45).all() and flat.astype(bool).sum() == 15 == drawn.labels().astype(bool).sum()
    assert drawn.mask("spleen").sum() == 15 and not drawn.mask("liver").any()


def test_what_the_screen_gets_is_mirrored_and_what_it_sends_is_voxels():
    drawn = canvas(index=4)
    view = heard(drawn, {"do": "point", "class": "liver", "voxels": [[3, 10, 4]], "label": 1, "age": 40})
    layer = view["layers"][0]
    screen = np.unpackbits(np.frombuffer(layer["bits"], np.uint8), count=320).reshape(16, 20)
    assert np.argwhere(screen).mean(0).tolist() == [16 - 1 - 10, 20 - 1 - 3]  # right is left, front is up
    assert layer["points"] == [[3, 10, 4, 1]] and (layer["area"], layer["iou"], view["token"]) == (9, 0.51, "t")
    assert drawn.mask("liver")[2:5, 9:12, 4].all()
    assert view["said"] == "liver: mask 9 pixels, predicted IoU 0.51, 1 positive point"
    view = heard(drawn, {"do": "box", "class": "liver", "voxels": [[3, 10, 4], [8, 2, 4]]})
    assert view["layers"][0]["box"] == ((3, 2, 4), (9, 11, 4 + 1))
    assert drawn.mask("liver")[3:9, 2:11, 4].all()


def test_a_picture_keeps_its_rows_and_columns(tmp_path):
    picture = np.random.default_rng(0).random((10, 14))
    asked = []
    drawn = canvas(picture, ask=lambda request: asked.append(request) or ask(request), classes=["structure"])
    heard(drawn, {"do": "point", "class": "structure", "voxels": [[14 - 1 - 12, 10 - 1 - 3, 0]], "label": 1})  # column 12, row 3
    assert np.array_equal(asked[0].image, picture.astype(np.float32)) and asked[0].points.tolist() == [[3, 12]]
    assert drawn.labels().shape == (10, 14) and drawn.labels()[2:5, 11:14].all() and drawn.labels().sum() == 9
    screen = np.unpackbits(np.frombuffer(drawn._view["layers"][0]["bits"], np.uint8), count=140).reshape(10, 14)
    assert np.array_equal(screen, drawn.labels())  # a picture is shown as it is
    assert "Axial" not in drawn.alt and drawn.ids == {"structure": 1}
    assert np.array_equal(drawn.labels()[::-1, ::-1].T, _written(drawn.save(tmp_path / "p.nii"))[1][..., 0])


def test_undo_and_redo_restore_masks_without_asking_and_a_new_step_ends_redo():
    asked = []
    drawn = canvas(ask=lambda request: asked.append(request) or ask(request))
    drawn.point(4, 4)
    one = drawn.labels()
    drawn.point(4, 4, name="spleen", index=2)
    drawn.box((8, 8), (12, 12))
    three = drawn.labels()
    drawn.index = 9
    drawn.undo()
    assert (drawn.index, drawn.current) == (6, "liver")  # it goes where something changes
    drawn.undo()
    assert np.array_equal(drawn.labels(), one) and (drawn.index, drawn.current) == (2, "spleen")
    drawn.redo()
    drawn.redo()
    assert np.array_equal(drawn.labels(), three) and len(asked) == 3
    drawn.redo()
    assert drawn._said == "Nothing to redo"
    drawn.undo()
    drawn.clear("liver", 6)
    assert not drawn.mask("liver").any() and drawn.mask("spleen").any() and not drawn.annotation.undone
    drawn.undo()
    assert np.array_equal(drawn.mask("liver"), one == 42)
    for _ in range(3):
        drawn.undo()
    assert not drawn.labels().any() and drawn._said == "Nothing to undo"


def test_clicks_that_waited_are_asked_for_at_once_and_none_is_lost():
    asked = []
    drawn = canvas(ask=lambda request: asked.append(len(request.points)) or ask(request), index=4)
    clicks = [{"do": "point", "class": name, "voxels": [[5, 3 * k + 1, 4]], "label": 1} for k, name in
              enumerate(("liver", "liver", "spleen", "liver"))]
    heard(drawn, *clicks)
    assert sorted(asked) == [1, 3] and drawn.mask("liver").sum() == 27 and drawn.mask("spleen").sum() == 9
    drawn.undo()  # what was never asked for is asked for now
    assert asked[-1] == 2 and drawn.mask("liver").sum() == 18
    again = canvas(index=4)
    assert np.array_equal(again.replay(drawn.recording), drawn.labels())
    assert again.recording["events"] == drawn.recording["events"]


def test_the_embedding_is_made_once_a_slice():
    made, got = [], []
    drawn = canvas(ask=lambda request: got.append(request.prepared) or ask(request),
                   prepare=lambda axis, index: made.append((axis, index)) or index * 10)
    for index in (3, 3, 4, 3):
        drawn.point(4, 4, index=index)
    drawn.point(4, 4, name="spleen", index=3)
    assert made == [("axial", 3), ("axial", 4)] and got == [30, 30, 40, 30, 30]
    assert len(drawn.annotation._embeddings) == 2 <= PREPARED


def test_a_model_of_volumes_gets_voxels_and_answers_a_volume():
    asked = []
    drawn = canvas(ask=lambda request: asked.append(request) or ask(request), scope="volume", prepare=lambda axis, index: "once")
    drawn.point(4, 7, index=3)
    drawn.point(4, 8, label=0, index=9)
    assert asked[1].image.shape == SHAPE and asked[1].points.tolist() == [[7, 11, 3], [8, 11, 9]]
    assert drawn.mask("liver").sum() == 27 and drawn._view["epoch"] == 2  # the browser forgets the other slices
    drawn.box((2, 3), (6, 8), index=3)
    drawn.box((3, 4), (8, 9), index=7)
    assert asked[-1].box.tolist() == [[3, 8, 3], [9, 14, 8]] and drawn._said.endswith("1 positive point, 1 negative point, 1 box")
    assert drawn.mask("liver")[3:9, 8:14, 3:8].all() and "voxels" in drawn.alt
    drawn.clear()
    assert not drawn.labels().any()
    drawn.undo()
    assert np.array_equal(canvas(scope="volume").replay(drawn.recording), drawn.labels())


def test_a_recording_replays_to_the_same_masks_from_a_file_too(tmp_path):
    drawn = canvas()
    drawn.point(4, 4)
    drawn.point(5, 9, label=0, index=3)
    drawn.undo()
    drawn.box((1, 1), (9, 9), name="spleen")
    path = drawn.save_recording(tmp_path / "clicks.json")
    recording = json.loads(path.read_text())
    assert recording == json.loads(json.dumps(drawn.recording)) and recording["version"] == 1
    times = [event["t"] for event in recording["events"]]
    assert times == sorted(times) and 0 <= times[0] and times[-1] < 60
    again = canvas()
    assert np.array_equal(again.replay(path), drawn.labels()) and drawn.labels().any()
    assert [event["t"] for event in again.recording["events"]] == times
    with pytest.raises(ScanError, match="is there already and was left as it is"):
        drawn.save_recording(path)
    with pytest.raises(ScanError, match="has prompts already"):
        again.replay(path)
    with pytest.raises(ScanError, match="no class 'spleen'"):
        canvas(classes=["liver"]).replay(recording)
    with pytest.raises(ScanError, match="recording was made on"):
        canvas(scope="volume").replay(recording)
    with pytest.raises(ScanError, match="no recording"):
        canvas().replay({"events": []})


def test_a_new_canvas_goes_on_after_the_kernels_end(tmp_path):
    path = tmp_path / "kept.json"
    drawn = canvas(autosave=path)
    assert drawn.resumed == "" and not path.exists()  # nothing is written before there is something to lose
    drawn.point(4, 4)
    drawn.box((9, 9), (14, 14), name="spleen")
    drawn.point(4, 5, label=0)
    three = drawn.labels()
    drawn.undo()
    before, events = drawn.labels(), drawn.recording["events"]
    del drawn
    asked = []
    again = canvas(autosave=path, ask=lambda request: asked.append(request) or ask(request))
    assert again.resumed == f"Resumed 2 prompts from {path}" and not asked
    assert np.array_equal(again.labels(), before) and again.recording["events"] == events
    assert again._view["layers"][0]["area"] == 9 and again._view["said"] == again.resumed
    again.redo()
    assert not asked and np.array_equal(again.labels(), three) and not np.array_equal(three, before)
    again.undo(), again.undo(), again.undo()
    assert not again.labels().any()
    again.point(3, 3)
    times = [event["t"] for event in again.recording["events"]]
    assert times == sorted(times)
    assert not list(tmp_path.glob(".*")) and np.array_equal(canvas(autosave=path).labels(), again.labels())


def test_the_clock_is_the_recordings_and_goes_on_where_an_autosave_ended(tmp_path):
    path = tmp_path / "kept.json"
    drawn = canvas(autosave=path, minutes=5)
    assert drawn._spec["ends"] / 1000 - time.time() == pytest.approx(300, abs=20) and drawn._spec["minutes"] == 5
    drawn.annotation.go_on_from(100)
    drawn.point(4, 4)
    again = canvas(autosave=path, minutes=5)
    assert again._spec["ends"] / 1000 - time.time() == pytest.approx(200, abs=20)
    path.unlink()  # how a learner begins anew
    assert canvas(autosave=path, minutes=5)._spec["ends"] / 1000 - time.time() == pytest.approx(300, abs=20)
    assert canvas()._spec["ends"] is None


def test_by_default_each_image_and_task_has_a_file_of_its_own(fresh_cache):
    first = canvas(autosave=None)
    first.point(4, 4)
    names = [file.name for file in (fresh_cache / "annotations").iterdir()]
    assert len(names) == 1 and re.fullmatch(r"blocks-[0-9a-f]{12}\.json", names[0])
    assert str(fresh_cache / "annotations" / names[0]) in first._kept
    assert canvas(autosave=None).resumed.startswith("Resumed 1 prompt from ")
    moved = Volume(scan().image + 1, AFFINE, modality="other", name="blocks")
    others = ({"classes": ["liver"]}, {"scope": "volume"}, {"image": moved})
    assert not any(canvas(**other, autosave=None).resumed for other in others)
    assert canvas(autosave=False).resumed == ""


def test_two_canvases_on_one_file_do_not_overwrite_each_other(tmp_path):
    path = tmp_path / "kept.json"
    one, two = canvas(autosave=path), canvas(autosave=path)
    one.point(4, 4)
    two.point(9, 9)
    one.point(5, 5)
    assert two.autosave.path == tmp_path / "kept-2.json" and str(two.autosave.path) in two._kept
    assert np.array_equal(canvas(autosave=path).labels(), one.labels())
    assert np.array_equal(canvas(autosave=two.autosave.path).labels(), two.labels())


def test_an_autosave_of_something_else_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "kept.json"
    canvas(autosave=path).point(4, 4)
    before = path.read_bytes()
    with pytest.raises(ScanError, match="holds prompts for liver, spleen"):
        canvas(autosave=path, classes=["liver"])
    for text in ("a shopping list", "[1]", '{"format": "x"}'):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(ScanError, match=r"other.json: (could not be read|is no autosave)"):
            canvas(autosave=tmp_path / "other.json")
    assert path.read_bytes() == before


def test_a_file_that_cannot_be_written_is_told_and_stops_nobody(tmp_path):
    (tmp_path / "file").write_text("")
    drawn = canvas(autosave=tmp_path / "file" / "kept.json")
    drawn.point(4, 4)
    assert drawn._kept.startswith("NOT saved: ") and drawn.mask("liver").any()


def _written(path) -> tuple[np.ndarray, np.ndarray]:
    import nibabel

    image = nibabel.load(path)
    return image.affine, np.asarray(image.dataobj)


def test_labels_are_written_on_the_images_grid_and_nothing_is_overwritten(tmp_path):
    drawn = canvas()
    drawn.point(4, 4)
    drawn.box((8, 8), (11, 12), name="spleen", index=2)
    path = drawn.save(tmp_path / "drawn.nii.gz")
    affine, values = _written(path)
    assert np.allclose(affine, AFFINE) and np.array_equal(values, drawn.labels()) and values.dtype == np.uint8
    scan().write(tmp_path / "scan.nii.gz")
    read = Volume.read(tmp_path / "scan.nii.gz", labels=path)
    assert read.structures == ("liver", "spleen") and read.annotated is None  # slices nobody looked at are not "no liver"
    with pytest.raises(ScanError, match="is there already and was left as it is"):
        drawn.save(path)
    drawn.undo()
    assert np.array_equal(_written(path)[1], values)
    assert _written(drawn.save(path, overwrite=True))[1].max() == 42
    own = canvas(classes=["lesion", "liver"])
    own.point(4, 4, name="liver")
    assert own.ids == {"lesion": 1, "liver": 2} and own.labels().max() == 2  # not the vocabulary's, which has no lesion


def test_of_two_classes_that_meet_the_later_one_has_the_voxel():
    drawn = canvas()
    drawn.box((2, 2), (8, 8), name="spleen")
    drawn.box((4, 4), (10, 10), name="liver")
    labels = drawn.labels()
    assert (labels == 45).sum() == 36 and (labels == 42).sum() == 36 - 16 and drawn.mask("liver").sum() == 36


def test_what_ask_raises_is_told_and_no_click_is_lost():
    drawn = canvas(ask=lambda request: {}["embedding\nlost"])
    view = heard(drawn, {"do": "point", "class": "liver", "voxels": [[3, 10, 6]], "label": 1})
    assert isinstance(drawn.error, KeyError) and "\n" not in view["trouble"] and view["token"] == "t"
    assert view["trouble"].startswith("The model's function stopped with KeyError") and len(view["layers"][0]["points"]) == 1
    with pytest.raises(KeyError):
        drawn.point(4, 4)
    drawn.annotation.ask = ask
    drawn.point(6, 6)
    assert drawn.error is None and drawn._view["trouble"] == "" and len(drawn._view["layers"][0]["points"]) == 3


@pytest.mark.parametrize(("answer", "words"), [
    (np.ones((16, 20), bool), "returned a ndarray"),
    (Answer(np.ones((20, 16), bool)), r"shape \(20, 16\), the image \(16, 20\)"),
    (Answer(np.full((16, 20), 0.3)), "threshold it first"),
    (Answer(np.ones((16, 20), bool), float("nan")), "IoU is nan"),
])
def test_an_answer_that_does_not_fit_is_refused(answer, words):
    drawn = canvas(ask=lambda request: answer)
    with pytest.raises(ScanError, match=words):
        drawn.point(4, 4)


@pytest.mark.parametrize("form", [lambda m: torch.from_numpy(m), lambda m: torch.from_numpy(m)[None, None].float(),
                                  lambda m: m.astype(np.uint8)])
def test_masks_of_every_form_are_taken(form):
    drawn = canvas(ask=lambda request: Answer(form(reached(request)), torch.tensor(0.9)))
    drawn.point(4, 4)
    assert drawn.mask("liver").sum() == 9 and drawn._view["layers"][0]["iou"] == pytest.approx(0.9)


@pytest.mark.parametrize(("arguments", "words"), [
    ({"ask": 3}, "ask and prepare are functions"),
    ({"prepare": 3}, "ask and prepare are functions"),
    ({"classes": "liver"}, "list of different names"),
    ({"classes": []}, "list of different names"),
    ({"classes": ["liver", "liver"]}, "list of different names"),
    ({"axis": "oblique"}, "no plane 'oblique'"),
    ({"index": 12}, "has 0 to 11"),
    ({"scope": "body"}, "no scope 'body'"),
    ({"height": 10}, "number of pixels"),
    ({"window": "liver-ish"}, "no window"),
    ({"image": np.zeros((3, 4, 5))}, "one picture"),
    ({"image": "scan.nii.gz"}, "give a Volume"),
    ({"image": np.full((4, 4), np.nan)}, "NaN"),
    ({"image": np.zeros((4, 4)), "axis": "coronal"}, "no coronal slices"),
    ({"minutes": 0}, "minutes 0 are no time"),
    ({"minutes": "five"}, "minutes 'five' are no time"),
    ({"minutes": float("nan")}, "minutes nan are no time"),
])
def test_bad_input_is_refused_in_one_sentence(arguments, words):
    with pytest.raises(ScanError, match=words) as caught:
        canvas(**arguments)
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


@pytest.mark.parametrize(("act", "words"), [
    (lambda c: c.point(16, 3), "Row 16, column 3 of axial slice 6 is outside"),
    (lambda c: c.point(-1, 3), "outside"),
    (lambda c: c.point(3, 3, index=12), "outside"),
    (lambda c: c.point(3, 3, name="heart"), "no class 'heart'"),
    (lambda c: c.point(3, 3, label=-1), "label -1"),
    (lambda c: c.box((3, 3), (3, 5)), "is empty"),
    (lambda c: c.box((3, 3), (17, 5)), "outside"),
    (lambda c: c.clear(index=40), "outside"),
    (lambda c: c.mask("heart"), "no class 'heart'"),
    (lambda c: setattr(c, "current", "heart"), "no class 'heart'"),
    (lambda c: setattr(c, "index", 12), "no axial slice 12"),
    (lambda c: c.save("/nowhere/at/all.nii"), "does not exist"),
    (lambda c: c.save("drawn.png"), "writes NIfTI only"),
])
def test_bad_changes_are_refused_and_nothing_is_lost(act, words):
    drawn = canvas()
    drawn.point(4, 4)
    before = drawn.labels()
    with pytest.raises(ScanError, match=words):
        act(drawn)
    assert np.array_equal(drawn.labels(), before) and len(drawn.recording["events"]) == 1


def test_the_figure_shows_and_says_what_is_annotated():
    flat = Volume(torch.zeros(1, *SHAPE), np.diag([2.0, 2, 2, 1]), name="grey")
    drawn = canvas(flat)
    drawn.box((2, 2), (8, 10))
    drawn.point(12, 12, label=0)
    bundle, _ = drawn._repr_mimebundle_()
    figure = bundle["text/html"]
    assert static.WIDGET in bundle and silent_images(figure) == 0 and not re.search("<(script|style|iframe)", figure)
    (alt, data), = re.findall(r'<img alt="(.+?)" src="data:image/png;base64,(.+?)">', figure)
    assert html.unescape(alt) == drawn.alt == ("Axial slice 7 of 12 of grey; liver: mask 48 pixels, predicted IoU 0.51, "
                                               "1 negative point, 1 box.")
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)
    inside, mirrored = (shown[int(5.5 / 16 * shown.shape[0]), int(x / 20 * shown.shape[1])] for x in (20 - 6.5, 6.5))
    assert inside[0] > inside[2] + 20 and mirrored[0] == mirrored[2]  # orange; columns 2 to 10 are on the right


def test_bits_are_packed_and_boxes_joined():
    rng = np.random.default_rng(1)
    for shape in ((7, 9), (4, 5, 6)):
        for mask in (np.zeros(shape, bool), np.ones(shape, bool), rng.random(shape) > 0.7):
            assert np.array_equal(Packed.of(mask).unpack(shape), mask)
    low, same, up = ((1, 1, 3), (4, 5, 4)), ((2, 2, 3), (3, 3, 4)), ((0, 2, 8), (2, 9, 9))
    assert joined(None, low) == low and joined(low, same) == same and joined(low, up) == ((0, 1, 3), (4, 9, 9))


def test_a_saved_page_keeps_the_figure():
    import nbformat

    drawn = canvas()
    drawn.point(4, 4)
    output = nbformat.v4.new_output("display_data", drawn._repr_mimebundle_()[0])
    page = static.embed(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("canvas", outputs=[output])]))
    kept = page.cells[0].outputs[0].data
    assert static.WIDGET not in kept and "liver: mask 9 pixels" in kept["text/html"]
