# SPDX-License-Identifier: Apache-2.0
"""From the results to tables: means over seeds, differences to the full method, and the guard."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.phantom.influences import load_influence
from benchmarks.phantom.results import Results
from benchmarks.phantom.runs import REFERENCE, ROWS
from monai_unimedi.metrics.influence import jackknife_variance

__all__ = ["MAIN", "Cell", "Found", "difference", "falls", "of_row", "seed_variance", "table"]

MAIN = {
    "X-ray R@1": "retrieval.2d.image_to_report.R@1",
    "CT R@1": "retrieval.3d.image_to_report.R@1",
    "X-ray zero-shot": "zero_shot.2d.auroc",
    "CT zero-shot": "zero_shot.3d.auroc",
    "slice hit@1": "slice_selection.all.attention.hit@1",
    "small hit@1": "slice_selection.small.attention.hit@1",
    "X-ray pointing": "xray_localization.pointing_game",
    "X-ray to CT mAP": "cross_dimension.map_2d_to_3d",
    "X-ray probe 1 %": "linear_probe.trained.2d.1",
    "CT probe 1 %": "linear_probe.trained.3d.1",
}
PRIOR = 2  # degrees of freedom that the seeds' spread of all rows counts for in that of one


class Cell(NamedTuple):
    """A figure of one run; the influence of each case on it (N,), where that was kept."""

    value: float
    variance: float  # over cases
    influence: Tensor | None = None


Found = Mapping[tuple[int, str], Cell]  # by seed and precision


def of_row(lines: Results, row: str, budget: str, figure: str) -> dict[tuple[int, str], Cell]:
    """A figure by seed and precision; the variance over cases is read off its 95 % interval."""
    return {
        (int(line["seed"]), line["precision"]): Cell(float(line["value"]), _variance(line), _influence(line))
        for line in lines
        if (line["row"], line["budget"], line["figure"]) == (row, budget, figure)
    }


def _variance(line: Mapping[str, str]) -> float:
    return ((float(line["high"]) - float(line["low"])) / 3.92) ** 2


def _influence(line: Mapping[str, str]) -> Tensor | None:
    return load_influence(line["influence"]).get(line["figure"]) if "influence" in line else None


def seed_variance(lines: Results, budget: str, figure: str) -> float:
    """Variance over seeds of one run's difference to the full method's: pooled over the rows that have several runs in
    common with it, by their degrees of freedom; without such rows that of two runs of the full method."""
    full = of_row(lines, REFERENCE, budget, figure)
    gains = []
    for row in dict.fromkeys(line["row"] for line in lines if line["row"] != REFERENCE):
        own = of_row(lines, row, budget, figure)
        gains.append([own[run].value - full[run].value for run in own.keys() & full.keys()])
    several = [found for found in gains if len(found) > 1]
    if several:
        sums = sum((len(found) - 1) * statistics.variance(found) for found in several)
        return sums / sum(len(found) - 1 for found in several)
    return 2 * statistics.variance(cell.value for cell in full.values()) if len(full) > 1 else 0.0


def difference(one: Found, other: Found, of_one_seed: float | None = None) -> tuple[float, float] | None:
    """Mean difference over the runs of one seed and precision that both have, and half of its 95 % interval; None
    without any.

    The interval holds the spread over seeds and the variance over cases. All seeds are judged on the same cases. Where
    the influence of each case on both is known, what is hard for both cancels, and what is hard for one seed alone is
    averaged out; elsewhere the variances of both are added and do not shrink with the seeds.

    Args:
        one: a figure of one row.
        other: of the other.
        of_one_seed: `seed_variance`. Two or three seeds tell their own spread badly, and one not at all: it counts as
            much as the spread of three runs of these rows would.
    """
    common = sorted(one.keys() & other.keys())
    if not common:
        return None
    gains = [one[run].value - other[run].value for run in common]
    of_cases = _of_cases([(one[run], other[run]) for run in common])
    of_seeds = _of_seeds(gains, of_one_seed) / len(gains)
    return statistics.mean(gains), 1.96 * math.sqrt(of_cases + of_seeds)


def _of_seeds(gains: Sequence[float], known: float | None) -> float:
    """Variance of one gain, moderated by the one that is known (Smyth, Statistical Applications in Genetics and
    Molecular Biology, 2004)."""
    own = statistics.variance(gains) if len(gains) > 1 else 0.0
    degrees = len(gains) - 1
    return own if known is None else (degrees * own + PRIOR * known) / (degrees + PRIOR)


def _of_cases(pairs: Sequence[tuple[Cell, Cell]]) -> float:
    """Variance over cases of the mean difference; runs that are paired by case and those that are not may go together,
    so that their deviations, not their variances, are averaged."""
    both = {index: pair for index, pair in enumerate(pairs) if _is_paired(*pair)}
    paired = [one.influence - other.influence for one, other in both.values()]  # type: ignore[operator]
    apart = [one.variance + other.variance for index, (one, other) in enumerate(pairs) if index not in both]
    deviation = len(paired) * math.sqrt(jackknife_variance(torch.stack(paired).mean(0))) if paired else 0.0
    deviation += len(apart) * math.sqrt(statistics.mean(apart)) if apart else 0.0
    return (deviation / len(pairs)) ** 2


def _is_paired(one: Cell, other: Cell) -> bool:
    known = one.influence is not None and other.influence is not None
    return known and len(one.influence) == len(other.influence)  # type: ignore[arg-type]


def table(lines: Results, budget: str, figures: Mapping[str, str] = MAIN, names: Sequence[str] | None = None) -> str:
    """Markdown: a row's mean over its runs, and behind it its difference to the full method."""
    head = ["row", "runs", *figures]
    text = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in names or ROWS:
        found = {name: of_row(lines, row, budget, path) for name, path in figures.items()}
        count = max(len(cells) for cells in found.values())
        if count:
            cells = [cell(lines, row, budget, path) for path in figures.values()]
            text.append(f"| {row} | {count} | {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


def cell(lines: Results, row: str, budget: str, figure: str) -> str:
    """``0.61``, or ``0.58 (-0.03 +- 0.05)`` beside the full method's."""
    found, full = (of_row(lines, name, budget, figure) for name in (row, REFERENCE))
    if not found:
        return ""
    mean = f"{statistics.mean(own.value for own in found.values()):.3f}"
    gain = None if row == REFERENCE else difference(found, full, seed_variance(lines, budget, figure))
    return mean if gain is None else f"{mean} ({gain[0]:+.3f} ± {gain[1]:.3f})"


def falls(before: Results, after: Results, budget: str, most: float = 0.02) -> list[str]:
    """The guard: main figures of the full method whose mean over the common seeds fell by more than ``most``."""
    found = []
    for name, path in MAIN.items():
        one, other = (of_row(lines, REFERENCE, budget, path) for lines in (after, before))
        common = sorted(one.keys() & other.keys())
        if not common:
            found.append(f"{name}: no seed in common, in one precision")
            continue
        gains = {run: one[run].value - other[run].value for run in common}
        mean = statistics.mean(gains.values())
        if mean < -most:
            shown = ", ".join(f"seed {seed} {gain:+.3f}" for (seed, _), gain in gains.items())
            found.append(f"{name} fell by {-mean:.3f} ({shown})")
    return found
