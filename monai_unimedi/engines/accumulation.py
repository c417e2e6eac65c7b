# SPDX-License-Identifier: Apache-2.0
"""Where a run stands, counted in optimizer steps.

The optimizer step is a pure function of the iteration, so that schedules follow it and a resumed run needs no
other counter.
"""

from __future__ import annotations

import math

from monai.engines import Trainer

__all__ = ["AccumulatingTrainer"]


class AccumulatingTrainer(Trainer):
    """A trainer whose optimizer steps once per `accumulation_steps` iterations and at the end of each epoch.

    Subclasses set `accumulation_steps`; `state.epoch_length` must be known.
    """

    accumulation_steps: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return math.ceil(self.state.epoch_length / self.accumulation_steps)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run."""
        return self.steps_per_epoch * int(self.state.max_epochs)

    @property
    def optimizer_step(self) -> int:
        """Index of the optimizer step that the present iteration belongs to, from 0."""
        epoch = max(self.state.iteration - 1, 0) // self.state.epoch_length
        return int(epoch * self.steps_per_epoch + self._position // self.accumulation_steps)

    @property
    def completed_steps(self) -> int:
        """Optimizer steps done once the present iteration is."""
        return self.optimizer_step + int(self.state.iteration > 0 and self.ends_optimizer_step)

    @property
    def micro_steps(self) -> int:
        """Iterations in the present optimizer step."""
        first = self._position // self.accumulation_steps * self.accumulation_steps
        return min(self.accumulation_steps, self.state.epoch_length - first)

    @property
    def starts_optimizer_step(self) -> bool:
        """Whether the present iteration is the first of its optimizer step."""
        return self._position % self.accumulation_steps == 0

    @property
    def ends_optimizer_step(self) -> bool:
        """Whether the present iteration is the last of its optimizer step."""
        return (self._position + 1) % self.accumulation_steps == 0 or self.ends_epoch

    @property
    def ends_epoch(self) -> bool:
        """Whether the present iteration is the last of its epoch."""
        return self._position + 1 == self.state.epoch_length

    @property
    def _position(self) -> int:
        """Index of the present iteration in its epoch, from 0."""
        return int(max(self.state.iteration - 1, 0) % self.state.epoch_length)
