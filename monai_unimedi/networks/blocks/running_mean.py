# SPDX-License-Identifier: Apache-2.0
"""A running mean over samples that does not depend on how they fall into batches, micro-steps and ranks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn

__all__ = ["RunningMean"]


class RunningMean(nn.Module):
    """Weighs every sample alike, and those of the present step against all before by an exponential memory.

    Samples are added as they come, and count from :meth:`take` on, once an optimizer step, before which the buffers
    have to become their averages over ranks. With the first step the mean is that step's: there is no bias of a start
    at zero (Kingma and Ba, Adam, 2015, section 3).

    Args:
        shape: of a sample.
        memory: samples after which the weight of a sample has fallen to 1/e.
    """

    weight: torch.Tensor
    total: torch.Tensor
    count: torch.Tensor

    def __init__(self, shape: Sequence[int], memory: float) -> None:
        super().__init__()
        self.memory = memory
        self.register_buffer("weight", torch.zeros((), dtype=torch.float64))
        self.register_buffer("total", torch.zeros(tuple(shape)), persistent=False)
        self.register_buffer("count", torch.zeros((), dtype=torch.float64), persistent=False)

    @torch.no_grad()
    def add(self, samples: torch.Tensor) -> None:
        """samples: (B, *shape)."""
        self.total += samples.sum(0)
        self.count += len(samples)

    @torch.no_grad()
    def take(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean of what was added since the last time, and its share in the running mean: 0 of nothing, 1 of the
        first. ``mean.lerp_(*taken)`` moves a mean there."""
        count = self.count * (dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1)
        self.weight.mul_((1 - 1 / self.memory) ** count).add_(count)
        mean = self.total / self.count.clamp(min=torch.finfo(torch.float32).tiny)
        share = count / self.weight.clamp(min=torch.finfo(torch.float32).tiny)
        self.total.zero_()
        self.count.zero_()
        return mean.to(self.total.dtype), share.to(self.total.dtype)
