# SPDX-License-Identifier: Apache-2.0
"""What every training of this project shares: device-generic autocast, one gradient step, an exact resume.

Stock MONAI engines autocast on CUDA alone and make a new, unsaved gradient scaler at each run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import Trainer
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer

from monai_unimedi.precision import autocast_dtype

from .accumulation import AccumulatingTrainer
from .batch import check_finite
from .distributed import check_joined, mean_over_ranks
from .gradient_step import GradientStep

__all__ = ["ResumableTrainer"]

logger = logging.getLogger(__name__)


class ResumableTrainer(AccumulatingTrainer):
    """A trainer whose state holds all that a run needs to go on, to the same weights bit for bit.

    Subclasses give ``_iteration``. After each iteration `engine.state.output` is a list of one flat dict of
    Python floats (MONAI's decollated form, so that `StatsHandler`, `TensorBoardStatsHandler` and `MLFlowHandler`
    work as they come).

    Args:
        device: where batches go; the network must be there already.
        max_epochs: number of epochs to train.
        train_data_loader: if its (batch) sampler has `set_step(step)`, it is told the iteration from which to go
            on.
        network: the module to train.
        optimizer: over the trained parameters.
        lr_scheduler: stepped once per optimizer step.
        epoch_length: iterations of an epoch, the loader's length by default.
        amp: compute in `amp_dtype` where autocast allows it.
        amp_dtype: `bfloat16`, or `float16`, which brings a gradient scaler.
        accumulation_steps: micro-steps per optimizer step.
        clip_norm: upper bound of the gradient's L2 norm; none by default.
        train_handlers: anything with `attach(engine)`.
        engine: further arguments of `monai.engines.Trainer`.

    Raises:
        ValueError: When an argument is out of range or the loader has no length and no `epoch_length` is
            given.
    """

    def __init__(
        self,
        device: str | torch.device,
        max_epochs: int,
        train_data_loader: Iterable[Any],
        network: nn.Module,
        optimizer: Optimizer,
        lr_scheduler: LRScheduler | None = None,
        epoch_length: int | None = None,
        amp: bool = False,
        amp_dtype: str = "bfloat16",
        accumulation_steps: int = 1,
        clip_norm: float | None = None,
        train_handlers: Sequence[Any] | None = None,
        **engine: Any,
    ) -> None:
        if accumulation_steps < 1:
            raise ValueError(f"accumulation_steps must be 1 or more, got {accumulation_steps}.")
        self.network = network
        self.optimizer = optimizer
        self.accumulation_steps = accumulation_steps
        self.amp_dtype = autocast_dtype(amp_dtype)
        self.is_finished = False
        self._seconds_before = 0.0
        self._run_started: float | None = None
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            data_loader=train_data_loader,
            epoch_length=epoch_length,
            amp=amp,
            decollate=False,
            **engine,
        )
        if max_epochs < 1:
            raise ValueError(f"max_epochs must be 1 or more, got {max_epochs}.")
        if (self.state.epoch_length or 0) < 1:
            raise ValueError(
                f"An epoch must have at least one iteration, got {self.state.epoch_length}; check that the "
                "training lists hold at least one batch of each source, or give epoch_length."
            )
        scaled_on = self.state.device.type if amp and amp_dtype == "float16" else None
        self.gradient_step = GradientStep(optimizer, lr_scheduler, clip_norm, scaled_on)
        self.scaler = self.gradient_step.scaler
        self.add_event_handler(Events.STARTED, _set_sampler_step)
        self.add_event_handler(Events.COMPLETED, _mark_finished)
        self.add_event_handler(Events.DATALOADER_STOP_ITERATION, _set_sampler_step)
        self._register_handlers(train_handlers or ())

    # ---- running

    @property
    def train_seconds(self) -> float:
        """Seconds of training so far, validation included, over all starts of the run."""
        running = 0.0 if self._run_started is None else time.monotonic() - self._run_started
        return self._seconds_before + running

    def run(self) -> None:  # type: ignore[override]
        """Trains from the present state to the end; a finished run is left as it is.

        Raises:
            RuntimeError: When several processes were started that do not train together.
        """
        check_joined()
        if self.is_finished:
            logger.info("The run is finished after %d optimizer steps.", self.completed_steps)
            return
        if self.should_terminate or self._is_done(self.state):
            self.fire_event(Events.COMPLETED)  # killed between the last step and the end's handlers
        else:
            self._run_started = time.monotonic()
            try:
                super(Trainer, self).run()  # Trainer.run would replace the scaler
            finally:
                self._seconds_before, self._run_started = self.train_seconds, None

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.state.device.type, dtype=self.amp_dtype, enabled=self.amp)

    def _flat_output(self, scalars: dict[str, Tensor]) -> dict[str, float]:
        """All scalars of the iteration as Python floats, with a single wait for the device; and `lr`."""
        device = next(iter(scalars.values())).device
        values = torch.stack([value.detach().float().to(device).reshape(()) for value in scalars.values()])
        output = dict(zip(scalars, mean_over_ranks(values).tolist(), strict=True))
        return {**output, "lr": float(self.optimizer.param_groups[0]["lr"])}

    def _check_finite(self, output: dict[str, float], sources: dict[str, Any]) -> None:
        """Stops before the optimizer takes over a value that is not a number."""
        ignored = () if self.scaler is None else ("grad_norm",)  # the scaler skips steps that overflow
        where = f"step {self.optimizer_step + 1} of {self.total_steps} (iteration {self.state.iteration})"
        check_finite({name: value for name, value in output.items() if name not in ignored}, where, sources)

    # ---- state

    def state_dict(self) -> dict[str, Any]:  # type: ignore[override]
        """Position, best metric and scaler: what an exact resume needs of the trainer."""
        return {
            "iteration": self.state.iteration,
            "epoch_length": self.state.epoch_length,
            "max_epochs": self.state.max_epochs,
            "best_metric": self.state.best_metric,
            "best_metric_epoch": self.state.best_metric_epoch,
            "train_seconds": self.train_seconds,
            "was_terminated": bool(self.should_terminate),
            "is_finished": self.is_finished,
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
        }

    def load_state_dict(self, state_dict: Any) -> None:
        """Takes over a state; the run goes on with the iteration after it, also in the middle of an epoch.

        Raises:
            ValueError: When the epoch's length differs from the saved one.
        """
        if state_dict["epoch_length"] != self.state.epoch_length:
            raise ValueError(
                f"An epoch must have the {state_dict['epoch_length']} iterations it had when the checkpoint "
                f"was saved, got {self.state.epoch_length}; use the same lists and batch sizes."
            )
        self.state.iteration = state_dict["iteration"]
        self.state.epoch = self.state.iteration // self.state.epoch_length
        self.state.best_metric = state_dict["best_metric"]
        self.state.best_metric_epoch = state_dict["best_metric_epoch"]
        self._seconds_before = state_dict["train_seconds"]
        self.should_terminate = state_dict["was_terminated"]
        self.is_finished = state_dict["is_finished"]
        if self.scaler is not None and state_dict["scaler"] is not None:
            self.scaler.load_state_dict(state_dict["scaler"])


def _set_sampler_step(engine: Any) -> None:
    """Tells the loader's sampler from which iteration to go on, before the loader is iterated."""
    for name in ("batch_sampler", "sampler"):
        set_step = getattr(getattr(engine.data_loader, name, None), "set_step", None)
        if callable(set_step):
            set_step(engine.state.iteration)


def _mark_finished(engine: Any) -> None:
    engine.is_finished = True
