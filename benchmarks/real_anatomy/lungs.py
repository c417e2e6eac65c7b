# SPDX-License-Identifier: Apache-2.0
"""The two lungs of a chest CT by threshold and morphology, for files that come without a lung mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

__all__ = ["fill_vessels", "find_lungs"]

AIR_BELOW = -450.0  # HU
LEAST = 300.0  # ml, of a lung
OPENING = 6.0  # mm, that parts the lungs from each other and from the trachea
CLOSING = 12.0  # mm, the width of vessels that count as lung


def find_lungs(hu: np.ndarray, spacing: Sequence[float], name: str = "this CT") -> dict[str, np.ndarray]:
    """The two largest bodies of air inside the trunk, one on each side.

    Args:
        hu: (X, Y, Z), axes LPS.
        spacing: mm.
        name: of the file, for the message.

    Returns:
        ``{"left": (X, Y, Z) bool, "right": ...}``, vessels filled.

    Raises:
        ValueError: When there is no lung of 300 ml on one of the sides.
    """
    air = _inside(hu < AIR_BELOW)
    core, count = ndimage.label(ndimage.binary_erosion(air, _ball(OPENING, spacing)))
    millilitres = np.bincount(core.ravel(), minlength=count + 1)[1:] * float(np.prod(spacing)) / 1000
    largest = [int(i) + 1 for i in np.argsort(-millilitres)[:2] if millilitres[i] > LEAST / 3]
    away, nearest = ndimage.distance_transform_edt(~np.isin(core, largest), spacing, return_indices=True)
    owner = np.where(air & (away < 2 * OPENING), core[tuple(nearest)], 0) if largest else core * 0
    middles = {i: float(np.argwhere(core == i)[:, 0].mean()) for i in largest}
    order = sorted(largest, key=middles.__getitem__)
    sizes = {i: float((owner == i).sum() * np.prod(spacing)) / 1000 for i in order}
    if len(order) < 2 or min(sizes.values()) < LEAST or not _are_beside(hu, middles):
        found = ", ".join(f"{size:.0f} ml" for size in sizes.values()) or "none"
        raise ValueError(
            f"A thorax must hold a left and a right lung of {LEAST:.0f} ml of air each, {name} has {found}: "
            "take a CT of the whole chest, in HU, or give its lung mask."
        )
    return {side: fill_vessels(_whole(owner == i), spacing) for side, i in zip(("right", "left"), order)}


def fill_vessels(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Closes what is narrower than 12 mm, and holes within a slice: lesions and pleura know no vessels."""
    wide = np.pad(mask, 4)
    closed = ndimage.binary_closing(wide, _ball(CLOSING / 2, spacing))
    filled = [ndimage.binary_fill_holes(plane) for plane in np.moveaxis(closed, 2, 0)]
    return np.stack(filled, axis=2)[4:-4, 4:-4, 4:-4]


def _inside(air: np.ndarray) -> np.ndarray:
    """Air that does not touch the picture's border in any axial slice."""
    inside = np.zeros_like(air)
    for z in range(air.shape[2]):
        parts, _ = ndimage.label(air[:, :, z])
        border = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
        inside[:, :, z] = air[:, :, z] & ~np.isin(parts, np.unique(border))
    return inside


def _whole(mask: np.ndarray) -> np.ndarray:
    """The largest connected part."""
    parts, _ = ndimage.label(mask)
    return np.asarray(parts == np.bincount(parts[mask]).argmax())


def _are_beside(hu: np.ndarray, middles: dict[int, float]) -> bool:
    """Whether the two bodies lie to the sides of the trunk's middle, not over each other."""
    low, high = sorted(middles.values())
    trunk = np.argwhere((hu > -200).any(axis=(1, 2)))[:, 0]
    return bool(low < trunk.mean() < high and high - low > 0.2 * (trunk[-1] - trunk[0]))


def _ball(radius: float, spacing: Sequence[float]) -> np.ndarray:
    reach = [max(1, int(radius / step)) for step in spacing]
    axes = np.ogrid[tuple(slice(-n, n + 1) for n in reach)]
    return np.asarray(sum((axis * step / radius) ** 2 for axis, step in zip(axes, spacing)) <= 1.0)
