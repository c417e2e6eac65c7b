# SPDX-License-Identifier: Apache-2.0
"""What the place in the image alone tells: the best constant mask of the training list."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from monai_unimedi.transforms import LoadVolumed, LoadXrayd, ScaleXrayd

__all__ = ["constant_dice"]


def constant_dice(datalist: Path, source: str, size: list[int]) -> Tensor:
    """Dice (N,) on the test list of the mask that is best, and everywhere the same, on the training list.

    Args:
        datalist: with masks of one class.
        source: ``2d`` (masks are resized to ``size[0]``) or ``3d`` (masks are of one size).
        size: of the images.
    """
    content = json.loads(datalist.read_text())

    def masks(section: str) -> Tensor:
        load = LoadVolumed("label") if source == "3d" else LoadXrayd("label")
        scale = (lambda row: row) if source == "3d" else ScaleXrayd("label", size[0], mode="nearest")
        found = [torch.as_tensor(scale(load({"label": row["label"]}))["label"])[0] > 0 for row in content[section]]
        return torch.stack(found).flatten(1).float()

    training, test = masks("training"), masks("test")
    levels = [training.mean(0) > level for level in np.linspace(0.05, 0.95, 19)]
    best = max(levels, key=lambda mask: float(_dice(mask, training).mean()))
    return _dice(best, test)


def _dice(mask: Tensor, others: Tensor) -> Tensor:
    both = (others * mask.float()).sum(1)
    return 2 * both / (others.sum(1) + mask.sum()).clamp(min=1)
