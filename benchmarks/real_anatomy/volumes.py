# SPDX-License-Identifier: Apache-2.0
"""One volume: a patient's thorax, deformed and jittered, with lesions of the phantom's kinds painted into its lungs."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from monai_unimedi.data.grounding import report_sentences
from monai_unimedi.data.phantom import LABEL_NAMES, stated_finding
from monai_unimedi.data.phantom.anatomy import Anatomy, draw_anatomy
from monai_unimedi.data.phantom.generate import MAX_OFFSET
from monai_unimedi.data.phantom.lesions import Finding, draw_findings, draw_height, paint_findings
from monai_unimedi.data.phantom.rendering import AIR, Chest
from monai_unimedi.data.phantom.reports import write_report
from monai_unimedi.data.phantom.shapes import Grid, smooth_field

from .thoraces import Scan, Thorax

__all__ = ["SHAPE", "SPACING", "deform", "make_volume"]

SHAPE = (48, 48, 16)
SPACING = (8.0, 8.0, 20.0)  # mm
FINE = (2, 2, 2)  # samples a voxel
LEAST_VOXELS = 12  # of a lesion in the image
ZOOM = (0.90, 1.08)  # of the patient, in-plane
STRETCH = (0.90, 1.08)  # along the body's axis
ELASTIC = (3.0, 8.0)  # mm, standard deviation of the displacement
WAVELENGTH = (150.0, 150.0, 150.0)  # mm
ATTEMPTS = 50


def make_volume(thorax: Thorax, seed: np.random.SeedSequence) -> dict[str, Any]:
    """Draws one volume.

    Args:
        thorax: the patient.
        seed: of everything; image and wording have streams of their own.

    Returns:
        `image` (48, 48, 16) int16 in HU, axes LPS; `lesion_mask` of that shape, uint8, bit i for ``LABEL_NAMES[i]``;
        `lungs`, the deformed lungs by side, float32; `findings` with `slice_range` and `sentence`; `label`; `report`.

    Raises:
        ValueError: When in 50 attempts no lesion found room in the lungs.
    """
    image_stream, report_stream = seed.spawn(2)
    rng = np.random.default_rng(image_stream)
    count = len(_draw_findings(rng))  # kept, or volumes without findings would be too many
    for _ in range(ATTEMPTS):
        drawn = _draw(thorax, rng, count)
        if drawn is not None:
            return drawn | _describe(drawn["findings"], report_stream)
    raise ValueError(
        f"The lungs of {thorax.scan.name} must leave room for a lesion of {LEAST_VOXELS} voxels of "
        f"{' x '.join(map(str, SPACING))} mm, {ATTEMPTS} attempts found none: look at its lung mask."
    )


def deform(
    scan: Scan, middle: np.ndarray, grid: Grid, stretch: float, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The scan on a grid, moved by a smooth random field; averaged over each voxel.

    Beyond the scan's first and last slice these continue, to its sides there is air.

    Args:
        scan: a CT.
        middle: where the grid's zero lies (voxels of the scan).
        grid: of the result (mm).
        stretch: along z.
        rng: source of the field.

    Returns:
        HU and masks, float32, the grid's shape.
    """
    fine = Grid(*(_finer(axis, n) for axis, n in zip(grid, FINE)))
    size = rng.uniform(*ELASTIC)
    points = np.meshgrid(fine.x, fine.y, fine.z / stretch, indexing="ij", copy=False)
    places = [
        (axis + size * smooth_field(fine, rng, WAVELENGTH, rank=4)) / step + at
        for axis, step, at in zip(points, scan.spacing, middle)
    ]
    places[2] = np.clip(places[2], 0, scan.hu.shape[2] - 1)
    hu = ndimage.map_coordinates(scan.hu, places, order=1, mode="constant", cval=AIR)
    masks = {name: ndimage.map_coordinates(mask, places, order=1) for name, mask in scan.masks.items()}
    return _average(hu), {name: _average(mask) for name, mask in masks.items()}


def _finer(axis: np.ndarray, count: int) -> np.ndarray:
    step = float(axis[1] - axis[0])
    return (axis[:, None] + step * ((np.arange(count) + 0.5) / count - 0.5)).ravel().astype(np.float32)


def _average(fine: np.ndarray) -> np.ndarray:
    blocks = fine.reshape([n for size, part in zip(fine.shape, FINE) for n in (size // part, part)])
    return blocks.mean(axis=(1, 3, 5), dtype=np.float32)


def _draw(thorax: Thorax, rng: np.random.Generator, count: int) -> dict[str, Any] | None:
    """Image, masks and findings; None where a lesion found no room."""
    findings = _draw_findings(rng, count)
    stretch, zoom = rng.uniform(*STRETCH), rng.uniform(*ZOOM)
    anatomy = _anatomy(thorax, stretch, rng)
    height = draw_height(rng, findings, anatomy.lung_height, SHAPE[2] * SPACING[2], MAX_OFFSET["3d"])
    grid = Grid.around(SHAPE, SPACING, (rng.uniform(-7, 7), rng.uniform(-7, 7), height), zoom)
    hu, lungs = deform(thorax.scan, thorax.middle, grid, stretch, rng)
    both = lungs["left"] + lungs["right"]
    hu = hu * rng.uniform(0.96, 1.04) + rng.uniform(-15, 15) + both * rng.uniform(-40, 60)
    chest = Chest(hu, lungs, lungs, np.zeros_like(hu))
    painted = paint_findings(grid, chest, anatomy, findings, rng, hull=_RealHull(grid, lungs))
    shapes = [occupancy > 0.5 for occupancy in painted]
    if any(shape.sum() < LEAST_VOXELS for shape in shapes):
        return None
    mask = np.zeros(SHAPE, np.uint8)
    for shape, finding in zip(shapes, findings):
        slices = np.flatnonzero(shape.any(axis=(0, 1)))
        finding["slice_range"] = [int(slices[0]), int(slices[-1])]
        mask |= shape.astype(np.uint8) << LABEL_NAMES.index(finding["finding"])
    hu += _noise(rng)
    return {
        "image": np.clip(np.rint(hu), -1024, 2000).astype(np.int16),
        "lesion_mask": mask,
        "lungs": lungs,
        "findings": findings,
    }


def _noise(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0, 20) * rng.standard_normal(SHAPE, dtype=np.float32)


def _draw_findings(rng: np.random.Generator, count: int | None = None) -> list[Finding]:
    """The phantom's choice, of a given number; without an enlarged heart, which cannot be painted into a lung."""
    while True:
        findings = draw_findings(rng)
        if all(finding["side"] for finding in findings) and count in (None, len(findings)):
            return findings


def _anatomy(thorax: Thorax, stretch: float, rng: np.random.Generator) -> Anatomy:
    """What the phantom's lesions need to know of their patient."""
    return draw_anatomy(rng)._replace(
        thorax=thorax.size, lung_height=thorax.height * stretch, lung_hu=thorax.lung_hu, soft_hu=thorax.soft_hu
    )


class _RealHull:
    """The patient's own lungs as the outlines that fluid or air pushes inwards."""

    def __init__(self, grid: Grid, lungs: dict[str, np.ndarray]) -> None:
        self.grid, self.lungs = grid, lungs

    def __call__(self, grid: Grid, *, side: str, shift: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
        start = int(np.searchsorted(self.grid.z, grid.z[0])) if len(grid.z) else 0
        lung = self.lungs[side][:, :, start : start + len(grid.z)]
        if shift is None:
            return lung
        step = grid.spacing if len(grid.z) > 1 else self.grid.spacing
        moved = [
            ndimage.shift(lung[:, :, i], (float(dx) / step[0], float(dy) / step[1]), order=1)
            for i, (dx, dy) in enumerate(zip(*shift))
        ]
        return np.stack(moved, axis=2) if moved else lung


def _describe(findings: list[Finding], stream: np.random.SeedSequence) -> dict[str, Any]:
    """Label and report in the phantom's own words; each finding with a sentence that states it."""
    report = write_report(findings, np.random.default_rng(stream))
    for finding in findings:
        own = (s for s in report_sentences(report) if stated_finding(s) == finding["finding"])
        finding["sentence"] = next(own)
    present = {finding["finding"] for finding in findings}
    return {"label": [int(name in present) for name in LABEL_NAMES], "report": report}
