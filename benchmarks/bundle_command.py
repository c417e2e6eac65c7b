# SPDX-License-Identifier: Apache-2.0
"""A bundle's own command, as a user gives it, its output in a log; and how many steps it takes in a given time."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from monai_unimedi.handlers.history import read_history

__all__ = ["REPOSITORY", "run_bundle", "steps_in", "threads_of_each"]

PACE_STEPS = 40

REPOSITORY = Path(__file__).resolve().parents[1]


def run_bundle(
    bundle: str, config: str, options: Mapping[str, Any], log: Path, threads: int, overlays: Sequence[str] = ()
) -> None:
    """Runs ``python -m monai.bundle run`` on one config from the repository's root.

    Args:
        bundle: its folder's name.
        config: ``train``, ``evaluate`` or ``inference``.
        options: overrides of the config's keys.
        log: file that its output is added to.
        threads: of computation.
        overlays: configs laid over it, paths from the repository's root.

    Raises:
        RuntimeError: When it fails; names the log.
    """
    words = [word for key, value in options.items() for word in (f"--{key}", _word(value))]
    file: Any = f"bundles/{bundle}/configs/{config}.json"
    file = str([file, *overlays]) if overlays else file
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(REPOSITORY)}
    with log.open("a") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "monai.bundle", "run", "--config_file", file, *words],
            cwd=REPOSITORY, env=environment, stdout=stream, stderr=stream, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{config} of {bundle} ended with {done.returncode}, see {log}.")


def steps_in(seconds: float, bundle: str, options: Mapping[str, Any], folder: Path, threads: int) -> int:
    """Steps of training in a time, from a short run that should have the machine to itself.

    Args:
        seconds: of training.
        bundle: its folder's name.
        options: overrides of the config's keys, less the output folders.
        folder: of the short run; one that is there is not done again.
        threads: of computation.

    Returns:
        At least 8. The first half of the short run, which reads the images, does not count.
    """
    if not (folder / "training.json").is_file():
        length = {"num_steps": PACE_STEPS, "steps_per_epoch": PACE_STEPS, "history_interval": 1}
        places = {"output_dir": folder, "model_dir": folder / "models", "resume": False}
        run_bundle(bundle, "train", {**options, **length, "val_interval": 1000, **places}, folder / "log.txt", threads)
    times = [line["seconds"] for line in read_history(folder) if "loss" in line]
    return max(8, round(seconds / statistics.median(b - a for a, b in pairwise(times[len(times) // 2 :]))))


def threads_of_each(jobs: int) -> int:
    """Of one of so many trainings at a time."""
    return max(1, (os.cpu_count() or 1) // jobs)


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (list, dict, bool)) else str(value)
