# SPDX-License-Identifier: Apache-2.0
"""The CT training step beside the naive recipe of four passes.

    python -m benchmarks.ct_step [--size base] [--batch 2] [--repeats 5] [--refresh 5]

Ours: the bundle's engine with ``paper.json``'s losses, clipping and AdamW, distillation and teacher update included;
slices scored at every n-th visit of a volume, the masked view encoded by its visible tokens alone, reports padded to
the longest of the batch. The naive recipe: slices scored at every step, the whole student, the masked student with
mask tokens, the whole teacher, every token through every block, reports padded to 256 tokens. Towers, slices of the
volume's size, precision, optimizer and batch are the same.

A step that scores and a step that does not are timed apart; of n visits one scores.
"""

from __future__ import annotations

import argparse
import statistics

from benchmarks.side_by_side import one_thread, ratio, record, turns

one_thread()

import torch  # noqa: E402

from benchmarks import training_steps as steps  # noqa: E402

GOALS = {"masked": "2.5x", "whole": "1.6x"}


def main() -> None:
    """Takes turns, prints and records the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=steps.SIZES, default="base")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--refresh", type=int, default=5, help="selection_refresh of our step")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = steps.batch("3d", arguments.batch, padded=False)
    engine = steps.trainer(steps.unimedi(arguments.size, visible_only=True), data)
    padded = steps.batch("3d", arguments.batch, padded=True)
    functions = {"naive": steps.unimedi_step(steps.naive_trainer(arguments.size, padded), padded)}
    for view in GOALS:
        functions[f"{view}, scored"] = steps.unimedi_step(engine, data, view, scored=True)
        functions[view] = steps.unimedi_step(engine, data, view)
    seconds = turns(functions, arguments.repeats)
    for view in GOALS:
        write(arguments, view, seconds)


def write(arguments: argparse.Namespace, view: str, seconds: dict[str, list[float]]) -> None:
    """One row."""
    n = arguments.refresh
    here = [(scored + (n - 1) * kept) / n for scored, kept in zip(seconds[f"{view}, scored"], seconds[view])]
    record(
        f"python -m benchmarks.ct_step --size {arguments.size}",
        f"CT step, contrast_view {view}, visible_only, slices scored at visit 1 of {n}, batch "
        f"{arguments.batch}, {steps.PRECISION}",
        f"{statistics.median(here):.2f} s CPU, of it {_share(view, seconds, n):.2f} s scoring",
        f"{statistics.median(seconds['naive']):.2f} s CPU, the naive recipe of four passes",
        ratio(seconds["naive"], here),
        GOALS[view],
        is_kept=arguments.size == "base",
    )


def _share(view: str, seconds: dict[str, list[float]], refresh: int) -> float:
    """Seconds a step for the scores."""
    return (statistics.median(seconds[f"{view}, scored"]) - statistics.median(seconds[view])) / refresh


if __name__ == "__main__":
    main()
