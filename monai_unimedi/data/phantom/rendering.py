# SPDX-License-Identifier: Apache-2.0
"""A patient's chest without findings, as a volume in HU."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from monai_unimedi.data.phantom.anatomy import SIDES, Anatomy
from monai_unimedi.data.phantom.details import (
    draw_airways,
    draw_arms,
    draw_bowel,
    draw_lines_and_dots,
    draw_mattress,
    mottle,
)
from monai_unimedi.data.phantom.shapes import Grid, blend, ellipsoid, smooth_field

__all__ = ["AIR", "Chest", "lung_hull", "render_chest"]

AIR = -1000.0
INFINITE = float("inf")


class Chest(NamedTuple):
    """A rendered chest; occupancies are float32 of the grid's shape."""

    hu: np.ndarray
    lung: dict[str, np.ndarray]  # per side, what is aerated and may hold a lesion
    pleura: dict[str, np.ndarray]  # per side, the whole cavity over the diaphragm, heart or not
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
    for shrink, value in ((0.0, anatomy.fat_hu), (anatomy.fat_thickness, anatomy.soft_hu)):
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
    """Mediastinum, aorta with its arch, heart; returns the heart's occupancy and what they leave free."""
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


def render_chest(grid: Grid, anatomy: Anatomy, rng: np.random.Generator, is_ct: bool = True) -> Chest:
    """Draw the chest without findings.

    Args:
        grid: the scan.
        anatomy: the patient.
        rng: source of vessels, scars, granulomas and texture.
        is_ct: with raised arms, mottled organs and ribs; `project` adds an X-ray's ribs, which are finer.
    """
    everywhere = (slice(None),) * 3
    hu = np.full(grid.shape, AIR, np.float32)
    if is_ct:
        draw_mattress(hu, grid, anatomy, rng)
        draw_arms(hu, grid, anatomy, rng)
    _draw_trunk(hu, grid, anatomy)
    if is_ct:
        mottle(hu, grid, anatomy, rng)
        _draw_ribs(hu, grid, anatomy)
    pleura = {}
    parenchyma = anatomy.lung_hu + anatomy.texture * smooth_field(grid, rng, (90, 90, 90), rank=4)
    parenchyma += (anatomy.gravity * grid.y / anatomy.thorax[1])[None, :, None]
    for side in SIDES:
        pleura[side] = lung_hull(grid, anatomy, side) * _diaphragm(grid, anatomy, side)
        blend(hu, everywhere, pleura[side], parenchyma)
    heart, free = _draw_middle(hu, grid, anatomy)
    lung = {side: cavity * free for side, cavity in pleura.items()}
    draw_lines_and_dots(hu, grid, lung["left"] + lung["right"], anatomy, rng)
    draw_airways(hu, grid, anatomy, rng)
    draw_bowel(hu, grid, anatomy, rng)
    _draw_bones(hu, grid, anatomy)
    return Chest(hu, lung, pleura, heart)
