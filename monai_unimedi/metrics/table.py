# SPDX-License-Identifier: Apache-2.0
"""The metrics file as text: a compact table, and each figure beside the floor that the demo must reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["compare_to_floors", "format_floors", "format_table", "named_figures"]

RIVAL_SELECTORS = ("uniform", "centre", "constant", "entropy")
LIMITS = {
    "seconds.phantom": 60.0,
    "seconds.train": 360.0,
    "seconds.evaluate": 120.0,
    "seconds.demo": 900.0,
    "peak_memory_gb": 4.0,
}


def format_table(metrics: Mapping[str, Any]) -> str:
    """Figures by section, one line each: name, value, 95 % interval, cases. ``extra`` is left to the file."""
    lines: list[str] = []
    for section, values in metrics.items():
        rows = [] if section == "extra" else list(named_figures(values))
        if rows:
            lines.append(f"{section:<44}  value  95 % interval    cases")
            lines += [
                f"  {name:<42} {row['value']:6.3f}  {row['low']:6.3f} to {row['high']:6.3f} {row['count']:6d}"
                for name, row in rows
            ]
    missing = metrics.get("not_available", [])
    return "\n".join(lines + ["not available"] * bool(missing) + [f"  {sentence}" for sentence in missing])


def compare_to_floors(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The demo's figures beside what each must reach.

    Args:
        metrics: as `summarize` gives it; with ``seconds`` and ``peak_memory_gb`` where known.

    Returns:
        Rows ``{"figure", "floor", "value", "met", "is_limit"}``. `floor` is a lower bound, of limits (time in
        seconds, memory in GB) an upper one. `value` is None, and `met` False, where a figure was not
        measured; limits that were not measured have no row.
    """
    rows = [_row(name, _get(metrics, name), floor) for name, floor in _floors(metrics)]
    for name, limit in LIMITS.items():
        value = _get(metrics, name)
        if value is not None:
            rows.append(
                {"figure": name, "floor": limit, "value": value, "met": value <= limit, "is_limit": True}
            )
    return rows


def format_floors(rows: list[dict[str, Any]]) -> str:
    """`compare_to_floors` as text, one line a figure."""
    lines = [f"{'figure':<52}  value  must be       met"]
    for row in rows:
        value = "  none" if row["value"] is None else f"{row['value']:6.3f}"
        floor = "    none" if row["floor"] is None else f"{row['floor']:8.3f}"
        bound = "<=" if row["is_limit"] else ">="
        lines.append(f"{row['figure']:<52} {value}  {bound} {floor}  {'yes' if row['met'] else 'NO'}")
    return "\n".join(lines)


def _floors(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    for source in ("2d", "3d"):
        for direction in ("image_to_report", "report_to_image"):
            yield f"retrieval.{source}.{direction}.R@1", 0.45
            yield f"retrieval.{source}.{direction}.R@5", 0.75
    for source in ("2d", "3d"):
        yield f"zero_shot.{source}.auroc", 0.70
    selection = "slice_selection.all."
    rivals = [_get(metrics, f"{selection}{rival}.hit@1") for rival in RIVAL_SELECTORS]
    best = max((value for value in rivals if value is not None), default=None)
    bounds = (_above(_get(metrics, f"{selection}random.hit@1"), 0.25), _above(best, 0.05))
    known = [bound for bound in bounds if bound is not None]
    yield f"{selection}attention.hit@1", max(known) if len(known) == len(bounds) else None
    yield "slice_selection.lift", 2.5
    for source in ("2d", "3d"):
        yield (
            f"linear_probe.trained.{source}.1",
            _above(_get(metrics, f"linear_probe.untrained.{source}.1"), 0.15),
        )
    for way in ("2d_to_3d", "3d_to_2d"):
        yield f"cross_dimension.map_{way}", _above(_get(metrics, f"cross_dimension.control_{way}"), 0.05)
    prior = _get(metrics, "xray_localization.centre_prior")
    yield "xray_localization.pointing_game", _above(prior, 0.10)


def _row(name: str, value: float | None, floor: float | None) -> dict[str, Any]:
    met = value is not None and floor is not None and value >= floor
    return {"figure": name, "floor": floor, "value": value, "met": met, "is_limit": False}


def _above(value: float | None, margin: float) -> float | None:
    return None if value is None else value + margin


def _get(metrics: Mapping[str, Any], path: str) -> float | None:
    """Value of the figure, or the plain number, at a dotted path."""
    found: Any = metrics
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    found = found.get("value") if isinstance(found, Mapping) else found
    return None if found is None else float(found)


def named_figures(values: Any, name: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All figures of a nested dictionary, each with its dotted name; `name` stands before all."""
    if isinstance(values, Mapping) and {"value", "low", "high", "count"} <= set(values):
        yield name, values
    elif isinstance(values, Mapping):
        for key, inner in values.items():
            yield from named_figures(inner, f"{name}.{key}" if name else key)
