# SPDX-License-Identifier: Apache-2.0
"""CC-CCII, cleaned: classification of CTs in three classes (NCP, CP, Normal) from folders of slices.

The slices are 8-bit pictures without Hounsfield units, spacing or orientation, which no reader of volumes
takes. So each scan becomes one NIfTI file in volumes/ below --output, 8-bit with a slope that maps 0 to 255
to --window. The spacing is an assumption: --pixel_mm, and --chest_mm over all slices. The splits are those of
the cleaned release (ct_train.json, ct_val.json, ct_test.json), or drawn by patient.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from monai_unimedi.data.corpora.items import Found, Item, LabelNames, LeftOut, Note, find_file
from monai_unimedi.data.hashing import stable_hash

__all__ = ["AMOUNTS", "add_arguments", "items"]

AMOUNTS = {"validation": 0.25, "test": 0.2}  # validation of what test left
CLASSES = ["NCP", "CP", "Normal"]
LISTS = {"train": "training", "val": "validation", "test": "test"}
PICTURES = (".png", ".jpg", ".jpeg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the pictures do not say."""
    add = parser.add_argument
    add("--min_slices", type=int, default=10, help="fewer are left out (default %(default)s)")
    add(
        "--window", type=float, nargs=2, default=(-1150.0, 350.0), metavar=("LOW", "HIGH"),
        help="HU that black and white stand for (default -1150 350)",
    )  # fmt: skip
    add("--pixel_mm", type=float, default=0.7, help="side of a pixel (default %(default)s)")
    add("--chest_mm", type=float, default=300.0, help="height of all slices (default %(default)s)")
    add("--first_slice", choices=("head", "feet"), default="head", help="default %(default)s")


def items(root: Path, options: argparse.Namespace) -> Iterator[Item]:
    """One row a scan, id class/patient/scan, label one-hot."""
    top = next((root / name for name in (".", "dataset_cleaned") if (root / name / "NCP").is_dir()), None)
    if top is None:
        raise ValueError(
            f"CC-CCII must have the folders {', '.join(CLASSES)} (patient/scan/slices) below --root, found "
            f"none in {str(root)!r}."
        )
    yield LabelNames("3d", CLASSES)
    yield Note("pictures hold no HU and no spacing: --window, --pixel_mm and --chest_mm are assumptions")
    lists = _lists(root)
    for kind in CLASSES:
        for scan in sorted(top.glob(f"{kind}/*/*"), key=lambda path: _natural(path.parts)):
            if scan.is_dir():
                yield _scan(scan, kind, lists, options)


def _scan(scan: Path, kind: str, lists: dict[tuple[str, str, str], str], options: argparse.Namespace) -> Item:
    name = f"{kind}/{scan.parent.name}/{scan.name}"
    slices = [path for path in scan.iterdir() if path.suffix.lower() in PICTURES]
    slices.sort(key=lambda path: _natural([path.name]))
    if len(slices) < options.min_slices:
        return LeftOut(name, f"under {options.min_slices} slices")
    if lists and (kind, scan.parent.name, scan.name) not in lists:
        return LeftOut(name, "not in the lists of the cleaned release")
    try:
        file = _volume(slices, options)
    except (OSError, ValueError):
        return LeftOut(name, "a slice cannot be read, or slices differ in size")
    row = {
        "id": name,
        "image": str(file),
        "patient": f"{kind}/{scan.parent.name}",
        "label": [int(kind == other) for other in CLASSES],
    }
    return Found(row, "3d", lists.get((kind, scan.parent.name, scan.name), "training"))


def _volume(slices: list[Path], options: argparse.Namespace) -> Path:
    """One scan as 8-bit NIfTI, unless it is there, of the same slices."""
    facts = (options.window, options.pixel_mm, options.chest_mm, options.first_slice)
    key = stable_hash(*slices[0].parts[-4:-1], len(slices), *map(str, facts))
    path = Path(options.output) / "volumes" / f"{key:016x}.nii.gz"
    fingerprint = _fingerprint(slices)
    if path.is_file() and _known_fingerprint(path) == fingerprint:
        return path
    # (columns, rows, slices): columns to the patient's left, rows to the back
    volume = np.stack([np.asarray(Image.open(file).convert("L")).T for file in slices], axis=-1)
    volume = volume[..., ::-1] if options.first_slice == "head" else volume
    spacing = [options.pixel_mm, options.pixel_mm, options.chest_mm / len(slices)]
    image = nibabel.Nifti1Image(np.ascontiguousarray(volume), np.diag([-spacing[0], -spacing[1], spacing[2], 1]))
    low, high = options.window
    image.header.set_slope_inter((high - low) / 255, low)
    image.header["descrip"] = fingerprint
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{key:016x}.part.nii.gz")
    nibabel.save(image, part)
    os.replace(part, path)
    return path


def _fingerprint(slices: list[Path]) -> str:
    """Changes when a slice is another file: by names, sizes and times of change."""
    facts = [(path.name, path.stat()) for path in slices]
    return f"{stable_hash(*(part for name, s in facts for part in (name, s.st_size, s.st_mtime_ns))):016x}"


def _known_fingerprint(path: Path) -> str:
    """Of the slices that a volume was made of; empty where the file cannot tell."""
    try:
        return str(nibabel.Nifti1Image.from_filename(path).header["descrip"].item().decode("ascii"))
    except Exception:  # whatever a broken file raises
        return ""


def _natural(parts: tuple[str, ...] | list[str]) -> list[list[tuple[int, str]]]:
    """Sorts ``10.png`` behind ``9.png``."""
    return [[(int(p or -1), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", part)] for part in parts]


def _lists(root: Path) -> dict[tuple[str, str, str], str]:
    """The official list of each (class, patient, scan)."""
    lists: dict[tuple[str, str, str], str] = {}
    for name, section in LISTS.items():
        path = find_file(root, [f"ct_{name}.json", f"*/ct_{name}.json"])
        content = json.loads(path.read_text(encoding="utf-8")) if path else {}
        for kind, patients in content.items():
            for patient, scans in patients.items():
                lists |= {(kind, str(patient), str(scan)): section for scan in scans}
    return lists
