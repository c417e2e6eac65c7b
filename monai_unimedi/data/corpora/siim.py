# SPDX-License-Identifier: Apache-2.0
"""SIIM-ACR Pneumothorax Segmentation: X-rays in DICOM with run-length masks.

The table names its second column with a space (`` EncodedPixels``), holds several masks of one image in
several rows and repeats rows; masks of one image are united. No official split has labels: 70 / 15 / 15 %, by
the DICOM header's patient. ``lesion_mask`` is a PNG written to masks/ below --output.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom

from monai_unimedi.data.corpora.items import Found, Item, LabelNames, LeftOut, list_files, require_file
from monai_unimedi.data.prepare_masks import run_length_mask, write_mask
from monai_unimedi.data.prepare_tables import read_table

__all__ = ["AMOUNTS", "items"]

AMOUNTS = {"validation": 0.15 / 0.85, "test": 0.15}
TABLES = ["train-rle.csv", "*/train-rle.csv", "stage_2_train.csv", "*/stage_2_train.csv"]


def items(root: Path, options: argparse.Namespace) -> Iterator[Item]:
    """One row an image, id its ImageId, label 1 where there is pneumothorax."""
    codes: dict[str, dict[str, None]] = {}
    for line in read_table(require_file(root, TABLES, "SIIM's masks"), ("ImageId", "EncodedPixels")):
        codes.setdefault(line["ImageId"], {})[line["EncodedPixels"]] = None
    yield LabelNames("2d", ["Pneumothorax"])
    seen = set()
    for path in list_files(root):
        if path.suffix.lower() != ".dcm":
            continue
        name = path.stem
        if name not in codes:
            yield LeftOut(name, "the image is not in the table of masks")
        elif name in seen:
            yield LeftOut(name, "the image file is there twice")
        else:
            seen.add(name)
            yield _item(path, list(codes[name]), options)
    for name in sorted(set(codes) - seen):
        yield LeftOut(name, "the image file is missing")


def _item(path: Path, codes: list[str], options: argparse.Namespace) -> Item:
    tags = ["Rows", "Columns", "PatientID"]
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
        size = int(header.Rows), int(header.Columns)
    except (OSError, AttributeError, pydicom.errors.InvalidDicomError):
        return LeftOut(path.stem, "the image file cannot be read")
    try:
        mask = np.logical_or.reduce([run_length_mask(code, *size) for code in codes])
    except ValueError:
        return LeftOut(path.stem, "the run-length code does not fit the image")
    kind = path.stem if mask.any() else f"empty_{size[0]}x{size[1]}"
    file = write_mask(options.output / "masks" / f"{kind}.png", mask)
    row = {
        "id": path.stem,
        "image": str(path),
        "patient": str(header.get("PatientID", "")) or None,
        "label": [int(mask.any())],
        "lesion_mask": str(file),
    }
    return Found(row, "2d")
