# SPDX-License-Identifier: Apache-2.0
"""Supervised training and evaluation of a downstream model, with the exact resume of the pre-training.

MONAI's `SupervisedTrainer` autocasts on CUDA alone and makes a new gradient scaler at each start, whose state no
checkpoint holds; here autocast follows the device, bf16 by default, and everything that changes is in the state.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from ignite.engine import Events
from ignite.metrics import Metric
from monai.engines import SupervisedEvaluator, Trainer
from monai.engines.utils import IterationEvents, default_metric_cmp_fn, default_prepare_batch
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer

from .accumulation import AccumulatingTrainer
from .distributed import gather_lists, mean_over_ranks
from .gradient_step import GradientStep

__all__ = ["AutocastEvaluator", "Finetuner"]

logger = logging.getLogger(__name__)


class Finetuner(AccumulatingTrainer):
    """One forward, one loss, one optimizer step an iteration.

    After each iteration `engine.state.output` is a list of one flat dict of Python floats (`loss`, `grad_norm`,
    `lr`; means over ranks), as the handlers of the pre-training read it.

    Args:
        device: where batches go; the network must be there already.
        max_epochs: number of epochs to train.
        train_data_loader: yields dicts with `image`, `label` and, for messages, `id`; if its batch sampler has
            `set_step(step)`, it is told the iteration from which to go on.
        network: image to prediction.
        optimizer: over the trained parameters.
        loss_function: prediction (float32) and label to a scalar.
        inferer: how the network is called.
        lr_scheduler: stepped once per iteration.
        epoch_length: iterations of an epoch, the loader's length by default.
        prepare_batch: from a batch to (image, label) on the device.
        amp: compute in `amp_dtype` where autocast allows it.
        amp_dtype: `bfloat16`, or `float16`, which brings a gradient scaler.
        clip_norm: upper bound of the gradient's L2 norm; none by default.
        train_handlers: anything with `attach(engine)`.
        key_train_metric, additional_metrics, metric_cmp_fn, non_blocking: as in every MONAI engine.

    Raises:
        ValueError: When `amp_dtype` is unknown or an epoch has no iteration.
        RuntimeError: When a loss or gradient is not finite; names the step and the rows.
    """

    def __init__(
        self,
        device: str | torch.device,
        max_epochs: int,
        train_data_loader: Iterable[Any],
        network: nn.Module,
        optimizer: Optimizer,
        loss_function: Callable[[Tensor, Tensor], Tensor],
        inferer: Inferer | None = None,
        lr_scheduler: LRScheduler | None = None,
        epoch_length: int | None = None,
        prepare_batch: Callable[..., Any] = default_prepare_batch,
        amp: bool = False,
        amp_dtype: str = "bfloat16",
        clip_norm: float | None = None,
        train_handlers: Sequence[Any] | None = None,
        key_train_metric: dict[str, Metric] | None = None,
        additional_metrics: dict[str, Metric] | None = None,
        metric_cmp_fn: Callable[[Any, Any], bool] = default_metric_cmp_fn,
        non_blocking: bool = False,
    ) -> None:
        if amp_dtype not in ("bfloat16", "float16"):
            raise ValueError(f"amp_dtype must be 'bfloat16' or 'float16', got '{amp_dtype}'.")
        self.network, self.optimizer, self.loss_function = network, optimizer, loss_function
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.accumulation_steps = 1
        self.amp_dtype = getattr(torch, amp_dtype)
        self.is_finished = False
        self._seconds_before = 0.0
        self._run_started: float | None = None
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            data_loader=train_data_loader,
            epoch_length=epoch_length,
            non_blocking=non_blocking,
            prepare_batch=prepare_batch,
            key_metric=key_train_metric,
            additional_metrics=additional_metrics,
            metric_cmp_fn=metric_cmp_fn,
            amp=amp,
            decollate=False,
        )
        if not self.state.epoch_length:
            raise ValueError("An epoch must have at least one iteration, got none; check the training list.")
        scaled_on = self.state.device.type if amp and amp_dtype == "float16" else None
        self.gradient_step = GradientStep(optimizer, lr_scheduler, clip_norm, scaled_on)
        self.scaler = self.gradient_step.scaler
        self.add_event_handler(Events.STARTED, _set_sampler_step)
        self.add_event_handler(Events.COMPLETED, _mark_finished)
        self.add_event_handler(Events.DATALOADER_STOP_ITERATION, _set_sampler_step)
        self._register_handlers(train_handlers or ())

    @property
    def train_seconds(self) -> float:
        """Seconds of training so far, validation included, over all starts of the run."""
        running = 0.0 if self._run_started is None else time.monotonic() - self._run_started
        return self._seconds_before + running

    def run(self) -> None:  # type: ignore[override]
        """Trains from the present state to the end; a finished run is left as it is."""
        if self.is_finished:
            logger.info("The run is finished after %d optimizer steps.", self.completed_steps)
            return
        if self.should_terminate or self._is_done(self.state):
            self.fire_event(Events.COMPLETED)  # killed between the last step and the end's handlers
            return
        self._run_started = time.monotonic()
        try:
            super(Trainer, self).run()  # Trainer.run would replace the scaler
        finally:
            self._seconds_before, self._run_started = self.train_seconds, None

    def _iteration(  # type: ignore[override]
        self, engine: Any, batchdata: dict[str, Any]
    ) -> list[dict[str, float]]:
        """One step."""
        image, label = self.prepare_batch(batchdata, self.state.device, self.non_blocking)
        self.network.train()
        self.gradient_step.zero()
        with torch.autocast(self.state.device.type, dtype=self.amp_dtype, enabled=self.amp):
            pred = self.inferer(image, self.network)
        self.fire_event(IterationEvents.FORWARD_COMPLETED)
        loss = self.loss_function(pred.float(), label)
        self.fire_event(IterationEvents.LOSS_COMPLETED)
        self.gradient_step.backward(loss)
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        values = mean_over_ranks(torch.stack([loss.detach().float(), self.gradient_step.clip().detach().float()]))
        output = dict(zip(("loss", "grad_norm"), values.tolist()))
        self._check_finite(output, batchdata)
        output["lr"] = float(self.optimizer.param_groups[-1]["lr"])
        self.gradient_step.step()
        self.state.output = [output]
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return self.state.output

    def _check_finite(self, output: dict[str, float], batch: dict[str, Any]) -> None:
        """Stops before the optimizer takes over a value that is not a number."""
        ignored = () if self.scaler is None else ("grad_norm",)  # the scaler skips steps that overflow
        wrong = {k: v for k, v in output.items() if k not in ignored and not math.isfinite(v)}
        if wrong:
            names = ", ".join(gather_lists([str(name) for name in batch.get("id", ())])) or "rows without id"
            raise RuntimeError(
                f"Training stopped at step {self.completed_steps} of {self.total_steps}: loss and gradient must be "
                f"finite, got {wrong} in the batch of {names}; check these rows, or lower the learning rate."
            )

    def state_dict(self) -> dict[str, Any]:  # type: ignore[override]
        """Position, best metric and scaler: what an exact resume needs of the trainer."""
        return {
            "iteration": self.state.iteration,
            "epoch_length": self.state.epoch_length,
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
                f"An epoch must have the {state_dict['epoch_length']} iterations it had when the checkpoint was "
                f"saved, got {self.state.epoch_length}; use the same list and batch size."
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


class AutocastEvaluator(SupervisedEvaluator):
    """MONAI's `SupervisedEvaluator` whose autocast follows the device.

    Predictions are float32 as far as the inferer makes them so (sliding windows do).

    Args:
        amp: compute in `amp_dtype` where autocast allows it.
        amp_dtype: `bfloat16` or `float16`.
        **options: those of `SupervisedEvaluator`.
    """

    def __init__(self, *, amp: bool = False, amp_dtype: str = "bfloat16", **options: Any) -> None:
        super().__init__(**options)
        self.is_autocast = amp
        self.autocast_dtype = getattr(torch, amp_dtype)

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> Any:
        device = self.state.device.type
        with torch.autocast(device, dtype=self.autocast_dtype, enabled=self.is_autocast):
            return super()._iteration(engine, batchdata)


def _set_sampler_step(engine: Any) -> None:
    """Tells the loader's sampler from which iteration to go on, before the loader is iterated."""
    for name in ("batch_sampler", "sampler"):
        set_step = getattr(getattr(engine.data_loader, name, None), "set_step", None)
        if callable(set_step):
            set_step(engine.state.iteration)


def _mark_finished(engine: Any) -> None:
    engine.is_finished = True
