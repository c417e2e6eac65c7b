# SPDX-License-Identifier: Apache-2.0
"""MIMIC-CXR-JPG 2.x with the reports of MIMIC-CXR: pre-training on X-rays.

Frontal views (PA, AP) by the metadata, official splits. The reports are a download of their own
(``mimic-cxr-reports.zip``): unpack it into --root, or name its folder with --reports.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from monai_unimedi.data.corpora.items import Found, Item, LabelNames, LeftOut, require_file
from monai_unimedi.data.prepare_tables import read_columns, read_table, read_text

__all__ = ["AMOUNTS", "add_arguments", "items"]

AMOUNTS: dict[str, float] = {}
SECTIONS = {"train": "training", "validate": "validation", "test": "test"}
REPORT_FOLDERS = ("mimic-cxr-reports", "reports", "mimic-cxr", ".")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Views, reports and labels."""
    add = parser.add_argument
    add("--views", nargs="+", default=["PA", "AP"], help="ViewPosition of the images (default PA AP)")
    add("--reports", type=Path, metavar="DIR", help="folder that holds the reports' files/p10/...")
    add(
        "--labels", action="store_true",
        help="add the 14 labels of chexpert.csv: 1 where positive, 0 where negative, uncertain or blank",
    )  # fmt: skip


def items(root: Path, options: argparse.Namespace) -> Iterator[Item]:
    """One row an image, id its dicom_id, patient its subject_id."""
    metadata = require_file(root, ["mimic-cxr-2*-metadata.csv*"], "The metadata of MIMIC-CXR-JPG")
    splits = _splits(root)
    names, labels = _labels(root) if options.labels else ([], {})
    reports = _report_root(root, options.reports)
    if names:
        yield LabelNames("2d", names)
    study, text = "", None
    columns = ("dicom_id", "subject_id", "study_id", "ViewPosition")
    for line in read_table(metadata, columns):
        name, patient = line["dicom_id"], line["subject_id"]
        view = line["ViewPosition"] or "not stated"
        if view not in options.views or name not in splits:
            is_other = view not in options.views
            yield LeftOut(name, f"the view is {view}" if is_other else "the official split has no such image")
            continue
        folder = Path(f"p{patient[:2]}", f"p{patient}")
        if line["study_id"] != study:
            study, text = line["study_id"], _report(reports / folder / f"s{line['study_id']}.txt")
        row = {
            "id": name,
            "image": str(root / "files" / folder / f"s{study}" / f"{name}.jpg"),
            "report": text,
            "patient": patient,
            "study": study,
            "view": view,
            "label": labels.get(study),
        }
        found = Found(row, "2d", splits[name])
        yield LeftOut(name, "the study has no report file") if text is None else found


def _splits(root: Path) -> dict[str, str]:
    path = require_file(root, ["mimic-cxr-2*-split.csv*"], "The official split of MIMIC-CXR-JPG")
    splits = {}
    for line in read_table(path, ("dicom_id", "split")):
        if line["split"] not in SECTIONS:
            raise ValueError(
                f"{path.name!r}: split must be one of {', '.join(SECTIONS)}, got {line['split']!r}."
            )
        splits[line["dicom_id"]] = SECTIONS[line["split"]]
    return splits


def _labels(root: Path) -> tuple[list[str], dict[str, list[int]]]:
    """Names, and the values of each study."""
    path = require_file(root, ["mimic-cxr-2*-chexpert.csv*"], "The labels of MIMIC-CXR-JPG")
    names = [name for name in read_columns(path) if name not in ("subject_id", "study_id")]
    lines = read_table(path, ("study_id",))
    return names, {line["study_id"]: [int(_is_one(line[name])) for name in names] for line in lines}


def _is_one(cell: str) -> bool:
    return bool(cell) and float(cell) == 1


def _report_root(root: Path, given: Path | None) -> Path:
    folders = [given] if given else [root / name for name in REPORT_FOLDERS]
    for folder in (place for top in folders for place in (top / "files", top)):
        if next(folder.glob("p*/p*/s*.txt"), None):
            return folder
    raise ValueError(
        "The reports must lie in files/p10/p10000032/s50414267.txt below --root, below its folder "
        f"'mimic-cxr-reports' or below --reports, found none in {', '.join(repr(str(f)) for f in folders)}: "
        "unpack mimic-cxr-reports.zip there."
    )


def _report(path: Path) -> str | None:
    return read_text(path) if path.is_file() else None
