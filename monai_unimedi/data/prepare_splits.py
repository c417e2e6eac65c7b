# SPDX-License-Identifier: Apache-2.0
"""Splits of a prepared corpus: official ones stay, missing ones are drawn by patient; label fractions.

A drawn split depends on the patients and the seed alone, and a patient of two sources is in one split. The
fractions of one seed are nested: what is in ``training_1`` is in ``training_10``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monai_unimedi.data.hashing import stable_hash
from monai_unimedi.data.patient_split import draw_patients, patients_of

__all__ = ["SPLITS", "label_fractions", "shared_patients", "split_sources"]

Row = dict[str, Any]
Lists = dict[str, list[Row]]
SPLITS = ("training", "validation", "test")
PERCENTS = (1, 10)


def split_sources(
    sources: Mapping[str, Mapping[str, Sequence[Row]]], amounts: Mapping[str, float], seed: int = 42
) -> dict[str, tuple[Lists, list[str]]]:
    """Draws the splits that a corpus lacks from its training rows, no patient in two of them whatever the
    source of his rows.

    Args:
        sources: rows by source and list. Rows of ``training`` are the ones drawn from; a list that has rows
            stays.
        amounts: of ``validation`` and ``test``: a share of each source's patients below 1, or a number of
            rows; 0 for no such split.
        seed: of the draw.

    Returns:
        By source the lists, and a sentence about each split that was drawn or could not be.
    """
    lists = {
        source: {name: list(rows) for name, rows in sections.items() if rows} for source, sections in sources.items()
    }
    notes: dict[str, list[str]] = {source: [] for source in lists}
    for name in ("test", "validation"):
        amount = amounts.get(name, 0)
        waiting = [own for own, found in lists.items() if found.get("training") and not found.get(name)]
        waiting.sort(key=lambda own: (len(patients_of(lists[own]["training"])), own))
        while waiting and amount > 0:  # the smaller list first: it has fewer patients to choose from
            source = waiting[0]
            held_out, taken = _elsewhere(lists, source, name, waiting)
            notes[source].append(_draw(lists[source], name, amount, seed, held_out, taken))
            waiting = waiting[1:]
    return {source: (_in_order(found), notes[source]) for source, found in lists.items()}


def _elsewhere(lists: Mapping[str, Lists], source: str, name: str, waiting: Sequence[str]) -> tuple[set[str], set[str]]:
    """Patients of other sources that are in the list, and those that are in another list and stay there: the
    training rows of a source that waits for its draw do not."""
    held_out: set[str] = set()
    taken: set[str] = set()
    for own, found in lists.items():
        for split in SPLITS if own != source else ():
            if split == name:
                held_out |= patients_of(found.get(split, ()))
            elif split != "training" or own not in waiting:
                taken |= patients_of(found.get(split, ()))
    return held_out, taken


def _draw(lists: Lists, name: str, amount: float, seed: int, held_out: set[str], taken: set[str]) -> str:
    """Moves the drawn patients' rows from training to the list; returns the sentence about it."""
    rows = lists["training"]
    patients = patients_of(rows)
    if len(patients) < 3:
        return f"no {name} list: {len(patients)} patients are too few to split"
    chosen = draw_patients(patients, _share(rows, amount, len(patients)), seed, held_out, taken)
    if not 0 < len(chosen) < len(patients):
        return f"no {name} list: the patients are all in {name if chosen else 'other'} lists of the other source"
    lists["training"] = [row for row in rows if str(row["patient"]) not in chosen]
    lists[name] = [row for row in rows if str(row["patient"]) in chosen]
    return f"{name}: {len(chosen)} of {len(patients)} training patients, drawn with seed {seed}"


def _in_order(lists: Lists) -> Lists:
    order = [*SPLITS, *sorted(set(lists) - set(SPLITS))]
    return {name: lists[name] for name in order if lists.get(name)}


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


def shared_patients(*sources: Mapping[str, Sequence[Row]]) -> int:
    """Patients that are in more than one of training, validation and test, over all sources."""
    patients = [{p for lists in sources for p in patients_of(lists.get(name, ()))} for name in SPLITS]
    return len((patients[0] & patients[1]) | (patients[0] & patients[2]) | (patients[1] & patients[2]))
