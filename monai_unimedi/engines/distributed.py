# SPDX-License-Identifier: Apache-2.0
"""The few questions that training on several ranks asks; every function is the identity on one rank."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = [
    "average_buffers",
    "check_joined",
    "gather_first_axis",
    "gather_lists",
    "mean_over_ranks",
    "no_sync",
    "rank",
    "unwrap",
    "world_size",
]


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number; files are written by rank 0 only."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def unwrap(network: nn.Module) -> nn.Module:
    """The network itself, without `DistributedDataParallel` and `torch.compile` round it, in whatever order."""
    return list(_from_outside(network))[-1]


def no_sync(network: nn.Module) -> AbstractContextManager[Any]:
    """Within it ranks exchange no gradients, also where `torch.compile` is round `DistributedDataParallel`."""
    for wrapper in _from_outside(network):
        if isinstance(wrapper, DistributedDataParallel):
            return wrapper.no_sync()
    return nullcontext()


def _from_outside(network: nn.Module) -> Iterator[nn.Module]:
    """The network as it is given, then what each wrapper holds, the network itself last."""
    yield network
    within = network.module if isinstance(network, DistributedDataParallel) else getattr(network, "_orig_mod", None)
    if isinstance(within, nn.Module):
        yield from _from_outside(within)


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


def average_buffers(network: nn.Module) -> None:
    """Floating-point buffers become their averages over ranks: sums and means that each rank made of its own rows."""
    buffers = [buffer for buffer in unwrap(network).buffers() if buffer.is_floating_point()]
    if world_size() == 1 or not buffers:
        return
    means = mean_over_ranks(torch.cat([buffer.flatten() for buffer in buffers]))
    for buffer, mean in zip(buffers, means.split([buffer.numel() for buffer in buffers])):
        buffer.copy_(mean.view_as(buffer))


def check_joined() -> None:
    """Checks that processes which were started together train together.

    Raises:
        RuntimeError: When the launcher started several processes and they have no process group: each would
            train on its own and write the same files.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > 1 and world_size() == 1 and "LOCAL_RANK" in os.environ:
        raise RuntimeError(
            f"The {started} processes that were started together must form one process group, got none: add the "
            "bundle's configs/multi_gpu_train.json to --config_file, or start one process."
        )
