# SPDX-License-Identifier: Apache-2.0
"""Binary cross-entropy over the labels that are known."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["KnownLabelsLoss"]


class KnownLabelsLoss(nn.Module):
    r"""Mean over known entries of :math:`-(w_f y \log \sigma(z) + (1 - y) \log (1 - \sigma(z)))`.

    Args:
        positive_weight: w (F,), such as negatives per positive of each class; 1 where None.
    """

    positive_weight: Tensor | None

    def __init__(self, positive_weight: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("positive_weight", positive_weight, persistent=False)

    def forward(self, pred: Tensor, label: Tensor) -> Tensor:
        """
        Args:
            pred: (B, F), logits.
            label: (B, F), float, 1, 0 or NaN (not known).

        Returns:
            A scalar; 0 where no label is known.
        """
        is_known = ~label.isnan()
        values = F.binary_cross_entropy_with_logits(
            pred, torch.where(is_known, label, 0.0), reduction="none", pos_weight=self.positive_weight
        )
        return (values * is_known).sum() / is_known.sum().clamp(min=1)
