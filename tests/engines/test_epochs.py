# SPDX-License-Identifier: Apache-2.0
"""A training's length in steps as whole epochs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from monai_unimedi.engines import Finetuner
from monai_unimedi.engines.epochs import epochs_and_steps


@pytest.mark.parametrize(
    ("num_steps", "steps_per_epoch", "expected"),
    [
        *((400, 100, (4, 100)), (1, 100, (1, 1)), (99, 100, (1, 99)), (149, 100, (1, 100)), (151, 100, (2, 100))),
        (1e4, 500.0, (20, 500)),
    ],
)
def test_epochs_are_whole_and_one_at_least(num_steps: int, steps_per_epoch: int, expected: tuple[int, int]) -> None:
    assert epochs_and_steps(num_steps, steps_per_epoch) == expected


@pytest.mark.parametrize("value", [0, -3, 2.5, math.nan, "4", None, True])
@pytest.mark.parametrize("name", ["num_steps", "steps_per_epoch"])
def test_what_is_no_length_is_refused(name: str, value: Any) -> None:
    given = {"num_steps": 4, "steps_per_epoch": 2, name: value}
    with pytest.raises(ValueError, match=f"^{name} must be a whole number from 1, got {value!r}"):
        epochs_and_steps(**given)


@pytest.mark.parametrize(("given", "message"), [({"max_epochs": -3}, "max_epochs"), ({"epoch_length": -3}, "An epoch")])
def test_a_trainer_of_no_step_is_refused(given: dict[str, int], message: str) -> None:
    network = torch.nn.Linear(1, 1)
    lengths = {"max_epochs": 1, "epoch_length": 1, **given}
    with pytest.raises(ValueError, match=message):
        Finetuner(
            device="cpu",
            train_data_loader=[0],
            network=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
            loss_function=torch.nn.MSELoss(),
            **lengths,
        )
