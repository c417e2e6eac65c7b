# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import pytest
import torch

from monai_unimedi.visualize.attention_maps import (
    attention_levels,
    attention_lift,
    attention_on_grid,
    outline_path,
)


def test_nearest_gives_each_pixel_its_patch_weight() -> None:
    attention = torch.arange(6.0).reshape(2, 3)
    on_grid = attention_on_grid(attention, (8, 12), mode="nearest")
    assert torch.equal(on_grid, attention.repeat_interleave(4, 0).repeat_interleave(4, 1))


def test_slices_do_not_mix() -> None:
    attention = torch.zeros(4, 4, 5)
    attention[1, 2, 3] = 1
    on_grid = attention_on_grid(attention, (16, 16))
    assert on_grid.shape == (16, 16, 5)
    assert on_grid.amax((0, 1)).gt(0).tolist() == [False, False, False, True, False]


def test_levels_hide_what_is_not_above_the_mean() -> None:
    attention = torch.full((4, 4), 0.05)
    attention[0, 0] = 0.25
    levels = attention_levels(attention, (4, 4), num_levels=10)
    assert levels[0, 0] == 9
    assert levels.count_nonzero() == 1


@pytest.mark.parametrize("value", [0.0, 1 / 16, float("nan")])
def test_levels_of_even_attention_are_zero(value: float) -> None:
    assert attention_levels(torch.full((4, 4), value), (8, 8)).count_nonzero() == 0


def test_lift_of_even_attention_is_one() -> None:
    lesion = torch.zeros(8, 8, 3, dtype=torch.bool)
    lesion[:3, 2:5, 1] = True
    assert attention_lift(torch.full((2, 2, 3), 1 / 12), lesion) == pytest.approx(1.0)


def test_lift_counts_density_on_the_lesion() -> None:
    attention = torch.tensor([[0.7, 0.1], [0.1, 0.1]])
    lesion = torch.zeros(4, 4)
    lesion[0, 0] = lesion[3, 3] = 1
    assert attention_lift(attention, lesion) == pytest.approx((0.7 + 0.1) / 2 / 0.25)
    assert attention_lift(attention, torch.zeros(4, 4)) is None


def test_outline_is_closed_and_drawn_with_x_to_the_right() -> None:
    mask = torch.zeros(10, 6, dtype=torch.bool)
    mask[7:9, 1:3] = True
    path = outline_path(mask)
    points = [tuple(map(float, pair)) for pair in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]
    xs, ys = zip(*points)
    assert path.startswith("M")
    assert path.endswith("Z")
    assert (min(xs), max(xs), min(ys), max(ys)) == (7.0, 9.0, 1.0, 3.0)
    assert outline_path(torch.zeros(4, 4)) == ""
