# SPDX-License-Identifier: Apache-2.0
"""From a volume in HU to an X-ray: line integrals along the posterior axis, finer ribs, film."""

from __future__ import annotations

import numpy as np

from monai_unimedi.data.phantom.anatomy import Anatomy
from monai_unimedi.data.phantom.shapes import Grid

__all__ = ["expose", "project"]

AIR = -1000.0
WATER_PER_MM = 0.02  # linear attenuation of water at the energies of a chest X-ray


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


def expose(attenuation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Film: automatic exposure with jitter, gamma, noise; uint8."""
    high = np.quantile(attenuation, 0.86)
    low = rng.uniform(0.62, 0.82) * np.quantile(attenuation[attenuation > 0.2 * high], 0.06)
    value = np.clip((attenuation - low) / (high - low), 0, 1.15) ** rng.uniform(0.8, 1.25)
    value = rng.uniform(0.0, 0.08) + rng.uniform(0.75, 0.86) * value
    value += rng.uniform(0.008, 0.02) * rng.standard_normal(value.shape, dtype=np.float32)
    return np.clip(np.rint(value * 255), 0, 255).astype(np.uint8)
