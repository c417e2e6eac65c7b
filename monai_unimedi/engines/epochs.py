# SPDX-License-Identifier: Apache-2.0
"""Epochs of a training whose length is given in steps."""

from __future__ import annotations

from numbers import Real

__all__ = ["epochs_and_steps"]


def epochs_and_steps(num_steps: float, steps_per_epoch: float) -> tuple[int, int]:
    """The number of epochs and the optimizer steps of each, whose product is `num_steps`, rounded to whole epochs.

    Args:
        num_steps: optimizer steps of the training.
        steps_per_epoch: optimizer steps between two validations; `num_steps` where that is less.

    Raises:
        ValueError: When one of them is no whole number from 1.
    """
    for name, value in (("num_steps", num_steps), ("steps_per_epoch", steps_per_epoch)):
        if isinstance(value, bool) or not isinstance(value, Real) or value < 1 or value % 1:
            raise ValueError(f"{name} must be a whole number from 1, got {value!r} from the config or --{name}.")
    return max(1, round(num_steps / steps_per_epoch)), int(min(num_steps, steps_per_epoch))
