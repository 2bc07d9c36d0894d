"""A row of pictures: one panel each, with the outlines and letters that were asked for."""

from __future__ import annotations

import pytest
import torch

from fmlab.viewer import row


def panels(**options):
    images = torch.rand(3, 1, 8, 8)
    mask = torch.zeros(1, 8, 8)
    mask[0, 2:5, 2:5] = 1
    return row(images, **options, truth=[mask, None, torch.zeros(1, 8, 8)]).axes


def test_a_mask_is_outlined_and_what_is_empty_or_none_is_not():
    assert [len(ax.collections) for ax in panels()] == [1, 0, 0]


def test_found_and_truth_differ_in_colour_and_style():
    mask = torch.ones(4, 4)
    mask[0] = 0
    (ax,) = row([torch.rand(4, 4)], [mask], [mask]).axes
    found, truth = ax.collections
    assert found.get_edgecolor().tolist() != truth.get_edgecolor().tolist()
    assert found.get_linestyle() != truth.get_linestyle()


def test_titles_and_letters():
    axes = panels(titles=["one", "two"])
    assert [ax.get_title() for ax in axes] == ["one", "two", ""]
    assert [text.get_text() for text in axes[0].texts] == ["L", "R"]
    assert not panels(sides="")[0].texts


@pytest.mark.parametrize(("columns", "rows"), [(None, 1), (2, 2), (3, 1), (1, 3)])
def test_pictures_go_below_each_other_and_no_panel_is_empty(columns, rows):
    axes = panels(columns=columns)
    assert len(axes) == 3 and len({ax.get_subplotspec().rowspan.start for ax in axes}) == rows
    assert all(ax.images for ax in axes)
