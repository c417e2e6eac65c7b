# SPDX-License-Identifier: Apache-2.0
"""What [CLS] attends to in X-rays whatever they show, measured with each validation."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Events
from torch import Tensor, nn

from monai_unimedi.engines.batch import plain

__all__ = ["XrayUsualAttention"]


class XrayUsualAttention:
    """Sets the image tower's ``xray_usual`` from the validation's X-rays, by the weights of that time: at each place
    the attention that all but a quarter of them exceed.

    Attach it to the validator before :class:`BestModel`, which saves it with them. Without X-rays it stays as it is.
    Every rank sees all validation images, so that all hold the same.

    Args:
        image_encoder: the student's :class:`UniMediImageEncoder`.
        quantile: of the attention at a place over X-rays; a mean counts the lesions there as usual. Open.
        max_images: the first ones are enough. Open.
    """

    def __init__(self, image_encoder: nn.Module, quantile: float = 0.25, max_images: int = 1000) -> None:
        self.image_encoder: Any = image_encoder
        self.quantile = quantile
        self.max_images = max_images
        self._maps: list[Tensor] = []

    def attach(self, engine: Any) -> None:
        """Attaches to a validator whose batches are ``{"2d": {"image": ...}, ...}``."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._set)

    def _start(self) -> None:
        self._maps = []

    @torch.no_grad()
    def _add(self, engine: Any) -> None:
        left = self.max_images - len(self._maps)
        if "2d" not in engine.state.batch or left <= 0:
            return
        images, device = engine.state.batch["2d"]["image"][:left], self.image_encoder.xray_usual.device
        for stack in [image[None] for image in images] if isinstance(images, list) else [images]:
            self._maps.extend(self.image_encoder.relative_xray_attention(plain(stack).to(device)))

    def _set(self) -> None:
        if self._maps:
            self.image_encoder.xray_usual.copy_(torch.stack(self._maps).quantile(self.quantile, 0))
