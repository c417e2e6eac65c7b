# SPDX-License-Identifier: Apache-2.0
"""Affected areas in X-rays: does the [CLS] attention's strongest patch lie on the lesion?

A case is an X-ray with at least one finding; its target is the union of its findings' masks, since [CLS]
attention asks for no finding in particular. Everything is measured on the patch grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from monai_unimedi.metrics.lesion_mask import finding_mask, lesion_patches
from monai_unimedi.metrics.ranking import expected_hit_rate

__all__ = ["centre_prior", "matched_iou", "pointing_game", "target_patches"]


def target_patches(lesion_mask: Tensor, grid: tuple[int, ...], index: int | None = None) -> Tensor:
    """Patches to be found: (N, P) bool from an (N, X, Y) bitmask, for one finding or for any."""
    return lesion_patches(finding_mask(lesion_mask, index), grid).flatten(1)


def pointing_game(attention: Tensor, is_target: Tensor) -> Tensor:
    """Whether the patch of largest attention is a target patch, equal ones in random order.

    Args:
        attention: (N, gx, gy) or (N, P); all equal gives the random pointer.
        is_target: (N, P) bool.

    Returns:
        (N,) float64 in [0, 1]; NaN for an image without target.
    """
    return expected_hit_rate(attention.flatten(1).double(), is_target, k=1)


def centre_prior(grid: tuple[int, int], sigma: float = 0.25) -> Tensor:
    """The pointer that always names the middle: a Gaussian round the image's centre, (gx, gy), sum 1.

    Args:
        grid: patches along X and Y. With an even number the middle patches are tied, exactly.
        sigma: width as a share of the image's side.
    """
    offsets = [(torch.arange(size, dtype=torch.float64) - (size - 1) / 2) / size for size in grid]
    squared = offsets[0][:, None] ** 2 + offsets[1][None] ** 2
    return torch.softmax((-squared / (2 * sigma**2)).flatten(), dim=0).reshape(grid)


def matched_iou(attention: Tensor, is_target: Tensor) -> Tensor:
    """Overlap of the target patches with as many patches of largest attention: no threshold to choose.

    Args:
        attention: (N, gx, gy) or (N, P).
        is_target: (N, P) bool.

    Returns:
        (N,) float64, intersection over union; NaN for an image without target.
    """
    order = attention.flatten(1).argsort(dim=1, descending=True, stable=True)
    size = is_target.sum(dim=1, keepdim=True)
    is_chosen = torch.arange(order.shape[1])[None] < size
    overlap = (is_target.gather(1, order) & is_chosen).sum(dim=1).double()
    return overlap / (2 * size[:, 0] - overlap)
