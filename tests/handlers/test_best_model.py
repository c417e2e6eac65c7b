# SPDX-License-Identifier: Apache-2.0
"""`model.pt` and `text/` are those of the best validation, also after a restart."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.metrics import Metric
from monai.engines import Evaluator
from monai.handlers import ValidationHandler

from monai_unimedi.handlers import BestModel, History
from tests.engines.toy_run import ToyRun, same

SCORES = [0.1, 0.5, 0.3, 0.4]


class ScoreOfEpoch(Metric):
    """A score that is known beforehand."""

    epoch = 0

    def reset(self) -> None: ...

    def update(self, output: Any) -> None: ...

    def compute(self) -> float:
        return SCORES[self.epoch - 1]


class ToyValidator(Evaluator):
    """One empty iteration; the score is the epoch's."""

    def __init__(self, score: ScoreOfEpoch) -> None:
        super().__init__(device="cpu", val_data_loader=[0], key_val_metric={"score": score}, decollate=False)
        self.score = score

    def run(self, global_epoch: int = 1) -> None:  # type: ignore[override]
        self.score.epoch = global_epoch
        super().run(global_epoch)

    def _iteration(self, engine: Any, batchdata: Any) -> Any:
        return None


def validated_run(folder: Path, interval: int = 1) -> tuple[ToyRun, BestModel]:
    validator = ToyValidator(ScoreOfEpoch())
    run = ToyRun(folder, handlers=(ValidationHandler(interval, validator, epoch_level=True),))
    text = f"epoch {{}} of {folder.name}"
    best = BestModel(
        folder / "models",
        run.network,
        save_text=lambda path: (path / "config.json").write_text(text.format(validator.state.epoch)),
    )
    best.attach(validator)
    best.attach(run.trainer)
    run.resume.save_dict["best_model"] = best
    return run, best


def test_weights_of_the_best_epoch_are_kept(tmp_path: Path) -> None:
    run, best = validated_run(tmp_path)
    weights: dict[int, dict[str, Any]] = {}
    save = best.save

    def remember() -> None:
        weights[run.trainer.state.epoch] = {k: v.clone() for k, v in run.network.student.state_dict().items()}
        save()

    best.save = remember  # type: ignore[method-assign]
    run.run()
    saved = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert sorted(weights) == [1, 2]
    assert same(saved, weights[2])
    assert (tmp_path / "models" / "text" / "config.json").read_text().startswith("epoch 2")
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["model.pt", "text"]
    assert best.state_dict() == {"best_metric": 0.5, "best_epoch": 2, "num_validations": 4, "is_flat": False}


def test_restarted_run_compares_with_the_best_of_before(tmp_path: Path) -> None:
    run, best = validated_run(tmp_path)
    run.run()
    checkpoint = torch.load(tmp_path / "resume.pt", weights_only=True)
    _, best = validated_run(tmp_path)
    best.load_state_dict(checkpoint["objects"]["best_model"])
    validator = best._validator
    assert (validator.state.best_metric, validator.state.best_metric_epoch) == (0.5, 2)
    validator.run(3)
    assert best.best_epoch == 2


@pytest.mark.parametrize("scores", [[0.0, 0.0, 0.0, 0.0], [math.nan] * 4])
def test_last_weights_are_written_where_the_metric_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float]
) -> None:
    monkeypatch.setattr("tests.handlers.test_best_model.SCORES", scores)
    run, _ = validated_run(tmp_path)
    run.run()
    saved = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert same(saved, run.network.student.state_dict())


def test_the_only_validated_weights_stay(tmp_path: Path) -> None:
    run, best = validated_run(tmp_path, interval=3)
    run.run()
    assert run.trainer.state.epoch > 3 and best.best_epoch == 3
    saved = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert not same(saved, run.network.student.state_dict())


def test_a_metric_that_is_no_number_at_first_does_not_stay_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.handlers.test_best_model.SCORES", [math.nan, 0.2, 0.9, 0.4])
    run, best = validated_run(tmp_path)
    run.run()
    assert (best.best_metric, best.best_epoch) == (0.9, 3)


def test_last_weights_are_written_without_validation(tmp_path: Path) -> None:
    run = ToyRun(tmp_path)
    BestModel(tmp_path / "models", run.network, part="teacher").attach(run.trainer)
    run.run()
    saved = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert same(saved, run.network.teacher.state_dict())


def test_validation_has_its_lines_in_the_history(tmp_path: Path) -> None:
    validator = ToyValidator(ScoreOfEpoch())
    history = History(tmp_path / "curves", interval=5, validator=validator)
    ToyRun(tmp_path, handlers=(history, ValidationHandler(2, validator))).run()
    lines = [json.loads(line) for line in (tmp_path / "curves" / "history.jsonl").read_text().splitlines()]
    found = [(line["step"], line["val_score"]) for line in lines if "val_score" in line]
    assert found == [(10, 0.5), (20, 0.4)]


def test_a_folder_that_cannot_be_written_to_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(OSError, match=r"models/deeper, cannot be written to .*: give --model_dir another one"):
        BestModel(tmp_path / "models" / "deeper", torch.nn.Linear(1, 1), None).attach(torch.nn.Identity())
