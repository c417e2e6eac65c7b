# SPDX-License-Identifier: Apache-2.0
"""Learning rates that fall from the head to the embeddings (BEiT, MAE): what was learnt first moves least."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from .param_groups import split_by_decay

__all__ = ["layer_decay_groups"]

_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")
_EMBEDDINGS = ("tokenizer.", "cls_token", "cls_position", "mask_token")


def layer_decay_groups(
    network: nn.Module, lr: float, weight_decay: float, layer_decay: float = 0.75, encoder: str = "vit"
) -> list[dict[str, Any]]:
    r"""Parameter groups by depth, each in two: with weight decay, and biases and norms without.

    .. math:: \mathrm{lr}_d = \mathrm{lr} \cdot \gamma^{L + 1 - d}

    for the embeddings (d = 0), block d of L (1 to L) and all else (d = L + 1), the final norm included.

    Args:
        network: holds the encoder as ``encoder``; frozen parameters are left out, so freeze before.
        lr: of all that is not embedding or block.
        weight_decay: of matrices and tables.
        layer_decay: the factor between neighbours; 1 gives one learning rate.
        encoder: name of the encoder within the network.

    Raises:
        ValueError: When ``layer_decay`` is not in (0, 1], or nothing is trained.
    """
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay must lie in (0, 1], got {layer_decay}.")
    depths = {name: _depth(name, encoder) for name, _ in network.named_parameters()}
    last = max((depth for depth in depths.values() if depth is not None), default=0) + 1
    by_depth: dict[int, nn.ParameterDict] = {}
    for number, (name, parameter) in enumerate(network.named_parameters()):
        depth = depths[name]
        group = by_depth.setdefault(last if depth is None else depth, nn.ParameterDict())
        group[str(number)] = parameter
    return [
        {**group, "lr": lr * layer_decay ** (last - depth)}
        for depth, members in sorted(by_depth.items())
        if any(parameter.requires_grad for parameter in members.parameters())
        for group in split_by_decay(members, weight_decay)
    ] or split_by_decay(network, weight_decay)


def _depth(name: str, encoder: str) -> int | None:
    """0 for the encoder's embeddings, 1 for its first block, None for all else."""
    within = name.split(f"{encoder}.", 1)
    if len(within) == 1:
        return None
    block = _BLOCK.search(within[1])
    if block is not None:
        return int(block.group(1)) + 1
    return 0 if within[1].startswith(_EMBEDDINGS) else None
