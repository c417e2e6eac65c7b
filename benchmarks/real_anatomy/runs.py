# SPDX-License-Identifier: Apache-2.0
"""The pre-training bundle's own train and evaluate commands on one test patient's datalist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.bundle_command import run_bundle

from .datalists import PROMPTS_FILE, fold_file

__all__ = ["MODELS", "Run", "evaluate", "models_of", "train"]

MODELS = {
    "phantom": "trained on phantoms alone",
    "further": "the same, trained further on the other patients' volumes",
    "scratch": "trained on the other patients' volumes alone, as many steps",
}


class Run(NamedTuple):
    """A model judged on a patient that it has not seen."""

    model: str
    tested: str
    seed: int
    output: Path  # of the volumes
    demo: Path  # `models/` of the training on phantoms
    num_steps: int
    threads: int

    @property
    def folder(self) -> Path:
        """Of this run."""
        return self.output / "runs" / f"{self.model}_{self.tested}_{self.seed}"


def models_of(run: Run) -> Path:
    """Where the run's weights lie."""
    return run.demo if run.model == "phantom" else run.folder / "models"


def train(run: Run) -> None:
    """Trains, or goes on where that was stopped; nothing for the phantoms' model."""
    if run.model == "phantom":
        return
    start: dict[str, Any] = {}
    if run.model == "further":
        text = run.demo / "text"
        encoder = {"_target_": "monai_unimedi.networks.nets.report_encoder.ReportEncoder.from_folder"}
        start = {"image_checkpoint": run.demo / "model.pt", "text_model": text}
        start["report_encoder"] = {**encoder, "folder": str(text)}  # with its projection
    length = {"num_steps": run.num_steps, "steps_per_epoch": 50}
    run_bundle("pretrain", "train", {**_shared(run), **length, **start}, run.folder / "log.txt", run.threads)


def evaluate(run: Run) -> dict[str, Any]:
    """The evaluation's ``metrics.json``; one that is there is read."""
    path = run.folder / "metrics.json"
    if not path.is_file():
        prompts = {"prompts": run.output / PROMPTS_FILE}
        run_bundle("pretrain", "evaluate", {**_shared(run), **prompts}, run.folder / "log.txt", run.threads)
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _shared(run: Run) -> dict[str, Any]:
    return {
        "datalist_3d": fold_file(run.output, run.tested),
        "dataset_dir": run.output,
        "output_dir": run.folder,
        "model_dir": models_of(run),
        "seed": run.seed,
    }
