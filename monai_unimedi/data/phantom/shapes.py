# SPDX-License-Identifier: Apache-2.0
"""Soft-edged shapes on a grid of voxels, in millimetres: the drawing tools of the phantom.

Every shape is an occupancy in [0, 1] (a partial-volume fraction), so that structures thinner than a voxel
weigh what they should. The implicit functions are sums of one function per axis, which makes a shape cost two
broadcast additions and one clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Box", "Grid", "blend", "ellipsoid", "smooth_field", "splat"]

Box = tuple[slice, slice, slice]
Point = tuple[float, float, float]


class Grid(NamedTuple):
    """Coordinates of the voxel centres (mm): left, posterior and superior of the thorax's centre."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray

    @classmethod
    def around(cls, shape: Sequence[int], spacing: Sequence[float], centre: Point, zoom: float) -> Grid:
        """Build the grid of a scan.

        Args:
            shape: voxels along x, y, z.
            spacing: voxel size (mm).
            centre: where the thorax's centre lies, from the centre of the field of view (mm).
            zoom: in-plane magnification of the patient; heights are not magnified.
        """
        scale = (zoom, zoom, 1.0)
        axes = [
            (((np.arange(n) - (n - 1) / 2) * step - middle) / factor).astype(np.float32)
            for n, step, middle, factor in zip(shape, spacing, centre, scale)
        ]
        return cls(*axes)

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.x), len(self.y), len(self.z)

    @property
    def spacing(self) -> Point:
        """Voxel size in the patient's frame (mm)."""
        return tuple(float(axis[1] - axis[0]) if len(axis) > 1 else 1.0 for axis in self)  # type: ignore[return-value]


def _support(values: np.ndarray, others: float) -> slice:
    """Indices at which an axis' term, with the best of the other axes, can still be positive."""
    inside = np.flatnonzero(values + others > 0)
    return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)


def ellipsoid(
    grid: Grid, centre: Point, radii: Point, softness: float = 8.0, power: Point = (2.0, 2.0, 2.0)
) -> tuple[Box, np.ndarray]:
    """A (super-)ellipsoid, as the box that holds it and its occupancy in that box.

    Args:
        grid: the scan.
        centre: mm, patient's frame.
        radii: half-axes (mm); infinity makes a cylinder.
        softness: width of the edge (mm).
        power: exponent per axis; above 2 the shape is boxier along that axis.

    Returns:
        The box and a float32 occupancy of the box's shape.
    """
    k = min(radii[0], radii[1]) / (2 * softness)
    terms = [-k * (np.abs(axis - c) / r) ** p for axis, c, r, p in zip(grid, centre, radii, power)]
    terms[0] += k + 0.5
    best = [float(term.max()) for term in terms]
    total = sum(best)
    box = tuple(_support(term, total - b) for term, b in zip(terms, best))
    x, y, z = (term[part] for term, part in zip(terms, box))
    occupancy = (x[:, None] + y)[:, :, None] + z
    return box, np.clip(occupancy, 0.0, 1.0, out=occupancy)  # type: ignore[return-value]


def blend(volume: np.ndarray, box: Box, occupancy: np.ndarray, value: float | np.ndarray) -> None:
    """Replace, in place, the fraction `occupancy` of the volume's box by `value` (HU)."""
    part = volume[box]
    part += occupancy * (value - part)


def splat(grid: Grid, points: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Spread thin things (points with a volume) over the voxels round them, trilinearly.

    Args:
        grid: the scan.
        points: (N, 3), mm, patient's frame.
        amount: (N,), volume of each point (mm^3), or that times anything.

    Returns:
        Amount per voxel's volume (occupancy), float32, the grid's shape.
    """
    spacing = np.array(grid.spacing, np.float32)
    origin = np.array([axis[0] for axis in grid])
    shape = grid.shape
    position = ((points - origin) / spacing).astype(np.float32)
    keep = ((position >= 0) & (position < np.array(shape) - 1)).all(axis=1)
    position, amount = position[keep], amount[keep] / float(spacing.prod())
    base = position.astype(np.int32)
    upper = position - base
    flat = (base[:, 0] * shape[1] + base[:, 1]) * shape[2] + base[:, 2]
    weights, indices = [], []
    for i, wx in enumerate((1 - upper[:, 0], upper[:, 0])):
        for j, wy in enumerate((1 - upper[:, 1], upper[:, 1])):
            for k, wz in enumerate((1 - upper[:, 2], upper[:, 2])):
                weights.append(wx * wy * wz * amount)
                indices.append(flat + ((i * shape[1] + j) * shape[2] + k))
    size = shape[0] * shape[1] * shape[2]
    filled = np.bincount(np.concatenate(indices), weights=np.concatenate(weights), minlength=size)
    return filled.astype(np.float32).reshape(shape)


def smooth_field(grid: Grid, rng: np.random.Generator, wavelength: Point, rank: int = 6) -> np.ndarray:
    """A smooth random field of mean 0 and standard deviation about 1: a sum of `rank` products of waves.

    Args:
        grid: the scan, or a part of it.
        rng: source of the waves' phases and lengths.
        wavelength: typical wavelength along x, y, z (mm).
        rank: number of products.

    Returns:
        Float32, the grid's shape.
    """
    waves = []
    for axis, length in zip(grid, wavelength):
        frequency = 2 * np.pi / (length * rng.uniform(0.6, 2.0, rank))
        phase = rng.uniform(0, 2 * np.pi, rank)
        waves.append(np.cos(axis[:, None] * frequency + phase).astype(np.float32))
    x, y, z = waves
    plane = (x[:, None] * y[None]).reshape(-1, rank) * np.float32(np.sqrt(8 / rank))
    return np.einsum("pk,zk->pz", plane, z).reshape(grid.shape)
