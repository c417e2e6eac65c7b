# SPDX-License-Identifier: Apache-2.0
"""Weight decay on matrices and tables alone (method, section 6)."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["split_by_decay"]


def split_by_decay(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two parameter groups of what is trained: with weight decay, and without.

    Biases, gains of norms and the temperature, all of fewer than two axes, do not decay. Frozen parameters
    are in neither group, so freeze before.

    Args:
        network: its parameters, those that require a gradient.
        weight_decay: of the first group; the second has 0.

    Returns:
        Groups for any PyTorch optimizer.

    Raises:
        ValueError: When nothing is trained.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trained:
        raise ValueError("network must have parameters that require a gradient, got none; unfreeze a part.")
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
