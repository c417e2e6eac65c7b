# SPDX-License-Identifier: Apache-2.0
"""Masks at 1, 10 and 100 % of the labels, from the encoders of some rows and from scratch, by the segmentation bundles.

Masks are judged with all their parts (``min_voxels`` 0). Heads start without sentences (``prompts`` none), so that only
the encoders differ. The labelled share and the training have the seed of the pre-training. The test phantoms are those
of the bundles: 200 of each dimension.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.bundle_command import run_bundle
from benchmarks.phantom.results import append, done, read
from benchmarks.phantom.runs import THREADS, Run, commit

__all__ = ["PERCENTS", "RESULTS", "ROWS", "SCRATCH", "main"]

ROWS = ("full", "no slices", "no distillation", "supervised")
SCRATCH = "from scratch"
PERCENTS = (1, 10, 100)
SOURCES = ("2d", "3d")
RESULTS = Path(__file__).with_name("segmentation.csv")
SMOKE: dict[str, Any] = {"num_steps": 2, "steps_per_epoch": 2, "batch_size": 2}
SMOKE_PHANTOM = {"training": 16, "validation": 4, "test": 8}


def main(pretrained: Sequence[Run], output: Path, jobs: int) -> None:
    """Does what is missing: the given runs, which are finished, and a start from scratch for each of their seeds."""
    scratch = dict.fromkeys(Run(SCRATCH, run.seed, run.budget, run.precision) for run in pretrained)
    results = RESULTS if all(run.budget != "smoke" for run in pretrained) else output / "smoke_segmentation.csv"
    runs = [run for run in [*scratch, *pretrained] if run not in done(read(results))]
    for source, budget in product(SOURCES, dict.fromkeys(run.budget for run in runs)):
        _make_phantoms(output, budget, source)
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda run: do(run, output, results), runs))


def do(run: Run, output: Path, results: Path) -> None:
    """All shares and dimensions of one start, then its figures."""
    version, start = commit(), time.monotonic()
    figures: dict[str, Any] = {}
    for source, percent in product(SOURCES, PERCENTS):
        found = _one(run, output, source, percent)
        figures.setdefault(source, {})[str(percent)] = found
    append(results, run, {"segmentation": figures}, 0, time.monotonic() - start, version)
    print(f"masks, {run.row}, seed {run.seed}: done in {time.monotonic() - start:.0f} s", flush=True)


def _one(run: Run, output: Path, source: str, percent: int) -> dict[str, Any]:
    """Means over the findings of one training; goes on where it was stopped."""
    folder = run.folder(output) / "segmentation" / source / str(percent)
    weights = "none" if run.row == SCRATCH else run.folder(output) / "models" / "model.pt"
    phantoms = _phantoms(output, run.budget, source)
    places = {"output_dir": folder, "model_dir": folder / "models", "phantom_dir": phantoms}
    own = {"pretrained": weights, "prompts": "none", "label_fraction": percent, "seed": run.seed}
    judged = {"seed": run.seed, "min_voxels": 0}
    own["amp"] = run.precision == "bfloat16"
    given = {**places, **own, **_smoke(run.budget, source)}
    run_bundle(f"segmentation_{source}", "train", given, folder / "log.txt", THREADS)
    if not (folder / "metrics.json").is_file():
        run_bundle(f"segmentation_{source}", "evaluate", {**places, **judged}, folder / "log.txt", THREADS)
    return dict(json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["segmentation"])


def _phantoms(output: Path, budget: str, source: str) -> Path:
    return output / budget / "segmentation_phantom" / source


def _make_phantoms(output: Path, budget: str, source: str) -> None:
    """Those of the bundle, made by a training of one step; nothing where they are."""
    folder = output / budget / "segmentation_first" / source
    if not (_phantoms(output, budget, source) / "phantom.json").is_file():
        places = {"output_dir": folder, "model_dir": folder, "phantom_dir": _phantoms(output, budget, source)}
        length = {"num_steps": 1, "steps_per_epoch": 1, "resume": False, "pretrained": "none", "prompts": "none"}
        given = {**places, **_smoke(budget, source), **length}
        run_bundle(f"segmentation_{source}", "train", given, folder / "log.txt", THREADS)


def _smoke(budget: str, source: str) -> dict[str, Any]:
    """Options of a run that only shows that it runs."""
    counts = {f"phantom#num_{part}": {source: number} for part, number in SMOKE_PHANTOM.items()}
    return {**SMOKE, **counts} if budget == "smoke" else {}
