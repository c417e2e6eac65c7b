# SPDX-License-Identifier: Apache-2.0
"""The demo's figures beside what each must reach, ready for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai_unimedi.visualize.metric_tables import cell, words

__all__ = ["floor_rows"]


def floor_rows(floors: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the page shows of each floor: its name in words, and the figure with its interval.

    Args:
        floors: ``{"figure", "floor", "met", "is_limit"}`` each, as ``metrics.compare_to_floors`` gives them.
        metrics: the figures, nested, at the dotted paths that ``figure`` names.

    Returns:
        ``{"name", "figure", "bound", "is_ceiling", "met"}`` each; floors without figure are left out.
    """
    rows = []
    for floor in floors:
        keys = floor["figure"].split(".")
        figure = cell(_at(metrics, keys))
        if figure is not None and floor["floor"] is not None:
            name = ", ".join(words(key) for key in keys)
            shown = {"figure": figure, "bound": floor["floor"], "is_ceiling": floor["is_limit"]}
            rows.append({"name": name[0].upper() + name[1:], "met": floor["met"], **shown})
    return rows


def _at(metrics: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        metrics = metrics.get(key) if isinstance(metrics, Mapping) else None
    return metrics
