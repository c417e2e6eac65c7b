# SPDX-License-Identifier: Apache-2.0
"""Attention above the usual: a trained [CLS] attends to the same places in every patient, as to a sink.

What is usual at a place is measured over images (a mean, a quartile), in multiples of an even attention, on a grid of
bins; the places of another grid are the nearest bins. X-rays and volumes alike.
"""

from typing import List

import torch
import torch.nn.functional as F

__all__ = ["above_usual", "relative_attention", "usual_attention"]


def relative_attention(attention: torch.Tensor, bins: torch.Tensor) -> torch.Tensor:
    """Attention (B, *grid), each image's sums to 1, as what the usual is measured of: (B, *bins.shape), 1 = even."""
    relative = attention[:, None].to(bins.dtype) * attention[0].numel()
    return F.interpolate(relative, size=list(bins.shape), mode="nearest-exact")[:, 0]


def usual_attention(bins: torch.Tensor, grid: List[int]) -> torch.Tensor:
    """The usual (*grid), in multiples of an even attention, at the places of a grid."""
    return F.interpolate(bins[None, None], size=grid, mode="nearest-exact")[0, 0]


def above_usual(attention: torch.Tensor, bins: torch.Tensor) -> torch.Tensor:
    """The share (B, *grid) of each patch in what exceeds the usual; equal shares where nothing does."""
    usual = usual_attention(bins, list(attention.shape[1:]))
    above = (attention * usual.numel() - usual).clamp(min=0.0) + 1e-9
    return above / above.sum(list(range(1, above.dim())), keepdim=True)
