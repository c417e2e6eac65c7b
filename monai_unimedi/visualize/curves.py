# SPDX-License-Identifier: Apache-2.0
"""Lines as inline SVG: the losses over the steps, and the score of each slice of a volume."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["loss_charts", "number", "slice_curve"]

WIDTH, HEIGHT = 360, 150
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 22
MAX_POINTS = 120
MAX_CHARTS = 9
SOURCE_NAMES = {"2d": "X-ray", "3d": "CT"}
TERM_NAMES = {
    "loss": "total loss",
    "loss_vl": "image-text",
    "loss_icl": "distillation, [CLS]",
    "loss_pcl": "distillation, patches",
}
SOURCE_IN_KEY = re.compile(r"(?:^|(?<=[_./ ]))(2d|3d)(?:$|(?=[_./ ]))")


def number(value: float) -> str:
    """A number for people: three significant digits, no needless zeros."""
    if not math.isfinite(value):
        return "not finite"
    if value != 0 and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def loss_charts(history: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """One chart per term of the loss, one line per source in it.

    Args:
        history: one entry per logged step, ``{"step": int, "loss": float, ...}``. The source is part of a key
            (``2d_loss_vl``, ``loss_vl/3d``), a nested dictionary's key, or the entry's ``"source"``.

    Returns:
        Charts, the total loss first, then the other losses, then what else was logged.
    """
    terms: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for position, entry in enumerate(history or ()):
        step = float(entry.get("step", position))
        for source, term, value in _flatten(entry, str(entry.get("source", ""))):
            terms.setdefault(term, {}).setdefault(source, []).append((step, value))
    steps = [step for lines in terms.values() for points in lines.values() for step, _ in points] or [0.0]
    span = (min(steps), max(steps))
    drawable = [term for term, lines in terms.items() if max(len(points) for points in lines.values()) > 1]
    ordered = sorted(drawable, key=lambda term: (term != "loss", "loss" not in term))
    return [_chart(term, terms[term], span) for term in ordered[:MAX_CHARTS]]


def slice_curve(scores: Sequence[float], lesion: Sequence[int], chosen: Sequence[int]) -> dict[str, Any]:
    """Score of each slice with the slices of the lesion and the chosen ones, in SVG units.

    Args:
        scores: s_i of section 3, one per slice.
        lesion: indices of the slices that meet a lesion.
        chosen: indices of the selected slices.
    """
    finite = [score if math.isfinite(score) else 0.0 for score in scores]
    top = max([*finite, 1e-12]) * 1.08
    step = (WIDTH - LEFT - RIGHT) / max(len(finite) - 1, 1)
    xs = [LEFT + step * index for index in range(len(finite))]
    ys = [_y(score, 0.0, top) for score in finite]
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": RIGHT,
        "top": TOP,
        "floor": HEIGHT - BOTTOM,
        "step": step,
        "line": _path(list(zip(xs, ys))),
        "area": f"{_path(list(zip(xs, ys)))}L{xs[-1]:.1f} {HEIGHT - BOTTOM}L{xs[0]:.1f} {HEIGHT - BOTTOM}Z",
        "lesion": [_span(run, step, xs) for run in _runs(lesion)],
        "chosen": [{"x": xs[index], "y": ys[index], "slice": index} for index in chosen],
        "ticks": _ticks(0.0, top),
        "uniform": _y(sum(finite) / len(finite), 0.0, top),
        "slices": [{"x": xs[index], "slice": index} for index in _axis(len(finite))],
    }


def _flatten(entry: Mapping[str, Any], source: str = "") -> list[tuple[str, str, float]]:
    """(source, term, value) of every number in an entry; keys that are no curve are left out."""
    found = []
    for key, value in entry.items():
        named = SOURCE_IN_KEY.search(str(key))
        of = named.group(1) if named else source
        term = re.sub(r"[_./ ]{2,}", "_", SOURCE_IN_KEY.sub("", str(key))).strip("_./ ")
        if isinstance(value, Mapping):
            found += [
                (at, "_".join(filter(None, (term, name))), number) for at, name, number in _flatten(value, of)
            ]
        elif isinstance(value, int | float) and key not in ("step", "iteration", "epoch", "time", "seconds"):
            found.append((of, term, float(value)))
    return found


def _chart(
    term: str, lines: Mapping[str, Sequence[tuple[float, float]]], span: tuple[float, float]
) -> dict[str, Any]:
    shown = {source: points for source, points in lines.items() if source or len(lines) == 1}
    thinned = {source: _thin(points) for source, points in shown.items()}
    values = [value for points in thinned.values() for _, value in points]
    first, last = span
    low = min([0.0, *values])
    high = max([*values, low]) + (1.0 if max([*values, low]) <= low else 0.0)
    scale = (WIDTH - LEFT - RIGHT) / ((last - first) or 1.0)
    return {
        "title": TERM_NAMES.get(term, term.replace("_", " ")),
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": RIGHT,
        "floor": HEIGHT - BOTTOM,
        "first": number(first),
        "last": number(last),
        "ticks": _ticks(low, high),
        "lines": [
            {
                "source": source or "all",
                "name": SOURCE_NAMES.get(source, ""),
                "path": _path(
                    [(LEFT + (step - first) * scale, _y(value, low, high)) for step, value in points]
                ),
                "end": number(points[-1][1]),
                "start": number(points[0][1]),
            }
            for source, points in sorted(thinned.items())
            if points
        ],
    }


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means of at most MAX_POINTS equal runs of points, values that are not finite left out."""
    finite = [point for point in points if math.isfinite(point[1])]
    size = math.ceil(len(finite) / MAX_POINTS) or 1
    runs = [finite[start : start + size] for start in range(0, len(finite), size)]
    return [
        (sum(step for step, _ in run) / len(run), sum(value for _, value in run) / len(run)) for run in runs
    ]


def _y(value: float, low: float, high: float) -> float:
    return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) if points else ""


def _ticks(low: float, high: float) -> list[dict[str, Any]]:
    """Two to four round values between low and high with their heights."""
    magnitude = 10 ** math.floor(math.log10((high - low) / 3))
    size = next(factor * magnitude for factor in (1, 2, 5, 10) if (high - low) / (factor * magnitude) <= 4)
    values = [
        size * index for index in range(math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9) + 1)
    ]
    return [{"y": _y(value, low, high), "text": number(value)} for value in values]


def _axis(count: int) -> list[int]:
    size = max(1, math.ceil((count - 1) / 5))
    return [*range(0, count, size)]


def _runs(indices: Sequence[int]) -> list[tuple[int, int]]:
    """Unbroken runs of sorted indices as (first, last)."""
    runs: list[tuple[int, int]] = []
    for index in sorted(indices):
        runs = (
            [*runs[:-1], (runs[-1][0], index)]
            if runs and runs[-1][1] == index - 1
            else [*runs, (index, index)]
        )
    return runs


def _span(run: tuple[int, int], step: float, xs: Sequence[float]) -> dict[str, float]:
    left, right = max(xs[run[0]] - step / 2, LEFT), min(xs[run[1]] + step / 2, WIDTH - RIGHT)
    return {"x": left, "width": max(right - left, 1.0)}
