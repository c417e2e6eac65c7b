# SPDX-License-Identifier: Apache-2.0
"""The few questions that training on several ranks asks; every function is the identity on one rank."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["gather_first_axis", "gather_lists", "mean_over_ranks", "rank", "unwrap", "world_size"]


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number; files are written by rank 0 only."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def unwrap(network: nn.Module) -> nn.Module:
    """The network itself, without `DistributedDataParallel` and `torch.compile` round it."""
    if isinstance(network, DistributedDataParallel):
        network = network.module
    original = getattr(network, "_orig_mod", network)
    return original if isinstance(original, nn.Module) else network


def mean_over_ranks(values: Tensor) -> Tensor:
    """Average of a (N,) float tensor over ranks; a NaN on one rank is a NaN on all of them."""
    if world_size() == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / world_size()


def gather_first_axis(values: Tensor) -> Tensor:
    """Rows of every rank, in rank order and without gradient; (B, ...) to (ranks * B, ...)."""
    if world_size() == 1:
        return values
    values_here = values.contiguous().cuda() if dist.get_backend() == "nccl" else values.contiguous()
    parts = [torch.empty_like(values_here) for _ in range(world_size())]
    dist.all_gather(parts, values_here)
    return torch.cat(parts).to(values.device)


def gather_lists(values: Sequence[str]) -> list[str]:
    """Strings of every rank, in rank order."""
    if world_size() == 1:
        return list(values)
    parts: list[list[str]] = [[] for _ in range(world_size())]
    dist.all_gather_object(parts, list(values))
    return [value for part in parts for value in part]
