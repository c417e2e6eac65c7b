# SPDX-License-Identifier: Apache-2.0
"""One run of a row: the pre-training bundle's own train and evaluate commands, changed by options alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bundle_command import REPOSITORY, run_bundle

__all__ = ["BUDGETS", "ROWS", "Run", "commit", "execute", "figures_of", "make_phantoms", "planned"]

ROWS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("rows.json").read_text(encoding="utf-8"))
SMOKE = {f"phantom#num_{part}": 48 for part in ("training", "validation", "test")}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"num_steps": 4, "steps_per_epoch": 2, "batch_2d": 8, "batch_3d": 8, **SMOKE},
    "demo": {},  # the bundle's: about 6 minutes on two cores, 10 on one
    "long": {"num_steps": 3000, "steps_per_epoch": 300},  # about 30 minutes
}
SECONDS = {"smoke": 40.0, "demo": 450.0, "long": 2000.0}  # of a run, before any was timed
THREADS = 1  # rounding, and with it every figure, depends on their number
DETAIL = ("extra", "by_finding", "seconds", "phantom")


@dataclass(frozen=True)
class Run:
    """A row of the table trained with one seed."""

    row: str
    seed: int
    budget: str

    def folder(self, output: Path) -> Path:
        """Of this run."""
        return output / self.budget / f"{self.row.replace(' ', '_')}_{self.seed}"


def planned(names: list[str], seeds: list[int], budget: str) -> list[Run]:
    """All runs asked for: seed by seed, so that every row has one result early.

    Raises:
        ValueError: When a row is unknown.
    """
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise ValueError(f"rows must be among {', '.join(ROWS)}; got {', '.join(unknown)}.")
    return [Run(name, seed, budget) for seed in seeds for name in names]


def make_phantoms(output: Path, budget: str) -> None:
    """The budget's phantoms, made by a training of one step; nothing where they are."""
    folder = output / budget
    if (folder / "phantom" / "phantom.json").is_file():
        return
    places = dict.fromkeys(("output_dir", "model_dir"), folder / "first") | {"phantom_dir": folder / "phantom"}
    length = {**BUDGETS[budget], "num_steps": 1, "steps_per_epoch": 1, "resume": False}
    run_bundle("pretrain", "train", {**places, **length}, folder / "first.log", THREADS)


def execute(run: Run, output: Path) -> dict[str, Any]:
    """Trains and evaluates on one thread, or goes on where that was stopped.

    Returns:
        The evaluation's ``metrics.json``.
    """
    folder, row = run.folder(output), ROWS[run.row]
    phantoms = output / run.budget / "phantom"
    shared: dict[str, Any] = {"output_dir": folder, "model_dir": folder / "models", "phantom_dir": phantoms}
    for source in row.get("sources", ()):
        shared[f"datalist_{source}"] = phantoms / f"datalist_{source}.json"
    own = {"seed": run.seed, **BUDGETS[run.budget], **row.get("options", {})}
    run_bundle("pretrain", "train", {**shared, **own}, folder / "log.txt", THREADS)
    known = _evaluation_keys()
    told = {key: value for key, value in row.get("options", {}).items() if key.split("#")[0] in known}
    run_bundle("pretrain", "evaluate", {**shared, **told, "seed": run.seed}, folder / "log.txt", THREADS)
    return dict(json.loads((folder / "metrics.json").read_text(encoding="utf-8")))


def _evaluation_keys() -> set[str]:
    """An evaluation is told of the options that change the network; the others are the training's."""
    config = REPOSITORY / "bundles" / "pretrain" / "configs" / "evaluate.json"
    return set(json.loads(config.read_text(encoding="utf-8")))


def figures_of(metrics: Any, name: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every figure with its interval, by dotted name."""
    if not isinstance(metrics, Mapping):
        return
    if {"value", "low", "high", "count"} <= metrics.keys():
        yield name, metrics
        return
    for key, child in metrics.items():
        if key not in DETAIL:
            yield from figures_of(child, f"{name}.{key}".lstrip("."))


def commit() -> str:
    """Short hash of the code that runs, with + where files differ from it; empty outside a repository."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
