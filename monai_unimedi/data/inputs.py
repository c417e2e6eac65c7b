# SPDX-License-Identifier: Apache-2.0
"""What a person names on a command line, as rows of images: files, patterns, folders, datalists, shards."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_unimedi.data.convert import find_source
from monai_unimedi.data.datalist import load_datalist, section_names
from monai_unimedi.data.discover import discover
from monai_unimedi.data.label_fraction import each_row_once
from monai_unimedi.data.shards import is_shard_folder

__all__ = ["image_rows"]

Row = dict[str, Any]


def image_rows(inputs: Sequence[str], dataset_dir: str | os.PathLike | None = None) -> dict[str, list[Row]]:
    """Rows ``{"id", "image", "path"}`` by source, in the order given; a datalist's rows have their `report` and
    `findings` too, rows of shards their keys.

    Args:
        inputs: image files, patterns (``*.png``), DICOM folders, folders of images, datalists (``.json``) and
            folders of shards.
        dataset_dir: folder that ``path`` is relative to and that a datalist's paths start from. By default
            the folder given, the datalist's own, or that of the file.

    Returns:
        ``{"2d": rows, "3d": rows}``, a source without images left out.

    Raises:
        ValueError: When there is nothing at a path, or something that is no image.
    """
    found: dict[str, list[Row]] = {}
    for given in inputs:
        for source, rows in _rows(given, dataset_dir).items():
            found.setdefault(source, []).extend(rows)
    _name_apart(found)
    return dict(sorted(found.items()))


def _rows(given: str, dataset_dir: str | os.PathLike | None) -> dict[str, list[Row]]:
    if is_shard_folder(given):
        return discover(given)
    if given.endswith(".json"):
        return _of_datalist(given, dataset_dir)
    is_folder = Path(given).is_dir()
    found = discover(dataset_dir=given) if is_folder else discover(images=[given])
    for row in [row for rows in found.values() for row in rows]:
        inside = row["id"] if is_folder else os.path.basename(row["id"])
        row["path"] = inside if dataset_dir is None else _relative(row["image"], dataset_dir)
        row["id"] = str(Path(given) / row["id"]) if is_folder else row["id"]
    return found


def _of_datalist(path: str, dataset_dir: str | os.PathLike | None) -> dict[str, list[Row]]:
    root = Path(path).parent if dataset_dir is None else dataset_dir
    rows = each_row_once({name: load_datalist(path, name, root) for name in section_names(path)})
    kept = [
        {"id": row["id"], "image": row["image"], "path": _relative(row["image"], root)}
        | {key: row[key] for key in ("report", "findings") if key in row}
        for row in rows
        if "image" in row
    ]
    return {find_source(kept): kept}


def _relative(path: str, root: str | os.PathLike) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _name_apart(found: dict[str, list[Row]]) -> None:
    """Refuses two rows of one id.

    Raises:
        ValueError: When an id occurs again.
    """
    counts = Counter(row["id"] for rows in found.values() for row in rows)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"Each image must be named once, got {len(twice)} again, such as {twice[0]!r}.")
