# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page of a classification: ROC curves, a table per class, images with probabilities."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from monai_unimedi.visualize.curves import loss_charts, number
from monai_unimedi.visualize.metric_tables import figure_text, metric_tables, plain, plain_values
from monai_unimedi.visualize.pictures import KIND, picture_data
from monai_unimedi.visualize.report_page import ASSETS, write_whole

__all__ = ["write_classification_page"]

SIDE = 200  # of a ROC curve, in SVG units


def write_classification_page(
    path: str | os.PathLike[str],
    cases: Sequence[Mapping[str, Any]],
    curves: Mapping[str, Sequence[tuple[float, float]]],
    metrics: Mapping[str, Any],
    class_names: Sequence[str],
    history: Sequence[Mapping[str, Any]] | None = None,
    title: str = "Classification",
    details: Mapping[str, Any] | None = None,
    is_phantom: bool = False,
) -> Path:
    """Writes the page.

    Args:
        path: HTML file.
        cases: each with ``id``, ``pred`` and ``label`` (F,); those with ``image`` (X, Y[, Z]) are shown.
        curves: by class, points (false, true positive rate).
        metrics: figures, nested, of `summarize_classification`.
        class_names: of the F classes.
        history: logged steps of the training, see ``loss_charts``.
        title: heading.
        details: plain settings to list.
        is_phantom: the page says so.
    """
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, figure=figure_text, finding_name=lambda index, known: known[index])
    shown = [_case(index, case, class_names) for index, case in enumerate(c for c in cases if "image" in c)]
    html = environment.get_template("classification.html").render(
        title=title,
        is_phantom=is_phantom,
        count=len(cases),
        rocs=[_roc(name, points, metrics) for name, points in curves.items()],
        side=SIDE,
        cases=shown,
        charts=loss_charts(history),
        tables=metric_tables(metrics),
        settings={key: plain(value) for key, value in (details or {}).items()} | plain_values(metrics),
    )
    return write_whole(Path(path), html)


def _roc(name: str, points: Sequence[tuple[float, float]], metrics: Mapping[str, Any]) -> dict[str, Any]:
    path = "M" + "L".join(f"{x * SIDE:.1f} {(1 - y) * SIDE:.1f}" for x, y in points)
    figure = metrics.get("by_class", {}).get(name, {}).get("auroc")
    return {"name": name.replace("_", " "), "path": path, "auroc": figure}


def _case(index: int, case: Mapping[str, Any], class_names: Sequence[str]) -> dict[str, Any]:
    image = case["image"].clamp(0, 1)
    width, height, slices = (*image.shape, 1)[:3]
    kind = KIND["3d" if image.ndim == 3 else "2d"]
    bars = [
        {"name": name.replace("_", " "), "probability": float(p), "label": _word(float(y))}
        for name, p, y in zip(class_names, case["pred"], case["label"])
    ]
    present = [str(bar["name"]) for bar in bars if bar["label"] == "present"]
    picture = {
        "name": f"s{index}", "id": case["id"], "kind": kind, "width": width, "height": height, "slices": slices,
        "slice": slices // 2, "outlines": [], "lesion_slices": [], "chosen_slices": [],
        "alt": f"{kind} {case['id']}, {', '.join(present) or 'no class present'}",
    }  # fmt: skip
    return {"picture": picture, "style": picture_data(image), "bars": bars}


def _word(label: float) -> str:
    return {1.0: "present", 0.0: "absent"}.get(label, "not known")
