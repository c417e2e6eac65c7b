# SPDX-License-Identifier: Apache-2.0
"""Lesions of the phantom's kinds in real thoraces: what a model trained on phantoms sees there, and what training on
such volumes changes.

    python -m benchmarks.real_anatomy [--stages volumes train judge] [--tested NAME ...] [--models NAME ...]

Real CTs come from ``../shared/data`` or from the folder named by UNIMEDI_REAL_DATA, the model from the demo
(``make demo``). Every patient is the test patient once, the others are trained on. Everything made of the real images
goes to ``output/real_anatomy``; ``results.csv`` holds figures alone, the tables of ``docs/real_anatomy.md`` are made of
it. The same command again goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bundle_command import REPOSITORY
from benchmarks.phantom.runs import commit, figures_of

from .datalists import fold_file, known_rows, patient_rows, write_folds
from .results import Figure, append, is_done, read
from .runs import MODELS, Run, evaluate, models_of, train
from .table import put_into, tables
from .thoraces import LESIONS, THORACES, read_lesion, read_thoraces
from .tumours import tumour_figures

STAGES = ("volumes", "train", "judge")
COUNTS = {"training": 200, "validation": 30, "test": 100}
NUM_STEPS = 200


def main(words: list[str] | None = None) -> int:
    """Makes volumes, trains, judges and writes the tables; the exit status."""
    options = parse(words)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if not (options.data / "thorax_organs").is_dir():
        print(f"skipped: no real CTs at {options.data}: set UNIMEDI_REAL_DATA to the folder that holds them")
        return 0
    if "volumes" in options.stages:
        make(options)
    runs = planned(options)
    for run in runs if "train" in options.stages else []:
        train(run)
        print(f"{run.model}, tested on {run.tested}: trained", flush=True)
    for run in runs if "judge" in options.stages else []:
        judge(run, options)
    lines = read(options.results)
    if lines and options.page:
        put_into(options.page, tables(lines))
        print(tables(lines))
    return 0


def parse(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.real_anatomy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, data = parser.add_argument, os.environ.get("UNIMEDI_REAL_DATA") or REPOSITORY.parent / "shared" / "data"
    add("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    add("--tested", nargs="+", metavar="NAME", help="test patients (default: every whole thorax)")
    add("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    add("--data", type=Path, default=Path(data))
    add("--output", type=Path, default=REPOSITORY / "output" / "real_anatomy")
    add("--demo", type=Path, default=REPOSITORY / "output" / "demo" / "models", help="trained on phantoms")
    add("--results", type=Path, default=Path(__file__).with_name("results.csv"))
    add("--page", type=Path, default=REPOSITORY / "docs" / "real_anatomy.md")
    add("--counts", type=int, nargs=3, default=list(COUNTS.values()), help="volumes a patient, by split")
    add("--num_steps", type=int, default=NUM_STEPS)
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(words)
    options.output, options.demo = options.output.resolve(), options.demo.resolve()
    return options


def make(options: argparse.Namespace) -> None:
    """Volumes and datalists of every whole thorax."""
    start = time.monotonic()
    counts = dict(zip(COUNTS, options.counts))
    rows = {}
    for name in THORACES:
        known = known_rows(name, options.output, counts, options.seed)
        thorax = None if known else read_thoraces(options.data, [name]).get(name)
        if thorax is not None:
            known = patient_rows(thorax, options.output, counts, options.seed, options.threads)
        if known:
            rows[name] = known
    write_folds(rows, options.output)
    print(f"volumes of {', '.join(rows)}: {time.monotonic() - start:.0f} s", flush=True)


def planned(options: argparse.Namespace) -> list[Run]:
    """Patient by patient, so that one patient's table is complete early.

    Raises:
        ValueError: When a test patient has no volumes, or a model that is needed is not there.
    """
    listed = sorted(path.stem.removeprefix("datalist_3d_") for path in options.output.glob("datalist_3d_*.json"))
    tested = options.tested or listed
    if set(tested) - set(listed) or not listed:
        raise ValueError(f"Test patients must have volumes, {listed} have, got {tested}: run the stage 'volumes'.")
    needs_demo = set(options.models) - {"scratch"} and set(options.stages) - {"volumes"}
    if needs_demo and not (options.demo / "model.pt").is_file():
        raise ValueError(f"--demo must hold a model trained on phantoms, {options.demo} has none: run `make demo`.")
    shared = (options.seed, options.output, options.demo, options.num_steps, options.threads)
    return [Run(model, patient, *shared) for patient in tested for model in options.models]


def judge(run: Run, options: argparse.Namespace) -> None:
    """Adds the figures of one run to the results, unless they are there."""
    if is_done(read(options.results), run):
        return
    version, metrics = commit(), evaluate(run)
    figures: list[Figure] = [
        (name, figure["value"], figure["low"], figure["high"], figure["count"]) for name, figure in figures_of(metrics)
    ]
    figures += [(f"tumour.{name}", value, None, None, count) for name, value, count in tumours(run, options)]
    record = models_of(run).parent / "training.json"  # the demo's for its own model
    trained = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {"steps": 0, "seconds": 0}
    append(options.results, run, figures, trained["steps"], trained["seconds"], version)
    print(f"{run.model}, tested on {run.tested}: judged", flush=True)


def tumours(run: Run, options: argparse.Namespace) -> Iterator[tuple[str, float, int]]:
    """Of the patients with a tumour whom this model has not seen."""
    seen = {row["patient"] for row in json.loads(fold_file(run.output, run.tested).read_text())["training"]}
    unseen = [name for name in LESIONS if name == run.tested or name not in seen]
    scans = [read_lesion(options.data, name) for name in unseen]
    return tumour_figures(models_of(run), scans, options.output / "tumours", run.seed)


if __name__ == "__main__":
    sys.exit(main())
