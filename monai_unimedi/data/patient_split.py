# SPDX-License-Identifier: Apache-2.0
"""Patients that are held out, drawn by a seed: the same in every list that has them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np

from monai_unimedi.data.datalist import is_blank, read_datalist
from monai_unimedi.data.hashing import stable_hash

__all__ = [
    "draw_patients",
    "patients_of",
    "read_splits",
    "split_by_patient",
    "split_sources_by_patient",
    "warn_of_shared_patients",
]

logger = logging.getLogger(__name__)
LISTED = 10  # patients named in one warning
Row = dict[str, Any]


def split_by_patient(
    rows: Sequence[Row],
    fraction: float = 0.1,
    seed: int = 0,
    source: str = "",
    held_out: Collection[str] = (),
    learnt: Collection[str] = (),
) -> tuple[list[Row], list[Row]]:
    """Training and validation rows for a datalist without a validation list: no patient is in both.

    Args:
        rows: each with ``patient``.
        fraction: share of the patients that goes to validation, at least one of them.
        seed: which ones.
        source: named in the log.
        held_out: patients that another list holds out: they are held out here too, and count.
        learnt: patients of another list's training rows: they stay here.

    Raises:
        ValueError: When there are fewer than two patients, other lists leave no choice, or ``fraction`` is not
            between 0 and 1.
    """
    patients = patients_of(rows)
    if len(patients) < 2:
        raise ValueError(
            f"Splitting {source or 'a datalist'} needs two patients at least, got {len(patients)}: "
            "give a validation list."
        )
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie between 0 and 1, got {fraction}.")
    chosen = draw_patients(patients, fraction, seed, held_out, learnt)
    if not 0 < len(chosen) < len(patients):
        where = "held out" if chosen else "learnt from"
        raise ValueError(
            f"Splitting {source or 'a datalist'} needs patients to choose from, all {len(patients)} are "
            f"{where} in the other list: give a validation list."
        )
    training = [row for row in rows if str(row["patient"]) not in chosen]
    validation = [row for row in rows if str(row["patient"]) in chosen]
    logger.info(
        "%s: no validation list, %d of %d patients (%d of %d rows) are split off for validation",
        source or "datalist", len(chosen), len(patients), len(validation), len(rows),
    )  # fmt: skip
    return training, validation


def read_splits(
    sections: Collection[str],
    known: Collection[str],
    read: Callable[[str], list[Row]],
    fraction: float = 0.1,
    seed: int = 0,
) -> dict[str, list[Row]]:
    """The asked lists of a datalist, and those that they come from; no other one is read.

    Validation rows are split off the training rows where there is no list of them; where nothing of a test list can
    be judged, or there is none, the validation rows are, with a warning.

    Args:
        sections: of ``training``, ``validation`` and ``test``.
        known: those of them that the datalist has.
        read: rows of one; may be called for those of `known`.
        fraction: share of the patients that is split off.
        seed: which ones.

    Returns:
        Rows by name; a list that is neither there nor to be had from another is left out.
    """
    found = {"test": read("test")} if "test" in sections and "test" in known else {}
    is_replaced = "test" in sections and not found.get("test")
    needs_validation = "validation" in sections or is_replaced
    if "training" in known and ("training" in sections or (needs_validation and "validation" not in known)):
        found["training"] = read("training")
        if "validation" not in known:
            found["training"], found["validation"] = split_by_patient(found["training"], fraction, seed)
    if needs_validation and "validation" in known:
        found["validation"] = read("validation")
    if is_replaced and "validation" in found:
        why = "No row of the test list can be judged" if "test" in known else "No test list"
        logger.warning("%s: the validation rows, which chose the checkpoint, are judged.", why)
        found["test"] = found["validation"]
    return found


def draw_patients(
    patients: Collection[str],
    fraction: float,
    seed: int,
    held_out: Collection[str] = (),
    learnt: Collection[str] = (),
) -> set[str]:
    """A share of the patients, at least one and not all: those that are held out anyway, then the first others
    of a permutation that depends on the patients and the seed alone. Fewer where the rest is learnt from
    elsewhere; arguments as in `split_by_patient`."""
    known = sorted(patients)
    count = min(max(1, round(fraction * len(known))), len(known) - 1)
    order = np.random.RandomState(stable_hash("split", seed) % 2**32).permutation(len(known))
    chosen = [name for name in known if name in held_out]
    free = [known[i] for i in order if known[i] not in held_out and known[i] not in learnt]
    return {*chosen, *free[: max(0, count - len(chosen))]}


def split_sources_by_patient(
    training: Mapping[str, Sequence[Row]],
    validation: Mapping[str, Sequence[Row]],
    fraction: float = 0.1,
    seed: int = 0,
) -> tuple[dict[str, list[Row]], dict[str, list[Row]]]:
    """Training and validation rows of all sources: `split_by_patient` of those without validation rows, so
    that a patient of two sources is on one side.

    Args:
        training: rows by source.
        validation: rows by source, of those that have them.
        fraction: share of each source's patients.
        seed: which ones.
    """
    kept = {source: list(rows) for source, rows in training.items()}
    held = {source: list(rows) for source, rows in validation.items()}
    waiting = [source for source in kept if source not in held]
    for source in sorted(waiting, key=lambda own: (len(patients_of(kept[own])), own)):
        # the smaller list first: it has fewer patients to choose from
        held_out = {patient for rows in held.values() for patient in patients_of(rows)}
        learnt = {patient for own in held for patient in patients_of(kept.get(own, ()))}
        kept[source], held[source] = split_by_patient(kept[source], fraction, seed, source, held_out, learnt)
    return kept, {source: held[source] for source in [*validation, *waiting]}


def warn_of_shared_patients(
    paths: Sequence[str | os.PathLike], names: Sequence[str], judged_by: Sequence[str] = ()
) -> None:
    """Says which patients are in more than one list of some datalists; a row without one counts by its image.

    Args:
        paths: the datalists, whose lists of one name count together.
        names: of the lists; one that is not there is not compared.
        judged_by: keys of which a row must have one; any row where there are none.
    """
    found: dict[str, set[str]] = {name: set() for name in names}
    for path in paths:
        content = read_datalist(path)
        for name in names:
            found[name] |= {_patient(row) for row in content.get(name, ()) if _counts(row, judged_by)}
    for one, other in combinations(names, 2):
        if shared := sorted(found[one] & found[other]):
            more = ", ..." if len(shared) > LISTED else ""
            _warn_once(
                f"{one} and {other} have patients or images in common ({len(shared)}), so that figures on them are too "
                f"good: {', '.join(shared[:LISTED])}{more}. Split by patient ({', '.join(map(str, paths))})."
            )


def _counts(row: Any, judged_by: Sequence[str]) -> bool:
    is_row = isinstance(row, Mapping) and not (is_blank(row.get("patient")) and not isinstance(row.get("image"), str))
    return is_row and (not judged_by or any(row.get(key) is not None for key in judged_by))


def _patient(row: Row) -> str:
    return os.path.normpath(row["image"]) if is_blank(row.get("patient")) else str(row["patient"])


@lru_cache(maxsize=64)
def _warn_once(message: str) -> None:
    """A run and its evaluation read the same lists several times."""
    logger.warning(message)


def patients_of(rows: Sequence[Row]) -> set[str]:
    """The patients of rows."""
    return {str(row["patient"]) for row in rows}
