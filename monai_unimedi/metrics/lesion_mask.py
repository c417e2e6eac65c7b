# SPDX-License-Identifier: Apache-2.0
"""Lesion masks as datalists hold them: one uint8 image, bit i set where finding i of ``label_names`` is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["finding_mask", "lesion_patches", "lesion_slices"]


def finding_mask(lesion_mask: Tensor, index: int | None = None) -> Tensor:
    """Where one finding is, or any.

    Args:
        lesion_mask: (N, X, Y[, S]) uint8 bitmask.
        index: of the finding in ``label_names``; the union of all where None.

    Returns:
        The same shape, bool.
    """
    return lesion_mask != 0 if index is None else lesion_mask.bitwise_and(1 << index) != 0


def lesion_slices(lesion_mask: Tensor, index: int | None = None) -> Tensor:
    """Which slices meet the finding: (N, S) bool from an (N, X, Y, S) bitmask."""
    return finding_mask(lesion_mask, index).flatten(1, 2).any(dim=1)


def lesion_patches(is_lesion: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Which patches hold at least one lesion voxel.

    Args:
        is_lesion: (N, X, Y[, S]) bool.
        grid: patches along each axis, in the attention's order.

    Returns:
        (N, *grid) bool.
    """
    pool = functional.adaptive_max_pool3d if len(grid) == 3 else functional.adaptive_max_pool2d
    pooled = [pool(one.unsqueeze(0).float(), list(grid))[0] for one in is_lesion]
    return torch.stack(pooled) > 0
