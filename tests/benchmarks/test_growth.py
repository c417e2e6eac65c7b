# SPDX-License-Identifier: Apache-2.0
"""The cost of growth: lines and counted bytes in closed form, arithmetic that the page repeats."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from benchmarks.growth import kept_bytes, line
from benchmarks.growth_on_paper import PLANS, costs, encoder_flops, ring, shown, table

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "scaling.md").read_text()


def test_line_has_its_intercept_and_slope() -> None:
    intercept, slope, left = line([1, 2, 4], [5.0, 7.0, 11.0])
    assert (intercept, slope) == (pytest.approx(3), pytest.approx(2))
    assert left == pytest.approx(0, abs=1e-12)
    assert line([1, 2, 3], [1.0, 0.0, 1.0])[2] == pytest.approx(1)
    assert line([2, 4], [8.25, 8.25]) == (8.25, 0, 0)


def test_kept_bytes_count_each_tensor_once() -> None:
    one, other = (torch.rand(10, requires_grad=True) for _ in range(2))
    assert kept_bytes(lambda: one * other) == 2 * 40
    assert kept_bytes(lambda: one * one) == 40
    assert kept_bytes(lambda: F.relu(one)) == 40
    assert kept_bytes(lambda: one + other) == 0


def test_forward_pass_of_a_vit_is_its_known_35_gflop() -> None:
    assert encoder_flops(197) == pytest.approx(35.1e9, rel=0.02)
    assert encoder_flops(394) > 2 * encoder_flops(197)


def test_more_ranks_share_the_work_and_not_the_gradients() -> None:
    small, large = (costs(plan) for plan in PLANS)
    assert small["bytes of gradients a step and rank"] == large["bytes of gradients a step and rank"]
    assert ring(1e9, PLANS[1]) == pytest.approx(2 * 255 / 256 / 50)
    assert large["lists in memory, a machine"] / small["lists in memory, a machine"] == pytest.approx(10e6 / 385e3)


def test_numbers_are_shown_with_three_digits() -> None:
    assert [shown(value) for value in (0.0421, 0.00042, 3.456, 2944, 1.2e12)] == [
        "42.1 m",
        "420 u",
        "3.46",
        "2.94 k",
        "1.2 T",
    ]


def test_page_repeats_the_arithmetic() -> None:
    assert [row for row in table() if row not in PAGE] == []
