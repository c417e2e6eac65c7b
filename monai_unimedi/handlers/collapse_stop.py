# SPDX-License-Identifier: Apache-2.0
"""Stops a run whose self-distillation has collapsed (method section 4)."""

from __future__ import annotations

from typing import Any

from ignite.engine import Events

__all__ = ["CollapseStop"]


class CollapseStop:
    """Raises when the teacher's mean distribution over prototypes has lost its entropy.

    It reads the flat output's keys with `mean_entropy` in their name: the entropy of the mean teacher
    distribution of a source and token kind, over the largest that its batches allow (log K, or less with few rows).
    They are there once distillation has begun.

    Args:
        minimum: least healthy value; half of the largest is 0.5.
        patience: iterations in a row below `minimum` that stop the run.

    Raises:
        RuntimeError: In a run, when a value stays below `minimum`; says which, where and what to do.
    """

    def __init__(self, minimum: float = 0.5, patience: int = 20) -> None:
        self.minimum = minimum
        self.patience = patience
        self.counts: dict[str, int] = {}

    def attach(self, engine: Any) -> None:
        """Attaches to a `UniMediPretrainer`."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        for name, value in engine.state.output[0].items():
            if "mean_entropy" not in name:
                continue
            self.counts[name] = self.counts.get(name, 0) + 1 if value < self.minimum else 0
            if self.counts[name] >= self.patience:
                raise RuntimeError(
                    f"Self-distillation has collapsed: {name} (entropy of the mean teacher distribution over the "
                    f"largest it can have) must stay at {self.minimum} or more, got {value:.3f} and as little for "
                    f"{self.patience} iterations up to optimizer step {engine.completed_steps}; start "
                    "distillation later, ramp it more slowly or lower its weight, and run again with "
                    "`--resume false`."
                )

    def state_dict(self) -> dict[str, Any]:
        """How long each value has been too low."""
        return {"counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on counting."""
        self.counts = dict(state["counts"])
