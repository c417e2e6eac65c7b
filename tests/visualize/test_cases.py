# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import torch

from monai_unimedi.visualize.cases import (
    choose_examples,
    compare_findings,
    describe_findings,
    findings_key,
    nearest,
)

NAMES = ["nodule", "ground_glass"]


def arrays(*rows: list[str]) -> dict[str, Any]:
    label = torch.tensor([[float(name in row) for name in NAMES] for row in rows])
    findings = [
        [{"finding": name, "side": "left", "zone": None, "size": "small"} for name in row] for row in rows
    ]
    return {"id": [str(row) for row in range(len(rows))], "label": label, "findings": findings}


def test_nearest_falls_and_ties_go_to_the_lower_row() -> None:
    pool = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.6, 0.8], [1.0, 0.0]])
    assert [row for row, _ in nearest(torch.tensor([1.0, 0.0]), pool, 3)] == [1, 3, 2]


def test_examples_take_findings_in_turn_clear_cases_first() -> None:
    source = arrays([], ["nodule", "ground_glass"], ["nodule"], ["nodule"], ["ground_glass"])
    assert choose_examples(source, NAMES, 3) == [2, 4, 3]


def test_examples_without_labels_are_spaced_and_never_repeat() -> None:
    source = {"id": list("abcdef")}
    assert choose_examples(source, [], 3) == [0, 2, 4]
    assert choose_examples(source, [], 9) == [0, 1, 2, 3, 4, 5]


def test_findings_are_equal_regardless_of_order() -> None:
    source = arrays(["nodule", "ground_glass"], ["ground_glass", "nodule"], ["nodule"], [])
    assert findings_key(source, 0) == findings_key(source, 1)
    assert findings_key(source, 0) != findings_key(source, 2)
    assert findings_key({"id": ["a"]}, 0) is None


def test_findings_are_named_with_or_without_detail() -> None:
    source = arrays(["ground_glass"])
    assert describe_findings(source, 0, NAMES, in_full=True) == [
        {"name": "ground glass", "colour": 1, "detail": "small, left"}
    ]
    assert describe_findings(source, 0, NAMES, in_full=False) == [
        {"name": "ground glass", "colour": 1, "detail": ""}
    ]
    assert describe_findings({"id": ["a"]}, 0, NAMES, in_full=True) is None


def test_relation_tells_same_from_shared_from_other() -> None:
    source = arrays(["nodule"], ["nodule"], ["nodule", "ground_glass"], ["ground_glass"], [], [])
    relations = [compare_findings((source, 0), (source, row), NAMES) for row in range(1, 5)]
    assert relations == ["same", "shared", "other", "other"]
    assert compare_findings((source, 4), (source, 5), NAMES) == "same"
    assert compare_findings((source, 0), ({"id": ["a"]}, 0), NAMES) is None


def test_same_finding_elsewhere_is_only_shared() -> None:
    left, right = arrays(["nodule"]), arrays(["nodule"])
    right["findings"][0][0]["side"] = "right"
    assert compare_findings((left, 0), (right, 0), NAMES) == "shared"


def test_unknown_labels_are_no_findings_and_equal_where_the_same_is_known() -> None:
    nan = float("nan")
    source = {"label": torch.tensor([[1, nan], [1, nan], [nan, nan], [0, nan], [0, 0]])}
    found = [describe_findings(source, row, NAMES, in_full=False) for row in range(5)]
    assert [None if one is None else [each["name"] for each in one] for one in found] == [
        ["nodule"], ["nodule"], None, [], []
    ]  # fmt: skip
    assert compare_findings((source, 0), (source, 1), NAMES) == "same"
    assert compare_findings((source, 0), (source, 2), NAMES) is None
    assert compare_findings((source, 3), (source, 4), NAMES) == "other"
