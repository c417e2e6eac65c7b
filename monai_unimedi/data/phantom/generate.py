# SPDX-License-Identifier: Apache-2.0
"""One phantom, as a CT or as an X-ray: a pure function of the version and of a seed sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from monai_unimedi.data.phantom.anatomy import Anatomy, draw_anatomy
from monai_unimedi.data.phantom.lesions import (
    LABEL_NAMES,
    Finding,
    draw_findings,
    draw_height,
    paint_findings,
)
from monai_unimedi.data.phantom.projection import expose, project
from monai_unimedi.data.phantom.rendering import render_chest
from monai_unimedi.data.phantom.reports import write_report
from monai_unimedi.data.phantom.shapes import Grid

__all__ = ["VERSION", "generate_ct", "generate_xray", "seed_sequence"]

VERSION = "5"
"""Changes with every change of what the generator draws or writes."""

SPLITS = ("training", "validation", "test")
DIMENSIONS = ("2d", "3d")
MAX_OFFSET = {"2d": 25.0, "3d": 92.0}  # mm, of the lungs' middle from the middle of the field of view
XRAY_DEPTH = 16  # samples along the posterior axis


def seed_sequence(seed: int, split: str, dimension: str, index: int) -> np.random.SeedSequence:
    """The seed of one phantom; different for every combination of the arguments and of `VERSION`.

    Args:
        seed: of the data set, 0 or more.
        split: `training`, `validation` or `test`.
        dimension: `2d` or `3d`.
        index: of the phantom in its split.
    """
    return np.random.SeedSequence(
        [*map(ord, VERSION), seed, SPLITS.index(split), DIMENSIONS.index(dimension), index]
    )


def _draw_patient(
    rng: np.random.Generator, extent: float, max_offset: float
) -> tuple[Anatomy, list[Finding], tuple[float, float, float]]:
    """Findings, anatomy, and the thorax's place in the field of view (mm)."""
    findings = draw_findings(rng)
    anatomy = draw_anatomy(rng, any(f["finding"] == "cardiomegaly" for f in findings))
    height = draw_height(rng, findings, anatomy.lung_height, extent, max_offset)
    return anatomy, findings, (rng.uniform(-7, 7), rng.uniform(-7, 7), height)


def _describe(findings: list[Finding], report_stream: np.random.SeedSequence) -> dict[str, Any]:
    present = {f["finding"] for f in findings}
    return {
        "findings": findings,
        "label": [int(name in present) for name in LABEL_NAMES],
        "report": write_report(findings, np.random.default_rng(report_stream)),
    }


def _bitmask(shapes: list[np.ndarray], findings: list[Finding], shape: Sequence[int]) -> np.ndarray:
    mask = np.zeros(tuple(shape), np.uint8)
    for is_lesion, finding in zip(shapes, findings):
        mask |= is_lesion.astype(np.uint8) << LABEL_NAMES.index(finding["finding"])
    return mask


def generate_ct(
    seed: np.random.SeedSequence,
    shape: Sequence[int] = (48, 48, 16),
    spacing: Sequence[float] = (8.0, 8.0, 20.0),
) -> dict[str, Any]:
    """Draw a CT.

    Args:
        seed: from `seed_sequence`.
        shape: voxels along left, posterior, superior.
        spacing: mm.

    Returns:
        `image` (X, Y, Z) int16 in HU, axes LPS; `lesion_mask` (X, Y, Z) uint8, bit i for `LABEL_NAMES[i]`;
        `findings`, each with `slice_range` (first and last slice, both with lesion); `label`; `report`.
    """
    image_stream, report_stream = seed.spawn(2)
    rng = np.random.default_rng(image_stream)
    anatomy, findings, centre = _draw_patient(rng, shape[2] * spacing[2], MAX_OFFSET["3d"])
    grid = Grid.around(shape, spacing, centre, zoom=rng.uniform(0.97, 1.06))
    chest = render_chest(grid, anatomy, rng)
    shapes = [occupancy > 0.5 for occupancy in paint_findings(grid, chest, anatomy, findings, rng)]
    for is_lesion, finding in zip(shapes, findings):
        slices = np.flatnonzero(is_lesion.any(axis=(0, 1)))
        finding["slice_range"] = [int(slices[0]), int(slices[-1])] if len(slices) else None
    chest.hu[...] += anatomy.noise * rng.standard_normal(grid.shape, dtype=np.float32)
    image = np.clip(np.rint(chest.hu), -1024, 2000).astype(np.int16)
    return {
        "image": image,
        "lesion_mask": _bitmask(shapes, findings, shape),
        **_describe(findings, report_stream),
    }


def generate_xray(
    seed: np.random.SeedSequence, shape: Sequence[int] = (72, 72), extent: float = 360.0
) -> dict[str, Any]:
    """Draw an X-ray: the projection of a finer phantom along the posterior axis, as a PA display.

    Args:
        seed: from `seed_sequence`.
        shape: pixels along left (columns) and inferior (rows).
        extent: width of the field of view (mm).

    Returns:
        `image` (X, Y) uint8, X to the patient's left, Y to inferior, dense is bright; `lesion_mask` (X, Y)
        uint8, bit i for `LABEL_NAMES[i]`: the projected lesions; `findings`; `label`; `report`.
    """
    image_stream, report_stream = seed.spawn(2)
    rng = np.random.default_rng(image_stream)
    pixel = extent / shape[0]
    anatomy, findings, centre = _draw_patient(rng, shape[1] * pixel, MAX_OFFSET["2d"])
    zoom = rng.uniform(0.96, 1.04)
    spacing = (pixel, 2.3 * anatomy.body[1] * zoom / XRAY_DEPTH, pixel)
    grid = Grid.around((shape[0], XRAY_DEPTH, shape[1]), spacing, (centre[0], 0.0, centre[2]), zoom)
    chest = render_chest(grid, anatomy, rng, is_ct=False)
    shapes = [
        np.any(o > 0.5, axis=1)[:, ::-1] for o in paint_findings(grid, chest, anatomy, findings, rng, "2d")
    ]
    image = expose(project(grid, anatomy, chest.hu, zoom)[:, ::-1], rng)
    return {
        "image": image,
        "lesion_mask": _bitmask(shapes, findings, shape),
        **_describe(findings, report_stream),
    }
