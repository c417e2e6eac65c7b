# SPDX-License-Identifier: Apache-2.0
"""Slice selection, affected areas and retrieval after each epoch of a run, judged on the test phantoms.

    python -m benchmarks.phantom.over_training [--rows full "no distillation"] [--seed 0] [--budget demo]

The runs are the driver's own, trained again in a folder of their own with one handler more, which keeps the tower of
each epoch (``each_epoch.json``). Figures go to ``over_training.csv``, in the form of ``results.csv``, with the
optimizer step in ``steps``. Epochs that are in it are not judged again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.bundle_command import REPOSITORY, run_bundle
from benchmarks.phantom.results import append, read
from benchmarks.phantom.runs import (
    BUDGETS,
    ROWS,
    THREADS,
    Run,
    commit,
    evaluation_options,
    figures_of,
    make_phantoms,
    precision_here,
    train,
)

__all__ = ["RESULTS", "SHOWN", "main"]

HERE = Path(__file__).parent
KEY = ("row", "seed", "budget", "precision", "steps")
RESULTS = HERE / "over_training.csv"
SHOWN = (
    *(f"slice_selection.{subset}.{name}.hit@1" for subset in ("all", "small") for name in ("attention", "random")),
    *(f"slice_selection.all.{name}.hit@1" for name in ("constant", "entropy")),
    *("slice_selection.all.attention.hit@2", "slice_selection.all.attention.hit@4", "slice_selection.lift"),
    *("xray_localization.pointing_game", "xray_localization.centre_prior"),
    *("retrieval.2d.image_to_report.R@1", "retrieval.3d.image_to_report.R@1"),
)
QUICK = {"grounding_cases": 1, "probe_rows": 60, "num_examples": 0}  # parts of the evaluation that are not shown


def main(words: list[str] | None = None) -> None:
    """Trains and judges what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--rows", nargs="+", choices=list(ROWS), default=["full", "no distillation"])
    add("--seed", type=int, default=0)
    add("--budget", choices=list(BUDGETS), default="demo")
    add("--output", type=Path, default=REPOSITORY / "output" / "evidence" / "over_training")
    add("--results", type=Path, default=RESULTS)
    options = parser.parse_args(words)
    output = options.output.resolve()
    make_phantoms(output, options.budget)
    for row in options.rows:
        follow(Run(row, options.seed, options.budget, precision_here()), output, options.results)


def follow(run: Run, output: Path, results: Path) -> None:
    """One run, epoch by epoch."""
    version = commit()
    steps, _ = train(run, output, (str(HERE / "each_epoch.json"),))
    epochs = dict(_epochs(run.folder(output)))
    known = {tuple(line[key] for key in KEY) for line in read(results)}
    for epoch, weights in sorted(epochs.items()):
        step, start = round(steps * epoch / max(epochs)), time.monotonic()
        if (run.row, str(run.seed), run.budget, run.precision, str(step)) not in known:
            found = dict(figures_of(judge(run, output, epoch, weights)))
            shown = {name: found[name] for name in SHOWN if name in found}
            append(results, run, shown, step, time.monotonic() - start, version)
            print(f"{run.row}, seed {run.seed}, step {step}: judged", flush=True)


def judge(run: Run, output: Path, epoch: int, weights: Path) -> dict[str, Any]:
    """Metrics of the tower of one epoch, by the bundle's evaluation; the report tower is the best epoch's."""
    folder = run.folder(output)
    place = folder / "epochs" / str(epoch)
    shutil.copytree(folder / "models", place / "models", dirs_exist_ok=True)
    shutil.copy(weights, place / "models" / "model.pt")
    places = {"output_dir": place, "model_dir": place / "models", "phantom_dir": output / run.budget / "phantom"}
    told: Mapping[str, Any] = {**places, **QUICK, **evaluation_options(run)}
    run_bundle("pretrain", "evaluate", told, folder / "log.txt", THREADS)
    return dict(json.loads((place / "metrics.json").read_text(encoding="utf-8")))


def _epochs(folder: Path) -> Iterator[tuple[int, Path]]:
    """Number and weights of each epoch that was kept."""
    for path in (folder / "epochs").glob("*epoch=*.pt"):
        yield int(path.stem.split("epoch=")[1]), path


if __name__ == "__main__":
    main()
