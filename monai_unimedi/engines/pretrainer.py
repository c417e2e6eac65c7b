# SPDX-License-Identifier: Apache-2.0
"""The pre-training loop: one micro-batch of each source, one forward, one sum of losses, one teacher behind.

An Ignite iteration is one micro-step. Gradients of `accumulation_steps` micro-steps make one optimizer step;
the last window of an epoch may be shorter and is weighted by its true length (`accumulation.py`).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from ignite.engine import EventEnum, Events
from ignite.metrics import Metric
from monai.engines import Trainer
from monai.engines.utils import IterationEvents, default_metric_cmp_fn
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer

from .accumulation import AccumulatingTrainer
from .batch import check_finite, check_sources, move_sources, network_inputs
from .distributed import mean_over_ranks, unwrap
from .gradient_step import GradientStep
from .selection_cache import SelectionCache

__all__ = ["PretrainEvents", "UniMediPretrainer"]

logger = logging.getLogger(__name__)


class PretrainEvents(EventEnum):
    """`OPTIMIZER_STEPPED` fires exactly once after each optimizer step, under accumulation too."""

    OPTIMIZER_STEPPED = "optimizer_stepped"


class UniMediPretrainer(AccumulatingTrainer):
    """Trains a `UniMedI`-like network with a `UniMediLoss`-like sum of losses.

    After each iteration `engine.state.output` is a list of one flat dict of Python floats (MONAI's decollated
    form, so that `StatsHandler`, `TensorBoardStatsHandler` and `MLFlowHandler` work as they come): the loss's
    terms as averages over ranks, `loss`, `lr`, `distillation_weight`, `logit_scale`, and `grad_norm` where
    the optimizer stepped.

    Args:
        device: where batches go; the network must be there already.
        max_epochs: number of epochs to train.
        train_data_loader: yields `{source: {"image", "input_ids", "attention_mask", "row", "id", ...}}`; if
            its batch sampler has `set_step(step)`, it is told the iteration from which to go on.
        network: called `network(sources, distill=..., slice_scores=...)` once a micro-step, gives a dict per
            source.
        optimizer: over the trained parameters.
        loss_function: called with the network's output, gives a scalar and a flat dict of scalar tensors; its
            attribute `distillation_weight` says whether the network has to compute the distillation's
            branches.
        lr_scheduler: stepped once per optimizer step.
        epoch_length: iterations of an epoch, the loader's length by default.
        amp: compute in `amp_dtype` where autocast allows it.
        amp_dtype: `bfloat16`, or `float16`, which brings a gradient scaler.
        accumulation_steps: micro-steps per optimizer step.
        clip_norm: upper bound of the gradient's L2 norm; none by default.
        selection_refresh: slice scores of a volume are computed at every n-th visit
            (`network.teacher_slice_scores(image)`).
        train_handlers: anything with `attach(engine)`.
        key_train_metric: Ignite metric that chooses the best epoch, as in every MONAI engine.
        additional_metrics: further Ignite metrics.
        metric_cmp_fn: tells whether a new key metric is better than the best one.
        non_blocking: copy batches to the device asynchronously.

    Raises:
        ValueError: When an argument is out of range or the loader has no length and no `epoch_length` is
            given.
        RuntimeError: When a loss or gradient is not finite; names the step and the rows of the batch.
    """

    def __init__(
        self,
        device: str | torch.device,
        max_epochs: int,
        train_data_loader: Iterable[Any],
        network: nn.Module,
        optimizer: Optimizer,
        loss_function: Callable[[dict[str, Any]], tuple[Tensor, dict[str, Tensor]]],
        lr_scheduler: LRScheduler | None = None,
        epoch_length: int | None = None,
        amp: bool = False,
        amp_dtype: str = "bfloat16",
        accumulation_steps: int = 1,
        clip_norm: float | None = None,
        selection_refresh: int = 1,
        train_handlers: Sequence[Any] | None = None,
        key_train_metric: dict[str, Metric] | None = None,
        additional_metrics: dict[str, Metric] | None = None,
        metric_cmp_fn: Callable[[Any, Any], bool] = default_metric_cmp_fn,
        non_blocking: bool = False,
    ) -> None:
        if accumulation_steps < 1:
            raise ValueError(f"accumulation_steps must be 1 or more, got {accumulation_steps}.")
        if amp_dtype not in ("bfloat16", "float16"):
            raise ValueError(f"amp_dtype must be 'bfloat16' or 'float16', got '{amp_dtype}'.")
        self.network = network
        self.optimizer = optimizer
        self.loss_function = loss_function
        self.accumulation_steps = accumulation_steps
        self.amp_dtype = getattr(torch, amp_dtype)
        self.selection_cache = SelectionCache(selection_refresh)
        self.is_finished = False
        self._seconds_before = 0.0
        self._run_started: float | None = None
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            data_loader=train_data_loader,
            epoch_length=epoch_length,
            non_blocking=non_blocking,
            prepare_batch=move_sources,
            key_metric=key_train_metric,
            additional_metrics=additional_metrics,
            metric_cmp_fn=metric_cmp_fn,
            amp=amp,
            event_names=[PretrainEvents],
            decollate=False,
        )
        if not self.state.epoch_length:
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
        """Trains from the present state to the end; a finished run is left as it is."""
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

    def _iteration(  # type: ignore[override]
        self, engine: Any, batchdata: dict[str, Any]
    ) -> list[dict[str, float]]:
        """One micro-step."""
        check_sources(batchdata)
        sources = self.prepare_batch(batchdata, self.state.device, self.non_blocking)
        self.network.train()
        if self.starts_optimizer_step:
            self.gradient_step.zero()
        with self._gradient_sync():
            loss, terms = self._forward(network_inputs(sources))
            self.gradient_step.backward(loss / self.micro_steps)
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if self.ends_optimizer_step:
            terms = {**terms, "grad_norm": self.gradient_step.clip()}
        output = self._flat_output(loss, terms)
        self._check_finite(output, batchdata)
        if self.ends_optimizer_step and self.gradient_step.step():
            self.fire_event(PretrainEvents.OPTIMIZER_STEPPED)
        self.state.output = [output]
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return self.state.output

    def _gradient_sync(self) -> contextlib.AbstractContextManager[Any]:
        """Ranks exchange gradients in the last micro-step only."""
        if isinstance(self.network, DistributedDataParallel) and not self.ends_optimizer_step:
            return self.network.no_sync()
        return contextlib.nullcontext()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.state.device.type, dtype=self.amp_dtype, enabled=self.amp)

    def _forward(self, sources: dict[str, dict[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
        distill = float(getattr(self.loss_function, "distillation_weight", 0.0)) > 0
        with self._autocast():
            outputs = self.network(sources, distill=distill, slice_scores=self._slice_scores(sources))
        self.fire_event(IterationEvents.FORWARD_COMPLETED)
        loss, terms = self.loss_function(outputs)
        self.fire_event(IterationEvents.LOSS_COMPLETED)
        scales = [output["logit_scale"] for output in outputs.values() if "logit_scale" in output]
        if scales and "logit_scale" not in terms:
            terms = {**terms, "logit_scale": scales[0]}
        return loss, terms

    def _slice_scores(self, sources: dict[str, dict[str, Tensor]]) -> dict[str, Tensor] | None:
        """Kept or fresh slice scores of each volume source; None where the network computes its own."""
        network: Any = unwrap(self.network)
        if self.selection_cache.refresh == 1 or not network.scores_slices:
            return None
        scores = {}
        for source, inputs in sources.items():
            image = inputs["image"]
            if image.ndim == 5:
                compute = functools.partial(_score_rows, network, image)
                scores[source] = self.selection_cache.lookup(source, inputs["row"], compute).to(image.device)
        return scores

    def _flat_output(self, loss: Tensor, terms: dict[str, Tensor]) -> dict[str, float]:
        """All scalars of the iteration as Python floats, with a single wait for the device."""
        scalars = {"loss": loss, **terms}
        values = torch.stack(
            [value.detach().float().to(loss.device).reshape(()) for value in scalars.values()]
        )
        output = dict(zip(scalars, mean_over_ranks(values).tolist(), strict=True))
        output["lr"] = float(self.optimizer.param_groups[0]["lr"])
        output["distillation_weight"] = float(getattr(self.loss_function, "distillation_weight", 0.0))
        return output

    def _check_finite(self, output: dict[str, float], batch: dict[str, Any]) -> None:
        """Stops before the optimizer takes over a value that is not a number."""
        ignored = () if self.scaler is None else ("grad_norm",)  # the scaler skips steps that overflow
        where = f"step {self.optimizer_step + 1} of {self.total_steps} (iteration {self.state.iteration})"
        check_finite({name: value for name, value in output.items() if name not in ignored}, where, batch)

    # ---- state

    def state_dict(self) -> dict[str, Any]:  # type: ignore[override]
        """Position, best metric, selection cache and scaler: what an exact resume needs of the trainer."""
        return {
            "iteration": self.state.iteration,
            "epoch_length": self.state.epoch_length,
            "max_epochs": self.state.max_epochs,
            "best_metric": self.state.best_metric,
            "best_metric_epoch": self.state.best_metric_epoch,
            "train_seconds": self.train_seconds,
            "was_terminated": bool(self.should_terminate),
            "is_finished": self.is_finished,
            "selection_cache": self.selection_cache.state_dict(),
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
        self.selection_cache.load_state_dict(state_dict["selection_cache"])
        if self.scaler is not None and state_dict["scaler"] is not None:
            self.scaler.load_state_dict(state_dict["scaler"])


@torch.no_grad()
def _score_rows(network: Any, image: Tensor, is_stale: Tensor) -> Tensor:
    return network.teacher_slice_scores(image[is_stale.to(image.device)])


def _set_sampler_step(engine: Any) -> None:
    """Tells the loader's sampler from which iteration to go on, before the loader is iterated."""
    for name in ("batch_sampler", "sampler"):
        set_step = getattr(getattr(engine.data_loader, name, None), "set_step", None)
        if callable(set_step):
            set_step(engine.state.iteration)


def _mark_finished(engine: Any) -> None:
    engine.is_finished = True
