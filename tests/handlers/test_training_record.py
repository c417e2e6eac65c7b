# SPDX-License-Identifier: Apache-2.0
"""training.json: what a training began with, as it was when it began."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from monai_unimedi.file_digest import file_digest
from monai_unimedi.handlers import TrainingRecord
from monai_unimedi.handlers.run_options import different_options


def written(record: TrainingRecord) -> dict[str, Any]:
    record(SimpleNamespace(network=nn.Linear(1, 1), completed_steps=4, train_seconds=1.0))
    return json.loads(record.path.read_text())


def test_record_has_the_digest_of_the_start_as_it_was_before_training(tmp_path: Path) -> None:
    start = tmp_path / "model.pt"
    start.write_bytes(b"start")
    before = file_digest(start)
    record = TrainingRecord(tmp_path, None, {"seed": 1, "pretrained": str(start)})
    start.write_bytes(b"another one")
    assert written(record)["pretrained_sha256"] == before


@pytest.mark.parametrize("details", [{}, {"pretrained": "None"}, {"pretrained": "some/hub-id"}])
def test_a_start_without_a_file_has_no_digest(tmp_path: Path, details: dict[str, str]) -> None:
    assert "pretrained_sha256" not in written(TrainingRecord(tmp_path, None, details))


OWN: dict[str, Any] = {
    "lr": "$0.002 if @is_pretrained else 0.001",
    "frozen": False,
    "patience": None,
    "spacing": [8.0, 8.0],
    "phantom": {"seed": 0, "num_test": {"3d": 9}},
    "output_dir": "here",
}


def test_options_are_what_differs_from_the_bundles_own_config() -> None:
    same = {**OWN, "frozen": "false", "patience": "None", "spacing": (8.0, 8.0), "output_dir": "there", "_meta_": {}}
    assert dict(different_options(OWN, same)) == {}
    nested = {"seed": 0, "num_test": {"3d": 4}}
    given = {**OWN, "lr": 0.01, "spacing": [8.0, 4.0], "phantom": nested, "new": 1}
    assert dict(different_options(OWN, given)) == {
        "lr": 0.01, "spacing": [8.0, 4.0], "phantom#num_test#3d": 4, "new": 1
    }  # fmt: skip
    other = {**OWN, "phantom": {"seed": 0, "num_test": {"2d": 4}}}
    assert dict(different_options(OWN, other)) == {"phantom#num_test": {"2d": 4}}


def test_a_record_made_by_hand_has_no_options(tmp_path: Path) -> None:
    assert written(TrainingRecord(tmp_path, None))["options"] is None
