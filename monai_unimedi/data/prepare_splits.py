# SPDX-License-Identifier: Apache-2.0
"""Splits of a prepared corpus: official ones stay, missing ones are drawn by patient; label fractions.

A drawn split depends on the patients and the seed alone. The fractions of one seed are nested: what is in
``training_1`` is in ``training_10``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monai_unimedi.data.datalist import split_by_patient
from monai_unimedi.data.hashing import stable_hash

__all__ = ["SPLITS", "label_fractions", "shared_patients", "split_rows"]

Row = dict[str, Any]
SPLITS = ("training", "validation", "test")
PERCENTS = (1, 10)


def split_rows(
    sections: Mapping[str, Sequence[Row]], amounts: Mapping[str, float], seed: int = 42
) -> tuple[dict[str, list[Row]], list[str]]:
    """Draws the splits that the corpus lacks from its training rows, no patient in two of them.

    Args:
        sections: rows by list. Rows of ``training`` are the ones drawn from; a list that has rows stays.
        amounts: of ``validation`` and ``test``: a share of the patients below 1, or a number of rows; 0 for
            no such split.
        seed: of the draw.

    Returns:
        The lists, and a sentence about each split that was drawn or could not be.
    """
    lists = {name: list(rows) for name, rows in sections.items() if rows}
    notes: list[str] = []
    for name in ("test", "validation"):
        amount = amounts.get(name, 0)
        if lists.get(name) or not lists.get("training") or amount <= 0:
            continue
        patients = len({row["patient"] for row in lists["training"]})
        if patients < 3:
            notes.append(f"no {name} list: {patients} patients are too few to split")
            continue
        share = _share(lists["training"], amount, patients)
        lists["training"], lists[name] = split_by_patient(lists["training"], share, seed, name)
        drawn = len({row["patient"] for row in lists[name]})
        notes.append(f"{name}: {drawn} of {patients} training patients, drawn with seed {seed}")
    order = [*SPLITS, *sorted(set(lists) - set(SPLITS))]
    return {name: lists[name] for name in order if lists.get(name)}, notes


def _share(rows: Sequence[Row], amount: float, patients: int) -> float:
    """The share of the patients; of a number of rows at most a tenth, where the corpus is smaller than
    meant."""
    return amount if amount < 1 else min(amount / len(rows), max(0.1, 1 / patients))


def label_fractions(rows: Sequence[Row], seeds: Sequence[int]) -> dict[str, list[Row]]:
    """``training_1`` and ``training_10``: 1 and 10 % of the rows in their order, at least one.

    Args:
        rows: of the training list.
        seeds: the first makes ``training_1``, a further one ``training_1_seed43``.
    """
    lists: dict[str, list[Row]] = {}
    for number, seed in enumerate(seeds):
        order = np.random.RandomState(stable_hash("fraction", seed) % 2**32).permutation(len(rows))
        for percent in PERCENTS:
            count = max(1, round(len(rows) * percent / 100))
            name = f"training_{percent}" + (f"_seed{seed}" if number else "")
            lists[name] = [rows[index] for index in sorted(order[:count])]
    return lists


def shared_patients(lists: Mapping[str, Sequence[Row]]) -> int:
    """Patients that are in more than one of training, validation and test."""
    patients = [{row["patient"] for row in lists.get(name, ())} for name in SPLITS]
    return len((patients[0] & patients[1]) | (patients[0] & patients[2]) | (patients[1] & patients[2]))
