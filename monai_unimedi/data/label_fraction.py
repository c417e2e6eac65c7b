# SPDX-License-Identifier: Apache-2.0
"""A share of the labels to learn from, drawn by patient so that no class is lost; lists that are such a share."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from monai_unimedi.data.hashing import stable_hash

__all__ = ["draw_fraction", "each_row_once", "read_percent", "whole_section"]

logger = logging.getLogger(__name__)
Row = dict[str, Any]
_FRACTION = re.compile(r"(?P<whole>(.+_)?training)_\d+(\.\d+)?(_seed\d+)?")
_PLACES = ("image", "lesion_mask", "shard_row", "shard_digest")  # of a row of shards; another in each section


def whole_section(section: str) -> str | None:
    """The list that a label fraction is a share of: ``training`` of ``training_10``; None for other lists."""
    found = _FRACTION.fullmatch(section)
    return found["whole"] if found else None


def each_row_once(sections: Mapping[str, Sequence[Row]]) -> list[Row]:
    """The rows of all lists of a datalist but for those that label fractions repeat from the list they are of."""
    whole = {name: whole_section(name) for name in sections}
    known = {name: set(map(_content, sections.get(name, ()))) for name in whole.values() if name is not None}
    return [
        row
        for name, rows in sections.items()
        for row in rows
        if (of := whole[name]) is None or of not in sections or _content(row) not in known[of]
    ]


def _content(row: Row) -> str:
    """A row as text, equal for the copies of one row, in shards too."""
    left_out = _PLACES if "shard_row" in row else ()
    return json.dumps({key: value for key, value in row.items() if key not in left_out}, sort_keys=True, default=str)


def read_percent(label_fraction: Any) -> float:
    """A label fraction in percent.

    Raises:
        ValueError: When it is no number above 0 and up to 100.
    """
    try:
        percent = float(label_fraction)
    except (TypeError, ValueError):
        percent = 0.0
    if not 0 < percent <= 100:
        raise ValueError(f"label_fraction must be percent above 0 and up to 100, got {label_fraction}.")
    return percent


def draw_fraction(
    rows: list[Row],
    given: Sequence[Row] | None,
    percent: float,
    seed: int,
    wanted: Mapping[Hashable, str],
    facts_of: Callable[[Row], Collection[Hashable]],
) -> list[Row]:
    """Rows of a share of the patients, at least one; smaller shares lie within larger ones.

    Args:
        rows: the training rows, with ``id`` and ``patient``.
        given: the datalist's own list of that share, taken in place of a draw; None where there is none.
        percent: share of the patients.
        seed: of the draw.
        wanted: what must be in the draw, such as a class that is present, and the class's name. The next patients who
            have it join a draw that lacks it, with a warning; what nobody has is left to the caller's checks.
        facts_of: what of this a row has; called for the drawn rows and for as many others as needed.

    Raises:
        ValueError: When ``percent`` is not above 0 and up to 100.
    """
    percent = read_percent(percent)
    if percent == 100:
        return rows
    if given is not None:
        kept = {row["id"] for row in rows}  # patients split off for validation stay out
        return [row for row in given if row["id"] in kept]
    by_patient: dict[str, list[Row]] = {}
    for row in rows:
        by_patient.setdefault(row["patient"], []).append(row)
    patients = sorted(by_patient)
    order = np.random.RandomState(stable_hash("fraction", seed) % 2**32).permutation(len(patients))
    count = max(1, round(len(patients) * percent / 100))
    groups = [by_patient[patients[i]] for i in order]
    chosen, added = _complete(groups, count, wanted, facts_of)
    drawn = [row for row in rows if row["patient"] in chosen]
    logger.info("%g %% of the labels: %d of %d rows, %d patients", percent, len(drawn), len(rows), len(chosen))
    if added:
        logger.warning(
            "%g %% of the patients had one value only of %s; %d patients with the other joined them.",
            *(percent, ", ".join(sorted(set(added))), len(added)),
        )
    return drawn


def _complete(
    groups: Sequence[Sequence[Row]],
    count: int,
    wanted: Mapping[Hashable, str],
    facts_of: Callable[[Row], Collection[Hashable]],
) -> tuple[set[str], list[str]]:
    """The first `count` patients and those needed beside them; the class for each of the latter."""
    facts: dict[int, set[Hashable]] = {}

    def has(index: int, fact: Hashable) -> bool:
        if index not in facts:
            facts[index] = {found for row in groups[index] for found in facts_of(row)}
        return fact in facts[index]

    chosen, added = list(range(count)), []
    for fact, name in wanted.items():
        if any(has(index, fact) for index in chosen):
            continue
        able = next((index for index in range(count, len(groups)) if has(index, fact)), None)
        if able is not None:
            chosen.append(able)
            added.append(name)
    return {groups[index][0]["patient"] for index in chosen}, added
