# SPDX-License-Identifier: Apache-2.0
"""A patient's normal chest and its distractors as a volume in HU, and its projection as an X-ray."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from monai_unimedi.data.phantom.anatomy import SIDES, Anatomy
from monai_unimedi.data.phantom.shapes import Grid, blend, ellipsoid, smooth_field, splat

__all__ = ["Chest", "project", "render_chest"]

AIR = -1000.0
INFINITE = float("inf")
WATER_PER_MM = 0.02  # linear attenuation of water at the energies of a chest X-ray


class Chest(NamedTuple):
    """A rendered chest; occupancies are float32 of the grid's shape."""

    hu: np.ndarray
    lung: dict[str, np.ndarray]  # per side, what is aerated and may hold a lesion
    pleura: dict[str, np.ndarray]  # per side, the whole cavity, without heart and diaphragm
    heart: np.ndarray


def lung_parameters(anatomy: Anatomy, side: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Centre (x, y) and half-axes (x, y) of a lung's cross-section at its widest (mm)."""
    width, depth = anatomy.thorax
    return (SIDES[side] * 0.52 * width, 2.0), (0.48 * width, 0.94 * depth)


def lung_hull(
    grid: Grid, anatomy: Anatomy, side: str, shift: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """Occupancy of a lung whose base is still open.

    Args:
        grid: the scan, or some slices of it.
        anatomy: the patient.
        side: left or right.
        shift: along x and y (mm), one number per slice each: a lung pushed away from the chest wall.
    """
    (x, y), (rx, ry) = lung_parameters(anatomy, side)
    half = anatomy.lung_height / 2
    k = min(rx, ry) / (2 * anatomy.softness)
    shift_x, shift_y = shift or (np.zeros(1, np.float32), np.zeros(1, np.float32))
    height = np.where(grid.z > 0, np.abs(grid.z / half) ** 2.8, np.abs(grid.z / (1.3 * half)) ** 4)
    columns = (k + 0.5) - k * ((grid.x[:, None] - x - shift_x) / rx) ** 2
    rows = k * ((grid.y[:, None] - y - shift_y) / ry) ** 2 + k * height.astype(np.float32)
    occupancy = columns[:, None, :] - rows
    return np.clip(occupancy, 0.0, 1.0, out=occupancy)


def _diaphragm(grid: Grid, anatomy: Anatomy, side: str) -> np.ndarray:
    """1 above the diaphragm's dome, 0 below it."""
    (x, y), (rx, ry) = lung_parameters(anatomy, side)
    top = -anatomy.lung_height / 2 + anatomy.dome[side]
    sag = 30 * (((grid.x - 0.9 * x) / rx) ** 2)[:, None] + 34 * ((grid.y + 12 - y) / ry) ** 2
    above = sag[:, :, None] + (grid.z + (10 - top))
    above *= 1 / 20.0
    return np.clip(above, 0.0, 1.0, out=above)


def _draw_trunk(hu: np.ndarray, grid: Grid, anatomy: Anatomy) -> None:
    """Skin, fat and muscle, tapering over the shoulders into a neck."""
    width, depth = anatomy.body
    shoulders = anatomy.lung_height / 2 - 25
    taper = np.clip((grid.z - shoulders) / 75, 0, None) ** 2.0
    for shrink, value in ((0.0, anatomy.fat_hu), (11.0, anatomy.soft_hu)):
        k = depth / (2 * anatomy.softness)
        plane = (
            (k + 0.5)
            - k * (np.abs(grid.x / (width - shrink)) ** 2.5)[:, None]
            - k * np.abs((grid.y - 4) / (depth - shrink)) ** 2.2
        )
        trunk = plane[:, :, None] - (k * taper).astype(np.float32)
        blend(hu, (slice(None),) * 3, np.clip(trunk, 0, 1, out=trunk), value)
    blend(hu, *ellipsoid(grid, (0, 22, 190), (58, 56, 150), anatomy.softness, (2, 2, 6)), anatomy.soft_hu)


def _draw_middle(hu: np.ndarray, grid: Grid, anatomy: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Mediastinum, aorta with its arch, heart; returns the heart's occupancy and what all of them leave free."""
    soft, edge, half = anatomy.soft_hu, anatomy.softness, anatomy.lung_height / 2
    wide, depth = anatomy.mediastinum, anatomy.thorax[1]
    blood = soft + 10 + anatomy.contrast
    floor = -half + anatomy.dome["left"]
    middle = (anatomy.heart_shift, -0.22 * depth, floor + 0.72 * anatomy.heart_height)
    size = (anatomy.heart_width, anatomy.heart_depth, anatomy.heart_height)
    organs = [
        (ellipsoid(grid, (0, 8, 0), (wide, 0.72 * depth, 1.2 * half), edge, (2, 2, 6)), soft - 25),
        (ellipsoid(grid, (24, 0.45 * depth, -30), (13, 13, half), edge, (2, 2, 8)), blood),
        (ellipsoid(grid, (wide - 2, 6, 0.42 * half), (17, 30, 20), edge), blood),
        (ellipsoid(grid, middle, size, edge), blood),
    ]
    free = np.ones(grid.shape, np.float32)
    for (box, occupancy), value in organs:
        blend(hu, box, occupancy, value)
        free[box] *= 1 - occupancy
    heart = np.zeros(grid.shape, np.float32)
    box, occupancy = organs[-1][0]
    heart[box] = occupancy
    return heart, free


def _draw_bones(hu: np.ndarray, grid: Grid, anatomy: Anatomy) -> None:
    """Vertebral bodies with discs, spinous processes, sternum."""
    edge, bone = anatomy.softness, anatomy.bone_hu
    box, body = ellipsoid(grid, (0, anatomy.spine_depth, 0), (19, 17, INFINITE), edge)
    level = 0.75 + 0.25 * np.cos(grid.z[box[2]] * (2 * np.pi / 25) + anatomy.rib_phase)
    blend(hu, box, body * level.astype(np.float32), 0.7 * bone)
    blend(hu, *ellipsoid(grid, (0, anatomy.spine_depth + 32, 0), (6, 16, INFINITE), edge), 0.8 * bone)
    front = -anatomy.thorax[1] - 6
    blend(hu, *ellipsoid(grid, (0, front, 15), (18, 7, 80), edge, (2, 2, 6)), 0.5 * bone)


def _draw_ribs(hu: np.ndarray, grid: Grid, anatomy: Anatomy) -> None:
    """Slanted bright bands in the chest wall."""
    width, depth = anatomy.thorax
    half = anatomy.lung_height / 2
    ring = ((grid.x / (width + 7)) ** 2)[:, None] + ((grid.y - 2) / (depth + 7)) ** 2
    apex = np.where(grid.z > 0, np.abs(grid.z / (half + 8)) ** 2.8, 0).astype(np.float32)
    wall = 1 - np.abs(ring[:, :, None] + (apex - 1)) * 7
    phase = (anatomy.rib_slope * 0.6 * grid.y)[:, None] + grid.z
    band = np.clip(np.cos(phase * (2 * np.pi / anatomy.rib_pitch) + anatomy.rib_phase) * 1.5, 0, 1)
    low = np.clip((grid.z + half + 30) / 20, 0, 1)
    blend(
        hu,
        (slice(None),) * 3,
        np.clip(wall, 0, 1, out=wall) * (band * low).astype(np.float32),
        anatomy.bone_hu,
    )


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


def _draw_airways(hu: np.ndarray, grid: Grid, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Trachea and main bronchi."""
    carina = 0.14 * anatomy.lung_height
    blend(hu, *ellipsoid(grid, (rng.uniform(-5, 5), 8, carina + 100), (9, 9, 100), 6.0, (2, 2, 8)), -980.0)
    for side in SIDES.values():
        blend(hu, *ellipsoid(grid, (side * 18, 12, carina - 6), (20, 8, 11), 6.0), -900.0)


def _draw_abdomen(hu: np.ndarray, grid: Grid, anatomy: Anatomy, rng: np.random.Generator) -> None:
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


def _mottle(hu: np.ndarray, grid: Grid, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Organs, contrast medium, muscle and fat above and below the lungs, so that these slices are not plain."""
    outside = np.flatnonzero(np.abs(grid.z) > anatomy.lung_height / 2 - 4)
    part = grid._replace(z=grid.z[outside])
    field = smooth_field(part, rng, (70, 60, 90)) * rng.uniform(60, 220)
    slices = hu[:, :, outside]
    hu[:, :, outside] = np.where(slices > -200, slices + field, slices)


def _draw_arms(hu: np.ndarray, grid: Grid, anatomy: Anatomy, rng: np.random.Generator) -> None:
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


def render_chest(grid: Grid, anatomy: Anatomy, rng: np.random.Generator, is_ct: bool = True) -> Chest:
    """Draw the chest without findings.

    Args:
        grid: the scan.
        anatomy: the patient.
        rng: source of vessels, scars, granulomas and texture.
        is_ct: arms are raised, organs mottled, ribs drawn; `project` draws the ribs of an X-ray, finer than its volume.
    """
    everywhere = (slice(None),) * 3
    hu = np.full(grid.shape, AIR, np.float32)
    if is_ct:
        _draw_arms(hu, grid, anatomy, rng)
    _draw_trunk(hu, grid, anatomy)
    if is_ct:
        _mottle(hu, grid, anatomy, rng)
        _draw_ribs(hu, grid, anatomy)
    lung, pleura = {}, {}
    parenchyma = anatomy.lung_hu + anatomy.texture * smooth_field(grid, rng, (90, 90, 90), rank=4)
    parenchyma += (anatomy.gravity * grid.y / anatomy.thorax[1])[None, :, None]
    for side in SIDES:
        pleura[side] = lung_hull(grid, anatomy, side)
        lung[side] = pleura[side] * _diaphragm(grid, anatomy, side)
        blend(hu, everywhere, lung[side], parenchyma)
    heart, free = _draw_middle(hu, grid, anatomy)
    for side in SIDES:
        lung[side] *= free
    both = lung["left"] + lung["right"]
    lines = [_vessel_points(anatomy, rng), _scar_points(anatomy, rng)]
    filled = splat(grid, *(np.concatenate(parts) for parts in zip(*lines)))
    blend(
        hu, everywhere, np.minimum(filled, 1.0, out=filled) * both, anatomy.soft_hu + 0.5 * anatomy.contrast
    )
    calcium = [_granuloma_points(anatomy, rng), _clavicle_points(anatomy)]
    hu += splat(grid, *(np.concatenate(parts) for parts in zip(*calcium))) * np.float32(1300)
    _draw_airways(hu, grid, anatomy, rng)
    _draw_abdomen(hu, grid, anatomy, rng)
    _draw_bones(hu, grid, anatomy)
    return Chest(hu, lung, pleura, heart)


def _projected_ribs(grid: Grid, anatomy: Anatomy) -> np.ndarray:
    """Path length (mm) through posterior and anterior ribs: (X, Z)."""
    width, depth = anatomy.thorax
    ratio = np.minimum(np.abs(grid.x) / (width + 6), 0.999)
    arc = np.sqrt(1 - ratio**2)
    inside = np.clip((width + 8 - np.abs(grid.x)) / 6, 0, 1)
    half = anatomy.lung_height / 2
    vertical = np.clip((half - 2 - grid.z) / 12, 0, 1) * np.clip((grid.z + half + 25) / 25, 0, 1)
    total = np.zeros((len(grid.x), len(grid.z)), np.float32)
    for surface, thickness in ((1.0, 5.0), (-1.0, 3.0)):
        tilt = 0.55 * depth * arc * surface * (1 if surface > 0 else 1.4)
        phase = grid.z - anatomy.rib_slope * tilt[:, None]
        band = np.clip(np.cos(phase * (2 * np.pi / anatomy.rib_pitch) + anatomy.rib_phase) * 1.6, 0, 1)
        path = thickness / np.maximum(arc, 0.35) * inside
        total += path[:, None] * band
    return total * vertical


def project(grid: Grid, anatomy: Anatomy, hu: np.ndarray, zoom: float) -> np.ndarray:
    """Line integral of attenuation along the posterior axis: (X, Z), no unit."""
    density = np.clip(hu, AIR, None).sum(axis=1) * np.float32(1e-3) + hu.shape[1]
    step = grid.spacing[1] * zoom
    ribs = _projected_ribs(grid, anatomy) * (anatomy.bone_hu / 1000 + 0.4)
    return WATER_PER_MM * (density * step + ribs)
