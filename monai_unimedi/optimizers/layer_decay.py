# SPDX-License-Identifier: Apache-2.0
"""Smaller learning rates for earlier layers (Clark et al., ELECTRA, 2020; Bao et al., BEiT, 2022)."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

__all__ = ["layer_decay_groups"]

BLOCK = re.compile(r"(?:^|\.)vit\.blocks\.(\d+)\.")
EMBEDDING = re.compile(r"(?:^|\.)vit\.(?:tokenizer\.|cls_|mask_token)")


def layer_decay_groups(
    network: nn.Module, lr: float, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    r"""Parameter groups with the learning rate :math:`lr \cdot d^{L + 1 - l}`.

    Embeddings have l = 0, block i of L has l = i + 1, all that comes after the blocks has L + 1, so ``lr`` itself.

    Args:
        network: a module with one `UnifiedViT` named ``vit`` anywhere inside; its trained parameters.
        lr: of what comes after the blocks.
        weight_decay: of matrices and tables; biases and norms, of fewer than two axes, do not decay.
        layer_decay: d; 1 gives all the same rate.

    Returns:
        Groups for any PyTorch optimizer, from the embeddings up.

    Raises:
        ValueError: When ``layer_decay`` is not in (0, 1], or nothing is trained.
    """
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay must be above 0 and at most 1, got {layer_decay}.")
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    if not named:
        raise ValueError("network must have parameters that require a gradient, got none; unfreeze a part.")
    blocks = [int(found.group(1)) for name, _ in network.named_parameters() if (found := BLOCK.search(name))]
    top = max(blocks, default=-1) + 2
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in named:
        layer, decays = _layer(name, top), parameter.ndim >= 2
        new = {"params": [], "lr": lr * layer_decay ** (top - layer), "weight_decay": weight_decay if decays else 0.0}
        groups.setdefault((layer, decays), new)["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def _layer(name: str, top: int) -> int:
    if EMBEDDING.search(name):
        return 0
    found = BLOCK.search(name)
    return int(found.group(1)) + 1 if found else top
