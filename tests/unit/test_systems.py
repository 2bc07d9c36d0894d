"""The table of systems: facts that can be held to something, the axes as rules, choosing, pages, figures and widgets."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from fmlab import hub, templates
from fmlab.errors import DataError, LessonError
from fmlab.hub.official import weights_of
from fmlab.lessons import system_map
from fmlab.lessons.source import tutorials_folder
from fmlab.lessons.system_explorer import compare, explore
from fmlab.systems import (
    AXES,
    FREE,
    LISTED,
    SEVENTEEN,
    USAGES,
    ancestors,
    html_table,
    known_share,
    markdown,
    page,
    place,
    save_page,
    scans,
    select,
    system,
    systems,
    together,
    usable,
)
from fmlab.systems.page import SHORT, rows
from fmlab.systems.records import TABLE, read_systems

ALL = systems()
COMING = {"02", "03", "04", "19"}  # lessons of the course that may not be written yet
ISSUE = """med3d clip_driven multitalent uniseg hermes dodnet suprem fseft arena universeg tyche iris sam medsam sam_med2d
    sam_med3d sam3d_adapter ma_sam segvol genesis unimiss swin_ssl mae desd ct_clip flair biomedclip clip retfound nnunet unetr
    ux_net nnformer totalsegmentator stu_net""".split()
SOURCES = {path.name[:2]: path.read_text() for path in tutorials_folder().glob("[0-9][0-9]_*.py")}
_TESTS = Path(__file__).parents[1]
TESTS = "".join(path.read_text() for path in (*_TESTS.glob("unit/*.py"), *_TESTS.glob("parity/*.py"))
                if path.name != Path(__file__).name)
ids = pytest.mark.parametrize("one", ALL, ids=lambda one: one.key)


def test_every_system_of_the_slides_is_there():
    assert set(ISSUE) <= {one.key for one in ALL}


@ids
def test_what_a_record_names_exists(one):
    assert not one.module or find_spec(one.module), one.module
    assert set(one.lessons) - SOURCES.keys() <= COMING
    names = {one.name, *re.findall(r"[\w-]{3,}", one.name)} - {"and", "self-supervised"}
    for number in set(one.lessons) & SOURCES.keys():
        assert any(name in SOURCES[number] for name in names), f"lesson {number} does not speak of {one.name}"
    assert one.seen and 2015 <= one.year <= 2026


@ids
def test_a_counted_number_of_parameters_is_one_that_a_test_of_fmlab_counts(one):
    if one.counted and one.key != "sam3d_adapter":  # whose parts are counted there, and the whole below
        assert re.search(rf"\b{one.parameters:_}\b", TESTS), f"{one.parameters:_}"
    assert bool(one.counted) <= bool(one.parameters)


PUBLISHED = {
    "universeg": ("universeg", {"encoder_blocks": [64, 64, 64, 64]}), "tyche": ("tyche", {"encoder_blocks": [64, 64, 64, 64]}),
    "medsam": ("medsam", {"size": "vit_b"}), "sam3d_adapter": ("sam3d_adapter", {"size": "vit_b"}),
    "med3d": ("med3d", {"depth": 50, "classes": 2}), "suprem": ("suprem_unet", {}),
}


@pytest.mark.parametrize("key", PUBLISHED)
def test_the_published_network_has_as_many_parameters(key):
    name, config = PUBLISHED[key]
    with torch.device("meta"):
        model = hub.build(name, **config)
    assert sum(p.numel() for p in model.parameters()) == system(key).parameters


@ids
def test_licences_and_addresses_agree_with_the_table_of_official_weights(one):
    for published in weights_of(one.key):
        stated = published.licence
        said = "" if "not stated" in stated or "see the record" in stated else "none" if stated.startswith("none") else stated
        assert (one.weights_licence, one.has_weights) == (said, True)
    assert one.has_weights or one.weights_licence in ("", "none"), "a licence of weights that there are not"


# ---- the axes

def test_places_follow_from_facts():
    assert place(("photographs",), "2-D", "2-D", "captions") == ("natural images", "2-D", "images and text")
    assert place(("CT",), "2-D and 3-D", "3-D", "") == ("one field", "2-D to 3-D", "images")
    assert place(("many",), "2-D", "3-D", "")[:2] == ("medical images", "2-D to 3-D")
    assert system("nnunet").place == ("one task", "3-D", "images")  # a network for each task is no generalist
    assert system("hermes").on("A") == "medical images" and system("hermes").on("C") == "images"
    assert all(one.on(axis) in values for one in ALL for axis, values in AXES.items())


def test_an_axis_a_name_and_a_usage_that_there_are_not_are_refused():
    with pytest.raises(DataError, match="no axis 'D'"):
        system("sam").on("D")
    with pytest.raises(DataError, match="sam_med2d"):
        system("sam-med2")
    with pytest.raises(DataError, match="Axis B has no value '4-D'"):
        select(B="4-D")
    with pytest.raises(DataError, match="no usage 'magic'"):
        select(usage="magic")


def test_the_line_of_weights():
    assert [one.key for one in ancestors("arena")] == ["fseft", "swin_ssl"]
    assert ancestors("sam") == () and [one.key for one in ancestors("MedSAM")] == ["sam"]


def test_select_by_axes_usage_and_words():
    assert select() == ALL
    assert {one.key for one in select(A="natural images")} == {"clip", "sam"}
    found = select(B="3-D", usage="interactive")
    assert {"sam_med3d", "segvol"} == {one.key for one in found} and "ma_sam" not in {one.key for one in found}
    assert [one.key for one in select(words="AbdomenAtlas 25")] == ["suprem"] and select(words="abdomenatlas xyzzy") == ()
    assert select(C="images and text", among=found) == (system("segvol"),)


def test_usable_asks_for_the_weights_and_their_licence():
    assert "sam" in usable(ALL, "2-D", "interactive")
    assert "medsam" not in usable(ALL, "2-D", "interactive")  # its code alone is free
    assert "sam" not in usable(ALL, "3-D", "interactive")
    assert all(system(key).weights_licence in FREE for key in usable(ALL, "2-D", "zero-shot"))
    assert usable((), "2-D", "transfer") == []


# ---- a table that is wrong

def broken(tmp_path: Path, old: str, new: str, count: int = 1) -> Path:
    """The package's table with a passage replaced."""
    text = TABLE.read_text()
    assert old in text
    (path := tmp_path / "table.toml").write_text(text.replace(old, new, count))
    return path


@pytest.mark.parametrize(("old", "new", "words"), [
    ('usage = ["zero-shot", "transfer"]', 'usage = ["magic"]', "system 'clip': usage is"),
    ('taught_by = ["text"]', "taught_by = []", "taught_by is"),
    ('reads = "2-D"', 'reads = "2-D and 3-D"', "reads is"),
    ('unit = "pictures with text"\n', "", "an amount comes with its unit"),
    ('unit = "pictures with text"', 'unit = "cats"', "unit is 'cats'"),
    ('doi = "10.48550/arXiv.2103.00020"', 'doi = "https://doi.org/10.48550/arXiv.2103.00020"', "is no DOI"),
    ('doi = "10.48550/arXiv.2103.00020"', 'doi = "10.48550/arXiv.2303.00915"', "two systems have the doi"),
    ('key = "clip"', 'key = "sam"', "two systems have the key 'sam'"),
    ('begins = "sam"', 'begins = "sammy"', "begins names 'sammy'"),
    ('year = 2021\n', "", "year are missing or unknown"),
    ('year = 2021\n', "year = 2021\nmood = 'good'\n", "mood are missing or unknown"),
    ('key = "clip"', "key = ", "cannot be read"),
])
def test_a_wrong_row_is_named(tmp_path, old, new, words):
    with pytest.raises(DataError, match=re.escape(words)):
        read_systems(broken(tmp_path, old, new))


def test_a_missing_table_is_said(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_systems(tmp_path / "none.toml")


# ---- pages

def test_markdown_has_a_row_of_equal_length_for_each_system():
    lines = markdown().splitlines()
    assert len(lines) == len(ALL) + 2 and len({line.count(" | ") for line in (lines[0], *lines[2:])}) == 1
    assert "not seen" in markdown((system("iris"),)) and "none: all rights reserved" in markdown((system("hermes"),))


def test_the_html_table_has_headers_and_keeps_its_words():
    table = html_table()
    assert table.count('<th scope="row"') == len(ALL) and table.count('scope="col"') == 13 and "<script" not in table
    assert html_table((system("sam"),), columns=SHORT).count("<td") == len(SHORT) - 1
    assert 'href="https://doi.org/10.48550/arXiv.2304.02643"' in table
    whole = page()
    assert whole.startswith("<!doctype html>") and "@media print" in whole and "src=" not in whole and "3D UX-Net" in whole


def test_numbers_in_words():
    assert rows(system("sam"))["parameters"].startswith("641,090,608")
    assert rows(system("unetr"))["parameters"] == "about 92.8 million" and rows(system("iris"))["parameters"] == "not seen"
    assert rows(system("clip"))["how much"] == "400,000,000 pictures with text"
    assert rows(system("arena"))["begins with the weights of"] == "FSEFT, then Swin UNETR, self-supervised"


def test_a_page_is_saved_and_none_is_overwritten(tmp_path):
    path = save_page(tmp_path / "map.html")
    assert path.read_text() == page()
    with pytest.raises(DataError, match="is there already"):
        save_page(path, (system("sam"),))
    assert path.read_text() == page()
    assert save_page(tmp_path / "map.md", (system("sam"),)).read_text() == markdown((system("sam"),))
    assert "SegVol" not in save_page(path, (system("sam"),), overwrite=True).read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.html", "map.md"]
    with pytest.raises(DataError, match="cannot be written"):
        save_page(tmp_path / "no" / "such" / "map.html")


# ---- the data sets

def test_seventeen_data_sets_and_the_sixteen_rows_of_the_list():
    assert len(SEVENTEEN) == 17 and sum(one.tested for one in SEVENTEEN) == 3 and len(LISTED) == 16
    trained = {one.template for one in SEVENTEEN if not one.tested}
    assert set(LISTED) - trained == {"msd_liver", "abdomenct_12organ"}  # scans that are listed twice
    for one in SEVENTEEN:
        known = templates.TEMPLATES.get(one.template)
        assert one.listed == (known.cases if known and not one.tested else 0)
        assert not one.published or one.published >= one.listed
    assert scans(("lits", "A")).tolist() == [131, 0]
    with pytest.raises(DataError, match="nowhere"):
        scans(("nowhere",))


def test_shares_and_pairs_by_hand():
    w, n = np.array([[1, 1, 0], [1, 0, 0]]), np.array([30, 10])
    assert known_share(w, n).tolist() == [1.0, 0.75, 0.0]
    assert known_share(w.astype(bool), n.tolist()).tolist() == [1.0, 0.75, 0.0]
    assert together(w.astype(bool), n).tolist() == [[40, 30, 0], [30, 30, 0], [0, 0, 0]]
    full, many = templates.template_matrix(LISTED), scans(LISTED)
    pairs = together(full, many)
    assert (pairs == pairs.T).all() and np.allclose(pairs.diagonal() / many.sum(), known_share(full, many))


# ---- figures and widgets

@pytest.mark.parametrize(("x", "y"), [("B", "A"), ("year", "usage"), ("C", "parameters"), ("amount", "B")])
def test_the_map_names_every_system_in_its_picture_and_its_words(x, y):
    fig, alt = system_map.the_map(x, y)
    drawn = {text.get_text() for text in fig.axes[0].texts}
    assert drawn == {system_map._SHORT.get(one.name, one.name) for one in ALL} and all(one.name in alt for one in ALL)
    assert len(fig.axes[0].lines) == len(ALL)
    system_map.plt.close(fig)


def test_marks_of_one_cell_do_not_lie_on_each_other():
    fig, _ = system_map.the_map("C", "usage")
    places = [tuple(line.get_xydata()[0].round(3)) for line in fig.axes[0].lines]
    assert len(set(places)) == len(places)
    system_map.plt.close(fig)


def test_the_map_refuses_an_unknown_axis_and_an_empty_table():
    with pytest.raises(LessonError, match="no axis 'beauty'"):
        system_map.the_map("beauty", "A")
    with pytest.raises(LessonError, match="no system to draw"):
        system_map.the_map(shown=())


def test_other_figures_say_what_they_show():
    for fig, alt in (system_map.amounts(), system_map.matrix(), system_map.pairs()):
        assert len(alt) > 80
        system_map.plt.close(fig)
    table = system_map.seventeen()
    assert table.count('<th scope="row"') == 17 and all(one.title in table for one in SEVENTEEN)


def test_the_explorer_filters_live_and_stands_still_without_a_kernel():
    static = explore(B="3-D", usage="interactive")
    assert static.found == select(B="3-D", usage="interactive")
    assert repr(static).startswith(f"{len(static.found)} of {len(ALL)}")
    assert "SAM-Med3D" in static._repr_html_() and "<details>" in static._repr_html_() and "UniverSeg" not in static._repr_html_()
    live = static.widget()
    lists, table = live.children[0].children, live.children[1]
    assert [each.value for each in lists] == ["any", "3-D", "any", "interactive", ""] and all(each.description for each in lists)
    lists[3].value = "in-context"
    assert "Iris" in table.value and "SegVol" not in table.value and 'role="status"' in table.value
    lists[4].value = "xyzzy"
    assert "Nobody has built that" in table.value
    assert list(lists[3].options) == ["any", *USAGES]
    with pytest.raises(DataError, match="Axis B"):
        explore(B="5-D")


def test_two_systems_side_by_side():
    both = compare("sam", "SAM-Med3D")
    page_ = both._repr_html_()
    assert page_.count('scope="col"') == 3 and "<strong>3-D</strong>" in page_
    assert ">masks</td>" in page_  # the same is not bold
    assert 'href="https://doi.org/10.48550/arXiv.2310.15161"' in page_ and "SAM-Med3D" in repr(both)
    live = both.widget()
    live.children[0].children[1].value = "segvol"
    assert "SegVol" in live.children[1].value and "SAM-Med3D" not in live.children[1].value
    with pytest.raises(DataError, match="did you mean"):
        compare("sam", "samm")
    assert both._repr_mimebundle_()["text/html"] == page_
