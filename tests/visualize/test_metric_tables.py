# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from monai_unimedi.visualize.floors import demo_floors
from monai_unimedi.visualize.metric_tables import metric_tables, plain_values


def test_every_figure_is_in_a_table(metrics: dict[str, Any]) -> None:
    def count(node: Any) -> int:
        return 1 if "value" in node else sum(count(item) for item in node.values() if isinstance(item, dict))

    sections = metric_tables(metrics)
    cells = sum(
        len(row["cells"]) for section in sections for table in section["tables"] for row in table["rows"]
    )
    assert cells == count(metrics)
    assert all(
        len(row["cells"]) == len(table["columns"])
        for s in sections
        for table in s["tables"]
        for row in table["rows"]
    )


def test_plain_values_are_flat(metrics: dict[str, Any]) -> None:
    values = plain_values(metrics)
    assert values["seconds · train"] == "352"
    assert values["parameters"] == "1,234,567"
    assert values["seed"] == "0"


def test_floors_follow_the_controls_and_ceilings_turn_round(metrics: dict[str, Any]) -> None:
    metrics["seconds"]["train"] = 400.0
    rows = {row["name"]: row for row in demo_floors(metrics)}
    assert len(rows) == 22
    hit = rows["Slice hit@1, best rival + 0.05"]
    assert hit["bound"] == pytest.approx(0.66 - 2 * 0.07 + 0.05)
    assert hit["met"]
    assert not rows["Slice hit@1, random + 0.25"]["met"]
    assert not rows["Training, seconds"]["met"]
    assert rows["Phantoms, seconds"]["met"]


def test_figures_that_are_absent_have_no_floor() -> None:
    assert (
        demo_floors({"retrieval": {"2d": "not available"}, "slice_selection": {"lift": {"value": None}}})
        == []
    )
