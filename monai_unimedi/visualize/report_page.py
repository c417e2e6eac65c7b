# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page of an evaluation: nothing is loaded from anywhere, every picture is inside it.

This file gathers what the page shows; ``assets/`` holds how it looks (``page.html``, ``parts.html``,
``page.css``) and what moves (``page.js``).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from monai_unimedi.visualize.cases import (
    choose_examples,
    describe_findings,
    finding_indices,
    finding_name,
    findings_key,
    nearest,
)
from monai_unimedi.visualize.curves import loss_charts, number, slice_curve
from monai_unimedi.visualize.embedding_map import embedding_maps
from monai_unimedi.visualize.floors import demo_floors
from monai_unimedi.visualize.metric_tables import figure_text, metric_tables, plain, plain_values
from monai_unimedi.visualize.pictures import KIND, Pictures

__all__ = ["write_report_page"]

ASSETS = Path(__file__).parent / "assets"
SOURCES = ("2d", "3d")
NUM_NEIGHBOURS = 3


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
) -> Path:
    """Writes the page.

    Args:
        path: HTML file to write; its folder is made. test: evaluation arrays per source, ``"2d"`` and
        ``"3d"``, either of which may be absent. Per source at least
            ``id``, ``image`` (N, 1, X, Y[, Z]) in [0, 1] and ``image_embedding`` (N, E); what else is there
            is shown.
        metrics: figures, nested; with a ``"phantom"`` key the page says that the data are phantoms.
        history: logged steps, see ``loss_charts``.
        label_names: findings, in the order of the label's columns and of the lesion mask's bits.
        title: heading of the page.
        show_text: show report texts, and a banner that says so; otherwise ids only.
        details: plain settings to list (seed, sizes, versions); ``"phantom": True`` marks phantom data.
        num_examples: how many X-rays, CTs and reports to show.

    Returns:
        The file written.

    Raises:
        ValueError: When ``test`` holds neither source.
    """
    sources = {source: test[source] for source in SOURCES if test.get(source) and len(test[source]["id"])}
    if not sources:
        raise ValueError(f"test must hold evaluation arrays under '2d' or '3d', got the keys {sorted(test)}")
    page = _Page(sources, list(label_names), show_text, num_examples)
    is_phantom = bool(metrics.get("phantom") or (details or {}).get("phantom"))
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, finding_name=finding_name, figure=figure_text)
    html = environment.get_template("page.html").render(
        title=title,
        is_phantom=is_phantom,
        show_text=show_text,
        kind=KIND,
        label_names=list(label_names),
        counts={source: len(arrays["id"]) for source, arrays in sources.items()},
        floors=demo_floors(metrics) if is_phantom else [],
        charts=loss_charts(history),
        examples={source: page.examples(source) for source in sources},
        reports=page.reports(),
        crossings=page.crossings(),
        maps=embedding_maps(sources, label_names),
        tables=metric_tables(metrics),
        settings={key: plain(value) for key, value in (details or {}).items()} | plain_values(metrics),
        pictures=page.pictures,
    )
    return _write_whole(Path(path), html)


class _Page:
    """Gathers the examples: for each, its picture, its findings and what lies nearest to it."""

    def __init__(
        self,
        sources: Mapping[str, Mapping[str, Any]],
        label_names: list[str],
        show_text: bool,
        num_examples: int,
    ) -> None:
        self.sources, self.label_names, self.show_text = sources, label_names, show_text
        self.pictures = Pictures(sources, label_names)
        self.chosen = {
            source: choose_examples(arrays, label_names, num_examples) for source, arrays in sources.items()
        }
        self.num_reports = max(1, num_examples // 2) if num_examples else 0

    def examples(self, source: str) -> list[dict[str, Any]]:
        """The chosen images of a source, each with its nearest reports and, for a volume, its slice scores."""
        return [self._example(source, row) for row in self.chosen[source]]

    def reports(self) -> list[dict[str, Any]]:
        """A few reports of each source with the images of both sources nearest to each."""
        rows = [(source, row) for source in self.sources for row in self.chosen[source][: self.num_reports]]
        return [
            self._report(source, row)
            | {"near": {to: self._images_near_report(source, row, to) for to in self.sources}}
            for source, row in rows
            if self.sources[source].get("text_embedding") is not None
        ]

    def crossings(self) -> list[dict[str, Any]]:
        """For each chosen X-ray the nearest CTs, and for each of these the nearest X-rays: there and back."""
        if len(self.sources) < 2:
            return []
        crossings = []
        for row in self.chosen["2d"]:
            there = self._images_near_image("2d", row, "3d")
            crossings.append(
                self._case("2d", row)
                | {
                    "near": [
                        case | {"back": self._images_near_image("3d", case["row"], "2d")} for case in there
                    ]
                }
            )
        return crossings

    def _example(self, source: str, row: int) -> dict[str, Any]:
        case = self._case(source, row) | {"scores": None, "curve": None, "near_reports": [], "own": None}
        arrays, picture = self.sources[source], case["picture"]
        if arrays.get("slice_scores") is not None:
            scores = torch.as_tensor(arrays["slice_scores"][row]).tolist()
            case["scores"] = scores
            case["curve"] = slice_curve(
                scores, _lesion_slices(arrays, row, picture), picture["chosen_slices"]
            )
        if arrays.get("text_embedding") is not None:
            case |= self._reports_near_image(source, row)
        return case

    def _case(self, source: str, row: int) -> dict[str, Any]:
        findings = describe_findings(self.sources[source], row, self.label_names, in_full=self.show_text)
        return {"source": source, "row": row, "picture": self.pictures(source, row), "findings": findings}

    def _report(self, source: str, row: int) -> dict[str, Any]:
        arrays = self.sources[source]
        findings = describe_findings(arrays, row, self.label_names, in_full=self.show_text)
        text = str(arrays["report"][row]) if self.show_text and arrays.get("report") is not None else None
        return {
            "source": source,
            "row": row,
            "id": str(arrays["id"][row]),
            "text": text,
            "findings": findings,
        }

    def _reports_near_image(self, source: str, row: int) -> dict[str, Any]:
        arrays = self.sources[source]
        query, texts = (
            torch.as_tensor(arrays["image_embedding"][row]),
            torch.as_tensor(arrays["text_embedding"]),
        )
        ranked = nearest(query, texts, len(texts))
        near = [
            self._report(source, other)
            | {
                "similarity": similarity,
                "is_own": other == row,
                "hit": self._equal(source, row, source, other),
            }
            for other, similarity in ranked[:NUM_NEIGHBOURS]
        ]
        return {
            "near_reports": near,
            "own": self._report(source, row),
            "own_rank": 1 + [other for other, _ in ranked].index(row),
        }

    def _images_near_report(self, source: str, row: int, to: str) -> list[dict[str, Any]]:
        return self._near(self.sources[source]["text_embedding"][row], source, row, to)

    def _images_near_image(self, source: str, row: int, to: str) -> list[dict[str, Any]]:
        return self._near(self.sources[source]["image_embedding"][row], source, row, to)

    def _near(self, query: Any, source: str, row: int, to: str) -> list[dict[str, Any]]:
        pool = torch.as_tensor(self.sources[to]["image_embedding"])
        ranked = nearest(torch.as_tensor(query), pool, NUM_NEIGHBOURS)
        return [
            self._case(to, other)
            | {
                "similarity": similarity,
                "is_own": source == to and other == row,
                "hit": self._equal(source, row, to, other)
                if source == to
                else self._shared(source, row, to, other),
            }
            for other, similarity in ranked
        ]

    def _equal(self, source: str, row: int, to: str, other: int) -> bool | None:
        """Whether two cases have the same findings; None where nothing is known."""
        key = findings_key(self.sources[source], row)
        return None if key is None else key == findings_key(self.sources[to], other)

    def _shared(self, source: str, row: int, to: str, other: int) -> bool | None:
        """Whether two cases share a finding, or both have none; None where nothing is known."""
        ours = finding_indices(self.sources[source], row, self.label_names)
        theirs = finding_indices(self.sources[to], other, self.label_names)
        if ours is None or theirs is None:
            return None
        return bool(set(ours) & set(theirs)) or ours == theirs


def _lesion_slices(arrays: Mapping[str, Any], row: int, picture: Mapping[str, Any]) -> list[int]:
    """Slices that meet a lesion, from the mask, else from the findings' ``slice_range`` (first and last)."""
    if picture["lesion_slices"] or arrays.get("findings") is None:
        return list(picture["lesion_slices"])
    ranges = [finding["slice_range"] for finding in arrays["findings"][row] if finding.get("slice_range")]
    last = picture["slices"] - 1
    return sorted(
        {index for low, high in ranges for index in range(max(0, int(low)), min(last, int(high)) + 1)}
    )


def _write_whole(path: Path, text: str) -> Path:
    """Writes beside the file and moves into place, so that a half-written page is never opened."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False
    ) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
    return path
