"""The table of official weights: every row can be followed, every test that it names is there, and the page is the table."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
import torch

from fmlab import hub
from fmlab.errors import ModelError
from fmlab.hub import models, official

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("weights", official.every(), ids=lambda w: f"{w.model}-{w.files[0]}")
def test_what_a_row_says_can_be_done(weights):
    if weights.load:
        for path in re.findall(r"fmlab(?:\.\w+)+", weights.load):
            module, _, function = path.rpartition(".")
            assert callable(getattr(import_module(module), function)), path
    if not weights.load or "hub.load(" in weights.load:
        swin = weights.model in ("swin_unetr", "fseft") or "swin" in str(weights.config)  # MONAI's computes while it is built
        with torch.device("cpu" if swin else "meta"):  # meta: networks of any size in no memory
            hub.build(weights.model, **(weights.config or ({"depth": 50, "classes": None} if weights.model == "med3d" else {})))
    assert weights.model in models.names()


@pytest.mark.parametrize("weights", official.every(), ids=lambda w: f"{w.model}-{w.files[0]}")
def test_a_row_is_whole_and_its_test_knows_the_model(weights):
    assert weights.tested in ("outputs", "names") and weights.licence and weights.address and all(weights.files)
    said = (ROOT / weights.by).read_text(encoding="utf-8").lower()
    assert weights.model.replace("_", "") in said.replace("_", "").replace("-", "")


def test_no_row_is_there_twice():
    rows = [(weights.model, name) for weights in official.every() for name in weights.files]
    assert len(rows) == len(set(rows))


def test_who_asks_for_official_weights_is_told_where_they_are():
    with pytest.raises(ModelError, match="segment_anything.*sam_vit_b_01ec64.pth.*Apache-2.0") as error:
        hub.load("sam", "official")
    assert "sam_vit_h_4b8939.pth" in str(error.value)
    with pytest.raises(ModelError, match="none are known"):
        hub.load("nano", "official")


def test_the_page_is_the_table():
    """After a change of the table: python -m data_scripts.weights_page."""
    assert (ROOT / "docs" / "weights.md").read_text(encoding="utf-8") == official.page()
