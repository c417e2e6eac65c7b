# SPDX-License-Identifier: Apache-2.0
"""Real chest CTs on a working grid of 4 x 4 x 5 mm, with their lungs or their tumours."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Orientation

from monai_unimedi.transforms import LoadVolume, ResampleVolume

from .lungs import fill_vessels, find_lungs

__all__ = ["LESIONS", "THORACES", "Scan", "Source", "Thorax", "read_lesion", "read_thoraces", "thorax_of"]

logger = logging.getLogger(__name__)

SPACING = (4.0, 4.0, 5.0)  # mm
HU_RANGE = (-1024.0, 3000.0)


class Source(NamedTuple):
    """A file of the data folder; of its mask the lower byte counts."""

    image: str
    mask: str | None = None
    numbers: Mapping[str, Collection[int]] = {}


class Scan(NamedTuple):
    """A CT, axes LPS."""

    name: str
    hu: np.ndarray  # (X, Y, Z) float32
    masks: dict[str, np.ndarray]  # (X, Y, Z) float32, the share of each voxel
    spacing: tuple[float, float, float]  # mm


class Thorax(NamedTuple):
    """A CT whose masks are the lungs, ``left`` and ``right``, and what the lesions' places follow."""

    scan: Scan
    middle: np.ndarray  # of the lungs (voxels)
    size: tuple[float, float]  # half width and half depth of both lungs together (mm)
    height: float  # of the lungs (mm)
    lung_hu: float
    soft_hu: float


LOBES = {"left": (10, 11), "right": (12, 13, 14)}  # thorax_organs/structures.csv
THIRDS = {"left": (9, 10, 11), "right": (12, 13, 14)}  # upper, middle, lower
FOUR_D = "tcia_lung_ct/4DLung_113_HM10395_40pct"
THORACES = {
    "thorax_organs": Source("thorax_organs/cxr.nii.gz", "thorax_organs/mask.nii.gz", LOBES),
    "tcia_lung_ct": Source(f"{FOUR_D}.nii.gz"),
    "cip_chest": Source("cip_chest/ct-64.nrrd", "cip_chest/ct-64_mask.nrrd", THIRDS),
    "elastix_lung": Source("elastix_lung/3DCT_lung.mha"),
}
"""Patients; which of them have both lungs in the picture shows when they are read."""

LESIONS = {
    "lung_tumour_ct, patient 1": Source(
        "lung_tumour_ct/lambin_pat1.nii.gz", "lung_tumour_ct/lambin_pat1_mask.nii.gz", {"tumour": (1,)}
    ),
    "lung_tumour_ct, patient 3": Source(
        "lung_tumour_ct/lambin_pat3.nii.gz", "lung_tumour_ct/lambin_pat3_mask.nii.gz", {"tumour": (1,)}
    ),
    "tcia_lung_ct": Source(f"{FOUR_D}.nii.gz", f"{FOUR_D}_mask.nii.gz", {"tumour": (1,)}),
}
"""Patients with a contoured lung tumour."""


def read_lesion(data: Path, name: str) -> Scan:
    """One of `LESIONS`; its mask is ``tumour``."""
    return _read(data, name, LESIONS[name])


def read_thoraces(data: Path, names: Collection[str] = tuple(THORACES)) -> dict[str, Thorax]:
    """Every whole chest among `THORACES`; a CT without both lungs is left out, and the log says why."""
    found = {}
    for name in names:
        try:
            found[name] = thorax_of(_read(data, name, THORACES[name]))
        except ValueError as error:
            logger.warning("%s is left out. %s", name, error)
    return found


def thorax_of(scan: Scan) -> Thorax:
    """Finds the lungs where the scan has no mask of them, and measures them.

    Raises:
        ValueError: When a lung is missing.
    """
    given = {side: mask > 0.5 for side, mask in scan.masks.items()}
    if given and not all(mask.any() for mask in given.values()):
        raise ValueError(f"The mask of {scan.name} must hold both lungs, one of them is empty: give another mask.")
    lungs = (
        {side: fill_vessels(mask, scan.spacing) for side, mask in given.items()}
        if given
        else find_lungs(scan.hu, scan.spacing, scan.name)
    )
    both = lungs["left"] | lungs["right"]
    spans = [np.flatnonzero(both.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    first, last = (np.array([span[end] for span in spans]) for end in (0, -1))
    half = (last + 1 - first) / 2 * np.array(scan.spacing)
    aerated, soft = scan.hu[both & (scan.hu < -500)], scan.hu[(scan.hu > -50) & (scan.hu < 150)]
    return Thorax(
        scan._replace(masks={side: mask.astype(np.float32) for side, mask in lungs.items()}),
        (first + last) / 2,
        (float(half[0]), float(half[1])),
        float(2 * half[2]),
        float(np.median(aerated)),
        float(np.median(soft)),
    )


def _read(data: Path, name: str, source: Source) -> Scan:
    to_lps, resample = Orientation("LPS", labels=None), ResampleVolume(SPACING)
    image = to_lps(LoadVolume()(data / source.image))
    masks = {}
    if source.mask:
        numbers = to_lps(LoadVolume()(data / source.mask))
        assert isinstance(numbers, MetaTensor)
        low = np.asarray(numbers).astype(np.int32).astype(np.uint8)
        for key, values in source.numbers.items():
            is_meant = np.zeros(256, np.float32)
            is_meant[list(values)] = 1.0
            part = MetaTensor(is_meant[low], affine=numbers.affine)
            masks[key] = np.asarray(resample(part))[0].astype(np.float32)
    hu = np.clip(np.asarray(resample(image.clip(*HU_RANGE)))[0], *HU_RANGE).astype(np.float32)
    return Scan(name, hu, masks, SPACING)
