# SPDX-License-Identifier: Apache-2.0
r"""Exact search by dot product: a scan in bfloat16 finds candidates, float32 ranks them, a bound proves it.

The scan reads half the memory and, on CPUs with bfloat16 units and on GPUs, multiplies several times as fast.
It keeps the best rows of blocks of 64 by their blocks' largest scores, so that nothing as long as the
table is ever sorted. Rounding a row :math:`v` and a query :math:`q` moves their product by at most

.. math:: |q \cdot v - \hat q \cdot \hat v| \le |q|\,|v - \hat v| + |q - \hat q|\,|\hat v|

so where the last of the float32 ranking lies above the best that any row left out can reach, the result is
that of float32 search over all rows. Where it does not, more candidates are ranked, at last all rows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from monai_unimedi.precision import has_bfloat16_units

__all__ = ["EmbeddingIndex"]

_BLOCK = 64  # rows
_CHUNK = 16384  # rows multiplied at a time: the scores stay in the cache
_QUERIES = 64  # at a time
_CANDIDATES = 128  # at least
_ULP = 2.0**-8  # rounding of a bfloat16 result, relative


class EmbeddingIndex:
    """Rows to be searched.

    Args:
        embeddings: (N, E) float32.
        is_bfloat16: how to scan; None asks `has_bfloat16_units`.
        device: where to compute.

    Raises:
        ValueError: When there are no rows, or they are not finite.
    """

    def __init__(
        self,
        embeddings: np.ndarray | Tensor,
        is_bfloat16: bool | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        rows = torch.as_tensor(embeddings, dtype=torch.float32, device=device)
        if rows.ndim != 2 or not len(rows):
            raise ValueError(f"embeddings must be (N, E) with at least one row, got {tuple(rows.shape)}.")
        self.rows = rows
        is_bfloat16 = has_bfloat16_units(device) if is_bfloat16 is None else is_bfloat16
        self.dtype = torch.bfloat16 if is_bfloat16 else torch.float32
        self.scanned = rows.to(self.dtype)
        parts = rows.split(_CHUNK), self.scanned.split(_CHUNK)
        gaps = [torch.linalg.vector_norm(a - b.float(), dim=1).max() for a, b in zip(*parts)]
        norms = [torch.linalg.vector_norm(a, dim=1).max() for a in parts[0]]
        self.gap, self.norm = float(torch.stack(gaps).max()), float(torch.stack(norms).max())
        if not np.isfinite(self.norm):
            raise ValueError("embeddings must be finite, got NaN or infinity.")

    def __len__(self) -> int:
        return len(self.rows)

    @torch.inference_mode()
    def search(self, queries: np.ndarray | Tensor, top: int = 10) -> tuple[Tensor, Tensor]:
        """The rows with the largest dot products.

        Args:
            queries: (Q, E) float32.
            top: how many; all rows where there are fewer.

        Returns:
            Scores (Q, top) float32, descending, and row numbers (Q, top) int64, on the CPU.

        Raises:
            ValueError: When the queries are not (Q, E), or `top` is not positive.
        """
        queries = torch.as_tensor(queries, dtype=torch.float32, device=self.rows.device)
        if queries.ndim != 2 or queries.shape[1] != self.rows.shape[1] or top < 1:
            raise ValueError(
                f"queries must be (Q, {self.rows.shape[1]}) and top positive, got "
                f"{tuple(queries.shape)}, {top}."
            )
        found = [self._search(part, min(top, len(self))) for part in queries.split(_QUERIES)]
        return torch.cat([s for s, _ in found]).cpu(), torch.cat([r for _, r in found]).cpu()

    def _search(self, queries: Tensor, top: int) -> tuple[Tensor, Tensor]:
        scores, peaks = self._scan(queries)
        count = max(_CANDIDATES, 2 * top)
        values, rows = self._rank(queries, scores, peaks, count, top)
        open_queries = self._unproven(queries, scores, peaks, count, values)
        while len(open_queries) and count < len(self):
            count *= 8
            part = queries[open_queries], scores[:, open_queries], peaks[:, open_queries]
            values[open_queries], rows[open_queries] = self._rank(*part, count, top)
            proven = self._unproven(*part, count, values[open_queries])
            open_queries = open_queries[proven]
        return values, rows

    def _scan(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (N', Q) of the scan, N' a multiple of the block, and the largest (N' / 64, Q) of each."""
        padded = -(-len(self) // _BLOCK) * _BLOCK
        scores = torch.full((padded, len(queries)), -torch.inf, dtype=self.dtype, device=self.rows.device)
        columns = queries.to(self.dtype).T.contiguous()
        peaks = []
        for first in range(0, len(self), _CHUNK):
            part = self.scanned[first : first + _CHUNK]
            torch.mm(part, columns, out=scores[first : first + len(part)])
            end = min(first + _CHUNK, padded)
            peaks.append(scores[first:end].view(-1, _BLOCK, len(queries)).amax(1))
        return scores, torch.cat(peaks)

    def _candidates(self, scores: Tensor, peaks: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The largest `count` scores (Q, C) of the scan and their rows, from the best `count` blocks."""
        blocks = peaks.T.topk(min(count, len(peaks)), dim=1).indices
        inside = torch.arange(_BLOCK, device=blocks.device)
        rows = (blocks[:, :, None] * _BLOCK + inside).flatten(1)
        found = scores.T.gather(1, rows)
        best = found.topk(min(count, len(self), found.shape[1]), dim=1)
        return best.values, rows.gather(1, best.indices)

    def _rank(
        self, queries: Tensor, scores: Tensor, peaks: Tensor, count: int, top: int
    ) -> tuple[Tensor, Tensor]:
        """The best of the candidates by float32, or of all rows where nearly all are candidates."""
        if count >= len(self):
            products = torch.cat([queries @ part.T for part in self.rows.split(_CHUNK)], dim=1)
            best = products.topk(top, dim=1)
            return best.values, best.indices
        _, rows = self._candidates(scores, peaks, count)
        exact = torch.bmm(self.rows[rows], queries[:, :, None])[:, :, 0]
        best = exact.topk(top, dim=1)
        return best.values, rows.gather(1, best.indices)

    def _unproven(self, queries: Tensor, scores: Tensor, peaks: Tensor, count: int, values: Tensor) -> Tensor:
        """Queries (as numbers) of which a row left out might belong among the best."""
        if count >= len(self):
            return torch.zeros(0, dtype=torch.int64)
        worst = self._candidates(scores, peaks, count)[0][:, -1].float()
        gap = torch.linalg.vector_norm(queries - queries.to(self.dtype).float(), dim=1)
        length = torch.linalg.vector_norm(queries, dim=1)
        margin = length * self.gap + gap * (self.norm + self.gap) + 1e-6 * length * self.norm
        if self.dtype == torch.bfloat16:
            margin = margin + _ULP * worst.abs()
        return torch.nonzero(values[:, -1] < worst + margin)[:, 0]
