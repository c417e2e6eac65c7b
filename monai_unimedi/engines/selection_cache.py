# SPDX-License-Identifier: Apache-2.0
"""Slice scores of the volumes seen so far, so that the teacher reads all slices at every n-th visit only.

Attentive slice selection passes every slice of a volume through the teacher, more work than the rest of a
CT's step. The scores change slowly, so they are kept per volume and refreshed at every n-th visit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .distributed import gather_first_axis

__all__ = ["SelectionCache"]


class SelectionCache:
    """Keeps slice scores per source and row of its dataset; equal on all ranks after every step.

    Args:
        refresh: a volume's scores are computed at every `refresh`-th visit and re-used in between; 1 never
            re-uses.

    Raises:
        ValueError: When `refresh` is below 1.
    """

    def __init__(self, refresh: int) -> None:
        if refresh < 1:
            raise ValueError(f"selection_refresh must be 1 (every visit) or more, got {refresh}.")
        self.refresh = refresh
        self._scores: dict[str, Tensor] = {}  # source: (rows, largest S)
        self._uses: dict[
            str, Tensor
        ] = {}  # source: (rows,), visits served by the present scores, 0 = no scores yet

    def lookup(
        self, source: str, row: Tensor, compute: Callable[[Tensor], Tensor], num_slices: int | None = None
    ) -> Tensor:
        """Scores of a batch of volumes; those without scores, or due for a refresh, are computed.

        Args:
            source: the batch's source.
            row: (B,) int64, row of each volume in its dataset.
            compute: takes is_stale (B,) bool and returns the scores (number stale, S) of those volumes.
            num_slices: S of this batch, where batches differ; None holds all volumes to the S of the first.

        Returns:
            slice_scores: (B, S) float32, detached.
        """
        row = row.cpu()
        self._make_room(source, int(row.max()) + 1)
        uses = self._uses[source][row]
        is_stale = (uses == 0) | (uses >= self.refresh)
        fresh = compute(is_stale).detach().float().cpu() if bool(is_stale.any()) else None
        if num_slices is not None and source in self._scores:
            self._widen(source, num_slices)
        scores = self._merge(source, row, is_stale, fresh, num_slices)
        self._record(source, row, scores, torch.where(is_stale, torch.ones_like(uses), uses + 1))
        return scores

    def _merge(
        self, source: str, row: Tensor, is_stale: Tensor, fresh: Tensor | None, num_slices: int | None
    ) -> Tensor:
        if fresh is None:
            return self._scores[source][row][:, :num_slices]
        known = self._scores.get(source)
        if known is None:
            known = self._scores[source] = torch.zeros(len(self._uses[source]), fresh.shape[1])
        if num_slices is None and known.shape[1] != fresh.shape[1]:
            raise ValueError(
                f"All volumes of source '{source}' must have the same number of slices to keep their scores, "
                f"got {fresh.shape[1]} after {known.shape[1]}; crop or pad them alike, or set selection_refresh "
                "to 1."
            )
        scores = known[row][:, : fresh.shape[1]]
        scores[is_stale] = fresh
        return scores

    def _widen(self, source: str, num_slices: int) -> None:
        """Columns for ``num_slices`` at least; those beyond a volume's own slices are never read."""
        scores = self._scores[source]
        missing = max(0, num_slices - scores.shape[1])
        self._scores[source] = torch.cat([scores, scores.new_zeros(len(scores), missing)], 1)

    def _record(self, source: str, row: Tensor, scores: Tensor, uses: Tensor) -> None:
        row, scores, uses = (gather_first_axis(value) for value in (row, scores, uses))
        self._make_room(source, int(row.max()) + 1)
        self._scores[source][row, : scores.shape[1]] = scores
        self._uses[source][row] = uses

    def _make_room(self, source: str, rows: int) -> None:
        uses = self._uses.get(source, torch.zeros(0, dtype=torch.int64))
        if rows > len(uses):
            missing = (1 << (rows - 1).bit_length()) - len(uses)  # powers of two, whatever the order of rows
            self._uses[source] = torch.cat([uses, uses.new_zeros(missing)])
            if source in self._scores:
                scores = self._scores[source]
                self._scores[source] = torch.cat([scores, scores.new_zeros(missing, scores.shape[1])])

    def state_dict(self) -> dict[str, Any]:
        """Scores and visit counts; part of the resume state."""
        return {"scores": dict(self._scores), "uses": dict(self._uses)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over scores and visit counts."""
        self._scores = {source: scores.clone() for source, scores in state["scores"].items()}
        self._uses = {source: uses.clone() for source, uses in state["uses"].items()}
