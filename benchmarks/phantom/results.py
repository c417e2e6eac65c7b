# SPDX-License-Identifier: Apache-2.0
"""Results as data: one line a figure of a run, appended when the run is done, and committed."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.phantom.influences import influence_path
from benchmarks.phantom.runs import Run, figures_of

__all__ = ["COLUMNS", "Results", "append", "done", "read", "replace"]

COLUMNS = (
    *("row", "seed", "budget", "precision", "steps", "seconds", "commit"),
    *("figure", "value", "low", "high", "count"),
)
Results = list[dict[str, str]]
_LOCK = threading.Lock()


def read(path: Path, columns: Sequence[str] = COLUMNS) -> Results:
    """All lines, of the driver's results with ``influence``, the file of what each case did; none where there is no
    file yet.

    Raises:
        ValueError: When the file has other columns.
    """
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != tuple(columns):
            raise ValueError(f"{path} must have the columns {', '.join(columns)}, got {reader.fieldnames}.")
        lines = list(reader)
    if tuple(columns) == COLUMNS:
        for line in lines:
            line["influence"] = str(influence_path(path, _run_of(line)))
    return lines


def done(lines: Iterable[Mapping[str, str]]) -> dict[Run, float]:
    """Finished runs with their seconds."""
    return {_run_of(line): float(line["seconds"]) for line in lines}


def append(path: Path, run: Run, metrics: Mapping[str, Any], steps: int, seconds: float, commit: str) -> None:
    """Adds the figures of one run in one write."""
    with _LOCK, path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if file.tell() == 0:
            writer.writerow(COLUMNS)
        writer.writerows(_lines(run, metrics, str(steps), str(round(seconds)), commit))


def replace(path: Path, run: Run, metrics: Mapping[str, Any], commit: str) -> None:
    """Puts new figures in the place of a run's own; steps and seconds stay, and beside the commit that trained it
    stands the one that judged it: ``1a2b3c4/5d6e7f8``."""
    with _LOCK:
        lines = read(path)
        own = [_run_of(line) == run for line in lines]
        first = lines[own.index(True)]
        both = f"{first['commit'].split('/')[0]}/{commit}"
        found = [dict(zip(COLUMNS, line)) for line in _lines(run, metrics, first["steps"], first["seconds"], both)]
        before = [line for line, is_own in zip(lines[: own.index(True)], own) if not is_own]
        after = [line for line, is_own in zip(lines[len(before) :], own[len(before) :]) if not is_own]
        part = path.with_name(f"{path.name}.part")
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
            writer.writerows([*before, *found, *after])
        part.replace(path)


def _lines(run: Run, metrics: Mapping[str, Any], steps: str, seconds: str, commit: str) -> list[tuple[str, ...]]:
    shared = (run.row, str(run.seed), run.budget, run.precision, steps, seconds, commit)
    return [
        (*shared, name, *(f"{figure[key]:.5g}" for key in ("value", "low", "high")), str(figure["count"]))
        for name, figure in figures_of(metrics)
    ]


def _run_of(line: Mapping[str, str]) -> Run:
    return Run(line["row"], int(line["seed"]), line["budget"], line["precision"])
