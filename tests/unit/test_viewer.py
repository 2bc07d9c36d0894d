"""The viewer's Python side: what it accepts, what it sends, what it says; the browser's side is in tests/browser."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import zlib

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from fmlab.errors import ScanError
from fmlab.viewer import Viewer, picture, slabs, static, view
from fmlab.viewer.mathml import latex_output, to_mathml
from fmlab.viewer.planes import PLANES, screen_slice, window_pair
from fmlab.viewer.scene import MASK_CODE, build_scene
from fmlab.vocabulary import colour
from fmlab.volume import Volume

SHAPE = (20, 16, 12)
AFFINE = np.array([[2.0, 0, 0, -10], [0, 1.5, 0, 5], [0, 0, 4.0, 100], [0, 0, 0, 1]])


def scan(labels: bool = True, **changes: object) -> Volume:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(-1000, 1500, (1, *SHAPE), generator=generator).float()
    drawn = torch.zeros(1, *SHAPE, dtype=torch.uint8)
    drawn[:, 12:18, 8:14, 2:10] = 42
    drawn[:, 2:5, 2:5, 2:4] = 45
    return Volume(**({"image": image, "affine": AFFINE, "labels": drawn if labels else None, "name": "test"} | changes))


def unpack(packed: bytes, shape: tuple[int, int, int], layers: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """The browser's way back, in numpy: values and label maps, (X, Y, Z)."""
    raw = np.frombuffer(zlib.decompress(packed), np.uint8)
    n = len(raw) // (2 + layers)
    values = (raw[:n].astype(np.uint16) | (raw[n:2 * n].astype(np.uint16) << 8)).view(np.int16)
    back = (*shape[:2], n // (shape[0] * shape[1]))
    return values.reshape(back, order="F"), [raw[(2 + k) * n:(3 + k) * n].reshape(back, order="F") for k in range(layers)]


@pytest.mark.parametrize("thick_voxels", [1, 1000, 10**7])
def test_slabs_hold_every_voxel_exactly(monkeypatch, thick_voxels):
    monkeypatch.setattr(slabs, "THICK_VOXELS", thick_voxels)
    volume = scan()
    scene = build_scene(volume, compare=[("other", volume.labels.flip(1))])
    parts = [unpack(slabs.pack(scene, k), SHAPE, 2) for k in range(slabs.slab_count(SHAPE))]
    assert np.array_equal(np.concatenate([p[0] for p in parts], axis=2), volume.image[0].numpy())
    for layer, expected in enumerate((volume.labels, volume.labels.flip(1))):
        assert np.array_equal(np.concatenate([p[1][layer] for p in parts], axis=2), expected[0].numpy())


def test_screen_slices_follow_the_radiological_convention():
    where = np.zeros(SHAPE)
    where[-1, -1, -1] = 1  # right, front, head
    for plane, index in (("axial", 11), ("coronal", 15), ("sagittal", 19)):
        shown = screen_slice(where, plane, index)
        assert shown[0, 0] == 1 and shown.sum() == 1, plane
    assert {name: plane.marks for name, plane in PLANES.items()} == {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}


def test_legend_lists_structures_with_millilitres_and_the_vocabularys_colours():
    entries = build_scene(scan()).entries
    assert [(e.name, e.id, e.colour) for e in entries] == [("liver", 42, colour("liver")), ("spleen", 45, colour("spleen"))]
    assert entries[0].ml == (pytest.approx(6 * 6 * 8 * 2 * 1.5 * 4 / 1000),)


@pytest.mark.parametrize("kind", ["torch", "numpy", "channel", "float", "volume"])
def test_labels_in_every_form_give_the_same_codes(kind):
    volume = scan()
    plain = volume.labels[0]
    forms = {"torch": plain, "numpy": plain.numpy(), "channel": volume.labels, "float": plain.double(), "volume": scan()}
    assert np.array_equal(build_scene(scan(labels=False), forms[kind]).codes[0], plain.numpy())


def test_foreign_ids_and_masks_are_shown():
    foreign = np.zeros(SHAPE, dtype=np.int32)
    foreign[0], foreign[1], foreign[2], foreign[3] = 7, 1000, -3, 200
    scene = build_scene(scan(labels=False), foreign)
    assert [(e.id, e.name) for e in scene.entries] == [(-3, "label -3"), (7, "ribs"), (200, "label 200"), (1000, "label 1000")]
    codes = {e.id: e.code for e in scene.entries}
    assert all((scene.codes[0][row] == codes[label]).all() for row, label in ((0, 7), (1, 1000), (2, -3), (3, 200)))
    assert not scene.codes[0][4:].any() and len(set(codes.values())) == 4
    assert all(sum(e.colour) > 0 for e in scene.entries)
    masked = build_scene(scan(labels=False), scan().mask("liver"))
    assert [(e.code, e.name) for e in masked.entries] == [(MASK_CODE, "mask")]
    assert masked.codes[0].sum() // MASK_CODE == 6 * 6 * 8


def test_which_label_maps_are_compared():
    volume = scan()
    other = volume.labels.flip(1)
    assert build_scene(volume).layers == ("labels",)
    assert build_scene(volume, compare=[("model", other)]).layers == ("labels", "model")
    assert build_scene(volume, compare=[("one", other), ("two", other)]).layers == ("one", "two")
    assert build_scene(volume, other, compare=[("one", other), ("two", other)]).layers == ("labels", "one", "two")
    assert build_scene(scan(labels=False)).layers == ()
    assert view(volume, compare=[("model", other)]).layout == "side by side"


@pytest.mark.parametrize(("arguments", "words"), [
    ({"labels": torch.zeros(1, 20, 16, 11, dtype=torch.uint8)}, r"shape .* resample"),
    ({"labels": torch.rand(1, *SHAPE)}, "not whole numbers"),
    ({"labels": np.arange(np.prod(SHAPE)).reshape(SHAPE)}, "at most 254"),
    ({"labels": "labels.nii.gz"}, "shape"),
    ({"labels": Volume(torch.zeros(1, *SHAPE), np.eye(4), labels=torch.zeros(1, *SHAPE, dtype=torch.uint8))}, "another grid"),
    ({"labels": Volume(torch.zeros(1, *SHAPE), AFFINE)}, "has no labels"),
    ({"compare": [torch.zeros(1, *SHAPE)]}, "pairs of a name"),
    ({"plane": "oblique"}, "axial, coronal, sagittal"),
    ({"window": "brain"}, "soft tissue, lung, bone, liver"),
    ({"window": (40, 0)}, "width above 0"),
    ({"window": (40, float("nan"))}, "width above 0"),
    ({"window": 40}, "not a pair"),
    ({"height": 0}, "between 120 and 2000"),
    ({"index": 12}, "outside the scan; it has 0 to 11"),
    ({"show": ["heart"]}, "hold no heart"),
])
def test_bad_input_is_refused_in_one_sentence(arguments, words):
    with pytest.raises(ScanError, match=words) as caught:
        view(scan(), **arguments)
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def test_a_path_instead_of_a_volume_is_refused():
    with pytest.raises(ScanError, match="Volume.read"):
        view("scan.nii.gz")


def test_index_cursor_and_plane_stay_together():
    viewer = view(scan(), index=3)
    assert viewer.cursor == [10, 8, 3]
    viewer.plane = "coronal"
    assert viewer.index == 8
    viewer.index = 15
    assert viewer.cursor == [10, 15, 3]
    viewer.cursor = [1, 2, 4]
    assert viewer.index == 2
    with pytest.raises(ScanError, match="outside the scan"):
        viewer.cursor = [20, 0, 0]
    assert viewer.cursor == [1, 2, 4] and viewer.index == 2


def test_windows_by_name_and_for_scans_without_hounsfield_units():
    viewer = view(scan(), window="lung")
    assert tuple(viewer.window) == (-600, 1500)
    viewer.window = "bone"
    assert tuple(viewer.window) == (400, 1800)
    fractions = scan(image=torch.linspace(0, 1, 3840).reshape(1, *SHAPE), modality="MR")
    unit_free = view(fractions)
    assert unit_free.scene.unit != "HU" and list(unit_free.scene.windows) == ["auto"]
    assert tuple(unit_free.window) == pytest.approx((0.5, 0.98), abs=0.05)
    seen = unit_free.scene.values * unit_free.scene.slope + unit_free.scene.intercept
    assert np.abs(seen - fractions.image[0].numpy()).max() < 2e-5
    assert window_pair([10, 20], (0, 1)) == (10, 20)


@pytest.mark.parametrize(("low", "high", "auto"), [
    (-1.0, 653.0, (326, 654)), (0.0, 1.0, (0.5, 1)), (123456.0, 123460.0, (123458, 4)), (5.0, 5.0, (5, 0.001))])
def test_the_automatic_window_can_be_read_and_is_right(low, high, auto):
    image = torch.full((1, 20, 20, 20), low)
    image[..., 10:] = high
    scene = build_scene(Volume(image + 0.001 * (high - low) * torch.rand(1, 20, 20, 20), np.eye(4), modality="MR", name="mr"))
    assert scene.auto == pytest.approx(auto, rel=4e-3) and all(len(f"{value:.10g}") <= 6 for value in scene.auto)


def test_alt_text_says_what_is_seen():
    viewer = view(scan(), index=3)
    assert viewer.alt == "Axial slice 4 of 12 of test, soft tissue window; liver 3.5 ml, spleen 0.2 ml."
    viewer.show("spleen")
    assert viewer.hidden == [42] and "liver" not in viewer.alt
    viewer.show()
    viewer.index, viewer.window = 11, (50, 300)
    assert viewer.alt == "Axial slice 12 of 12 of test, centre 50, width 300 window; no labelled structure."
    both = view(scan(), compare=[("model", torch.zeros(1, *SHAPE, dtype=torch.uint8))], index=3)
    assert "labels: liver" in both.alt and "model: no labelled structure" in both.alt


def test_the_figure_has_true_aspect_and_the_structures_colours():
    viewer = view(scan(), index=3)
    bundle, _ = viewer._repr_mimebundle_()
    pattern = r'<figure><img alt="(.+?)" src="data:image/png;base64,(.+?)"><figcaption>.*</figcaption></figure>'
    figure = re.fullmatch(pattern, bundle["text/html"])
    assert html.unescape(figure[1]) == viewer.alt
    image = Image.open(io.BytesIO(base64.b64decode(figure[2])))
    assert image.width / image.height == pytest.approx(20 * 2 / (16 * 1.5), rel=0.01)
    solid = picture.draw(viewer.scene, picture.Look("axial", 3, (40.0, 1e9), (0,), opacity=1.0, outline=False))
    across, down = (20 - 14.5) / 20, (16 - 10.5) / 16  # a voxel of the liver: right is left, front is up
    assert solid.getpixel((int(across * solid.width), int(down * solid.height))) == colour("liver")
    assert solid.getpixel((int((1 - across) * solid.width), int(down * solid.height))) != colour("liver")


def page_data(frame: str) -> dict:
    page = html.unescape(re.search(r'srcdoc="(.*)"></iframe>', frame, re.S)[1])
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)[1])


def test_a_saved_page_holds_the_whole_volume_when_it_fits():
    viewer = view(scan(), index=3)
    frame = viewer.to_html()
    data = page_data(frame)
    values, layers = unpack(base64.b64decode(data["_first"]["0"]), SHAPE, 1)
    assert np.array_equal(values, viewer.scene.values) and np.array_equal(layers[0], viewer.scene.codes[0])
    assert data["_spec"]["note"] == "" and data["cursor"] == [10, 8, 3]
    assert 'title="Axial slice 4 of 12' in frame and "export default" not in frame
    assert not re.search(r"(src|href)=.?https?:", html.unescape(frame))


def test_a_large_volume_is_made_coarser_and_says_so():
    noise = torch.randint(-1000, 1000, (1, 60, 60, 20), generator=torch.Generator().manual_seed(1)).float()
    labels = torch.zeros(1, 60, 60, 20, dtype=torch.uint8)
    labels[:, 30:] = 42
    viewer = view(Volume(noise, np.diag([1.0, 1.0, 3.0, 1.0]), labels=labels), index=19)
    frame = viewer.to_html(megabytes=0.03)
    data = page_data(frame)
    assert sum(map(len, data["_first"].values())) <= 30_000
    assert re.match(r"This saved page shows larger voxels, \d x \d x 3 mm, .*rounded to 4 HU", data["_spec"]["note"])
    factor = data["_spec"]["spacing"][0]
    assert data["_spec"]["affine"][0][3] == pytest.approx((factor - 1) / 2)  # the centre of the first merged voxel
    assert data["cursor"][2] == 19
    values, layers = unpack(base64.b64decode(data["_first"]["0"]), data["_spec"]["shape"], 1)
    block = noise[0, :int(factor), :int(factor), 0].mean().item()
    assert values[0, 0, 0] * data["_spec"]["slope"] == pytest.approx(block, abs=2.6)
    assert data["_spec"]["structures"][0]["ml"] == ["108"]  # of the full scan


def test_the_kernel_answers_for_slabs_and_ignores_nonsense(monkeypatch):
    monkeypatch.setattr(slabs, "THICK_VOXELS", 20 * 16 * 5)
    viewer = view(scan())
    sent = []
    monkeypatch.setattr(Viewer, "send", lambda self, content, buffers: sent.append((content, buffers)))
    nonsense = ({"type": "want", "slab": 3}, {"type": "want"}, {"type": "want", "slab": "1"}, {"slab": 1}, {})
    for message in ({"type": "want", "slab": 2}, *nonsense):
        viewer._answer(viewer, message, [])
    assert [content for content, _ in sent] == [{"type": "slab", "slab": 2}]
    assert np.array_equal(unpack(sent[0][1][0], SHAPE, 1)[0], viewer.scene.values[:, :, 10:])


def test_the_widget_carries_a_course_size_scan_and_only_the_nearest_slabs_of_a_large_one(monkeypatch):
    assert len(view(scan())._first) == slabs.slab_count(SHAPE)
    monkeypatch.setattr(slabs, "THICK_VOXELS", 20 * 16)
    monkeypatch.setattr("fmlab.viewer.widget.FIRST_BYTES", 2000)
    nearest = [int(k) for k in view(scan())._first]
    assert nearest[0] == 6 and 1 <= len(nearest) < 12 and all(abs(k - 6) <= len(nearest) / 2 + 1 for k in nearest)


def test_prompts_are_observed_and_cleared():
    viewer, heard = view(scan(), tools=True), []
    viewer.observe(lambda change: heard.append(change["name"]), ["points", "box", "scribble"])
    viewer.points = [{"plane": "axial", "sign": 1, "ijk": [1, 2, 3]}]
    viewer.box = {"plane": "axial", "start": [0, 0, 3], "stop": [4, 4, 4]}
    viewer.clear()
    assert heard == ["points", "box", "points", "box"] and viewer.points == [] and viewer.box == {}


def test_recording_adds_the_page_and_embed_puts_it_in_place(monkeypatch, tmp_path):
    monkeypatch.setenv(static.RECORD, "1")
    data, _ = view(scan())._repr_mimebundle_()
    output = nbformat.v4.new_output("display_data", data)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("view(scan)", outputs=[output])], metadata={"widgets": {}})
    kept, page = static.strip(book), static.embed(book)
    assert static.MIME in book.cells[0].outputs[0].data  # neither changes the notebook given
    assert static.MIME not in kept.cells[0].outputs[0].data and "<figure>" in kept.cells[0].outputs[0].data["text/html"]
    assert page.cells[0].outputs[0].data["text/html"].startswith("<iframe") and static.WIDGET not in page.cells[0].outputs[0].data
    path = static.notebook_to_html(book, tmp_path / "lesson.html")
    text = path.read_text()
    assert "<title>lesson</title>" in text and [p.name for p in tmp_path.iterdir()] == ["lesson.html"]
    assert not re.search(r"cdnjs|unpkg|jsdelivr|require\.min", text)


def test_formulas_become_mathml_and_broken_ones_stay_readable():
    assert "<mfrac>" in to_mathml(r"\frac{a}{b}") and 'display="block"' in to_mathml("a", display=True)
    assert 'display="inline"' in latex_output("$a^2$") and 'display="block"' in latex_output("$$a^2$$")
    assert to_mathml(r"\left( a < b") == r"<code>\left( a &lt; b</code>"
