# SPDX-License-Identifier: Apache-2.0
"""Real images with masks: LIDC nodules in equal boxes, lungs of X-rays, organs of one CT in patches.

A box is as large whatever the nodule, its centre moves at random and its edge values continue beyond the file, so
that neither extent nor padding nor the box's middle gives the nodule away; what a constant mask still reaches is
printed beside the figures.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image
from scipy import ndimage

from .datalists import SPACING, VOXELS, read_manifest, split_patients

__all__ = ["lungs", "nodules", "organs", "write_list"]

Row = dict[str, Any]
SHIFT = (6.0, 6.0, 2.0)  # mm, at most
ORGANS = ("lung", "heart", "aorta", "vertebra")
PATCH = (48, 48, 16)
PATCH_SPACING = (4.0, 4.0, 8.0)  # mm


def nodules(data: Path, output: Path, seed: int = 0) -> list[Row]:
    """LIDC crops and masks in one physical box each, 33.6 x 33.6 x 12 mm, off the nodule's centre at random."""
    folder = data / "lidc_nodule_voi"
    output.mkdir(parents=True, exist_ok=True)
    draw = np.random.RandomState(seed)
    rows = []
    for row in read_manifest(folder):
        image = nibabel.as_closest_canonical(nibabel.load(folder / row["path"]))
        mask = nibabel.as_closest_canonical(nibabel.load(folder / row["mask_path"]))
        spacing = np.asarray(image.header.get_zooms()[:3], dtype=np.float64)
        truth = np.asarray(mask.dataobj) > 0
        centre = np.asarray(ndimage.center_of_mass(truth)) + draw.uniform(-1, 1, 3) * SHIFT / spacing
        stem = Path(row["path"]).name.removesuffix(".nii.gz")
        names = {"image": output / f"{stem}.nii", "label": output / f"{stem}_mask.nii"}
        _box(image, np.asarray(image.dataobj, dtype=np.float32), centre, names["image"], 1, "nearest", np.int16)
        _box(image, truth.astype(np.float32), centre, names["label"], 0, "constant", np.uint8)
        rows.append({"id": stem, "patient": row["patient"], **{k: str(p.resolve()) for k, p in names.items()}})
    return rows


def _box(image: Any, array: np.ndarray, centre: np.ndarray, path: Path, order: int, mode: str, kind: Any) -> None:
    spacing = np.asarray(image.header.get_zooms()[:3], dtype=np.float64)
    step = np.asarray(SPACING) / spacing
    first = centre - (np.asarray(VOXELS) - 1) / 2 * step
    grid = np.meshgrid(*(f + np.arange(n) * s for f, n, s in zip(first, VOXELS, step)), indexing="ij")
    box = ndimage.map_coordinates(array, grid, order=order, mode=mode)
    affine = image.affine @ np.block([[np.diag(step), first[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])
    nibabel.save(nibabel.Nifti1Image(np.round(box).astype(kind), affine), path)


def lungs(data: Path, output: Path) -> list[Row]:
    """X-rays of `covid_cxr` that have a lung mask; pixels marked as to be ignored count as background."""
    folder = data / "covid_cxr"
    output.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in read_manifest(folder):
        if row["modality"] != "X-ray" or not row["mask_path"]:
            continue
        with Image.open(folder / row["mask_path"]) as file:
            mask = np.asarray(file.convert("L"))
        with Image.open(folder / row["path"]) as picture:
            if picture.size != mask.shape[::-1]:
                continue
        path = output / f"{Path(row['path']).name}.mask.png"
        Image.fromarray((mask == 255).astype(np.uint8)).save(path)
        names = {"image": str((folder / row["path"]).resolve()), "label": str(path.resolve())}
        rows.append({"id": row["path"], "patient": row["patient"], **names})
    return rows


def organs(data: Path, output: Path) -> list[Row]:
    """Patches of one whole-thorax CT with four groups of its structures; the upper third is for the test.

    One patient: this shows that the bundle runs on organs, not how well it generalises.
    """
    folder = data / "thorax_organs"
    output.mkdir(parents=True, exist_ok=True)
    image = nibabel.as_closest_canonical(nibabel.load(folder / "cxr.nii.gz"))
    mask = nibabel.as_closest_canonical(nibabel.load(folder / "mask.nii.gz"))
    numbers = np.asarray(mask.dataobj).astype(np.int32)
    grouped = np.zeros(numbers.shape, np.uint8)
    with (folder / "structures.csv").open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            group = next((i for i, organ in enumerate(ORGANS, 1) if organ in line["structure"].lower()), 0)
            if group:
                grouped[numbers == int(line["id"])] = group
    step = np.asarray(PATCH_SPACING) / np.asarray(image.header.get_zooms()[:3])
    size = np.round(np.asarray(PATCH) * step).astype(int)
    values = np.asarray(image.dataobj).astype(np.int16)
    rows = []
    starts = [range(0, max(1, n - s + 1), max(1, s // 2)) for n, s in zip(values.shape, size)]
    for index, start in enumerate((x, y, z) for z in starts[2] for x in starts[0] for y in starts[1]):
        window = tuple(slice(a, a + s) for a, s in zip(start, size))
        affine = image.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ np.asarray(start)
        names = {"image": output / f"p{index:03d}.nii.gz", "label": output / f"p{index:03d}_mask.nii.gz"}
        nibabel.save(nibabel.Nifti1Image(values[window], affine), names["image"])
        nibabel.save(nibabel.Nifti1Image(grouped[window], affine), names["label"])
        rows.append({"id": f"p{index:03d}", "start_z": start[2], **{k: str(p.resolve()) for k, p in names.items()}})
    return rows


def write_list(rows: Sequence[Row], everybody: Sequence[Row], path: Path, names: Sequence[str], fold: int) -> Path:
    """The datalist of one fold, split by patient; of patches of one CT by height, without overlap.

    ``everybody``: rows of all patients that are split, those without a mask included, so that the split is that of a
    pre-training on them.
    """
    content: dict[str, Any] = {"labels": {str(i): n for i, n in enumerate(["background", *names])}}
    if all("start_z" in row for row in rows):
        heights = sorted({row["start_z"] for row in rows})
        test = set(heights[-max(1, len(heights) // 3) :])
        gap = {heights[heights.index(min(test)) - 1]} if len(heights) > len(test) + 1 else set()  # shares slices
        kept = [row for row in rows if row["start_z"] not in gap]
        parts = {row["id"]: "test" if row["start_z"] in test else "training" for row in kept}
        seen = [name for name, part in parts.items() if part == "training"]
        parts |= dict.fromkeys(seen[:: max(2, len(seen) // 3)], "validation")
        sections = [(parts[row["id"]], row) for row in kept]
    else:
        split = split_patients(everybody, fold)
        sections = [(split[row["patient"]], row) for row in rows]
    for section, row in sections:
        content.setdefault(section, []).append({k: v for k, v in row.items() if k != "start_z"})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path
