# SPDX-License-Identifier: Apache-2.0
"""What a corpus yields: rows found, things left out with the reason, names of labels, remarks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "Found",
    "Item",
    "LabelNames",
    "LeftOut",
    "Note",
    "find_file",
    "first_folder",
    "list_files",
    "require_file",
]


class Found(NamedTuple):
    """One row.

    Its ``id`` and ``image`` are needed, ``patient`` is the id where it is missing. ``image``, ``lesion_mask``
    and a string under ``label`` are paths. ``report`` is raw text or clean sections; a row may have none.
    """

    row: dict[str, Any]
    source: str  # "2d" or "3d"
    section: str = "training"  # the official split; "training" where it is drawn


class LeftOut(NamedTuple):
    """Something found that becomes no row."""

    name: str  # id or path within the root
    reason: str


class LabelNames(NamedTuple):
    """Names of the entries of the rows' labels; by value where the labels are masks."""

    source: str
    names: list[str] | dict[str, str]


class Note(NamedTuple):
    """A remark for the summary."""

    text: str


Item = Found | LeftOut | LabelNames | Note


def first_folder(root: Path, names: Iterable[str], what: str) -> Path:
    """The first of the folders that exists.

    Raises:
        ValueError: When there is none.
    """
    names = list(names)
    found = next((root / name for name in names if (root / name).is_dir()), None)
    if found is None:
        tried = " or ".join(repr(name) for name in names)
        raise ValueError(f"{what} must lie in {tried} below --root, found no such folder in {str(root)!r}.")
    return found


def find_file(root: Path, patterns: Iterable[str]) -> Path | None:
    """The first file, in the order of the glob patterns and of names; None where there is none."""
    found = (path for pattern in patterns for path in sorted(root.glob(pattern)) if path.is_file())
    return next(found, None)


def require_file(root: Path, patterns: Iterable[str], what: str) -> Path:
    """As `find_file`.

    Raises:
        ValueError: When there is none.
    """
    patterns = list(patterns)
    found = find_file(root, patterns)
    if found is None:
        raise ValueError(
            f"{what} must be {' or '.join(map(repr, patterns))} below --root, found none in {str(root)!r}; "
            "is --root the folder of the download?"
        )
    return found


def list_files(root: Path, on_error: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """All files below a folder in the order of their names, hidden ones left out, each folder once: a loop of
    symbolic links ends.

    Args:
        root: the folder.
        on_error: called where a folder may not be read; without it the error is raised.
    """
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, followlinks=True, onerror=on_error or _raise):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(files) if not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error
