# SPDX-License-Identifier: Apache-2.0
"""The nested figures of an evaluation as tables.

A figure is ``{"value", "low", "high", "count"}``: 95 % bootstrap interval over cases, and how many cases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from monai_unimedi.visualize.curves import number

__all__ = ["cell", "figure_text", "metric_tables", "plain", "plain_values", "words"]

WORDS = {
    "2d": "X-ray",
    "3d": "CT",
    "image_to_report": "image → report",
    "report_to_image": "report → image",
    "map_2d_to_3d": "mAP, X-ray → CT",
    "map_3d_to_2d": "mAP, CT → X-ray",
    "lift": "attention lift on lesion patches",
    "control_2d_to_3d": "shuffled-query control, X-ray → CT",
    "auroc": "AUROC",
    "xray_localization": "Affected areas in X-rays",
    "control_3d_to_2d": "shuffled-query control, CT → X-ray",
    "auroc_positive": "AUROC, positive prompt",
    "auroc_negative": "AUROC, negative prompt",
    "negation_gap": "negation gap (positive minus negative)",
    "lift_small": "the same on small lesions",
    "ece": "expected calibration error",
    "brier": "Brier score",
    "by_finding": "by finding",
    "zero_shot": "Zero-shot",
    "all": "all lesions",
    "small": "small lesions",
    "centre_prior": "centre prior",
    "slice_selection": "Slice selection",
    "grounding": "What a sentence leads to",
    "sentence": "the finding's sentence",
    "other_sentence": "the other finding's sentence",
    "other_image": "its sentence on another image",
    "dice_positives": "Dice, positives",
    "dice_all": "Dice, all",
    "dice_pooled": "Dice, pooled",
    "hd95_mm": "HD95 (mm)",
    "hd95_file_pixels": "HD95 (pixels of the file)",
}
PERCENT_COLUMNS = {"1", "10", "100"}
COUNTS = "counts"


def is_figure(node: Any) -> bool:
    """True for ``{"value": ...}``."""
    return isinstance(node, Mapping) and "value" in node


def metric_tables(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One section per top-level key that holds figures, and one for ``counts``; in it, one table per set of columns.

    Returns:
        ``{"title", "tables": [{"columns", "rows": [{"name", "cells"}]}]}``; a cell is None where there
        is no value.
    """
    sections = []
    for key, node in metrics.items():
        if not isinstance(node, Mapping) or is_figure(node):
            continue
        if key == COUNTS:
            sections.append(_count_section(node))
            continue
        tables: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for path, figures in _groups(node, ()):
            row = {
                "name": " · ".join(words(part) for part in path),
                "cells": [cell(figure) for figure in figures.values()],
            }
            tables.setdefault(tuple(figures), []).append(row)
        if tables:
            tables = dict(sorted(tables.items(), key=lambda item: len(item[1]) == 1))
            title = words(key)[:1].upper() + words(key)[1:]
            sections.append(
                {"title": title, "tables": [_table(names, rows) for names, rows in tables.items()]}
            )
    return sections


def plain_values(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Everything that is in no table (seed, seconds, parameters, what was not available), flat, as text."""
    found: dict[str, str] = {}
    for key, node in metrics.items():
        if key == COUNTS:
            continue
        name = f"{prefix}{words(key)}"
        if isinstance(node, Mapping) and not is_figure(node):
            found |= plain_values(node, f"{name} · ")
        elif not is_figure(node):
            found[name] = plain(node)
    return found


def plain(value: Any) -> str:
    """A plain value as text for people."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not available"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items())
    return ", ".join(map(plain, value)) if isinstance(value, list | tuple) else str(value)


def words(key: Any) -> str:
    """A metric's key in words."""
    return WORDS.get(str(key), str(key).replace("_", " "))


def cell(figure: Any) -> dict[str, Any] | None:
    """A figure ready to print, with its place on [0, 1] where it has one."""
    value = figure.get("value") if is_figure(figure) else figure
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    bounds = [figure.get(bound) for bound in ("low", "high")] if is_figure(figure) else [None, None]
    low, high = (
        bound if isinstance(bound, int | float) and math.isfinite(bound) else None for bound in bounds
    )
    count = figure.get("count") if is_figure(figure) else None
    on_unit = isinstance(value, float) and all(0 <= item <= 1 for item in (value, low, high) if item is not None)
    return {"value": value, "low": low, "high": high, "count": count, "on_unit": on_unit}


def figure_text(value: float, of: Mapping[str, Any]) -> str:
    """A value, or a bound of its interval, with the digits that suit the figure."""
    return f"{value:.2f}" if of["on_unit"] else number(value)


def _groups(node: Mapping[str, Any], path: tuple[str, ...]) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """(path, figures directly below it) for every dictionary that holds figures, outermost first."""
    figures = {str(key): item for key, item in node.items() if is_figure(item)}
    deeper = [(key, item) for key, item in node.items() if isinstance(item, Mapping) and not is_figure(item)]
    below = [group for key, item in deeper for group in _groups(item, (*path, str(key)))]
    return ([(path, figures)] if figures else []) + below


def _count_section(counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Numbers of cases by class."""
    columns = tuple(next(iter(counts.values())))
    rows = [{"name": words(name), "cells": [cell(of[column]) for column in columns]} for name, of in counts.items()]
    return {"title": "Number of cases", "tables": [_table(columns, rows)]}


def _table(names: tuple[str, ...], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A single row becomes a list of name and figure."""
    columns = [f"{name} % of labels" if name in PERCENT_COLUMNS else words(name) for name in names]
    if len(rows) > 1:
        return {"columns": columns, "rows": rows}
    prefix = f"{rows[0]['name']} · " if rows[0]["name"] else ""
    return {
        "columns": [""],
        "rows": [
            {"name": prefix + column, "cells": [item]} for column, item in zip(columns, rows[0]["cells"])
        ],
    }
