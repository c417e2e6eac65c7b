# SPDX-License-Identifier: Apache-2.0
"""When distillation starts, how it ramps, and how sharp its teacher is (method, section 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ignite.engine import Events

from monai_unimedi.engines.distributed import unwrap

__all__ = ["LossSchedule"]


class LossSchedule:
    """Sets the distillation's weight and teacher temperature, and frees the head's last layer, by optimizer
    step.

    Before `start` the weight is 0 and the network is not asked for the distillation's branches; then it grows
    linearly over `ramp` steps to `weight`. The values are a pure function of the step: there is no state to
    save.

    Every moment or length is a number of optimizer steps (an int) or a share of the run's steps (a float in
    [0, 1]).

    Args:
        loss_function: gets the attributes `distillation_weight` and `teacher_temperature`.
        weight: lambda after the ramp.
        start: first step with distillation. Open.
        ramp: length of the linear rise. Open.
        unfreeze: step from which the head's last layer learns (`network.freeze_last_layer(False)`); by
            default when the ramp ends.
        temperature_start: teacher temperature T_t up to `start`.
        temperature_end: T_t after `temperature_ramp`.
        temperature_ramp: length of the linear way from one to the other.

    Raises:
        ValueError: When a value is negative, or a share above 1.
    """

    def __init__(
        self,
        loss_function: Callable[..., Any],
        weight: float = 0.3,
        start: int | float = 0.4,
        ramp: int | float = 100,
        unfreeze: int | float | None = None,
        temperature_start: float = 0.04,
        temperature_end: float = 0.07,
        temperature_ramp: int | float = 0.3,
    ) -> None:
        moments = {"start": start, "ramp": ramp, "unfreeze": unfreeze, "temperature_ramp": temperature_ramp}
        for name, value in {"weight": weight, **moments}.items():
            is_share = isinstance(value, float) and name != "weight"
            if value is not None and (value < 0 or (is_share and value > 1)):
                raise ValueError(
                    f"{name} must be a number of optimizer steps (int) or a share of the run (float in [0, "
                    f"1]), got {value!r}."
                    if name != "weight"
                    else f"weight must not be negative, got {value}."
                )
        self.loss_function: Any = loss_function
        self.weight = weight
        self.start = start
        self.ramp = ramp
        self.unfreeze = unfreeze
        self.temperature_start = temperature_start
        self.temperature_end = temperature_end
        self.temperature_ramp = temperature_ramp

    def attach(self, engine: Any) -> None:
        """Attaches to a `UniMediPretrainer`."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def weight_at(self, step: int, total_steps: int) -> float:
        """Distillation weight of optimizer step `step`, counted from 0."""
        return self.weight * _progress(
            step + 1, _steps(self.start, total_steps), _steps(self.ramp, total_steps)
        )

    def temperature_at(self, step: int, total_steps: int) -> float:
        """Teacher temperature of optimizer step `step`, counted from 0."""
        share = _progress(step, _steps(self.start, total_steps), _steps(self.temperature_ramp, total_steps))
        return self.temperature_start + share * (self.temperature_end - self.temperature_start)

    def is_frozen_at(self, step: int, total_steps: int) -> bool:
        """Whether the head's last layer rests in optimizer step `step`, counted from 0."""
        if self.unfreeze is None:
            return step < _steps(self.start, total_steps) + _steps(self.ramp, total_steps)
        return step < _steps(self.unfreeze, total_steps)

    def __call__(self, engine: Any) -> None:
        step, total_steps = engine.optimizer_step, engine.total_steps
        self.loss_function.distillation_weight = self.weight_at(step, total_steps)
        self.loss_function.teacher_temperature = self.temperature_at(step, total_steps)
        network: Any = unwrap(engine.network)
        network.freeze_last_layer(self.is_frozen_at(step, total_steps))


def _steps(value: int | float, total_steps: int) -> int:
    return round(value * total_steps) if isinstance(value, float) else value


def _progress(step: int, start: int, length: int) -> float:
    """Share of the way from `start` to `start + length`, in [0, 1]."""
    if step <= start:
        return 0.0
    return 1.0 if length == 0 else min((step - start) / length, 1.0)
