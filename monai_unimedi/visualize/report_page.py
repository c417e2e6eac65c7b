# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page of an evaluation: nothing is loaded from anywhere, every picture is inside it.

This file gathers what the page shows; ``assets/`` holds how it looks (``page.html``, ``parts.html``,
``page.css``) and what moves (``page.js``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from monai_unimedi.visualize.cases import finding_name
from monai_unimedi.visualize.curves import loss_charts, number
from monai_unimedi.visualize.embedding_map import embedding_maps
from monai_unimedi.visualize.examples import Examples
from monai_unimedi.visualize.floors import floor_rows
from monai_unimedi.visualize.metric_tables import figure_text, metric_tables, plain, plain_values
from monai_unimedi.visualize.pictures import KIND

__all__ = ["ASSETS", "page_environment", "write_report_page", "write_whole"]

ASSETS = Path(__file__).parent / "assets"
SOURCES = ("2d", "3d")


def write_report_page(
    path: str | os.PathLike[str],
    test: Mapping[str, Any],
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]] | None,
    label_names: Sequence[str],
    title: str,
    show_text: bool = False,
    details: Mapping[str, Any] | None = None,
    num_examples: int = 6,
    floors: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Writes the page.

    Args:
        path: HTML file to write; its folder is made.
        test: evaluation arrays per source, ``"2d"`` and ``"3d"``, either of which may be absent. Each has at
            least ``id``, ``image`` (N, 1, X, Y[, Z]) in [0, 1] and ``image_embedding`` (N, E); what else is
            there is shown.
        metrics: figures, nested; with a ``"phantom"`` key the page says that the data are phantoms.
        history: logged steps, see ``loss_charts``.
        label_names: findings, in the order of the label's columns and of the lesion mask's bits.
        title: heading of the page.
        show_text: show report texts, and a banner that says so; otherwise ids only.
        details: plain settings to list (seed, sizes, versions); ``"phantom": True`` marks phantom data,
            ``"debiased": True`` attention that is what exceeds the usual at a place.
        num_examples: how many X-rays, CTs and reports to show.
        floors: what the figures must reach, as ``metrics.compare_to_floors`` gives it; none, no such table.

    Returns:
        The file written.

    Raises:
        ValueError: When ``test`` holds neither source.
    """
    sources = {source: test[source] for source in SOURCES if test.get(source) and len(test[source]["id"])}
    if not sources:
        raise ValueError(f"test must hold evaluation arrays under '2d' or '3d', got the keys {sorted(test)}")
    shown = Examples(sources, list(label_names), show_text, num_examples)
    is_phantom = bool(metrics.get("phantom") or (details or {}).get("phantom"))
    environment = page_environment()
    html = environment.get_template("page.html").render(
        title=title,
        is_phantom=is_phantom,
        is_debiased=bool((details or {}).get("debiased")),
        show_text=show_text,
        kind=KIND,
        label_names=list(label_names),
        counts={source: len(arrays["id"]) for source, arrays in sources.items()},
        floors=floor_rows(floors, metrics),
        charts=loss_charts(history),
        examples={source: shown.examples(source) for source in sources},
        reports=shown.reports(),
        crossings=shown.crossings(),
        maps=embedding_maps(sources, label_names),
        tables=metric_tables(metrics),
        settings={key: plain(value) for key, value in (details or {}).items() if key != "phantom"}
        | plain_values(metrics),
        pictures=shown.pictures,
    )
    return write_whole(Path(path), html)


def page_environment() -> Environment:
    """Where the templates of ``assets/`` find each other and the filters that they use."""
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, finding_name=finding_name, figure=figure_text)
    return environment


def write_whole(path: Path, text: str) -> Path:
    """Writes beside the file and moves into place, so that a half-written page is never opened."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    return part.replace(path)
