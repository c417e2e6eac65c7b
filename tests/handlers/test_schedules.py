# SPDX-License-Identifier: Apache-2.0
"""Schedules are pure functions of the optimizer step."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from ignite.engine import Engine, Events

from monai_unimedi.handlers import LossSchedule, StepSeed, TeacherUpdate
from tests.engines.toy import ToyLoss
from tests.engines.toy_run import ToyRun


def test_weight_starts_late_and_ramps_linearly() -> None:
    schedule = LossSchedule(ToyLoss(), weight=0.4, start=10, ramp=4)
    weights = [schedule.weight_at(step, 100) for step in (0, 9, 10, 11, 13, 14, 99)]
    assert weights == pytest.approx([0.0, 0.0, 0.1, 0.2, 0.4, 0.4, 0.4])


def test_shares_follow_the_length_of_the_run() -> None:
    schedule = LossSchedule(ToyLoss(), weight=1.0, start=0.5, ramp=0.1)
    assert [schedule.weight_at(step, 200) for step in (99, 100, 119)] == pytest.approx([0.0, 0.05, 1.0])
    assert [schedule.weight_at(step, 20) for step in (9, 10, 11)] == pytest.approx([0.0, 0.5, 1.0])


def test_last_layer_is_frozen_until_the_ramp_ends_or_as_asked() -> None:
    assert [LossSchedule(ToyLoss(), start=10, ramp=5).is_frozen_at(step, 50) for step in (14, 15)] == [
        True,
        False,
    ]
    asked = LossSchedule(ToyLoss(), start=10, ramp=5, unfreeze=0.5)
    assert [asked.is_frozen_at(step, 50) for step in (24, 25)] == [True, False]


def test_temperature_moves_from_start_to_end() -> None:
    schedule = LossSchedule(
        ToyLoss(), start=10, temperature_start=0.04, temperature_end=0.07, temperature_ramp=30
    )
    temperatures = [schedule.temperature_at(step, 100) for step in (0, 10, 25, 40, 90)]
    assert temperatures == pytest.approx([0.04, 0.04, 0.055, 0.07, 0.07])


def test_schedule_sets_loss_and_network_each_step(tmp_path: Path) -> None:
    run = ToyRun(tmp_path, accumulation_steps=2)
    seen: list[tuple[int, float, bool]] = []

    def look(engine: Any) -> None:
        is_frozen = not run.network.student_head.weight.requires_grad
        seen.append((engine.optimizer_step, round(run.loss.distillation_weight, 3), is_frozen))

    run.trainer.add_event_handler(Events.ITERATION_COMPLETED, look)
    run.run()
    weights = {
        0: 0.0,
        3: 0.0,
        4: 0.167,
        5: 0.333,
        6: 0.5,
        11: 0.5,
    }  # 12 steps: start at round(0.3 * 12), ramp 3
    assert {step: weight for step, weight, _ in seen if step in weights} == weights
    assert {step for step, _, is_frozen in seen if is_frozen} == set(range(7))


@pytest.mark.parametrize("arguments", [{"start": -1}, {"ramp": 1.5}, {"weight": -0.1}, {"unfreeze": 2.0}])
def test_schedule_out_of_range_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must"):
        LossSchedule(ToyLoss(), **arguments)


def test_momentum_grows_on_a_cosine() -> None:
    update = TeacherUpdate(0.9, 1.0)
    assert [update.momentum(step, 100) for step in (0, 50, 100)] == pytest.approx([0.9, 0.95, 1.0])
    with pytest.raises(ValueError, match=r"momentum_start must be in \[0, 1\], got 1.5"):
        TeacherUpdate(1.5)


def drawn(seed: int, first_iteration: int) -> list[tuple[float, float, float]]:
    numbers: list[tuple[float, float, float]] = []
    engine = Engine(lambda engine, batch: None)
    engine.load_state_dict({"iteration": first_iteration, "max_epochs": 1, "epoch_length": 6})
    StepSeed(seed).attach(engine)
    engine.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda: numbers.append((torch.rand(1).item(), float(numpy.random.rand()), random.random())),
    )
    engine.run([0] * 6)
    return numbers


def test_generators_depend_on_seed_and_iteration_alone() -> None:
    whole = drawn(seed=5, first_iteration=0)
    assert drawn(seed=5, first_iteration=4) == whole[4:]
    assert len({number for numbers in whole for number in numbers}) == 18
    assert not set(drawn(seed=6, first_iteration=0)) & set(whole)
