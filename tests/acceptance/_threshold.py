# SPDX-License-Identifier: Apache-2.0
"""A network that finds what is bright: its mask must lie where the image is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Threshold"]


class Threshold(nn.Module):
    """Logits (B, 1, ...) above 0 where an image (B, 1, ...) is above `value`."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, image: Tensor) -> Tensor:
        return 50.0 * (image - self.value)
