# SPDX-License-Identifier: Apache-2.0
r"""Symmetric cross-entropy of all similarities between rows and columns, a block of rows at a time.

With logits :math:`z_{ij} = s\,v_i \cdot t_j`, targets :math:`q_{ij} = [g_i = g_j] / n_{g_i}`, and :math:`r_i`,
:math:`c_j` the log-sum-exp of row i and column j,

.. math::
    L &= \sum_i w_i \Big(r_i - \sum_j q_{ij} z_{ij}\Big) + \sum_j w_j \Big(c_j - \sum_i q_{ij} z_{ij}\Big) \\
    \frac{\partial L}{\partial z_{ij}} &= w_i \big(e^{z_{ij} - r_i} - q_{ij}\big)
        + w_j \big(e^{z_{ij} - c_j} - q_{ij}\big)

Both directions need the same logits. They are computed twice, forwards for r and c and backwards for the gradient,
and never stored: four products of matrices, where autograd over two separate directions makes six.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from monai_unimedi.losses.across_ranks import max_over_ranks, rank_and_world_size, sum_over_ranks

__all__ = ["ChunkedContrast"]

CHUNK_LOGITS = 2**21  # logits held at a time; docs/decisions.md has the measurement
MIN_ROWS = 64  # below, products of matrices are slow


class ChunkedContrast(torch.autograd.Function):
    """This rank's rows against the columns of every rank, both directions, exactly.

    ``apply(rows, columns, scale, row_groups, column_groups)``: (B, E), (N, E), scalar, all of one float type, (B,) and
    (N,) int64; N = world size * B, in rank order. Gives the scalar (mean over the local rows + mean over the local
    columns) / 2. Ranks exchange vectors of N numbers only.

    The gradient of ``rows`` is that of the sum of all ranks' losses; the gradient of ``columns`` is this rank's part of
    it, to be summed over ranks; that of ``scale`` is right once averaged over ranks, as by ``DistributedDataParallel``.
    """

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, columns: Tensor, scale: Tensor, row_groups: Tensor, column_groups: Tensor
    ) -> Tensor:
        of_rows, row_targets, counts = rows.new_empty((3, len(rows)))
        of_columns, column_targets = rows.new_full((len(columns),), -torch.inf), rows.new_zeros(len(columns))
        with torch.autocast(rows.device.type, enabled=False):
            for block, logits in _blocks(rows, columns, scale):
                of_rows[block] = logits.logsumexp(1)
                of_columns = torch.logaddexp(of_columns, logits.logsumexp(0))
                same = row_groups[block, None] == column_groups
                counts[block] = same.sum(1).to(rows.dtype)
                logits *= same
                row_targets[block] = logits.sum(1)
                column_targets += logits.sum(0)
        largest = max_over_ranks(of_columns)
        of_columns = largest + sum_over_ranks((of_columns - largest).exp()).log()
        ctx.save_for_backward(rows, columns, scale, row_groups, column_groups, counts, of_rows, of_columns)
        own = _own(rows)
        targets = row_targets + sum_over_ranks(column_targets)[own]
        return (of_rows + of_columns[own] - targets / counts).mean() / 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, columns, scale, row_groups, column_groups, counts, of_rows, of_columns = ctx.saved_tensors
        weights = torch.zeros_like(of_columns)
        weights[_own(rows)] = gradient / (2 * len(rows))
        weights = sum_over_ranks(weights)  # of every row and column, whatever factor its rank's loss has
        of_row = weights[_own(rows)]
        row_gradient, column_gradient = torch.empty_like(rows), torch.zeros_like(columns)
        with torch.autocast(rows.device.type, enabled=False):
            for block, logits in _blocks(rows, columns, scale):
                by_row = (logits - of_rows[block, None]).exp_().mul_(of_row[block, None])
                logits.sub_(of_columns).exp_().mul_(weights).add_(by_row)
                target = torch.add(of_row[block, None], weights, out=by_row).div_(counts[block, None])
                logits.sub_(target.mul_(row_groups[block, None] == column_groups))
                torch.mm(logits, columns, out=row_gradient[block])
                column_gradient.addmm_(logits.T, rows[block])
            scale_gradient = torch.linalg.vecdot(rows, row_gradient).sum()
        return row_gradient.mul_(scale), column_gradient.mul_(scale), scale_gradient, None, None


def _blocks(rows: Tensor, columns: Tensor, scale: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of rows, and their logits (rows of the block, N) in memory that the next block takes over."""
    size = min(len(rows), max(MIN_ROWS, CHUNK_LOGITS // len(columns)))
    memory = rows.new_empty((size, len(columns)))
    for start in range(0, len(rows), size):
        block = slice(start, min(start + size, len(rows)))
        yield block, torch.mm(rows[block] * scale, columns.T, out=memory[: block.stop - start])


def _own(rows: Tensor) -> slice:
    """Where this rank's rows stand among those of all ranks."""
    first = rank_and_world_size()[0] * len(rows)
    return slice(first, first + len(rows))
