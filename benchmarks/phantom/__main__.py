# SPDX-License-Identifier: Apache-2.0
"""The evidence: every part of the method left out, changed or kept, in the same trainer on the same phantoms.

    python -m benchmarks.phantom [--tiers 1] [--seeds 0 1 2] [--budget demo]
    python -m benchmarks.phantom --budget smoke             # every row of tiers 1 and 2 once, in minutes
    python -m benchmarks.phantom --rows full --guard OLD.csv
    python -m benchmarks.phantom --evaluate_again           # finished runs: new figures, no training
    python -m benchmarks.phantom --segmentation --seeds 0   # then masks from their encoders, and from scratch

A row is a set of options of the pre-training bundle (``rows.json``); a run is a row with a seed. It computes on one
thread, so that its figures are the same on any number of cores; there are as many runs at a time as cores. It trains in
bfloat16 on CPUs with units for that and in float32 on others, as the bundle does, and a difference is taken between
runs of one precision. Runs that ``results.csv`` lists are not done again, one that was killed goes on where it was.
Each finished run adds its figures to the file, with the commit; ``tables.md`` is made of it. What each test case did to
them lies in ``influence/``: two runs on the same cases are compared case by case. ``--evaluate_again``
judges the runs whose folders are there by the evaluation as it is now. ``--segmentation`` trains masks with 1, 10 and
100 % of the labels from the encoders of the rows full, no slices, no distillation and supervised, and from scratch,
into ``segmentation.csv``. ``--guard`` compares the row ``full`` with older results, seed by seed, and ends with 1 where
the mean of a main figure fell by more than 0.02. ``docs/make_evidence.py`` makes the page of the results.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock, Timeout

from benchmarks.bundle_command import REPOSITORY
from benchmarks.phantom import segmentation
from benchmarks.phantom.evidence import COMPARED
from benchmarks.phantom.influences import keep_influence
from benchmarks.phantom.results import append, done, read, replace
from benchmarks.phantom.runs import (
    BUDGETS,
    PRECISIONS,
    ROWS,
    SECONDS,
    Run,
    commit,
    evaluate,
    make_phantoms,
    planned,
    precision_here,
    train,
)
from benchmarks.phantom.tables import falls, table

HERE = Path(__file__).parent


def main(words: list[str] | None = None) -> int:
    """Runs what is missing, writes the table, guards; the exit status."""
    options = parse(words)
    names = options.rows or [name for name, row in ROWS.items() if row["tier"] in options.tiers]
    runs = planned(names, options.seeds, options.budget, options.precision)
    finished = done(read(options.results))
    missing = [run for run in runs if run not in finished]
    kind = (options.budget, options.precision)
    seconds = [spent for run, spent in finished.items() if (run.budget, run.precision) == kind]
    each = statistics.median(seconds) if seconds else SECONDS[options.budget]
    left = estimate(missing, each / options.jobs)
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are done; the others take about {left}")
    if options.dry_run:
        return 0
    make_phantoms(options.output, options.budget)
    with ThreadPoolExecutor(options.jobs) as pool:
        if options.evaluate_again:
            list(pool.map(lambda run: judge(run, options), [run for run in runs if run in finished]))
        else:
            list(pool.map(lambda run: do(run, options), missing))
    if options.segmentation:
        segmentation.main([run for run in runs if run.row in segmentation.ROWS], options.output, options.jobs)
    text = table(read(options.results), options.budget, names=names)
    (options.output / options.budget / "tables.md").write_text(text, encoding="utf-8")
    print(text)
    return guard(options)


def parse(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.phantom", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--tiers", type=int, nargs="+", choices=(1, 2), help="1, 2 or both (default: 1; both for the budget smoke)")
    add("--rows", nargs="+", choices=list(ROWS), metavar="ROW", help=f"these rows alone, of: {', '.join(ROWS)}")
    add("--seeds", type=int, nargs="+", help="default: 0 1 2; 0 for the budget smoke")
    add("--budget", choices=list(BUDGETS), default="demo")
    add("--precision", choices=PRECISIONS, default=precision_here(), help="of training (default: this machine's)")
    add("--output", type=Path, default=REPOSITORY / "output" / "evidence", help="folder of the runs")
    add("--results", type=Path, help="default: results.csv beside this file; in the output folder for smoke")
    add("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time, each on one core (default: all cores)")
    add("--guard", type=Path, metavar="CSV", help="older results to compare the row full with")
    add("--evaluate_again", action="store_true", help="judge finished runs anew, train nothing")
    add("--segmentation", action="store_true", help="masks from the encoders too: long")
    add("--dry_run", action="store_true", help="say what is missing and how long it takes")
    options = parser.parse_args(words)
    is_smoke = options.budget == "smoke"
    options.output = options.output.resolve()
    options.tiers = options.tiers or ([1, 2] if is_smoke else [1])
    options.seeds = options.seeds if options.seeds is not None else [0] if is_smoke else [0, 1, 2]
    options.results = options.results or (options.output / "smoke.csv" if is_smoke else HERE / "results.csv")
    return options


def do(run: Run, options: argparse.Namespace) -> None:
    """One run, its figures and its line on the screen; left alone where another driver has it or has done it since."""
    run.folder(options.output).mkdir(parents=True, exist_ok=True)
    version, start = commit(), time.monotonic()
    try:
        with FileLock(run.folder(options.output) / ".lock", timeout=0):
            if run in done(read(options.results)):
                return
            steps, trained = train(run, options.output)
            judged = time.monotonic()
            metrics = evaluate(run, options.output)
            end = time.monotonic()
            seconds = max(end - start, trained + end - judged)  # of a run that goes on, the parts before too
            keep_influence(options.results, run, options.output, COMPARED)
            append(options.results, run, metrics, steps, seconds, version)
    except Timeout:
        print(f"{run.row}, seed {run.seed}: another driver is at it", flush=True)
        return
    print(f"{run.row}, seed {run.seed}: done in {seconds:.0f} s", flush=True)


def judge(run: Run, options: argparse.Namespace) -> None:
    """New figures of a finished run, where its model is there."""
    if not (run.folder(options.output) / "models" / "model.pt").is_file():
        print(f"{run.row}, seed {run.seed}: its folder is not there, its figures stay", flush=True)
        return
    version = commit()
    metrics = evaluate(run, options.output)
    keep_influence(options.results, run, options.output, COMPARED)
    replace(options.results, run, metrics, version)
    print(f"{run.row}, seed {run.seed}: judged again", flush=True)


def estimate(missing: list[Run], each: float) -> str:
    """As hours and minutes."""
    minutes = round(len(missing) * each / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def guard(options: argparse.Namespace) -> int:
    """1 where a main figure of the full method fell."""
    if options.guard is None:
        return 0
    found = falls(read(options.guard), read(options.results), options.budget)
    print("\n".join(found) or "the guard holds: no mean of a main figure fell by more than 0.02")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
