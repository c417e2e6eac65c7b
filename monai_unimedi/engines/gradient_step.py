# SPDX-License-Identifier: Apache-2.0
"""From a loss to changed weights: backward, clipping, fp16's loss scale, optimizer and learning rate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer

__all__ = ["GradientStep"]


class GradientStep:
    """One optimizer step in parts: `zero`, `backward` (once or more), `clip`, `step`.

    Args:
        optimizer: over the trained parameters.
        lr_scheduler: stepped with the optimizer, also where fp16's scaler skips the optimizer.
        clip_norm: upper bound of the gradient's L2 norm; None clips nothing.
        scaled_on: type of the device on which fp16 gradients need a scaler; None for bf16 and fp32.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_scheduler: LRScheduler | None,
        clip_norm: float | None,
        scaled_on: str | None,
    ) -> None:
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.clip_norm = math.inf if clip_norm is None else clip_norm
        self.scaler: Any = None if scaled_on is None else torch.amp.GradScaler(scaled_on)

    def zero(self) -> None:
        """Forgets the gradients of the step before."""
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of a scalar loss."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def clip(self) -> Tensor:
        """Clips the gradient; returns its L2 norm before that, which fp16 may have made infinite."""
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        return nn.utils.clip_grad_norm_(parameters, self.clip_norm)

    def step(self) -> bool:
        """Steps optimizer and schedule; tells whether the optimizer did (fp16's scaler skips overflows)."""
        did_step = True
        if self.scaler is None:
            self.optimizer.step()
        else:
            scale = self.scaler.get_scale()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            did_step = self.scaler.get_scale() >= scale
        if self.lr_scheduler is not None:
            self.lr_scheduler.step()
        return did_step
