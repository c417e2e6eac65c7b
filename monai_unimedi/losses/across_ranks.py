# SPDX-License-Identifier: Apache-2.0
"""What the losses need from several processes: rows of every rank, and sums and maxima over ranks.

Without an initialised process group every function is the identity, so that one process and many share one
path.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["gather_rows", "max_over_ranks", "rank_and_world_size", "sum_over_ranks"]


def rank_and_world_size() -> tuple[int, int]:
    """This process's rank and the number of processes; (0, 1) without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather_rows(rows: Tensor) -> Tensor:
    r"""Rows of every rank in rank order, with gradient.

    The gradient of a local row is the sum over ranks of what each rank's loss asks of it. Averaged by
    ``DistributedDataParallel`` it is the gradient of the mean of the ranks' losses.

    Args:
        rows: (B, ...), any dtype; B is the same on every rank.

    Returns:
        (world size * B, ...).

    Raises:
        ValueError: When the ranks hold different numbers of rows.
    """
    if rank_and_world_size()[1] == 1:
        return rows
    _check_equal_counts(rows)
    return _GatherRows.apply(rows)


def sum_over_ranks(values: Tensor) -> Tensor:
    """Element-wise sum over ranks, without gradient; a new tensor, (...) to (...)."""
    return _reduce(values, "SUM")


def max_over_ranks(values: Tensor) -> Tensor:
    """Element-wise maximum over ranks, without gradient; a new tensor, (...) to (...)."""
    return _reduce(values, "MAX")


def _reduce(values: Tensor, operation: str) -> Tensor:
    reduced = values.detach().clone()
    if rank_and_world_size()[1] > 1:
        dist.all_reduce(reduced, op=getattr(dist.ReduceOp, operation))
    return reduced


def _check_equal_counts(rows: Tensor) -> None:
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    found = torch.cat(counts).tolist()
    if len(set(found)) > 1:
        raise ValueError(
            f"every rank must hold the same number of rows, got {found} by rank; use a sampler that drops or "
            "fills the last batch alike on every rank"
        )


class _GatherRows(torch.autograd.Function):
    """All-gather whose backward sums the gradient over ranks and keeps this rank's part."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, rows)
        return torch.cat(gathered)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return sum_over_ranks(gradient.contiguous()).chunk(dist.get_world_size())[dist.get_rank()]
