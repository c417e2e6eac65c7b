# SPDX-License-Identifier: Apache-2.0
"""A fraction of the labels is drawn by patient, nested, from the seed alone, and loses no class."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest

from monai_unimedi.data.label_fraction import draw_fraction, each_row_once

Row = dict[str, Any]
ROWS: list[Row] = [{"id": str(i), "patient": str(i // 2), "has": ["rare"] if i == 150 else []} for i in range(200)]


def draw(percent: Any, seed: int = 0, rows: list[Row] = ROWS, wanted: Sequence[str] = (), **options: Any) -> list[str]:
    found = draw_fraction(
        rows, options.get("given"), percent, seed, {name: name for name in wanted}, lambda row: row["has"]
    )
    return [row["id"] for row in found]


def test_smaller_fractions_lie_within_larger_ones_and_keep_patients_whole() -> None:
    one, ten, half = draw(1), draw(10), draw(50)
    assert (len(one), len(ten), len(half)) == (2, 20, 100)
    assert set(one) <= set(ten) <= set(half)
    assert all(str(int(name) ^ 1) in half for name in half)
    assert half == [row["id"] for row in ROWS if row["id"] in set(half)]  # in the list's order


def test_draw_follows_the_seed_and_not_the_order_of_the_rows() -> None:
    assert draw(10, 3) == draw(10, 3) != draw(10, 4)
    assert set(draw(10, 3, ROWS[::-1])) == set(draw(10, 3))


def test_all_rows_and_at_least_one_patient() -> None:
    assert draw(100) == [row["id"] for row in ROWS]
    assert len(draw(0.1, rows=ROWS[:4])) == 2


def test_own_list_is_taken_without_patients_who_were_split_off() -> None:
    assert draw(10, rows=ROWS[:10], given=ROWS[6:14]) == ["6", "7", "8", "9"]


def test_class_that_the_draw_lacks_joins_it_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert "150" not in draw(1)
    with caplog.at_level(logging.WARNING):
        found = draw(1, wanted=["rare", "nowhere"])
    assert set(found) == {*draw(1), "150", "151"}
    assert "had one value only of rare; 1 patients with the other joined them" in caplog.text


@pytest.mark.parametrize("given", [0, -1, 101, "nan", "some", None])
def test_what_is_no_percentage_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=f"label_fraction must be percent above 0 and up to 100, got {given}"):
        draw(given)
    assert draw("10") == draw(10)


def test_rows_of_fractions_are_left_out_where_they_are_in_the_list_they_are_of() -> None:
    a, b, c = ({"id": name, "label": [1]} for name in "abc")
    lists = {"training_10": [b], "training": [a, b], "pool_training_1": [c], "test": [a]}
    assert each_row_once(lists) == [a, b, c, a]
    assert each_row_once({"training": [a], "training_1": [{**a, "label": [0]}]}) == [a, {"id": "a", "label": [0]}]
    stored = {"training": [{**a, "shard_row": 4, "image": "x"}], "training_1": [{**a, "shard_row": 0, "image": "y"}]}
    assert each_row_once(stored) == stored["training"]
