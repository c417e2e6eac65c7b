# SPDX-License-Identifier: Apache-2.0
"""Your own images of either dimension, and a table (CSV) that names them with their reports.

An image is a path below --root: a picture, a DICOM file, a volume or a folder of DICOM slices; its kind says
whether it goes to datalist_2d.json or datalist_3d.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from monai_unimedi.data.corpora.items import Found, Item, LabelNames, LeftOut, Note
from monai_unimedi.data.discover import source_of
from monai_unimedi.data.prepare_tables import read_columns, read_lines
from monai_unimedi.data.text_columns import report_of, unread_note, unread_texts

__all__ = ["add_arguments", "items"]

SECTIONS = {
    **dict.fromkeys(("train", "training", "tr"), "training"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "ts"), "test"),
}
ZERO_ONE = {"0": 0, "0.0": 0, "false": 0, "no": 0, "1": 1, "1.0": 1, "true": 1, "yes": 1}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The table and its columns."""
    add = parser.add_argument
    add("--csv", type=Path, required=True, metavar="FILE", help="the table; also TSV, semicolons, .gz")
    add("--image", required=True, metavar="COL", help="column of the image's path, relative to --root")
    add(
        "--report", nargs="+", default=[], metavar="COL",
        help="column of the report, or those of findings and impression; without it rows have no report",
    )  # fmt: skip
    add("--patient", required=True, metavar="COL", help="column of the patient, whose images stay together")
    add("--id", metavar="COL", help="column of the id (default: the image's path)")
    add(
        "--label", nargs="+", default=[], metavar="COL",
        help="columns of 0 and 1, or one column of classes; empty cells make a row without label",
    )  # fmt: skip
    add("--split", metavar="COL", help="column of the split: train, val or test (default: drawn by patient)")


def items(root: Path, options: argparse.Namespace) -> Iterator[Item]:
    """One row a line of the table."""
    given = (options.image, *options.report, options.patient, options.id, options.split, *options.label)
    rows = list(read_lines(options.csv, [column for column in given if column]))
    lines = [(number, line) for number, line in rows if not isinstance(line, str)]
    yield from (LeftOut(f"line {number}", reason) for number, reason in rows if isinstance(reason, str))
    names = _label_names([line for _, line in lines], options.label)
    for source in ("2d", "3d") if names else ():
        yield LabelNames(source, names)
    if not options.report:
        yield Note("no --report: the rows serve for labels and embeddings, not for pre-training")
    elif unread := unread_texts(read_columns(options.csv), [column for column in given if column]):
        yield unread_note(unread)
    for number, line in lines:
        name = line[options.id or options.image] or f"line {number}"
        split = line[options.split].lower() if options.split else "train"
        path = root / line[options.image]
        try:
            source = source_of(path) if line[options.image] else ""
        except (ValueError, OSError):
            source = "unknown"
        reason = _refused(line, path, source, split, options)
        if reason:
            yield LeftOut(name, reason)
            continue
        row: dict[str, Any] = {"id": name, "image": str(path), "patient": line[options.patient]}
        row |= {"report": report_of(line, options.report)} if options.report else {}
        label = _label(line, options.label, names)
        yield Found(row | ({"label": label} if label else {}), source, SECTIONS[split])


def _refused(line: dict[str, str], path: Path, source: str, split: str, options: argparse.Namespace) -> str | None:
    if not line[options.image]:
        return "the image's cell is empty"
    if not path.exists():
        return "the image file is missing"
    if source == "unknown":
        return "the image is of no known kind"
    if not line[options.patient]:
        return "the patient's cell is empty"
    if split not in SECTIONS:
        return "the split is none of train, val, test"
    return None


def _label_names(lines: Sequence[dict[str, str]], columns: Sequence[str]) -> list[str]:
    """The columns where they hold 0 and 1, else the classes of the one column."""
    cells = {column: sorted({line[column] for line in lines} - {""}) for column in columns}
    wrong = [column for column, found in cells.items() if any(cell.lower() not in ZERO_ONE for cell in found)]
    if not wrong:
        return list(columns)
    if len(columns) == 1:
        return cells[columns[0]]
    raise ValueError(f"Several columns of --label must each hold 0 and 1, {', '.join(map(repr, wrong))} do not.")


def _label(line: dict[str, str], columns: Sequence[str], names: Sequence[str]) -> list[int] | None:
    cells = [line[column] for column in columns]
    if not cells or not all(cells):
        return None
    if list(columns) == list(names):
        return [ZERO_ONE[cell.lower()] for cell in cells]
    return [int(cells[0] == name) for name in names]
