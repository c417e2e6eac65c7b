# SPDX-License-Identifier: Apache-2.0
"""The six findings: which ones a patient has, where, and how they look in a volume in HU."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from monai_unimedi.data.phantom.anatomy import SIDES, Anatomy
from monai_unimedi.data.phantom.rendering import AIR, Chest, lung_hull
from monai_unimedi.data.phantom.shapes import Grid, smooth_field

__all__ = ["LABEL_NAMES", "SIZES", "ZONES", "Hull", "draw_findings", "draw_height", "paint_findings"]

Finding = dict[str, Any]
Centre = tuple[float, float, float]

LABEL_NAMES = ("nodule", "consolidation", "ground_glass", "pleural_effusion", "pneumothorax", "cardiomegaly")
ZONES = {"upper": 0.28, "middle": 0.0, "lower": -0.28}  # its middle, in lung heights above the lungs' middle
SIZES = ("small", "large")
HALF_HEIGHT = {"small": 20.0, "large": 54.0}  # mm
RADIUS = {  # mm, in-plane; CTs have the coarser voxels
    "2d": {
        "nodule": {"small": (18, 21), "large": (35, 40)},
        "consolidation": {"small": (27, 31), "large": (50, 58)},
        "ground_glass": {"small": (28, 32), "large": (42, 48)},
    },
    "3d": {
        "nodule": {"small": (22, 25), "large": (38, 43)},
        "consolidation": {"small": (31, 35), "large": (52, 60)},
        "ground_glass": {"small": (32, 36), "large": (46, 52)},
    },
}
THICKNESS = {  # mm, of fluid or air along the chest wall
    "2d": {
        "pleural_effusion": {"small": (20, 24), "large": (36, 42)},
        "pneumothorax": {"small": (38, 43), "large": (65, 75)},
    },
    "3d": {
        "pleural_effusion": {"small": (30, 34), "large": (48, 56)},
        "pneumothorax": {"small": (40, 46), "large": (60, 70)},
    },
}
OPACITY = {"2d": (300, 370), "3d": (340, 420)}  # HU that ground glass adds to the lung
XRAY_STRETCH = 1.5  # of lesions along the posterior axis, over which X-rays sum
MARGIN = 18.0  # mm, by which a lesion may reach out of the field of view
COUNT_PROBABILITY = (0.15, 0.65, 0.20)  # of none, one and two findings


class Hull(Protocol):
    """A lung that fluid or air may push inwards."""

    def __call__(self, grid: Grid, *, side: str, shift: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
        """Occupancy of the lung, moved along x and y (mm), one number per slice each."""


class Scene(NamedTuple):
    """The slices round a lesion."""

    grid: Grid
    hu: np.ndarray  # (X, Y, S), a view
    free: np.ndarray  # (X, Y, S), where the lesion may be, in [0, 1]
    anatomy: Anatomy
    rng: np.random.Generator
    dimension: str  # "2d" for X-rays, "3d" for CTs
    hull: Hull


def draw_findings(rng: np.random.Generator) -> list[Finding]:
    """None, one or two different findings, in the order of `LABEL_NAMES`; zones are set by `draw_height`.

    Returns:
        Dicts with `finding`, `side`, `zone`, `size`; the last three are None for cardiomegaly.
    """
    count = rng.choice(len(COUNT_PROBABILITY), p=COUNT_PROBABILITY)
    chosen = sorted(rng.permutation(len(LABEL_NAMES))[:count])
    findings: list[Finding] = []
    for name in (LABEL_NAMES[index] for index in chosen):
        side, size = list(SIDES)[rng.integers(2)], SIZES[rng.integers(2)]
        if name == "cardiomegaly":
            side = size = None  # type: ignore[assignment]
        findings.append({"finding": name, "side": side, "zone": None, "size": size})
    return findings


def draw_height(
    rng: np.random.Generator, findings: list[Finding], lung_height: float, extent: float, max_offset: float
) -> float:
    """Choose the scan's range and the findings' zones, in place, so that lesions lie evenly over the slices.

    One lesion's height in the image comes first, evenly; then a zone from which some scan range leads there.

    Args:
        rng: source of the choice.
        findings: from `draw_findings`; their zones are set here.
        lung_height: mm.
        extent: height of the field of view (mm).
        max_offset: of the lungs' middle from the middle of the field of view (mm).

    Returns:
        Height of the lungs' middle above the middle of the field of view (mm).
    """
    placed = [f for f in findings if f["side"]]
    placed = [placed[i] for i in rng.permutation(len(placed))]
    room = extent / 2 - HALF_HEIGHT[placed[0]["size"] if placed else "small"] + MARGIN
    room = min(room, max_offset + ZONES["upper"] * lung_height)
    height = room * rng.choice([-1, 1]) * rng.uniform()
    reachable = [z for z, t in ZONES.items() if abs(height - t * lung_height) <= max_offset + 1e-6]
    nearest = min(ZONES, key=lambda z: abs(height - ZONES[z] * lung_height))
    zone = reachable[rng.integers(len(reachable))] if reachable else nearest
    offset = np.clip(height - ZONES[zone] * lung_height, -max_offset, max_offset)
    for index, finding in enumerate(placed):
        finding["zone"] = zone
        if index == 0:
            continue
        room = extent / 2 - HALF_HEIGHT[finding["size"]] + MARGIN
        visible = [z for z, t in ZONES.items() if abs(offset + t * lung_height) <= room] or [zone]
        weight = np.array(
            [abs(offset + ZONES[z] * lung_height) + 40 for z in visible]
        )  # few lesions lie far out
        finding["zone"] = visible[rng.choice(len(visible), p=weight / weight.sum())]
        if (
            finding["zone"] == zone or finding["size"] == "large" or placed[0]["size"] == "large"
        ):  # else they touch
            finding["side"] = "left" if placed[0]["side"] == "right" else "right"
    return float(offset)


def _draw_centre(rng: np.random.Generator, anatomy: Anatomy, finding: Finding) -> Centre:
    """Middle of a lesion (mm): in the zone, beside and behind the heart."""
    width, depth = anatomy.thorax
    low, high = (0.64, 0.76) if finding["finding"] == "consolidation" else (0.54, 0.68)
    x = SIDES[finding["side"]] * rng.uniform(low, high) * width
    y = rng.uniform(0.05, 0.40) * depth
    z = ZONES[finding["zone"]] * anatomy.lung_height + rng.uniform(-3, 3)
    return x, y, z


def _blob(
    grid: Grid, centre: Centre, radii: Centre, softness: float, ripple: np.ndarray | float
) -> np.ndarray:
    """A body that keeps its width over most of its height; `ripple` (the grid's shape) makes it irregular."""
    k = radii[0] / (2 * softness)
    plane = (((grid.x - centre[0]) / radii[0]) ** 2)[:, None] + ((grid.y - centre[1]) / radii[1]) ** 2
    distance = plane[:, :, None] + np.abs((grid.z - centre[2]) / radii[2]) ** 3
    return np.clip(0.5 + k * (1 - distance + ripple), 0, 1)


def _crescent(grid: Grid, hull: Hull, finding: Finding, z: float, thickness: float) -> np.ndarray:
    """Occupancy of a lung that fluid or air pushes inwards, most in the middle of the zone."""
    depth = thickness * np.clip(1 - np.abs((grid.z - z) / HALF_HEIGHT[finding["size"]]) ** 8, 0, 1)
    inwards = -SIDES[finding["side"]] * depth
    along = depth * (-0.6 if finding["finding"] == "pleural_effusion" else 0.35)  # fluid behind, air in front
    return hull(grid, side=finding["side"], shift=(inwards, along))


def _paint_in_pleura(scene: Scene, finding: Finding) -> np.ndarray:
    """Fluid or air between the chest wall and the lung; paints `scene.hu` in place, returns the occupancy."""
    grid, hu, pleura, anatomy, rng, dimension, hull = scene
    centre = _draw_centre(rng, anatomy, finding)
    thickness = rng.uniform(*THICKNESS[dimension][finding["finding"]][finding["size"]])
    pushed = _crescent(grid, hull, finding, centre[2], thickness)
    occupancy = np.clip(hull(grid, side=finding["side"]) - pushed, 0, 1) * pleura
    if finding["finding"] == "pleural_effusion":
        hu += occupancy * (rng.uniform(-10, 70) - hu)
        return occupancy
    near = np.clip(1.1 - np.abs((grid.z - centre[2]) / HALF_HEIGHT[finding["size"]]) ** 8, 0, 1)
    hu += (pushed * pleura * near) * (rng.uniform(60, 90) * (hu < -300))  # the lung collapses a little
    line = np.minimum(1.5 * np.minimum(occupancy, pushed), 1)  # the visceral pleura
    hu += np.maximum(occupancy - line, 0) * (AIR - hu)
    hu += line * (-100 - hu)
    return occupancy


def _paint_in_lung(scene: Scene, finding: Finding) -> np.ndarray:
    """Nodule, consolidation or ground glass; paints `scene.hu` in place, returns the occupancy."""
    grid, hu, lung, anatomy, rng, dimension, _ = scene
    kind, size = finding["finding"], finding["size"]
    depth = XRAY_STRETCH if dimension == "2d" else 1.0
    centre = _draw_centre(rng, anatomy, finding)
    radius = rng.uniform(*RADIUS[dimension][kind][size])
    ripple = 0.0 if kind == "nodule" else 0.22 * smooth_field(grid, rng, (55, 55, 200))
    softness = anatomy.softness * (1.6 if kind == "ground_glass" else 1.0)
    occupancy = _blob(grid, centre, (radius, depth * radius, HALF_HEIGHT[size]), softness, ripple) * lung
    value: float | np.ndarray = anatomy.soft_hu + rng.uniform(0, 40)
    if kind == "consolidation":
        value = -40 + 80 * smooth_field(grid, rng, (26, 26, 60))
    if kind == "ground_glass":  # vessels stay visible in it
        value = np.maximum(hu, anatomy.lung_hu + rng.uniform(*OPACITY[dimension]))
    hu += occupancy * (value - hu)
    return occupancy


def paint_findings(
    grid: Grid,
    chest: Chest,
    anatomy: Anatomy,
    findings: list[Finding],
    rng: np.random.Generator,
    dimension: str = "3d",
    hull: Hull | None = None,
) -> list[np.ndarray]:
    """Paint all findings into `chest.hu`, in place.

    Args:
        grid: the scan.
        chest: from `render_chest`.
        anatomy: the patient.
        findings: with their zones.
        rng: source of places and textures.
        dimension: ``3d`` for CTs, ``2d`` for what X-rays are projected from.
        hull: the lungs' outlines, where they are not the phantom's own.

    Returns:
        For each finding its occupancy, float32, the grid's shape; the enlarged heart for cardiomegaly.
    """
    hull = hull or partial(lung_hull, anatomy=anatomy)
    painted = []
    for finding in findings:
        if finding["side"] is None:
            painted.append(chest.heart)
            continue
        reach = HALF_HEIGHT[finding["size"]] * 1.3 + 8
        near = np.flatnonzero(np.abs(grid.z - ZONES[finding["zone"]] * anatomy.lung_height) <= reach)
        rows = slice(int(near[0]), int(near[-1]) + 1) if len(near) else slice(0, 0)
        in_pleura = finding["finding"] in ("pleural_effusion", "pneumothorax")
        part = grid._replace(z=grid.z[rows])
        free = (chest.pleura if in_pleura else chest.lung)[finding["side"]][:, :, rows]
        scene = Scene(part, chest.hu[:, :, rows], free, anatomy, rng, dimension, hull)
        occupancy = np.zeros(grid.shape, np.float32)
        occupancy[:, :, rows] = (_paint_in_pleura if in_pleura else _paint_in_lung)(scene, finding)
        painted.append(occupancy)
    return painted
