# SPDX-License-Identifier: Apache-2.0
"""The teacher follows the student as an exponential moving average (method section 4)."""

from __future__ import annotations

import math
from typing import Any

from monai_unimedi.engines.distributed import unwrap
from monai_unimedi.engines.pretrainer import PretrainEvents

__all__ = ["TeacherUpdate"]


class TeacherUpdate:
    r"""Moves the teacher once after each optimizer step, with a momentum that grows on a cosine.

    .. math:: m_s = m_1 - (m_1 - m_0) \tfrac{1}{2} (1 + \cos(\pi s / S)), \quad s = 0, 1, \dots, S - 1

    Calls `engine.network.update_teacher(momentum)`. It has no state of its own: the teacher is part of the
    network and the momentum a pure function of the step, so a resumed run goes on exactly (unlike Ignite's
    `EMAHandler`).

    Args:
        momentum_start: m_0, share of the old teacher that stays at the first step.
        momentum_end: m_1, the same after the last step.
        total_steps: S in optimizer steps; the run's by default.

    Raises:
        ValueError: When a momentum is outside [0, 1].
    """

    def __init__(
        self, momentum_start: float = 0.996, momentum_end: float = 1.0, total_steps: int | None = None
    ) -> None:
        for name, value in (("momentum_start", momentum_start), ("momentum_end", momentum_end)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], got {value}.")
        self.momentum_start = momentum_start
        self.momentum_end = momentum_end
        self.total_steps = total_steps

    def attach(self, engine: Any) -> None:
        """Attaches to a `UniMediPretrainer`."""
        engine.add_event_handler(PretrainEvents.OPTIMIZER_STEPPED, self)

    def momentum(self, step: int, total_steps: int) -> float:
        """Momentum of optimizer step `step`, counted from 0."""
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(step / total_steps, 1.0)))
        return self.momentum_end - (self.momentum_end - self.momentum_start) * cosine

    def __call__(self, engine: Any) -> None:
        network: Any = unwrap(engine.network)
        network.update_teacher(self.momentum(engine.optimizer_step, self.total_steps or engine.total_steps))
