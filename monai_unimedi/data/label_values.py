# SPDX-License-Identifier: Apache-2.0
"""One label, in any of the forms that datalists have, as numbers in the order of the classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["POLICIES", "read_each_label", "read_label", "with_read_labels"]

POLICIES = {"ignore": math.nan, "ones": 1.0, "zeros": 0.0}
UNCERTAIN = -1.0
_LISTED = 20


def read_label(
    label: Any,
    names: Sequence[str],
    class_names: Sequence[str],
    is_exclusive: bool,
    policy: Mapping[str, str],
    blank: str = "ignore",
) -> np.ndarray:
    """A label as float32 (F,): 1, 0, or NaN where it is not known.

    Args:
        label: a list in the order of `names`, an index into them (where they are one: its value), a mapping of class
            to value (of exclusive classes those that it leaves out are 0), or a class's name.
        names: of the datalist's classes; empty where it does not say.
        class_names: the F classes asked for.
        is_exclusive: exactly one must be 1.
        policy: by class what -1 becomes, a word of `POLICIES`.
        blank: what null becomes, ``ignore`` or ``zeros``.

    Raises:
        ValueError: When it is of no such form, or a value is none of 1, 0, -1 and null.
    """
    values = _by_class(label, names or class_names)
    left_out = 0 if is_exclusive else None
    found = np.array(
        [_value(name, values.get(name, left_out), policy[name], blank) for name in class_names], dtype=np.float32
    )
    if is_exclusive and (np.isnan(found).any() or found.sum() != 1):
        shown = [f"{name} (not known)" if value != 1 else name for name, value in zip(class_names, found) if value]
        raise ValueError(
            f"classes exclude each other, so exactly one must be 1 and no one uncertain, got {shown or 'none'}"
        )
    return found


def read_each_label(rows: Sequence[Mapping[str, Any]], where: str, *reading: Any) -> list[np.ndarray | None]:
    """The label of each row by `read_label`, None where it has none.

    Args:
        rows: with ``id``.
        where: names the list in the message.
        reading: arguments of `read_label` behind the label.

    Raises:
        ValueError: When labels cannot be read; one message names all of them by row and id.
    """
    found: list[np.ndarray | None] = []
    wrong = []
    for index, row in enumerate(rows):
        try:
            found.append(None if row.get("label") is None else read_label(row["label"], *reading))
        except ValueError as error:
            wrong.append(f"row {index}, id {row.get('id')!r}: {error}")
    if wrong:
        more = f"; and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
        raise ValueError(f"{len(wrong)} labels of {where} do not fit: {'; '.join(wrong[:_LISTED])}{more}.")
    return found


def with_read_labels(rows: Sequence[dict[str, Any]], where: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows with ``label`` as float32 (F,): 1, 0, or NaN for what is null, -1 or missing; as they are where no row has
    one.

    Args:
        rows: of one list, with ``id``.
        where: names the list in the message.
        names: of the F classes; where the datalist has none, every label must be a list of the same length.

    Raises:
        ValueError: See `read_each_label`.
    """
    given = [row["label"] for row in rows if row.get("label") is not None]
    if not given:
        return list(rows)
    size = len(given[0]) if isinstance(given[0], list) else 0
    classes = list(names) or [f"label {index}" for index in range(size)]
    if not classes:
        raise ValueError(
            f"{where}: a datalist without label_names must have lists as labels, got {given[0]!r}: add label_names."
        )
    labels = read_each_label(rows, where, classes, classes, False, dict.fromkeys(classes, "ignore"))
    unknown = np.full(len(classes), math.nan, dtype=np.float32)
    return [{**row, "label": unknown if label is None else label} for row, label in zip(rows, labels)]


def _by_class(label: Any, names: Sequence[str]) -> dict[str, Any]:
    if isinstance(label, Mapping):
        unknown = sorted(str(name) for name in set(label) - set(names))
        if unknown:
            raise ValueError(f"unknown class {', '.join(map(repr, unknown))}, the classes are {list(names)}")
        return dict(label)
    if isinstance(label, str):
        if label not in names:
            raise ValueError(f"unknown class {label!r}, the classes are {list(names)}")
        return {name: int(name == label) for name in names}
    if isinstance(label, (int, float)) and len(names) == 1:
        return {names[0]: label}
    if isinstance(label, int) and not isinstance(label, bool):
        if not 0 <= label < len(names):
            raise ValueError(f"a class's index must lie in [0, {len(names)}), got {label}")
        return {name: int(index == label) for index, name in enumerate(names)}
    if isinstance(label, Sequence):
        if len(label) != len(names):
            raise ValueError(f"there must be one value for each of the {len(names)} classes, got {len(label)}")
        return dict(zip(names, label))
    raise ValueError(f"a label must be a list, an index, a mapping or a name, got a {type(label).__name__}")


def _value(name: str, value: Any, policy: str, blank: str) -> float:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return POLICIES[blank]
    if isinstance(value, (bool, int, float)) and float(value) in (0.0, 1.0):
        return float(value)
    if isinstance(value, (int, float)) and float(value) == UNCERTAIN:
        return POLICIES[policy]
    raise ValueError(f"the value of {name!r} must be 1, 0, -1 (uncertain) or null, got {value!r}")
