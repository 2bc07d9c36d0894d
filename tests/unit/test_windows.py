"""HU windows: through their knots, rising, level outside, for whole numbers too."""

from __future__ import annotations

import pytest
import torch

from fmlab.errors import SettingsError
from fmlab.windows import SOFT_TISSUE, WIDE, Window, window


@pytest.mark.parametrize("chosen", [SOFT_TISSUE, WIDE, window(-10, 30), Window(((0, 2.0), (1, 2.0), (5, 3.0)))])
def test_through_the_knots_rising_and_level_outside(chosen):
    hu, values = (torch.tensor(column, dtype=torch.float64) for column in zip(*chosen.knots))
    assert torch.allclose(chosen(hu), values)
    middles = (hu[1:] + hu[:-1]) / 2
    assert torch.allclose(chosen(middles), (values[1:] + values[:-1]) / 2)  # straight in between
    line = chosen(torch.linspace(-3000, 4000, 7001))
    assert (line.diff() >= 0).all()
    assert line[0] == pytest.approx(float(values[0])) and line[-1] == pytest.approx(float(values[-1]))


def test_the_two_that_ship():
    assert SOFT_TISSUE(torch.tensor([-1000.0, -175, 37.5, 250, 900])).tolist() == [0, 0, 0.5, 1, 1]
    assert WIDE(torch.tensor([-1024.0, -1000, -200, 300, 1500, 3000])).tolist() == pytest.approx([0, 0, 0.15, 0.85, 1, 1])


def test_whole_numbers_and_shape_and_dtype():
    image = torch.tensor([[[-1000, 50, 1500]]], dtype=torch.int16)
    assert WIDE(image).dtype is torch.float32 and WIDE(image).shape == image.shape
    assert torch.equal(WIDE(image), WIDE(image.float()))
    assert WIDE(image.double()).dtype is torch.float64
    assert image.tolist() == [[[-1000, 50, 1500]]]  # not changed in place


@pytest.mark.parametrize("knots", [(), ((0, 0.0),), ((0, 0.0), (0, 1.0)), ((5, 0.0), (1, 1.0)), ((0, 1.0), (1, 0.5)),
                                   ((0, 0.0), (float("nan"), 1.0))])
def test_what_is_no_rising_line_is_refused(knots):
    with pytest.raises(SettingsError, match="two knots"):
        Window(knots)
