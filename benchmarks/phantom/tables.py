# SPDX-License-Identifier: Apache-2.0
"""From the results to tables: means over seeds, differences to the full method, and the guard."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from benchmarks.phantom.results import Results
from benchmarks.phantom.runs import ROWS

__all__ = ["MAIN", "difference", "falls", "of_row", "table"]

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
REFERENCE = "full"
Cell = tuple[float, float]  # value, variance over cases
Found = Mapping[tuple[int, str], Cell]  # by seed and precision


def of_row(lines: Results, row: str, budget: str, figure: str) -> dict[tuple[int, str], Cell]:
    """A figure by seed and precision; the variance over cases is read off its 95 % interval."""
    return {
        (int(line["seed"]), line["precision"]): (float(line["value"]), _variance(line))
        for line in lines
        if (line["row"], line["budget"], line["figure"]) == (row, budget, figure)
    }


def _variance(line: Mapping[str, str]) -> float:
    return ((float(line["high"]) - float(line["low"])) / 3.92) ** 2


def difference(one: Found, other: Found) -> tuple[float, float] | None:
    """Mean difference over the runs of one seed and precision that both have, and half of its 95 % interval; None
    without any.

    The interval holds the spread over seeds and the variance over cases of both. All seeds are judged on the same
    cases, so the latter does not shrink with them; pairing by case is left out, which makes the interval wide.
    """
    common = sorted(one.keys() & other.keys())
    if not common:
        return None
    gains = [one[run][0] - other[run][0] for run in common]
    of_cases = statistics.mean(one[run][1] + other[run][1] for run in common)
    of_seeds = statistics.variance(gains) / len(gains) if len(gains) > 1 else 0.0
    return statistics.mean(gains), 1.96 * math.sqrt(of_cases + of_seeds)


def table(lines: Results, budget: str, figures: Mapping[str, str] = MAIN, names: Sequence[str] | None = None) -> str:
    """Markdown: a row's mean over its runs, and behind it its difference to the full method."""
    head = ["row", "runs", *figures]
    text = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in names or ROWS:
        found = {name: of_row(lines, row, budget, path) for name, path in figures.items()}
        count = max(len(cells) for cells in found.values())
        if count:
            cells = [cell(found[name], of_row(lines, REFERENCE, budget, path), row) for name, path in figures.items()]
            text.append(f"| {row} | {count} | {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


def cell(found: Found, full: Found, row: str) -> str:
    """``0.61``, or ``0.58 (-0.03 +- 0.05)`` beside the full method's."""
    if not found:
        return ""
    mean = f"{statistics.mean(value for value, _ in found.values()):.3f}"
    gain = None if row == REFERENCE else difference(found, full)
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
        gains = {run: one[run][0] - other[run][0] for run in common}
        mean = statistics.mean(gains.values())
        if mean < -most:
            shown = ", ".join(f"seed {seed} {gain:+.3f}" for (seed, _), gain in gains.items())
            found.append(f"{name} fell by {-mean:.3f} ({shown})")
    return found
