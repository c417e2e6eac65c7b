# SPDX-License-Identifier: Apache-2.0
"""The pre-training loop: one micro-batch of each source, one forward, one sum of losses, one teacher behind.

An Ignite iteration is one micro-step. Gradients of `accumulation_steps` micro-steps make one optimizer step;
the last window of an epoch may be shorter and is weighted by its true length (`accumulation.py`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from ignite.engine import EventEnum
from ignite.metrics import Metric
from monai.engines.utils import IterationEvents, default_metric_cmp_fn
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer

from .batch import check_sources, move_sources, network_inputs
from .distributed import average_buffers, no_sync, unwrap
from .gradient_cache import GradientCache
from .resumable import ResumableTrainer
from .selection_cache import SelectionCache

__all__ = ["PretrainEvents", "UniMediPretrainer"]


class PretrainEvents(EventEnum):
    """`OPTIMIZER_STEPPED` fires exactly once after each optimizer step, under accumulation too."""

    OPTIMIZER_STEPPED = "optimizer_stepped"


class UniMediPretrainer(ResumableTrainer):
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
            branches; not where its `distillation_loss` is None.
        lr_scheduler: stepped once per optimizer step.
        epoch_length: iterations of an epoch, the loader's length by default.
        amp: compute in `amp_dtype` where autocast allows it.
        amp_dtype: `bfloat16`, or `float16`, which brings a gradient scaler.
        accumulation_steps: micro-steps per optimizer step.
        clip_norm: upper bound of the gradient's L2 norm; none by default.
        selection_refresh: slice scores of a volume are computed at every n-th visit
            (`network.teacher_slice_scores(image, num_parts)`).
        gradient_cache_chunks: the rows of each source go through the network in this many chunks, twice, and
            give the gradient of the batch as a whole (`gradient_cache.py`); 1 takes the batch at once. The second
            pass calls `network(..., targets=False)`.
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
        gradient_cache_chunks: int = 1,
        train_handlers: Sequence[Any] | None = None,
        key_train_metric: dict[str, Metric] | None = None,
        additional_metrics: dict[str, Metric] | None = None,
        metric_cmp_fn: Callable[[Any, Any], bool] = default_metric_cmp_fn,
        non_blocking: bool = False,
    ) -> None:
        if gradient_cache_chunks < 1:
            raise ValueError(f"gradient_cache_chunks must be 1 (no cache) or more, got {gradient_cache_chunks}.")
        self.loss_function = loss_function
        self.gradient_cache_chunks = gradient_cache_chunks
        self.selection_cache = SelectionCache(selection_refresh)
        super().__init__(
            device,
            max_epochs,
            train_data_loader,
            network,
            optimizer,
            lr_scheduler,
            epoch_length,
            amp,
            amp_dtype,
            accumulation_steps,
            clip_norm,
            train_handlers,
            non_blocking=non_blocking,
            prepare_batch=move_sources,
            key_metric=key_train_metric,
            additional_metrics=additional_metrics,
            metric_cmp_fn=metric_cmp_fn,
            event_names=[PretrainEvents],
        )

    def _iteration(  # type: ignore[override]
        self, engine: Any, batchdata: dict[str, Any]
    ) -> list[dict[str, float]]:
        """One micro-step."""
        check_sources(batchdata)
        sources = self.prepare_batch(batchdata, self.state.device, self.non_blocking)
        self.network.train()
        if self.starts_optimizer_step:
            self.gradient_step.zero()
        loss, terms = self._gradients(network_inputs(sources))
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if self.ends_optimizer_step:
            terms = {**terms, "grad_norm": self.gradient_step.clip()}
        output = self._flat_output({"loss": loss, **terms})
        output["distillation_weight"] = self._distillation_weight
        self._check_finite(output, batchdata)
        if self.ends_optimizer_step and self.gradient_step.step():
            average_buffers(self.network)
            self.fire_event(PretrainEvents.OPTIMIZER_STEPPED)
        self.state.output = [output]
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return self.state.output

    def _gradients(self, sources: dict[str, dict[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
        """Adds the gradients of one micro-step; its loss and terms."""
        with self._autocast():
            scores = self._slice_scores(sources)
        if self.gradient_cache_chunks == 1:
            with self._gradient_sync():
                loss, terms = self._loss(self._encode(sources, scores))
                self.gradient_step.backward(loss / self.micro_steps)
            return loss, terms
        cache = GradientCache(sources, scores, self.gradient_cache_chunks)
        with self._gradient_sync(is_last=False):
            outputs = cache.outputs(self._encode)
        loss, terms = self._loss(outputs)
        self.gradient_step.backward(loss / self.micro_steps)
        cache.backward(functools.partial(self._encode, targets=False), self._gradient_sync)
        return loss, terms

    def _gradient_sync(self, is_last: bool = True) -> contextlib.AbstractContextManager[Any]:
        """Ranks exchange gradients in the last backward pass of an optimizer step only."""
        return contextlib.nullcontext() if is_last and self.ends_optimizer_step else no_sync(self.network)

    def _encode(
        self, sources: dict[str, dict[str, Tensor]], slice_scores: dict[str, Tensor] | None, **options: bool
    ) -> dict[str, dict[str, Tensor]]:
        distill = self._distillation_weight > 0
        with self._autocast():
            return self.network(sources, distill=distill, slice_scores=slice_scores, **options)

    @property
    def _distillation_weight(self) -> float:
        """0 also where the sum of losses has no distillation, whatever weight a schedule gives it."""
        if getattr(self.loss_function, "distillation_loss", self) is None:
            return 0.0
        return float(getattr(self.loss_function, "distillation_weight", 0.0))

    def _loss(self, outputs: dict[str, dict[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
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
        is_by_network = self.selection_cache.refresh == 1 and self.gradient_cache_chunks == 1
        if is_by_network or not network.scores_slices:
            return None
        scores = {}
        for source, inputs in sources.items():
            image = inputs["image"]
            if image.ndim == 5:
                compute = functools.partial(_score_rows, network, image, self.gradient_cache_chunks)
                kept = self.selection_cache.lookup(source, inputs["row"], compute, image.shape[4])
                scores[source] = kept.to(image.device)
        return scores

    # ---- state

    def state_dict(self) -> dict[str, Any]:  # type: ignore[override]
        """The trainer's state, and the scores of slices that are kept."""
        return {**super().state_dict(), "selection_cache": self.selection_cache.state_dict()}

    def load_state_dict(self, state_dict: Any) -> None:
        """Takes over a state; the run goes on with the iteration after it.

        Raises:
            ValueError: When the epoch's length differs from the saved one.
        """
        super().load_state_dict(state_dict)
        self.selection_cache.load_state_dict(state_dict["selection_cache"])


@torch.no_grad()
def _score_rows(network: Any, image: Tensor, num_parts: int, is_stale: Tensor) -> Tensor:
    return network.teacher_slice_scores(image[is_stale.to(image.device)], num_parts)
