# SPDX-License-Identifier: Apache-2.0
"""Supervised training of a downstream network: one batch of images with labels, one loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn

from monai_unimedi.precision import autocast_dtype

from .batch import plain
from .resumable import ResumableTrainer

__all__ = ["AutocastEvaluator", "Finetuner"]


class Finetuner(ResumableTrainer):
    """Trains ``network(image)`` towards ``label``; takes the handlers of the pre-training, its resume included.

    After each iteration the output holds ``loss``, ``lr`` and, where the optimizer stepped, ``grad_norm``.

    Args:
        device, max_epochs, train_data_loader, network, optimizer: as in :class:`ResumableTrainer`; a batch is a
            dictionary with ``image`` (B, C, ...) and ``label`` (B, ...).
        loss_function: ``loss_function(pred, label)``, a scalar; ``pred`` comes in float32.
        inferer: how the network is called, ``SimpleInferer`` by default.
        kwargs: further arguments of :class:`ResumableTrainer`.

    Raises:
        RuntimeError: When a loss or gradient is not finite; names the step and the rows of the batch.
    """

    def __init__(
        self,
        device: str | torch.device,
        max_epochs: int,
        train_data_loader: Any,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_function: Callable[[Tensor, Tensor], Tensor],
        inferer: Inferer | None = None,
        **kwargs: Any,
    ) -> None:
        self.loss_function = loss_function
        self.inferer = SimpleInferer() if inferer is None else inferer
        super().__init__(device, max_epochs, train_data_loader, network, optimizer, **kwargs)

    def _iteration(  # type: ignore[override]
        self, engine: Any, batchdata: Mapping[str, Any]
    ) -> list[dict[str, float]]:
        image, label = (plain(torch.as_tensor(batchdata[key])).to(self.state.device) for key in ("image", "label"))
        self.network.train()
        if self.starts_optimizer_step:
            self.gradient_step.zero()
        with self._autocast():
            pred = self.inferer(image, self.network)
        loss = self.loss_function(pred.float(), label)
        self.gradient_step.backward(loss / self.micro_steps)
        scalars = {"loss": loss}
        if self.ends_optimizer_step:
            scalars["grad_norm"] = self.gradient_step.clip()
        output = self._flat_output(scalars)
        output["lr"] = float(self.optimizer.param_groups[-1]["lr"])  # the head's, where rates fall by depth
        self._check_finite(output, {"images": batchdata})
        if self.ends_optimizer_step:
            self.gradient_step.step()
        self.state.output = [output]
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return self.state.output


class AutocastEvaluator(SupervisedEvaluator):
    """MONAI's evaluator, with autocast on whatever device it runs; ``pred`` comes in float32.

    Args:
        amp_dtype: of autocast, where ``amp`` is on: ``bfloat16`` or ``float16``.
        kwargs: of ``monai.engines.SupervisedEvaluator``.
    """

    def __init__(self, *, amp: bool = False, amp_dtype: str = "bfloat16", **kwargs: Any) -> None:
        super().__init__(amp=False, **kwargs)
        self.inferer = _AutocastInferer(self.inferer, self.state.device.type, autocast_dtype(amp_dtype), amp)


class _AutocastInferer(Inferer):
    """Another inferer under autocast, its answer in float32."""

    def __init__(self, inferer: Inferer, device_type: str, dtype: torch.dtype, is_on: bool) -> None:
        self.inferer, self.device_type, self.dtype, self.is_on = inferer, device_type, dtype, is_on

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        with torch.autocast(self.device_type, dtype=self.dtype, enabled=self.is_on):
            pred: Tensor = self.inferer(*args, **kwargs)
        return pred.float()
