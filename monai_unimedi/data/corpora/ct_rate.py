# SPDX-License-Identifier: Apache-2.0
"""CT-RATE: chest CT with reports and 18 labels, pre-training and zero-shot.

The official ``valid`` split is the test list; validation is drawn from the patients of ``train``. The volumes
of the first release (``train/``, ``valid/``) hold values before rescaling and no spacing; those of the second
(``train_fixed/``, ``valid_fixed/``) are in Hounsfield units, and rescaling them again with the metadata's
slope is wrong. Only the second are kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import nibabel

from monai_unimedi.data.corpora.items import Found, Item, LabelNames, LeftOut, Note, find_file, require_file
from monai_unimedi.data.prepare_tables import read_columns, read_table, read_text
from monai_unimedi.data.report_text import clean_text

__all__ = ["AMOUNTS", "add_arguments", "items"]

AMOUNTS = {"validation": 0.05}
REPORT = {"findings": "Findings_EN", "impression": "Impressions_EN"}
# official name: list, reports, labels
SPLITS = {
    "train": ("training", "train_reports.csv", "train_predicted_labels.csv"),
    "valid": ("test", "validation_reports.csv", "valid_predicted_labels.csv"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Reconstructions."""
    parser.add_argument(
        "--reconstructions", choices=("all", "first"), default="all",
        help="all volumes of a scan, or the first that there is: train_1_a_1 without train_1_a_2 "
        "(default %(default)s)",
    )  # fmt: skip


def items(root: Path, options: argparse.Namespace) -> Iterator[Item]:
    """One row a volume, id its name, patient ``train_1`` of ``train_1_a_1``."""
    places = [place for _, reports, _ in SPLITS.values() for place in _places(reports)]
    require_file(root, places, "CT-RATE's reports")
    yield Note("values are Hounsfield units as the files give them: do not rescale again")
    for split in SPLITS:
        yield from _split(root, split, options)


def _split(root: Path, split: str, options: argparse.Namespace) -> Iterator[Item]:
    section, reports, labels = SPLITS[split]
    path = find_file(root, _places(reports))
    names, known = _labels(root, labels)
    if names:
        yield LabelNames("3d", names)
    elsewhere, folder, seen = _not_chest(root, split), _volumes(root, split), set()
    for line in read_table(path, ("VolumeName", *REPORT.values())) if path else ():
        volume = line["VolumeName"]
        name = volume.removesuffix(".nii.gz")
        patient, scan = name.rsplit("_", 2)[0], name.rsplit("_", 1)[0]
        file = folder / patient / scan / volume
        reason = "not a chest (no_chest list)" if name in elsewhere else _refused(file)
        if reason is None and options.reconstructions == "first" and scan in seen:
            reason = "another reconstruction of the scan is kept"
        if reason is not None:
            yield LeftOut(name, reason)
            continue
        seen.add(scan)
        report = {part: clean_text(line[column]) for part, column in REPORT.items()}
        row = {"id": name, "image": str(file), "report": report, "patient": patient, "scan": scan}
        yield Found(row | {"label": known.get(name)}, "3d", section)


def _places(name: str) -> list[str]:
    """Where a table may lie: the release's folder ``dataset`` or what is in it."""
    return [name, f"*/{name}", f"dataset/*/{name}"]


def _volumes(root: Path, split: str) -> Path:
    folders = [f"{top}{split}{kind}" for kind in ("_fixed", "") for top in ("", "dataset/")]
    return next((root / name for name in folders if (root / name).is_dir()), root / split)


def _refused(file: Path) -> str | None:
    """Why a volume's file cannot be used."""
    if not file.is_file():
        return "the image file is missing"
    try:
        zooms = nibabel.Nifti1Image.from_filename(file).header.get_zooms()
    except (nibabel.filebasedimages.ImageFileError, OSError, EOFError, ValueError):
        return "the image file cannot be read"
    if not file.parents[2].name.endswith("_fixed") and all(size == 1 for size in zooms[:3]):
        return "first release, not in Hounsfield units and without spacing: download train_fixed, valid_fixed"
    return None


def _labels(root: Path, name: str) -> tuple[list[str], dict[str, list[int]]]:
    """Names, and the values of each volume; empty where the table is missing."""
    path = find_file(root, _places(name))
    if path is None:
        return [], {}
    names = [column for column in read_columns(path) if column != "VolumeName"]
    lines = read_table(path, ("VolumeName",))
    return names, {
        line["VolumeName"].removesuffix(".nii.gz"): [int(float(line[n] or 0)) for n in names]
        for line in lines
    }


def _not_chest(root: Path, split: str) -> set[str]:
    path = find_file(root, _places(f"no_chest_{split}.txt"))
    words = read_text(path).split() if path else []
    return {Path(word).name.removesuffix(".nii.gz") for word in words}
