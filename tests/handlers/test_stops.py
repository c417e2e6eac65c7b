# SPDX-License-Identifier: Apache-2.0
"""When a run stops before its end, and what it tells."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from ignite.engine import Events

from monai_unimedi.handlers import CollapseStop, EarlyStop, Progress
from tests.engines.toy_run import ToyRun


class EntropyOutput:
    """Puts an entropy into the output, as the distillation loss does."""

    def __init__(self, values: list[float]) -> None:
        self.values = values

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        engine.state.output[0]["3d_teacher_mean_entropy_class"] = self.values[engine.state.iteration - 1]


def test_collapse_stops_with_one_sentence(tmp_path: Path) -> None:
    values = [0.9, 0.4, 0.4, 0.6, 0.4, 0.3, 0.2] + 20 * [0.1]
    run = ToyRun(tmp_path, handlers=(EntropyOutput(values), CollapseStop(0.5, patience=3)))
    with pytest.raises(
        RuntimeError, match=r"3d_teacher_mean_entropy_class .* 0\.5 .*got 0\.200 .*step 7.*resume false"
    ):
        run.run()
    assert run.trainer.state.iteration == 7


def test_healthy_entropy_does_not_stop(tmp_path: Path) -> None:
    values = 10 * [0.9, 0.4]
    run = ToyRun(tmp_path, handlers=(EntropyOutput(values), CollapseStop(0.5, patience=2))).run()
    assert run.trainer.is_finished


def test_collapse_count_goes_on_after_a_restart() -> None:
    first, second = CollapseStop(), CollapseStop()
    first.counts = {"2d_teacher_mean_entropy_patches": 7}
    second.load_state_dict(first.state_dict())
    assert second.counts == first.counts


def test_early_stop_goes_on_counting(tmp_path: Path) -> None:
    trainer = ToyRun(tmp_path).trainer
    stops = [EarlyStop(patience=3, score_function=lambda engine: 1.0, trainer=trainer) for _ in range(2)]
    for _ in range(3):
        stops[0](trainer)
    stops[1].load_state_dict(stops[0].state_dict())
    assert stops[1].state_dict()["counter"] == 2
    stops[1](trainer)
    assert trainer.should_terminate


def test_early_stop_without_trainer_is_refused() -> None:
    with pytest.raises(RuntimeError, match="must know its trainer"):
        EarlyStop(patience=1, score_function=lambda engine: 1.0).state_dict()


def test_progress_is_logged_where_there_is_no_terminal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="monai_unimedi.handlers.progress"):
        ToyRun(tmp_path, handlers=(Progress(interval=0.0),)).run()
    lines = [record.message for record in caplog.records if record.name.endswith("progress")]
    assert len(lines) == 20
    assert lines[6].startswith("step 7 of 20 (epoch 2 of 4): loss ")
    assert lines[-1].endswith("about 00:00:00 left")


def test_progress_is_a_bar_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    ToyRun(tmp_path, handlers=(Progress(),)).run()
    assert "loss" in capsys.readouterr().err
