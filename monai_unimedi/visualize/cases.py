# SPDX-License-Identifier: Apache-2.0
"""What is known of one evaluated image: its findings, which other cases equal it, which lie nearest to it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "choose_examples",
    "describe_findings",
    "finding_indices",
    "finding_name",
    "findings_key",
    "nearest",
]


def finding_indices(arrays: Mapping[str, Any], row: int, label_names: Sequence[str]) -> list[int] | None:
    """Positions in ``label_names`` of the findings a case has; None where nothing is known of them."""
    label = None if arrays.get("label") is None else torch.as_tensor(arrays["label"][row])
    if label is not None and not label.isnan().all():
        return torch.nonzero(label > 0).flatten().tolist()
    if arrays.get("findings") is not None:
        present = {finding["finding"] for finding in arrays["findings"][row]}
        return [index for index, name in enumerate(label_names) if name in present]
    return None


def finding_name(index: int, label_names: Sequence[str]) -> str:
    """A finding in words."""
    return label_names[index].replace("_", " ") if index < len(label_names) else f"label {index}"


def findings_key(arrays: Mapping[str, Any], row: int) -> Hashable:
    """Equal keys make a hit: the set of (finding, side, zone, size), else the labels, unknown ones as None, else
    None."""
    if arrays.get("findings") is not None:
        places = ("finding", "side", "zone", "size")
        return frozenset(tuple(finding.get(place) for place in places) for finding in arrays["findings"][row])
    if arrays.get("label") is not None:
        return tuple(None if value != value else value for value in torch.as_tensor(arrays["label"][row]).tolist())
    return None


def compare_findings(
    one: tuple[Mapping[str, Any], int], two: tuple[Mapping[str, Any], int], label_names: Sequence[str]
) -> str | None:
    """How the findings of two cases, (arrays, row) each, relate.

    Returns:
        ``same``, ``shared`` (a finding in common), ``other``, or None where nothing is known of one of them.
    """
    indices = [finding_indices(*case, label_names) for case in (one, two)]
    if indices[0] is None or indices[1] is None:
        return None
    if findings_key(*one) == findings_key(*two):
        return "same"
    return "shared" if set(indices[0]) & set(indices[1]) else "other"


def describe_findings(
    arrays: Mapping[str, Any], row: int, label_names: Sequence[str], in_full: bool
) -> list[dict[str, Any]] | None:
    """Findings of a case for display.

    Args:
        arrays: evaluation arrays of one source.
        row: the case.
        label_names: names, in the order of the label's columns and of the lesion mask's bits.
        in_full: with side, zone and size; False gives names of ``label_names`` only.

    Returns:
        ``{"name", "colour", "detail"}`` each, ``colour`` being the position in ``label_names``; an empty list
        where the case has none, None where nothing is known.
    """
    indices = finding_indices(arrays, row, label_names)
    if indices is None:
        return None
    rows = arrays["findings"][row] if in_full and arrays.get("findings") is not None else []
    places = {finding["finding"]: _place(finding) for finding in rows}
    details = {index: places.get(name, "") for index, name in enumerate(label_names)}
    return [
        {"name": finding_name(index, label_names), "colour": index, "detail": details.get(index, "")}
        for index in indices
    ]


def nearest(query: Tensor, pool: Tensor, count: int) -> list[tuple[int, float]]:
    """Rows of the pool by falling cosine similarity to the query; ties go to the lower row.

    Args:
        query: (E,), L2-normalised.
        pool: (N, E), L2-normalised.
        count: how many.
    """
    similarity = pool.float() @ query.float()
    order = torch.argsort(similarity, descending=True, stable=True)[:count].tolist()
    return [(row, float(similarity[row])) for row in order]


def choose_examples(arrays: Mapping[str, Any], label_names: Sequence[str], count: int) -> list[int]:
    """Rows to show, chosen without looking at a result: each finding's first case in turn, or evenly spaced.

    Cases with one finding come before cases with several, so that each picture shows one thing.
    """
    total = len(arrays["id"])
    known = [finding_indices(arrays, row, label_names) or [] for row in range(total)]
    by_clarity = sorted(range(total), key=lambda row: (len(known[row]), row))
    queues = [[row for row in by_clarity if index in known[row]] for index in range(len(label_names))]
    in_turn = [queue[turn] for turn in range(count) for queue in queues if turn < len(queue)]
    spaced = [position * total // max(count, 1) for position in range(count)]
    return list(dict.fromkeys([*in_turn, *spaced, *range(total)]))[:count]


def _place(finding: Mapping[str, Any]) -> str:
    words = [
        str(finding[key]) for key in ("size", "side", "zone") if finding.get(key) not in (None, "", "none")
    ]
    return ", ".join(words)
