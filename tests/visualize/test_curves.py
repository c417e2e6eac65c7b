# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from monai_unimedi.visualize.curves import loss_charts, number, slice_curve


@pytest.mark.parametrize(
    "entry",
    [
        {"loss_vl_2d": 1.0, "loss_vl_3d": 2.0},
        {"2d_loss_vl": 1.0, "3d_loss_vl": 2.0},
        {"loss_vl/2d": 1.0, "loss_vl/3d": 2.0},
        {"2d": {"loss_vl": 1.0}, "3d": {"loss_vl": 2.0}},
    ],
)
def test_sources_of_a_term_share_a_chart(entry: dict[str, Any]) -> None:
    (chart,) = loss_charts([{"step": step} | entry for step in range(5)])
    assert chart["title"] == "image-text"
    assert [line["source"] for line in chart["lines"]] == ["2d", "3d"]
    assert [line["end"] for line in chart["lines"]] == ["1", "2"]


def test_total_loss_comes_first_and_clocks_are_no_curves() -> None:
    history = [{"step": step, "lr": 0.1, "loss_vl": 1.0, "loss": 2.0, "seconds": step} for step in range(3)]
    assert [chart["title"] for chart in loss_charts(history)] == ["total loss", "image-text", "lr"]


def test_long_history_is_thinned_by_means() -> None:
    (chart,) = loss_charts([{"step": step, "loss": float(step % 2)} for step in range(10_000)])
    assert chart["lines"][0]["path"].count("L") < 130


@pytest.mark.parametrize("history", [None, [], [{"step": 1, "loss": 1.0}]])
def test_too_short_history_gives_no_chart(history: list[dict[str, Any]] | None) -> None:
    assert loss_charts(history) == []


def test_slice_curve_marks_runs_of_the_lesion_and_the_chosen_slices() -> None:
    curve = slice_curve([0.1, 0.2, 0.4, 0.2, 0.1, 0.1], lesion=[1, 2, 5], chosen=[2, 3])
    assert len(curve["lesion"]) == 2
    assert [dot["slice"] for dot in curve["chosen"]] == [2, 3]
    assert curve["chosen"][0]["y"] < curve["chosen"][1]["y"]
    assert (
        curve["lesion"][0]["x"]
        < curve["chosen"][0]["x"]
        < curve["lesion"][0]["x"] + curve["lesion"][0]["width"]
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5"), (1234.5, "1,234"), (0.000123, "0.00012"), (float("nan"), "not finite"), (0, "0")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text
