# SPDX-License-Identifier: Apache-2.0
"""RSNA Pneumonia Detection (stage 2): classification of X-rays, and segmentation of box masks.

The challenge's test images have no labels: 70 / 15 / 15 % of the training images, by patient. A patient of
the challenge is one image; which images are one patient's says the mapping to NIH ChestX-ray14
(``pneumonia-challenge-dataset-mappings_2018.json``), used where it lies in --root. Each row has its ``boxes``
([x, y, width, height], pixels) and a ``lesion_mask`` drawn from them, written to masks/ below --output.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pydicom

from monai_unimedi.data.corpora.items import Found, Item, LabelNames, LeftOut, Note, find_file, require_file
from monai_unimedi.data.prepare_masks import box_mask, write_mask
from monai_unimedi.data.prepare_tables import read_table

__all__ = ["AMOUNTS", "items"]

AMOUNTS = {"validation": 0.15 / 0.85, "test": 0.15}
LABELS = "stage_2_train_labels.csv"
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"


def items(root: Path, options: argparse.Namespace) -> Iterator[Item]:
    """One row an image, id its patientId, label 1 where there is lung opacity."""
    boxes: dict[str, list[list[float]]] = {}
    labels = require_file(root, [LABELS, f"*/{LABELS}"], "RSNA's labels")
    for line in read_table(labels, ("patientId", "x", "y", "width", "height", "Target")):
        found = boxes.setdefault(line["patientId"], [])
        if line["Target"] in ("1", "1.0"):
            found.append([float(line[key]) for key in ("x", "y", "width", "height")])
    yield LabelNames("2d", ["Lung Opacity"])
    patients = _patients(root)
    if not patients:
        yield Note(f"no {MAPPING}: images of one NIH patient may be in two splits")
    folder = labels.parent / "stage_2_train_images"
    for name, found in boxes.items():
        path = folder / f"{name}.dcm"
        size = _size(path)
        if size is None:
            reason = "the image file cannot be read" if path.is_file() else "the image file is missing"
            yield LeftOut(name, reason)
            continue
        kind = name if found else f"empty_{size[0]}x{size[1]}"
        mask = write_mask(options.output / "masks" / f"{kind}.png", box_mask(found, *size))
        row = {"id": name, "image": str(path), "patient": patients.get(name), "label": [int(bool(found))]}
        yield Found(row | {"boxes": found, "lesion_mask": str(mask)}, "2d")
    for path in sorted(folder.glob("*.dcm")):
        if path.stem not in boxes:
            yield LeftOut(path.stem, f"the image is not in {LABELS}")


def _patients(root: Path) -> dict[str, str]:
    """NIH's patient of each image: ``00000013`` of ``00000013_005.png``."""
    path = find_file(root, [MAPPING, f"*/{MAPPING}"])
    if path is None:
        return {}
    entries = json.loads(path.read_text(encoding="utf-8"))
    return {entry["subset_img_id"]: entry["img_id"].split("_")[0] for entry in entries}


def _size(path: Path) -> tuple[int, int] | None:
    """Rows and columns; None for a file that is missing or no DICOM image."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
        return int(header.Rows), int(header.Columns)
    except (OSError, AttributeError, pydicom.errors.InvalidDicomError):
        return None
