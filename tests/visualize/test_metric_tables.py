# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from monai_unimedi.visualize.floors import floor_rows
from monai_unimedi.visualize.metric_tables import figure_text, metric_tables, plain_values


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


def test_counts_are_a_table_of_whole_numbers() -> None:
    metrics = {"counts": {"nodule": {"cases": 200, "missed": 1}, "ground_glass": {"cases": 200, "missed": 0}}}
    (section,) = metric_tables(metrics)
    (table,) = section["tables"]
    assert table["columns"] == ["cases", "missed"]
    assert [row["name"] for row in table["rows"]] == ["nodule", "ground glass"]
    assert [figure_text(of["value"], of) for row in table["rows"] for of in row["cells"]] == ["200", "1", "200", "0"]
    assert plain_values(metrics) == {}


def test_floors_come_with_the_figure_that_they_name(metrics: dict[str, Any]) -> None:
    floor = {"figure": "slice_selection.lift", "floor": 2.5, "value": 9.0, "met": False, "is_limit": False}
    limit = {"figure": "seconds.train", "floor": 360.0, "value": 352.0, "met": True, "is_limit": True}
    absent = {"figure": "retrieval.2d.none", "floor": 0.5, "value": None, "met": False, "is_limit": False}
    unknown = {**floor, "floor": None}
    lift, seconds = floor_rows([floor, absent, unknown, limit], metrics)
    assert lift["name"] == "Slice selection, attention lift on lesion patches"
    assert lift["figure"]["value"] == metrics["slice_selection"]["lift"]["value"]
    assert (lift["bound"], lift["met"], lift["is_ceiling"]) == (2.5, False, False)
    assert (seconds["name"], seconds["bound"], seconds["is_ceiling"]) == ("Seconds, train", 360.0, True)
