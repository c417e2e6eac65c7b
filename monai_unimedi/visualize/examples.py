# SPDX-License-Identifier: Apache-2.0
"""The cases a page shows, each with its neighbours in the common space: reports and images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from monai_unimedi.visualize.cases import choose_examples, compare_findings, describe_findings, nearest
from monai_unimedi.visualize.curves import slice_curve
from monai_unimedi.visualize.grounding import sentence_rows
from monai_unimedi.visualize.pictures import Pictures

__all__ = ["Examples"]

NUM_NEIGHBOURS = 3


class Examples:
    """Chooses cases of each source; gathers for each its picture, its findings and what lies nearest to it.

    Args:
        sources: evaluation arrays per source.
        label_names: findings, in the order of the label's columns.
        show_text: with report texts and the places of findings; otherwise ids and names only.
        num_examples: cases of each source.
    """

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
        """The chosen images of a source, each with its nearest reports and, in a volume, slice scores."""
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
        case["sentences"] = sentence_rows(arrays, row, self.label_names, self.show_text)
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
                "relation": self._relation(source, row, source, other),
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
                "relation": self._relation(source, row, to, other),
            }
            for other, similarity in ranked
        ]

    def _relation(self, source: str, row: int, to: str, other: int) -> str | None:
        if (source, row) == (to, other):
            return "own"
        return compare_findings((self.sources[source], row), (self.sources[to], other), self.label_names)


def _lesion_slices(arrays: Mapping[str, Any], row: int, picture: Mapping[str, Any]) -> list[int]:
    """Slices that meet a lesion, from the mask, else from the findings' ``slice_range`` (first and last)."""
    if picture["lesion_slices"] or arrays.get("findings") is None:
        return list(picture["lesion_slices"])
    ranges = [finding["slice_range"] for finding in arrays["findings"][row] if finding.get("slice_range")]
    last = picture["slices"] - 1
    return sorted(
        {index for low, high in ranges for index in range(max(0, int(low)), min(last, int(high)) + 1)}
    )
