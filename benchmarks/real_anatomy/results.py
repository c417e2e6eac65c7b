# SPDX-License-Identifier: Apache-2.0
"""Figures as data: one line a figure of a run, appended when the run is done, and committed; no image data."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from benchmarks.phantom.results import read as read_results

from .runs import Run

__all__ = ["COLUMNS", "Figure", "Lines", "append", "is_done", "read"]

COLUMNS = ("model", "tested", "seed", "steps", "seconds", "commit", "figure", "value", "low", "high", "count")
Lines = list[dict[str, str]]
Figure = tuple[str, float, float | None, float | None, int]


def read(path: Path) -> Lines:
    """All lines; none where there is no file yet.

    Raises:
        ValueError: When the file has other columns.
    """
    return read_results(path, COLUMNS)


def is_done(lines: Iterable[dict[str, str]], run: Run) -> bool:
    """Whether the run's figures are among the lines."""
    own = (run.model, run.tested, str(run.seed))
    return any((line["model"], line["tested"], line["seed"]) == own for line in lines)


def append(path: Path, run: Run, figures: Iterable[Figure], steps: int, seconds: float, commit: str) -> None:
    """Adds the figures of one run: name, value, ends of the 95 % interval, cases."""
    shared = (run.model, run.tested, run.seed, steps, round(seconds), commit)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if file.tell() == 0:
            writer.writerow(COLUMNS)
        for name, *numbers, count in figures:
            writer.writerow((*shared, name, *("" if n is None else f"{n:.4g}" for n in numbers), count))
