# SPDX-License-Identifier: Apache-2.0
"""What each case did to a run's figures, kept beside the results, so that runs are compared case by case."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from torch import Tensor

from benchmarks.phantom.runs import REFERENCE, Run
from monai_unimedi.metrics.influence import read_influence

__all__ = ["FOLDER", "influence_path", "keep_influence", "load_influence"]

FOLDER = "influence"
EXTRA = "extra.cross_dimension."  # of the detail, what the tables show


def influence_path(results: Path, run: Run) -> Path:
    """Of one run, beside the file of its results."""
    folder = run.folder(results.parent / FOLDER)
    return folder.with_name(f"{folder.name}.npz")


def keep_influence(results: Path, run: Run, output: Path, compared: frozenset[str]) -> None:
    """Keeps the influence values of a run's evaluation: of the figures in which rows are compared, and of the full
    method all that the tables show."""
    path = influence_path(results, run)
    path.parent.mkdir(parents=True, exist_ok=True)
    with np.load(run.folder(output) / "influence.npz", allow_pickle=False) as file:
        names = [name for name in file.files if _is_kept(name, run, compared)]
        np.savez_compressed(path, **{name: file[name] for name in names})


def _is_kept(name: str, run: Run, compared: frozenset[str]) -> bool:
    if run.row != REFERENCE:
        return name in compared
    return name in compared or not name.startswith("extra.") or name.startswith(EXTRA)


@cache
def load_influence(path: str) -> dict[str, Tensor]:
    """Of one run, (N,) by name of the figure; empty where there is no file."""
    return read_influence(path) if Path(path).is_file() else {}
