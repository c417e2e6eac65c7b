# SPDX-License-Identifier: Apache-2.0
"""RICORD 1a (COVID-19) and 1b (without), TCIA's DICOM download: classification of chest CTs.

Each axial series of a study is a row; coronal and sagittal reformats, localizers and short series are left
out. There is no official split: drawn by patient, or by the patients of the lists in --lists
(``RICORD_train.txt``, ``RICORD_val.txt``, ``RICORD_test.txt``).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from monai_unimedi.data.corpora.items import Found, Item, LabelNames, LeftOut, list_files
from monai_unimedi.data.prepare_dicom import (
    DicomFile,
    link_series,
    read_header,
    series_problem,
    without_localizers,
)
from monai_unimedi.data.prepare_tables import read_text

__all__ = ["AMOUNTS", "add_arguments", "items"]

AMOUNTS = {"validation": 0.16, "test": 0.25}
COLLECTIONS = {"MIDRC-RICORD-1A": 1, "MIDRC-RICORD-1B": 0}
LISTS = {"RICORD_train.txt": "training", "RICORD_val.txt": "validation", "RICORD_test.txt": "test"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Series and lists."""
    add = parser.add_argument
    add("--min_slices", type=int, default=20, help="a series must have (default %(default)s)")
    add(
        "--lists",
        type=Path,
        metavar="DIR",
        help="folder of RICORD_train.txt, RICORD_val.txt, RICORD_test.txt",
    )


def items(root: Path, options: argparse.Namespace) -> Iterator[Item]:
    """One row a series, id patient/series number, label 1 for 1a."""
    tops = [path for name in COLLECTIONS for depth in ("", "*/", "*/*/") for path in root.glob(depth + name)]
    tops += [root] if root.name in COLLECTIONS else []
    if not tops:
        raise ValueError(
            f"RICORD must have the folders {' or '.join(COLLECTIONS)} below --root, found none in "
            f"{str(root)!r}."
        )
    yield LabelNames("3d", ["COVID-19"])
    sections = _sections(options.lists)
    for top in tops:
        for patient in sorted(path for path in top.iterdir() if path.is_dir()):
            section = sections.get(_short(patient.name), None if sections else "training")
            if section is None:
                yield LeftOut(f"{top.name}/{patient.name}", "the patient is in none of the lists")
            else:
                yield from _patient(patient, top.name, section, options)


def _patient(patient: Path, collection: str, section: str, options: argparse.Namespace) -> Iterator[Item]:
    series: dict[str, list[DicomFile]] = {}
    for path in list_files(patient):
        found = read_header(path)
        if isinstance(found, str):
            yield LeftOut(f"{patient.name}/{path.relative_to(patient).as_posix()}", found)
        elif found.modality == "CT":
            series.setdefault(found.series, []).append(found)
        else:
            yield LeftOut(f"{patient.name}/{path.relative_to(patient).as_posix()}", "no CT")
    for number, files in enumerate(series.values()):
        slices = without_localizers(files)
        folder = files[0].path.parent
        name = f"{patient.name}/{number:02d}"
        reason = series_problem(slices, options.min_slices)
        if reason:
            yield LeftOut(f"{name} ({folder.name})", reason)
            continue
        if len(list(folder.iterdir())) != len(slices):
            folder = link_series(slices, options.output / "series" / name)
        row = {"id": name, "image": str(folder), "patient": patient.name, "label": [COLLECTIONS[collection]]}
        yield Found(row, "3d", section)


def _sections(folder: Path | None) -> dict[str, str]:
    """The list of each patient, by the end of his name: ``419639-000082``."""
    if folder is None:
        return {}
    sections = {}
    for name, section in LISTS.items():
        for line in read_text(folder / name).splitlines():
            found = re.search(r"(?:^|/)(?:ID)?([^/]+?)_date", line)
            if found:
                sections[_short(found.group(1))] = section
    return sections


def _short(patient: str) -> str:
    return re.sub(r"^MIDRC-RICORD-1[AB]-", "", patient)
