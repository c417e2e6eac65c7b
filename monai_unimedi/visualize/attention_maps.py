# SPDX-License-Identifier: Apache-2.0
"""The [CLS] attention laid over the image it came from, and the outline of a lesion mask.

The networks give one weight per patch, (gx, gy) for an X-ray and (gx, gy, S) for a volume's slices, that sum
to 1 over the whole image (method, section 3: the softmax is joint over all slices). So the uniform weight is
1 / number of patches, and what is above it is what the encoder looked at more than at the rest.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from contourpy import contour_generator
from torch import Tensor

__all__ = ["attention_levels", "attention_lift", "attention_on_grid", "outline_path"]


def attention_on_grid(attention: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    """Resamples patch weights in-plane; slices stay apart.

    Args:
        attention: (gx, gy) or (gx, gy, S), float.
        size: in-plane size (X, Y) asked for, in pixels.
        mode: ``bilinear`` for a picture, ``nearest`` for the weight of the patch a pixel lies in.

    Returns:
        (X, Y) or (X, Y, S), float, not normalised again.
    """
    slices = _as_slices(attention).float().unsqueeze(1)
    resampled = F.interpolate(
        slices, size=size, mode=mode, align_corners=False if mode == "bilinear" else None
    )
    on_grid = resampled.squeeze(1).permute(1, 2, 0)
    return on_grid if attention.ndim == 3 else on_grid[..., 0]


def attention_levels(attention: Tensor, size: tuple[int, int], num_levels: int = 32) -> Tensor:
    """Attention in steps for display: 0 at or below the uniform weight, the last one at the strongest.

    Args:
        attention: (gx, gy) or (gx, gy, S), float, one image's weights. Slices share one scale.
        size: in-plane size (X, Y) of the result, in pixels.
        num_levels: number of steps.

    Returns:
        (X, Y) or (X, Y, S), uint8 in 0 .. num_levels - 1. All 0 where the weights are uniform or not finite.
    """
    on_grid = torch.nan_to_num(attention_on_grid(attention, size))
    uniform = torch.nan_to_num(attention.float()).mean()
    span = on_grid.max() - uniform
    if span <= 1e-6 * uniform.abs():
        return torch.zeros_like(on_grid, dtype=torch.uint8)
    steps = ((on_grid - uniform) / span).clamp(0, 1) * (num_levels - 1)
    return steps.round().to(torch.uint8)


def attention_lift(attention: Tensor, lesion: Tensor) -> float | None:
    """How much denser attention is on the lesion than over the whole image: 1 means no difference.

    Args:
        attention: (gx, gy) or (gx, gy, S), float.
        lesion: (X, Y) or (X, Y, S), bool or 0/1, on the image's grid.

    Returns:
        Share of the attention on lesion pixels over their share of the pixels; None without a lesion.
    """
    inside = lesion.bool()
    on_grid = attention_on_grid(attention, (lesion.shape[0], lesion.shape[1]), mode="nearest")
    if not inside.any() or not torch.isfinite(on_grid).all() or on_grid.sum() <= 0:
        return None
    return float((on_grid[inside].sum() / on_grid.sum()) / inside.float().mean())


def outline_path(mask: Tensor) -> str:
    """Outline of a mask as the ``d`` of an SVG path, in pixels of the image shown (x to the right, y down).

    Args:
        mask: (X, Y), bool or 0/1; X is drawn to the right, Y down.

    Returns:
        Closed rings, ``""`` for an empty mask.
    """
    padded = F.pad(mask.float(), (1, 1, 1, 1)).T.numpy()
    rings: Any = contour_generator(z=padded).lines(0.5)
    return "".join(
        "M" + "L".join(f"{x - 0.5:.4g} {y - 0.5:.4g}" for x, y in ring[:-1]) + "Z" for ring in rings
    )


def _as_slices(attention: Tensor) -> Tensor:
    """(gx, gy) -> (1, gx, gy); (gx, gy, S) -> (S, gx, gy)."""
    return attention.permute(2, 0, 1) if attention.ndim == 3 else attention.unsqueeze(0)
