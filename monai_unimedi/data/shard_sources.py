# SPDX-License-Identifier: Apache-2.0
"""The files that a shard was made from, so that the next conversion knows whether they are the same.

They lie in ``sources.json`` of each shard, apart from what training reads and from the checksums: times differ
between copies of a dataset, shards do not. Paths are relative, so that a dataset may move.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_unimedi.data.hashing import stable_hash

__all__ = ["SOURCES", "relative_path", "source_change", "source_facts"]

SOURCES = "sources.json"
_KEYS = ("image", "lesion_mask")
_DETACHED = {".mhd": (".raw", ".zraw"), ".nhdr": (".raw", ".raw.gz")}  # where the voxels of a header lie
Fact = list[Any]


def source_facts(rows: Sequence[Mapping[str, Any]], root: str) -> list[Fact]:
    """``[path, bytes, time]`` of each image and mask, one ``stat`` a file.

    The time is that of the last change, in ns; of a folder of slices, or a header with the voxels beside it, a
    hash of the names, sizes and times of all its files. A file that is missing has None for both.

    Args:
        rows: of the datalist, with joined paths.
        root: folder that the paths are relative to.
    """
    paths = [row[key] for row in rows for key in _KEYS if isinstance(row.get(key), str)]
    return [[relative_path(path, root), *_state(path)] for path in paths]


def relative_path(path: str, root: str) -> str:
    """The path within the dataset, as it goes into shards and tables."""
    return Path(os.path.relpath(path, root)).as_posix()


def _state(path: str) -> tuple[int | None, int | None]:
    """Bytes and time of what a reader opens for one path."""
    stem, ending = os.path.splitext(path)
    try:
        facts = os.stat(path)
        if stat.S_ISDIR(facts.st_mode):
            return _together(os.path.join(path, name) for name in os.listdir(path))
    except OSError:
        return None, None
    if ending.lower() in _DETACHED:
        return _together([path, *(stem + other for other in _DETACHED[ending.lower()])])
    return facts.st_size, facts.st_mtime_ns


def _together(paths: Iterable[str]) -> tuple[int, int]:
    """Bytes and hash of those that are files."""
    found = []
    for path in sorted(paths):
        with contextlib.suppress(OSError):
            facts = os.stat(path)
            if stat.S_ISREG(facts.st_mode):
                found.append((os.path.basename(path), facts.st_size, facts.st_mtime_ns))
    return sum(size for _, size, _ in found), stable_hash(*(part for file in found for part in file))


def source_change(shard: Path, facts: Sequence[Fact]) -> str | None:
    """Which file differs from what the shard was made from, in a few words; None where none does.

    Args:
        shard: folder of one shard. One of an earlier version has no list of its sources: whether they are the
            same cannot be known.
        facts: of the files now, from `source_facts`.
    """
    path = shard / SOURCES
    if not path.is_file():
        return f"{shard.name} does not say which files it was made from"
    before = json.loads(path.read_text("utf-8"))
    changed = [now[0] for now, then in zip(facts, before) if now != then]
    if changed:
        return f"{changed[0]} of {shard.name} has changed since"
    return None if len(before) == len(facts) else f"{shard.name} was made from other files"
