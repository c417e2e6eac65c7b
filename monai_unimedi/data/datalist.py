# SPDX-License-Identifier: Apache-2.0
"""Datalists: one JSON file in Decathlon form per source, read, checked and hashed.

A row is ``{"id", "image", "report", "patient"?, "label"?, "findings"?, "lesion_mask"?, ...}``; other keys
pass through. The form is that of ``monai.data.load_decathlon_datalist``, which is not called: it takes every
string of a row for a possible path, so that an empty report becomes the name of a folder, and asks the disk
about each of them. No report text is ever logged: ids only.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from monai_unimedi.data.shards import is_shard_folder, read_index, shard_content
from monai_unimedi.transforms.report import ReportText

__all__ = [
    "check_datalist",
    "check_different",
    "complete_row",
    "datalist_digest",
    "is_blank",
    "label_names",
    "load_datalist",
    "other_content",
    "printable",
    "read_datalist",
    "section_names",
    "word_count",
]

logger = logging.getLogger(__name__)
Row = dict[str, Any]
_LISTED = 100  # ids named in one message


def read_datalist(path: str | os.PathLike, sections: Sequence[str] | None = None) -> dict[str, Any]:
    """The JSON object of a datalist's file; of a folder of shards the like, with the rows of `sections` only.

    Raises:
        ValueError: When there is no such file, or it is not one JSON object in UTF-8.
    """
    file = Path(path)
    if file.is_dir():
        return shard_content(path, sections)
    if not file.is_file():
        raise ValueError(f"A datalist must be a JSON file or a folder of shards, found none at {str(path)!r}.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"Datalist {str(path)!r} must be JSON in UTF-8: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"Datalist {str(path)!r} must hold one JSON object, got a {type(content).__name__}.")
    return content


def label_names(path: str | os.PathLike) -> list[str]:
    """Names of the entries of each row's ``label`` and of the bits of ``lesion_mask``; empty without them.

    Raises:
        ValueError: When they are no list, or one of them occurs twice.
    """
    names = read_datalist(path, ()).get("label_names", [])
    if not isinstance(names, list):
        raise ValueError(f"Datalist {str(path)!r} must have a list of names under label_names, got {names!r}.")
    check_different(map(str, names), "label_names", path)
    return [str(name) for name in names]


def check_different(names: Iterable[str], key: str, path: str | os.PathLike) -> None:
    """Refuses classes of a datalist that have one name.

    Raises:
        ValueError: Names them.
    """
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(
            f"Datalist {str(path)!r} must name each class once in {key}, got again {', '.join(map(repr, twice))}."
        )


def section_names(path: str | os.PathLike) -> list[str]:
    """Names of the lists that hold rows."""
    if is_shard_folder(path):
        return [name for name, count in read_index(path)["rows"].items() if count]
    return [key for key, value in read_datalist(path).items() if _is_section(key, value)]


def other_content(path: str | os.PathLike) -> dict[str, Any]:
    """What a datalist holds beside rows: names of labels, where it came from."""
    return {key: value for key, value in read_datalist(path).items() if not _is_section(key, value)}


def _is_section(key: str, value: Any) -> bool:
    return key != "label_names" and isinstance(value, list) and bool(value)


def load_datalist(
    path: str | os.PathLike,
    section: str = "training",
    base_dir: str | os.PathLike | None = None,
    path_keys: Sequence[str] = ("image", "lesion_mask"),
) -> list[Row]:
    """Rows of one section, paths joined to ``base_dir``; a missing or empty ``id`` is the image's path as the
    file has it, a missing or empty ``patient`` is the id.

    Args:
        path: the JSON file, or a folder of shards made from one.
        section: ``training``, ``validation``, ``test`` or any other list of the file.
        base_dir: folder that relative paths start from; the JSON file's own folder when None.
        path_keys: keys that hold paths. All others stay as they are.

    Raises:
        ValueError: When the file or the section is missing, the file is not JSON, or a row is not an object.
    """
    content = read_datalist(path, (section,))
    if not isinstance(content.get(section), list):
        lists = sorted(key for key, value in content.items() if isinstance(value, list))
        raise ValueError(f"Datalist {str(path)!r} has no list {section!r}; its lists are {lists}.")
    folder = str(base_dir if base_dir is not None else Path(path).parent)
    return [complete_row(row, index, str(path), folder, path_keys) for index, row in enumerate(content[section])]


def complete_row(
    row: Any, index: int, file: str, folder: str, path_keys: Sequence[str] = ("image", "lesion_mask")
) -> Row:
    """One row as `load_datalist` gives it: paths joined, id and patient there.

    Raises:
        ValueError: When the row is no object.
    """
    row = {"image": row} if isinstance(row, str) else row
    if not isinstance(row, dict):
        raise ValueError(f"Row {index} of {file!r} must be an object, got a {type(row).__name__}.")
    row = dict(row)
    if isinstance(row.get("image"), str) and is_blank(row.get("id")):
        row["id"] = Path(row["image"]).as_posix()
    if not is_blank(row.get("id")):
        row["id"] = printable(str(row["id"]))
        row["patient"] = row["id"] if is_blank(row.get("patient")) else printable(str(row["patient"]))
    for key in path_keys:
        if isinstance(row.get(key), str):
            row[key] = os.path.normpath(os.path.join(folder, row[key]))
    return row


def is_blank(value: Any) -> bool:
    """What a table's empty cell becomes in JSON: null, NaN or a string of spaces."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def printable(name: str) -> str:
    """A name that can be written in UTF-8: of a file's name that is in another encoding the odd bytes become words."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def check_datalist(
    rows: Sequence[Row],
    source: str = "",
    keys: Sequence[str] = ("id", "image", "report"),
    path_keys: Sequence[str] = ("image", "lesion_mask"),
    min_tokens: int = 3,
    on_bad_report: str = "raise",
) -> list[Row]:
    """The rows that can be used, in order; everything else stops with row index, id, key and path.

    Args:
        rows: from ``load_datalist``.
        source: named in messages ("2d", "3d").
        keys: must be present in every row; without ``report`` among them, reports are not looked at.
        path_keys: must exist on disk where present.
        min_tokens: words that a cleaned report must have at least.
        on_bad_report: ``raise``, or ``drop`` the rows with shorter reports and log how many and which.

    Raises:
        ValueError: When the list is empty, a key or file is missing, two rows share an id, or a report is too
            short and ``on_bad_report`` is ``raise``.
    """
    if on_bad_report not in ("raise", "drop"):
        raise ValueError(f"on_bad_report must be 'raise' or 'drop', got {on_bad_report!r}.")
    if not rows:
        raise ValueError(f"The datalist {source} must have at least one row, got none.".replace("  ", " "))
    for index, row in enumerate(rows):
        _check_row(row, _where(source, index, row), keys, path_keys)
    _check_unique_ids(rows, source)
    if "report" not in keys:
        return list(rows)
    bad = [index for index, row in enumerate(rows) if word_count(row["report"]) < min_tokens]
    if bad and on_bad_report == "raise":
        places = "; ".join(_where(source, index, rows[index]) for index in bad[:_LISTED])
        raise ValueError(
            f"{len(bad)} of {len(rows)} reports (key 'report') are empty or have under {min_tokens} words: "
            f"{places}. Mend them, or leave them out with on_bad_report='drop'."
        )
    return _without(rows, bad, source, min_tokens)


def _where(source: str, index: int, row: Row) -> str:
    return ", ".join([*([f"source {source!r}"] if source else []), f"row {index}", f"id {row.get('id')!r}"])


def _check_row(row: Row, where: str, keys: Sequence[str], path_keys: Sequence[str]) -> None:
    for key in sorted(keys, key=lambda name: name != "image"):  # which a missing id comes from
        if row.get(key) is None:
            raise ValueError(f"{where}: the key {key!r} is missing (path {row.get('image')!r}).")
        if not isinstance(row[key], str):
            raise ValueError(f"{where}: the key {key!r} must be a string, got {type(row[key]).__name__}.")
    for key in path_keys:
        if row.get(key) is not None and not os.path.exists(row[key]):
            raise ValueError(
                f"{where}, key {key!r}: no such file or folder {row[key]!r}; is the folder that paths start "
                "from (base_dir, --dataset_dir of a bundle) right?"
            )


def _check_unique_ids(rows: Sequence[Row], source: str) -> None:
    twice = {name for name, count in Counter(row.get("id") for row in rows).items() if count > 1}
    if twice and twice != {None}:
        places = [_where(source, index, row) for index, row in enumerate(rows) if row.get("id") in twice]
        raise ValueError(f"Each id (key 'id') must occur once, got again: {'; '.join(places[:_LISTED])}.")


def word_count(report: str) -> int:
    """Words of a cleaned report that hold a letter or a digit."""
    return sum(any(c.isalnum() for c in word) for word in ReportText()(report).split())


def _without(rows: Sequence[Row], bad: Sequence[int], source: str, min_tokens: int) -> list[Row]:
    if not bad:
        return list(rows)
    names = ", ".join(str(rows[index]["id"]) for index in bad[:_LISTED])
    more = f" and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
    logger.warning(
        "%s: left out %d of %d rows whose report has under %d words: %s%s",
        source or "datalist", len(bad), len(rows), min_tokens, names, more,
    )  # fmt: skip
    if len(bad) == len(rows):
        raise ValueError(f"Every one of the {len(rows)} reports of {source!r} has under {min_tokens} words.")
    left_out = set(bad)
    return [row for index, row in enumerate(rows) if index not in left_out]


def datalist_digest(rows: Iterable[Row]) -> str:
    """Hash (32 hexadecimal digits) of the rows and their order; it changes when a row changes and stays when
    the whole folder moves (of a path the file's name counts)."""
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        named = {
            key: os.path.basename(row[key])
            for key in ("image", "lesion_mask", "label")
            if isinstance(row.get(key), str)
        }
        digest.update(json.dumps({**row, **named}, sort_keys=True, default=str).encode())
    return digest.hexdigest()
