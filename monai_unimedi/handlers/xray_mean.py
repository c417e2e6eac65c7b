# SPDX-License-Identifier: Apache-2.0
"""What [CLS] attends to in X-rays whatever they show, measured with each validation."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Events
from torch import nn

from monai_unimedi.engines.batch import plain

__all__ = ["XrayMeanAttention"]


class XrayMeanAttention:
    """Sets the image tower's ``xray_mean`` to the mean over the validation's X-rays, by the weights of that time.

    Attach it to the validator before :class:`BestModel`, which saves it with them. Without X-rays the mean stays as
    it is. Every rank sees all validation images, so that all hold the same mean.

    Args:
        image_encoder: the student's :class:`UniMediImageEncoder`.
        max_images: the first ones are enough. Open.
    """

    def __init__(self, image_encoder: nn.Module, max_images: int = 1000) -> None:
        self.image_encoder: Any = image_encoder
        self.max_images = max_images
        self._total = torch.zeros(())
        self._count = 0

    def attach(self, engine: Any) -> None:
        """Attaches to a validator whose batches are ``{"2d": {"image": ...}, ...}``."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._set)

    def _start(self) -> None:
        self._total, self._count = torch.zeros_like(self.image_encoder.xray_mean), 0

    @torch.no_grad()
    def _add(self, engine: Any) -> None:
        if "2d" not in engine.state.batch or self._count >= self.max_images:
            return
        images = engine.state.batch["2d"]["image"][: self.max_images - self._count]
        for stack in [image[None] for image in images] if isinstance(images, list) else [images]:
            relative = self.image_encoder.relative_xray_attention(plain(stack).to(self._total.device))
            self._total += relative.sum(0)
        self._count += len(images)

    def _set(self) -> None:
        if self._count:
            self.image_encoder.xray_mean.copy_(self._total / self._count)
