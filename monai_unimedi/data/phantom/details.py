# SPDX-License-Identifier: Apache-2.0
"""What keeps a chest from being plain: vessels, airways, bowel, arms; and distractors in no report."""

from __future__ import annotations

import numpy as np

from monai_unimedi.data.phantom.anatomy import SIDES, Anatomy
from monai_unimedi.data.phantom.shapes import Grid, blend, ellipsoid, smooth_field, splat

__all__ = ["draw_airways", "draw_arms", "draw_bowel", "draw_lines_and_dots", "draw_mattress", "mottle"]

CALCIUM = 1300.0  # HU
INFINITE = float("inf")


def _vessel_points(
    anatomy: Anatomy, rng: np.random.Generator, per_lung: int = 9
) -> tuple[np.ndarray, np.ndarray]:
    """Vessels that leave the hila, bend, and thin out: points (N, 3) in mm, volumes (N,) in mm^3."""
    steps, step = 22, 5.0
    count = 2 * per_lung
    side = np.repeat([1.0, -1.0], per_lung)
    start = np.stack(
        [side * (anatomy.mediastinum + 6), rng.uniform(-5, 20, count), rng.uniform(-25, 25, count)], 1
    )
    angle = rng.uniform(-1.45, 1.45, count)
    heading = np.stack([side * np.cos(angle) * 0.8, rng.uniform(-0.6, 0.7, count), 1.15 * np.sin(angle)], 1)
    bend = np.stack([side * rng.uniform(-0.01, 0.03, count), *rng.uniform(-0.03, 0.03, (2, count))], 1)
    travelled = np.arange(steps)[None, :, None] * step
    points = start[:, None] + heading[:, None] * travelled + 0.5 * bend[:, None] * travelled**2 / 10
    radius = rng.uniform(4.5, 7.5, (count, 1)) * np.linspace(1, 0.3, steps)
    return points.reshape(-1, 3), (np.pi * radius**2 * step).reshape(-1)


def _scar_points(anatomy: Anatomy, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Zero to three scars: thin lines in the lungs, in no report."""
    count = int(rng.integers(0, 4))
    side = rng.choice([1.0, -1.0], count)
    middle = np.stack(
        [
            side * rng.uniform(0.35, 0.8, count) * anatomy.thorax[0],
            rng.uniform(-0.4, 0.6, count) * anatomy.thorax[1],
            rng.uniform(-0.38, 0.38, count) * anatomy.lung_height,
        ],
        1,
    )
    direction = rng.normal(size=(count, 3)) * [1, 1, 0.5]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-6
    length = rng.uniform(20, 55, (count, 1))
    along = np.linspace(-0.5, 0.5, 16)
    points = middle[:, None] + direction[:, None] * (length * along)[:, :, None]
    area = rng.uniform(12, 34, (count, 1))  # mm^2
    return points.reshape(-1, 3), np.repeat(area * length / 16, 16)


def _granuloma_points(anatomy: Anatomy, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Zero to two calcified granulomas: dots of less than a voxel, in no report."""
    count = rng.integers(0, 3)
    x = rng.choice([1.0, -1.0], count) * rng.uniform(0.3, 0.85, count) * anatomy.thorax[0]
    y = rng.uniform(-0.5, 0.6, count) * anatomy.thorax[1]
    z = rng.uniform(-0.38, 0.4, count) * anatomy.lung_height
    return np.stack([x, y, z], 1), 4 / 3 * np.pi * rng.uniform(3.5, 6, count) ** 3


def _clavicle_points(anatomy: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Two thin bones in front of the apices."""
    along = np.linspace(0, 1, 24)
    x = 18 + along * (anatomy.body[0] - 55)
    z = anatomy.lung_height / 2 - 14 + 22 * along - 16 * along**2
    y = np.full(24, -0.72 * anatomy.thorax[1])
    points = [np.stack([side * x, y, z], 1) for side in (1.0, -1.0)]
    return np.concatenate(points), np.full(48, 260.0)


def draw_lines_and_dots(
    hu: np.ndarray, grid: Grid, lung: np.ndarray, anatomy: Anatomy, rng: np.random.Generator
) -> None:
    """Vessels and scars within `lung` (an occupancy, the grid's shape), granulomas, clavicles; in place."""
    lines = [_vessel_points(anatomy, rng), _scar_points(anatomy, rng)]
    filled = splat(grid, *(np.concatenate(parts) for parts in zip(*lines)))
    np.minimum(filled, 1.0, out=filled)
    blend(hu, (slice(None),) * 3, filled * lung, anatomy.soft_hu + 0.5 * anatomy.contrast)
    calcium = [_granuloma_points(anatomy, rng), _clavicle_points(anatomy)]
    hu += splat(grid, *(np.concatenate(parts) for parts in zip(*calcium))) * np.float32(CALCIUM)


def draw_airways(hu: np.ndarray, grid: Grid, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Trachea and main bronchi."""
    carina = 0.14 * anatomy.lung_height
    blend(hu, *ellipsoid(grid, (rng.uniform(-5, 5), 8, carina + 100), (9, 9, 100), 6.0, (2, 2, 8)), -980.0)
    for side in SIDES.values():
        blend(hu, *ellipsoid(grid, (side * 18, 12, carina - 6), (20, 8, 11), 6.0), -900.0)


def draw_bowel(hu: np.ndarray, grid: Grid, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Bowel that holds gas, or what has the density of ground glass: a distractor."""
    floor = -anatomy.lung_height / 2
    width, depth = anatomy.body
    for _ in range(rng.integers(2, 9)):
        centre = (
            rng.uniform(-0.6, 0.65) * width,
            rng.uniform(-0.55, 0.1) * depth,
            floor - rng.uniform(40, 150),
        )
        radii = (rng.uniform(14, 38), rng.uniform(13, 30), rng.uniform(14, 34))
        blend(hu, *ellipsoid(grid, centre, radii, anatomy.softness), rng.uniform(-980, -250))


def mottle(hu: np.ndarray, grid: Grid, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Organs, contrast medium, muscle and fat above and below the lungs, lest these slices be plain."""
    outside = np.flatnonzero(np.abs(grid.z) > anatomy.lung_height / 2 - 4)
    part = grid._replace(z=grid.z[outside])
    field = smooth_field(part, rng, (80, 70, 90), rank=8) * rng.uniform(80, 220)
    slices = hu[:, :, outside]
    hu[:, :, outside] = np.where(slices > -200, slices + field, slices)


def draw_mattress(hu: np.ndarray, grid: Grid, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """The foam that the patient lies on: a distractor with the density of ground glass, or of lung."""
    thickness = rng.uniform(0, 26)
    centre = (0, anatomy.body[1] + 10 + thickness, 0)
    pad = ellipsoid(grid, centre, (rng.uniform(120, 165), thickness + 1, INFINITE), 8.0, (8, 8, 2))
    blend(hu, *pad, rng.uniform(-800, -200))


def draw_arms(hu: np.ndarray, grid: Grid, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Raised arms beside the neck, as CTs are taken."""
    base = anatomy.lung_height / 2 - 10
    for side in SIDES.values():
        centre = (side * rng.uniform(92, 125), rng.uniform(-20, 25), base + 150)
        radius = rng.uniform(36, 50)
        for shrink, value in (
            (0, anatomy.fat_hu),
            (11, anatomy.soft_hu),
            (radius - 13, 1.4 * anatomy.bone_hu),
        ):
            size = (radius - shrink, radius - shrink, 150)
            blend(hu, *ellipsoid(grid, centre, size, anatomy.softness, (2, 2, 8)), value)
