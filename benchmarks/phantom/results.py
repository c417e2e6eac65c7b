# SPDX-License-Identifier: Apache-2.0
"""Results as data: one line a figure of a run, appended when the run is done, and committed."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.phantom.runs import Run, figures_of

__all__ = ["COLUMNS", "Results", "append", "done", "read"]

COLUMNS = ("row", "seed", "budget", "steps", "seconds", "commit", "figure", "value", "low", "high", "count")
Results = list[dict[str, str]]
_LOCK = threading.Lock()


def read(path: Path) -> Results:
    """All lines; none where there is no file yet.

    Raises:
        ValueError: When the file has other columns.
    """
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path} must have the columns {', '.join(COLUMNS)}, got {reader.fieldnames}.")
        return list(reader)


def done(lines: Iterable[Mapping[str, str]]) -> dict[Run, float]:
    """Finished runs with their seconds."""
    return {Run(line["row"], int(line["seed"]), line["budget"]): float(line["seconds"]) for line in lines}


def append(path: Path, run: Run, metrics: Mapping[str, Any], steps: int, seconds: float, commit: str) -> None:
    """Adds the figures of one run in one write."""
    shared = (run.row, run.seed, run.budget, steps, round(seconds), commit)
    with _LOCK, path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if file.tell() == 0:
            writer.writerow(COLUMNS)
        for name, figure in figures_of(metrics):
            numbers = (f"{figure[key]:.5g}" for key in ("value", "low", "high"))
            writer.writerow((*shared, name, *numbers, figure["count"]))
