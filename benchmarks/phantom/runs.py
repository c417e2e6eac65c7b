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
from monai_unimedi.metrics.table import named_figures
from monai_unimedi.precision import has_bfloat16_units

__all__ = [
    "BUDGETS",
    "PRECISIONS",
    "REFERENCE",
    "ROWS",
    "THREADS",
    "Run",
    "commit",
    "evaluate",
    "evaluation_options",
    "figures_of",
    "make_phantoms",
    "planned",
    "precision_here",
    "train",
]

REFERENCE = "full"
ROWS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("rows.json").read_text(encoding="utf-8"))
SMOKE = {f"phantom#num_{part}": 48 for part in ("training", "validation", "test")}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"num_steps": 4, "steps_per_epoch": 2, "batch_2d": 8, "batch_3d": 8, **SMOKE},
    "demo": {},  # the bundle's
    "long": {"num_steps": 3000, "steps_per_epoch": 300},  # about 30 minutes
}
SECONDS = {"smoke": 40.0, "demo": 450.0, "long": 2000.0}  # of a run, before any was timed
COUNTED = ("num_steps", "steps_per_epoch", "distillation_ramp", "history_interval")  # in steps
PRECISIONS = ("float32", "bfloat16")
RESULTS = (":!benchmarks/phantom/*.csv", ":!benchmarks/phantom/influence", ":!docs")  # not the code that runs
THREADS = 1  # rounding, and with it every figure, depends on their number
DETAIL = (  # left to metrics.json
    *("seconds", "phantom", "extra.slice_selection", "extra.zero_shot", "extra.grounding"),
    "extra.xray_localization.by_finding",
)


@dataclass(frozen=True)
class Run:
    """A row of the table trained with one seed, in one precision; all are judged in float32."""

    row: str
    seed: int
    budget: str
    precision: str = "float32"

    def folder(self, output: Path) -> Path:
        """Of this run."""
        suffix = "" if self.precision == "float32" else f"_{self.precision}"
        return output / self.budget / f"{self.row.replace(' ', '_')}_{self.seed}{suffix}"


def planned(names: list[str], seeds: list[int], budget: str, precision: str = "float32") -> list[Run]:
    """All runs asked for: seed by seed, so that every row has one result early."""
    return [Run(name, seed, budget, precision) for seed in seeds for name in names]


def precision_here() -> str:
    """That of the bundle's trainings on this machine's cores."""
    return "bfloat16" if has_bfloat16_units() else "float32"


def make_phantoms(output: Path, budget: str) -> None:
    """The budget's phantoms, made by a training of one step; nothing where they are."""
    folder = output / budget
    if (folder / "phantom" / "phantom.json").is_file():
        return
    places = dict.fromkeys(("output_dir", "model_dir"), folder / "first") | {"phantom_dir": folder / "phantom"}
    length = {**BUDGETS[budget], "num_steps": 1, "steps_per_epoch": 1, "resume": False}
    run_bundle("pretrain", "train", {**places, **length}, folder / "first.log", THREADS)


def train(run: Run, output: Path, overlays: tuple[str, ...] = ()) -> tuple[int, float]:
    """Trains on one thread, or goes on where that was stopped; returns the optimizer steps, and the seconds of all its
    parts.

    Args:
        run: row, seed and budget.
        output: folder of all runs.
        overlays: further configs, by path.
    """
    folder = run.folder(output)
    own = {"seed": run.seed, "amp": run.precision == "bfloat16", **_length(run), **ROWS[run.row].get("options", {})}
    run_bundle("pretrain", "train", {**_places(run, output), **own}, folder / "log.txt", THREADS, overlays)
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return int(record["steps"]), float(record["seconds"])


def evaluate(run: Run, output: Path) -> dict[str, Any]:
    """Judges the trained model; returns the evaluation's ``metrics.json``; what each case did is beside it."""
    folder = run.folder(output)
    given = {**_places(run, output), **evaluation_options(run), "influence": True}
    run_bundle("pretrain", "evaluate", given, folder / "log.txt", THREADS)
    return dict(json.loads((folder / "metrics.json").read_text(encoding="utf-8")))


def _places(run: Run, output: Path) -> dict[str, Any]:
    folder, phantoms = run.folder(output), output / run.budget / "phantom"
    lists = {f"datalist_{name}": phantoms / f"datalist_{name}.json" for name in ROWS[run.row].get("sources", ())}
    return {"output_dir": folder, "model_dir": folder / "models", "phantom_dir": phantoms, **lists}


def _length(run: Run) -> dict[str, Any]:
    """The budget's options; a row whose steps cost less or more has so many times more or fewer of them, validated as
    often in time."""
    options, times = dict(BUDGETS[run.budget]), ROWS[run.row].get("times_steps", 1)
    if times != 1:
        defaults = json.loads(_config("train").read_text(encoding="utf-8"))
        options |= {key: max(1, round(times * options.get(key, defaults[key]))) for key in COUNTED}
    return options


def evaluation_options(run: Run) -> dict[str, Any]:
    """The seed, and of the row's options those that change the network; the others are the training's."""
    known = json.loads(_config("evaluate").read_text(encoding="utf-8"))
    options = ROWS[run.row].get("options", {})
    return {key: value for key, value in options.items() if key.split("#")[0] in known} | {"seed": run.seed}


def _config(name: str) -> Path:
    return REPOSITORY / "bundles" / "pretrain" / "configs" / f"{name}.json"


def figures_of(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every figure with its interval, by dotted name; detail is left out."""
    left_out = tuple(f"{path}." for path in DETAIL)
    return ((name, figure) for name, figure in named_figures(metrics) if not name.startswith(left_out))


def commit() -> str:
    """Short hash of the code that runs, with + where files other than results and pages differ from it; empty outside a
    repository."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", *RESULTS)
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
