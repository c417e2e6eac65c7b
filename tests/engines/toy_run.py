# SPDX-License-Identifier: Apache-2.0
"""A whole toy run with every handler, in process or as a command that can be killed.

python tests/acceptance/kill_resume.py -- python -m tests.engines.toy_run {output_dir} --num_workers 2
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.optimizers import WarmupCosineSchedule
from torch import Tensor, nn

from monai_unimedi.engines import UniMediPretrainer
from monai_unimedi.handlers import (
    CollapseStop,
    History,
    LossSchedule,
    ResumeCheckpoint,
    StepSeed,
    TeacherUpdate,
    fingerprint,
)
from tests.engines.toy import ToyLoss, ToyNetwork, toy_loader


class ToyRun:
    """What a bundle's config would build."""

    def __init__(
        self,
        folder: Path,
        num_workers: int = 0,
        save_interval: float = 0.0,
        resume: bool = True,
        lr: float = 0.01,
        dropout: float = 0.1,
        wrap: Any = None,
        epoch_length: int = 5,
        keep_last: int = 2,
        interval: int = 2,
        handlers: tuple[Any, ...] = (),
        **trainer_arguments: Any,
    ) -> None:
        torch.manual_seed(0)
        self.network = ToyNetwork(dropout)
        self.loss = ToyLoss()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=lr)
        accumulation = trainer_arguments.get("accumulation_steps", 1)
        max_epochs = trainer_arguments.setdefault("max_epochs", 4)
        steps = max_epochs * -(-epoch_length // accumulation)
        self.schedule = WarmupCosineSchedule(self.optimizer, warmup_steps=2, t_total=steps)
        self.history = History(folder, interval=interval)
        self.collapse = CollapseStop(minimum=0.0)
        settings = {"accumulation_steps": accumulation, "max_epochs": max_epochs}
        self.fingerprint = fingerprint(settings, self.network, self.optimizer, self.loss)
        module: nn.Module = self.network if wrap is None else wrap(self.network)
        self.trainer = UniMediPretrainer(
            device="cpu",
            train_data_loader=toy_loader(epoch_length, num_workers),
            network=module,
            optimizer=self.optimizer,
            loss_function=self.loss,
            lr_scheduler=self.schedule,
            train_handlers=[
                StepSeed(1),
                LossSchedule(self.loss, weight=0.5, start=0.3, ramp=3),
                TeacherUpdate(0.8, 1.0),
                self.collapse,
                self.history,
                *handlers,
            ],
            **trainer_arguments,
        )
        self.resume = ResumeCheckpoint(
            folder,
            {
                "network": module,
                "optimizer": self.optimizer,
                "lr_scheduler": self.schedule,
                "loss_function": self.loss,
                "collapse_stop": self.collapse,
                "history": self.history,
            },
            trainer=self.trainer,
            fingerprint=self.fingerprint,
            resume=resume,
            save_interval=save_interval,
            keep_last=keep_last,
        )
        self.resume.attach(self.trainer)

    def run(self) -> ToyRun:
        self.resume.restore()
        self.trainer.run()
        return self

    def weights(self) -> dict[str, Tensor]:
        return {**self.network.state_dict(), **self.loss.state_dict()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two sets of weights are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def main() -> None:
    """Runs slowly enough to be killed in the middle."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds_per_step", type=float, default=0.02)
    parser.add_argument("--num_workers", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    options = {"accumulation_steps": 2, "max_epochs": 20}
    run = ToyRun(arguments.folder, arguments.num_workers, save_interval=0.3, interval=1, **options)
    run.trainer.add_event_handler(Events.ITERATION_STARTED, lambda: time.sleep(arguments.seconds_per_step))
    run.run()


if __name__ == "__main__":
    main()
