# SPDX-License-Identifier: Apache-2.0
"""One patient's normal chest: sizes (mm) and densities (HU), drawn with wide jitter.

Frame: x to the patient's left, y to posterior, z to superior, zero at the middle of the lungs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["SIDES", "Anatomy", "draw_anatomy"]

SIDES = {"left": 1, "right": -1}


class Anatomy(NamedTuple):
    """Lengths in mm, densities in HU, the rest are ratios."""

    body: tuple[float, float]  # half width and half depth of the trunk
    fat_thickness: float  # under the skin
    thorax: tuple[float, float]  # half width and half depth inside the ribs
    lung_height: float  # from the costophrenic recess to the apex
    dome: dict[str, float]  # height of each diaphragm's top over the recess
    heart_width: float  # half width of the heart
    heart_depth: float
    heart_height: float
    heart_shift: float  # of the heart's centre to the left
    mediastinum: float  # half width
    spine_depth: float  # y of the vertebral bodies
    rib_pitch: float
    rib_phase: float
    rib_slope: float
    lung_hu: float
    soft_hu: float
    contrast: float  # HU that contrast medium adds to blood
    fat_hu: float
    bone_hu: float
    gravity: float  # HU by which the posterior lung is denser than the anterior
    texture: float  # HU, standard deviation of the lung's slow inhomogeneity
    softness: float  # mm, width of edges (resolution, motion)
    noise: float  # HU, standard deviation


def draw_anatomy(rng: np.random.Generator, heart_is_enlarged: bool = False) -> Anatomy:
    """Draw a patient.

    Args:
        rng: source of every choice.
        heart_is_enlarged: a cardiothoracic ratio of 0.58 to 0.68 in place of 0.40 to 0.48.
    """
    half_width = rng.uniform(149, 165)
    half_depth = half_width * rng.uniform(0.67, 0.72)
    wall = rng.uniform(19, 27)
    thorax = (half_width - wall, half_depth - wall * rng.uniform(0.7, 1.0))
    ratio = rng.uniform(0.58, 0.68) if heart_is_enlarged else rng.uniform(0.40, 0.48)
    heart_width = ratio * thorax[0]
    base = rng.uniform(12, 20)
    return Anatomy(
        body=(half_width, half_depth),
        fat_thickness=rng.uniform(0.2, 0.85) * wall,
        thorax=thorax,
        lung_height=rng.uniform(219, 233),
        dome={"left": base, "right": base + rng.uniform(0, 10)},
        heart_width=heart_width,
        heart_depth=min(heart_width * rng.uniform(0.69, 0.81), 0.62 * thorax[1]),
        heart_height=heart_width * rng.uniform(0.79, 0.91),
        heart_shift=rng.uniform(0.25, 0.30) * heart_width,
        mediastinum=rng.uniform(23, 31),
        spine_depth=thorax[1] * rng.uniform(0.72, 0.82),
        rib_pitch=rng.uniform(24, 32),
        rib_phase=rng.uniform(0, 2 * np.pi),
        rib_slope=rng.uniform(0.25, 0.55),
        lung_hu=rng.uniform(-830, -610),
        soft_hu=rng.uniform(0, 70),
        contrast=rng.uniform(-10, 30),
        fat_hu=rng.uniform(-125, -60),
        bone_hu=rng.uniform(180, 420),
        gravity=rng.uniform(10, 110),
        texture=rng.uniform(6, 28),
        softness=rng.uniform(6, 12),
        noise=rng.uniform(10, 30),
    )
