# SPDX-License-Identifier: Apache-2.0
"""What an inference leaves behind: embeddings, and for each CT the scores of its slices."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Events

from .checkpoint_file import write_atomically

__all__ = ["EmbeddingSaver"]

logger = logging.getLogger(__name__)


class EmbeddingSaver:
    """Writes what an `EmbeddingEvaluator` found, when it is done.

    ``embeddings.npz``: ``ids`` (N,), ``sources`` (N,) of ``2d`` and ``3d``, ``embeddings`` (N, E) float32,
    L2-normalised. ``slice_scores.json``: by id of a CT, ``scores`` (S, from inferior to superior) and
    ``selected`` (the k slices fed beside the volume). ``skipped.json``: ids of rows that gave no embedding.

    Args:
        output_dir: folder of the files.
        rows: all rows that were asked for, by source.
    """

    def __init__(
        self, output_dir: str | Path, rows: Mapping[str, Sequence[Mapping[str, Any]]] | None = None
    ) -> None:
        self.folder = Path(output_dir)
        self.rows = dict(rows or {})

    def attach(self, engine: Any) -> None:
        """Attaches to an `EmbeddingEvaluator`."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays = engine.arrays
        ids = [name for found in arrays.values() for name in found["id"]]
        table: dict[str, Any] = {
            "ids": np.array(ids, dtype=np.str_),
            "sources": np.array([source for source, found in arrays.items() for _ in found["id"]], np.str_),
            "embeddings": np.concatenate(
                [found["image_embedding"].numpy() for found in arrays.values()]
                or [np.zeros((0, 0), np.float32)]
            ),
        }
        write_atomically(self.folder / "embeddings.npz", lambda file: np.savez(file, **table))
        self._write("slice_scores.json", _slice_scores(arrays))
        present = set(ids)
        skipped = [row["id"] for found in self.rows.values() for row in found if row["id"] not in present]
        self._write("skipped.json", skipped)
        logger.info("%d images embedded, %d left out: %s", len(ids), len(skipped), self.folder)

    def _write(self, name: str, content: Any) -> None:
        text = json.dumps(content, indent=1) + "\n"
        write_atomically(self.folder / name, lambda file: file.write(text.encode()))


def _slice_scores(arrays: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, list[Any]]]:
    found = arrays.get("3d", {})
    if "slice_scores" not in found:
        return {}
    chosen = found.get("slice_indices")
    selected = [[]] * len(found["id"]) if chosen is None else chosen.tolist()
    rows = zip(found["id"], (scores.tolist() for scores in found["slice_scores"]), selected)
    return {
        name: {"scores": [round(score, 8) for score in scores], "selected": indices}
        for name, scores, indices in rows
    }
