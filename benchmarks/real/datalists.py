# SPDX-License-Identifier: Apache-2.0
"""Datalists of real images: X-rays with the notes of their cases, CT crops with template text.

A crop's extent reveals the nodule's size, and so does padding. Every crop is therefore cut to one physical
box round the nodule, beyond the file's border its edge values continue, and sentences with a diameter are
left out of the text. What is left of the leak is what the control of `ranks.py` measures.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from scipy import ndimage

from monai_unimedi.transforms.report import split_sentences

__all__ = ["SPACING", "VOXELS", "ct_crops", "read_manifest", "split_patients", "with_splits", "xrays"]

Row = dict[str, Any]
SPACING = (0.7, 0.7, 0.75)  # mm
VOXELS = (48, 48, 16)  # 33.6 x 33.6 x 12 mm
FOLDS = 3
VALIDATION_SHARE = 0.08


def read_manifest(folder: Path) -> list[dict[str, str]]:
    """Rows of a folder's table."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def xrays(data: Path) -> list[Row]:
    """X-rays with the notes of their cases; the CT slices among the pictures are left out."""
    folder = data / "covid_cxr"
    return [
        {
            "id": row["path"],
            "image": str(folder / row["path"]),
            "report": row["report_text"],
            "patient": row["patient"],
        }
        for row in read_manifest(folder)
        if row["modality"] == "X-ray"
    ]


def ct_crops(data: Path, output: Path) -> list[Row]:
    """Writes every crop cut to one box; rows carry what the crop's extent tells (``extent``).

    Args:
        data: folder of the real files.
        output: where the boxes go, one NIfTI each.
    """
    folder = data / "lidc_nodule_voi"
    output.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in read_manifest(folder):
        image = nibabel.as_closest_canonical(nibabel.load(folder / row["path"]))
        mask = nibabel.as_closest_canonical(nibabel.load(folder / row["mask_path"]))
        path = output / f"{Path(row['path']).name.removesuffix('.nii.gz')}.nii"
        extent = _write_box(image, np.asarray(mask.dataobj) > 0, path)
        report = without_diameter(row["derived_text"])
        names = {"id": path.stem, "image": str(path.resolve()), "report": report, "patient": row["patient"]}
        rows.append({**names, "extent": extent})
    return rows


def without_diameter(text: str) -> str:
    """The template text without the sentences that give a diameter."""
    return " ".join(s for s in split_sentences(text) if "diameter" not in s.lower() and " mm" not in s)


def _write_box(image: Any, mask: np.ndarray, path: Path) -> list[float]:
    """Writes the box round the mask's centre; returns shape, spacing, extent (mm) and padding (mm, each side)
    of the crop as it was."""
    spacing = np.asarray(image.header.get_zooms()[:3], dtype=np.float64)
    centre = np.asarray(ndimage.center_of_mass(mask))
    step = np.asarray(SPACING) / spacing
    first = centre - (np.asarray(VOXELS) - 1) / 2 * step
    last = centre + (np.asarray(VOXELS) - 1) / 2 * step
    grid = np.meshgrid(*(f + np.arange(n) * s for f, n, s in zip(first, VOXELS, step)), indexing="ij")
    hounsfield = np.asarray(image.dataobj, dtype=np.float32)
    box = ndimage.map_coordinates(hounsfield, grid, order=1, mode="nearest")
    affine = image.affine @ np.block([[np.diag(step), first[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])
    nibabel.save(nibabel.Nifti1Image(np.round(box).astype(np.int16), affine), path)
    shape = np.asarray(mask.shape)
    padding = np.stack([np.maximum(-first, 0), np.maximum(last - (shape - 1), 0)]) * spacing
    return [float(v) for v in np.concatenate([shape, spacing, shape * spacing, padding.ravel()])]


def split_patients(rows: Sequence[Row], fold: int, seed: int = 0) -> dict[str, str]:
    """Patient to ``training``, ``validation`` or ``test``; the test patients of the three folds are disjoint
    and together everybody."""
    patients = sorted({row["patient"] for row in rows})
    order = [patients[i] for i in np.random.RandomState(seed).permutation(len(patients))]
    parts = {name: "test" if i % FOLDS == fold else "training" for i, name in enumerate(order)}
    seen = [name for name in order if parts[name] == "training"]
    parts |= dict.fromkeys(seen[: max(2, round(VALIDATION_SHARE * len(seen)))], "validation")
    return parts


def with_splits(rows: Sequence[Row], fold: int, path: Path, seed: int = 0) -> Path:
    """Writes the datalist of one fold."""
    parts = split_patients(rows, fold, seed)
    content: dict[str, Any] = {"name": path.stem, "training": [], "validation": [], "test": []}
    for row in rows:
        content[parts[row["patient"]]].append({k: v for k, v in row.items() if k != "extent"})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path
