# SPDX-License-Identifier: Apache-2.0
"""Labels in every form become one array; what does not fit stops or warns before training starts."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_unimedi.data.label_values import read_label, with_read_labels
from monai_unimedi.data.labelled import class_weights, label_groups, load_labelled_rows

NAMES = ["a", "b", "c"]
IGNORE = dict.fromkeys(NAMES, "ignore")


def write(folder: Path, lists: dict[str, list[Any]], names: list[str] | None = NAMES, **more: Any) -> Path:
    """A datalist with one row a label; two rows a patient."""
    (folder / "image.png").touch()
    content: dict[str, Any] = {"label_names": names, **more} if names else dict(more)
    for section, labels in lists.items():
        of = section.split("_")[0]
        content[section] = [
            {"id": f"{of}-{i}", "image": "image.png", "patient": f"{of}-p{i // 2}", "label": label}
            for i, label in enumerate(labels)
        ]
    path = folder / "list.json"
    path.write_text(json.dumps(content))
    return path


BOTH = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ([1, 0, -1], [1, np.nan]),
        ([True, 0, None], [1, np.nan]),
        ({"c": 1, "a": 0}, [0, 1]),
        ("c", [0, 1]),
        (0, [1, 0]),
    ],
)
def test_every_form_gives_the_asked_classes_in_their_order(label: Any, expected: list[float]) -> None:
    np.testing.assert_array_equal(read_label(label, NAMES, ["a", "c"], False, IGNORE), expected)


def test_exclusive_classes_that_a_mapping_leaves_out_are_absent() -> None:
    np.testing.assert_array_equal(read_label({"b": 1}, NAMES, NAMES, True, IGNORE), [0, 1, 0])
    np.testing.assert_array_equal(read_label({"b": 1}, NAMES, NAMES, False, IGNORE), [np.nan, 1, np.nan])
    with pytest.raises(ValueError, match=r"got \['a \(not known\)', 'b'\]"):
        read_label({"b": 1, "a": None}, NAMES, NAMES, True, IGNORE)


@pytest.mark.parametrize(("label", "expected"), [(1, 1), (0, 0), (True, 1), (False, 0), (1.0, 1), (-1, np.nan)])
def test_number_of_the_only_class_is_its_value(label: Any, expected: float) -> None:
    for names in (["a"], []):
        np.testing.assert_array_equal(read_label(label, names, ["a"], False, IGNORE), [expected])
    with pytest.raises(ValueError, match="the value of 'a' must be 1, 0, -1"):
        read_label(2, ["a"], ["a"], False, IGNORE)


def test_uncertain_and_blank_follow_their_policies() -> None:
    policy = {"a": "ones", "b": "zeros", "c": "ignore"}
    np.testing.assert_array_equal(read_label([-1, -1, -1], NAMES, NAMES, False, policy), [1, 0, np.nan])
    np.testing.assert_array_equal(read_label([None, 1, 0], NAMES, NAMES, False, policy, "zeros"), [0, 1, 0])


@pytest.mark.parametrize(
    ("label", "is_exclusive", "message"),
    [
        ([1, 0], False, "one value for each of the 3 classes, got 2"),
        ([1, 0, 2], False, "the value of 'c' must be 1, 0, -1"),
        ([1, 0, "yes"], False, "got 'yes'"),
        ("d", False, "unknown class 'd'"),
        ({"d": 1}, False, "unknown class 'd'"),
        (3, False, r"must lie in \[0, 3\)"),
        (1.5, False, "got a float"),
        ([1, 1, 0], True, "exactly one must be 1"),
        ([0, 0, 0], True, "got none"),
        ([1, 0, -1], True, "no one uncertain"),
    ],
)
def test_label_that_does_not_fit_is_refused(label: Any, is_exclusive: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_label(label, NAMES, NAMES, is_exclusive, IGNORE)


def test_all_wrong_labels_are_named_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, {"training": [*BOTH, [1, 2, 3], "d"], "validation": BOTH})
    with pytest.raises(ValueError, match=r"2 labels of list 'training'.*training-4.*training-5"):
        load_labelled_rows(path, ["training"], NAMES)


def test_rows_keep_what_a_batch_takes_and_no_report(tmp_path: Path) -> None:
    path = write(tmp_path, {"training": BOTH * 2, "test": BOTH})
    content = json.loads(path.read_text())
    for row in content["training"]:
        row |= {"report": "text", "centre": [1, 2, 3], "findings": []}
    path.write_text(json.dumps(content))
    rows = load_labelled_rows(path, ["training", "validation", "test"], NAMES, validation_fraction=0.25)
    assert set(rows["training"][0]) == {"id", "patient", "image", "label", "centre"}
    assert {len(rows[name]) for name in ("training", "validation")} == {6, 2}
    assert rows["test"][0]["label"].dtype == np.float32


def test_rows_without_label_are_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, {"training": [*BOTH, None], "validation": BOTH})
    assert len(load_labelled_rows(path, ["training"], NAMES)["training"]) == 4
    assert "1 of 5 rows have no label" in caplog.text


def test_only_the_lists_that_are_needed_are_looked_at(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, {"training": BOTH, "validation": BOTH, "test": BOTH})
    content = json.loads(path.read_text())

    def broken(*sections: str) -> None:
        """Those lists name files that are not there, with labels of no form."""
        rows = {name: [row | {"image": "gone.png", "label": "d"} for row in content[name]] for name in sections}
        path.write_text(json.dumps(content | rows))

    broken("training", "validation")
    assert len(load_labelled_rows(path, ["test"], NAMES)["test"]) == 4
    broken("test")
    assert set(load_labelled_rows(path, ["training", "validation"], NAMES)) == {"training", "validation"}
    assert not caplog.text
    broken("training")
    with pytest.raises(ValueError, match=r"gone\.png"):
        load_labelled_rows(path, ["training"], NAMES)


def test_test_list_without_labels_leaves_the_validation_rows_to_judge(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, {"training": BOTH, "validation": BOTH, "test": [None, None]})
    rows = load_labelled_rows(path, ["test"], NAMES)["test"]
    assert [row["id"] for row in rows] == [f"validation-{i}" for i in range(4)]
    assert "No row of the test list can be judged: the validation rows" in caplog.text


def test_patients_of_two_lists_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, {"training": BOTH, "validation": BOTH, "test": BOTH})
    content = json.loads(path.read_text())
    load_labelled_rows(path, ["training", "validation", "test"], NAMES)
    assert not caplog.text
    content["validation"][0]["patient"] = "training-p1"
    content["test"][3]["patient"] = "training-p0"
    content["test"].append(content["training"][1] | {"label": None})  # judges nothing
    path.write_text(json.dumps(content))
    for _ in range(2):
        load_labelled_rows(path, ["training", "validation"], NAMES)
    common = "have patients or images in common (1), so that figures on them are too good"
    assert caplog.text.count(f"training and validation {common}: training-p1. Split by patient") == 1
    assert caplog.text.count(f"training and test {common}: training-p0. Split by patient") == 1


def test_ids_that_start_anew_in_each_list_are_no_patients(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, {"training": BOTH, "validation": BOTH})
    content = json.loads(path.read_text())
    for section in ("training", "validation"):
        for index, row in enumerate(content[section]):
            del row["patient"]
            row |= {"id": str(index), "image": f"{section}-{index}.png"}
            (tmp_path / row["image"]).touch()
    path.write_text(json.dumps(content))
    load_labelled_rows(path, ["training", "validation"], NAMES)
    assert not caplog.text
    content["validation"][2]["image"] = "./training-0.png"
    path.write_text(json.dumps(content))
    load_labelled_rows(path, ["training", "validation"], NAMES)
    assert "training and validation have patients or images in common (1)" in caplog.text


def test_empty_patients_are_one_each(tmp_path: Path) -> None:
    path = write(tmp_path, {"training": BOTH * 4})
    content = json.loads(path.read_text())
    for index, row in enumerate(content["training"]):
        row["patient"] = (None, math.nan, "")[index % 3]
    path.write_text(json.dumps(content))
    rows = load_labelled_rows(path, ["training", "validation"], NAMES, validation_fraction=0.25)
    assert [len(rows[name]) for name in ("training", "validation")] == [12, 4]


def test_names_that_are_no_list_or_occur_twice_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {"training": BOTH})
    with pytest.raises(ValueError, match=r"class_names must be a list, got '\[a, b\]': quote each name"):
        load_labelled_rows(path, ["training"], "[a, b]")
    for names, message in (("abc", "must have a list of names under label_names"), (["a", "b", "a"], "again 'a'")):
        path = write(tmp_path, {"training": BOTH}, names=names)
        with pytest.raises(ValueError, match=message):
            load_labelled_rows(path, ["training"], ["a"])


@pytest.mark.parametrize("options", [{"uncertain": "one"}, {"uncertain": {"a": "one"}}, {"blank": "one"}])
def test_a_policy_that_is_none_is_named_once(tmp_path: Path, options: dict[str, Any]) -> None:
    path = write(tmp_path, {"training": BOTH})
    with pytest.raises(ValueError, match=f"^{next(iter(options))} must be one of ignore, ones, zeros, got 'one'"):
        load_labelled_rows(path, ["training"], NAMES, **options)


@pytest.mark.parametrize("names", [["a", "d"], [], ["a", "a"]])
def test_unknown_classes_are_refused(tmp_path: Path, names: list[str]) -> None:
    path = write(tmp_path, {"training": BOTH})
    with pytest.raises(ValueError, match="class_names must be different classes"):
        load_labelled_rows(path, ["training"], names)


def test_class_of_one_value_stops_training_and_warns_elsewhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, {"training": [[1, 0, 0], [0, 1, 0]] * 2, "validation": BOTH})
    with pytest.raises(ValueError, match=r"does not hold for c \(0 present, 4 absent\).*--class_names"):
        load_labelled_rows(path, ["training"], NAMES)
    path = write(tmp_path, {"training": BOTH, "validation": [[1, 0, 0], [0, 1, 0]]})
    with caplog.at_level(logging.WARNING):
        load_labelled_rows(path, ["training", "validation"], NAMES)
    assert "validation: no figure is possible for c (0 present, 2 absent)" in caplog.text


def test_own_list_of_a_fraction_is_taken_and_an_empty_class_in_it_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {"training": BOTH * 3, "validation": BOTH, "training_10": BOTH})
    assert len(load_labelled_rows(path, ["training"], NAMES, label_fraction=10)["training"]) == 4
    path = write(tmp_path, {"training": BOTH * 3, "validation": BOTH, "training_10": BOTH[:2]})
    with pytest.raises(ValueError, match=r"at label_fraction 10 this.*larger --label_fraction"):
        load_labelled_rows(path, ["training"], NAMES, label_fraction=10)


def test_own_list_of_a_fraction_without_training_rows_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {"training": BOTH * 3, "validation": BOTH, "training_10": [None] * 4})
    with pytest.raises(ValueError, match=r"The list training_10 .* must have rows with labels"):
        load_labelled_rows(path, ["training"], NAMES, label_fraction=10)


def test_policy_of_a_class_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {"training": BOTH * 3, "validation": BOTH})
    with pytest.raises(ValueError, match="uncertain must name classes among a, b, c, got 'A'"):
        load_labelled_rows(path, ["training"], NAMES, uncertain={"A": "ones"})


def test_drawn_fractions_are_nested_by_patient_and_keep_every_class(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = [[int(i % 40 == 0), int(i % 3 == 0), int(i % 5 == 0)] for i in range(400)]
    path = write(tmp_path, {"training": labels, "validation": BOTH})

    def draw(percent: float, seed: int = 0) -> set[str]:
        rows = load_labelled_rows(path, ["training"], NAMES, label_fraction=percent, seed=seed)["training"]
        return {row["id"] for row in rows}

    with caplog.at_level(logging.WARNING):
        one, ten = draw(1), draw(10)
    assert one <= ten
    assert 4 <= len(one) <= 8
    assert 40 <= len(ten) <= 44
    assert len({name.split("-")[1] for name in one}) == len(one)
    assert "joined them" in caplog.text
    assert draw(10) == ten != draw(10, seed=1)
    for percent in (0, 101):
        with pytest.raises(ValueError, match="label_fraction must be percent"):
            draw(percent)


def test_weights_even_out_the_classes() -> None:
    rows = [{"label": np.array(v, np.float32)} for v in [[1, 0], [1, 0], [1, 0], [0, 1], [0, np.nan]]]
    np.testing.assert_allclose(class_weights(rows, False), [2 / 3, 3.0])
    exclusive = [{"label": np.array(v, np.float32)} for v in [[1, 0], [1, 0], [1, 0], [0, 1]]]
    weights = class_weights(exclusive, True)
    assert float(weights[1] / weights[0]) == pytest.approx(3)
    assert float((weights * np.array([3, 1])).sum() / 4) == pytest.approx(1)
    assert class_weights([{"label": np.array([int(i == 0)], np.float32)} for i in range(99)], False) == 10


def test_groups_are_the_classes_where_a_row_has_one() -> None:
    def rows(*labels: list[float]) -> list[dict[str, Any]]:
        return [{"label": np.array(label, np.float32)} for label in labels]

    assert label_groups(rows([1], [0], [1]), False) == [1, 0, 1]
    assert label_groups(rows([0, 0, 1], [1, 0, 0]), True) == [2, 0]
    with pytest.raises(ValueError, match="balanced_batches needs one class or classes that exclude each other, got 2"):
        label_groups(rows([0, 1]), False)
    with pytest.raises(ValueError, match=r"label is known, 1 of 2 are not: give --uncertain .* --blank zeros"):
        label_groups(rows([1], [np.nan]), False)


def test_labels_of_an_evaluation_are_read_with_what_is_not_known() -> None:
    labels = [[1, 0, -1], [0, None, float("nan")], {"b": 1}, "c", 0, None]
    rows: list[dict[str, Any]] = [{"id": str(index), "label": label} for index, label in enumerate(labels)]
    found = with_read_labels(rows, "list", NAMES)
    nan = np.nan
    expected = [[1, 0, nan], [0, nan, nan], [nan, 1, nan], [0, 0, 1], [1, 0, 0], [nan, nan, nan]]
    np.testing.assert_array_equal([row["label"] for row in found], expected)
    assert {row["label"].dtype for row in found} == {np.dtype(np.float32)}
    unlabelled = [{"id": "a"}, {"id": "b", "label": None}]
    assert with_read_labels(unlabelled, "list", NAMES) == unlabelled


def test_labels_without_names_are_lists_of_one_length() -> None:
    rows: list[dict[str, Any]] = [{"id": "a", "label": [1, None]}, {"id": "b", "label": [0, 1]}]
    np.testing.assert_array_equal([row["label"] for row in with_read_labels(rows, "list", [])], [[1, np.nan], [0, 1]])
    with pytest.raises(ValueError, match="x: a datalist without label_names must have lists as labels, got 'nodule'"):
        with_read_labels([{"id": "a", "label": "nodule"}], "x", [])
    with pytest.raises(ValueError, match="row 1, id 'b': there must be one value for each of the 2 classes, got 3"):
        with_read_labels([rows[0], {"id": "b", "label": [0, 1, 1]}], "x", [])
