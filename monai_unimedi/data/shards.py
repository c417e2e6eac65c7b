# SPDX-License-Identifier: Apache-2.0
"""Shards: a datalist and its images as plain memory-mapped arrays, checked, read without decoding.

A folder of shards holds::

    shards.json          sections and their shards, recipe of the images, label names
    failures.csv         rows that could not be converted, each with its reason
    NOTICE               what the folder is: patient data
    training-00000/      one shard, whole or absent
        image.npy        (N, X, Y) uint8 X-rays; (N, X, Y, Z) int16 HU or uint8 of a window
        lesion_mask.npy  the same shape, uint8; only where rows have masks
        tokens.npy       int32 token ids of all reports in a row; token_ends.npy (N,) where each one ends
        rows.json        the datalist's rows: id, patient, report, label, ..., with path and geometry
        shard.json       bytes and SHA-256 of the files above, rows left out
        sources.json     path, bytes and time of each file that it was made from (`shard_sources`)

A shard is written aside and renamed, so that a kill leaves whole shards only. Rows read from shards are rows
of a datalist whose ``image`` is the array's file and whose ``shard_row`` is the place in it: whatever takes
rows takes these (`SourcesDataset` reads them by `ShardReader`). Reports lie beside their token ids: ids are
as readable as the text, and partial reports, other tokenizers and evaluation need the text.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_unimedi.file_digest import file_digest

__all__ = [
    "ENDS",
    "FACTS",
    "FORMAT",
    "IMAGE",
    "INDEX",
    "MASK",
    "TOKENS",
    "ShardReader",
    "check_files",
    "is_shard_folder",
    "read_index",
    "shard_content",
    "write_json",
    "write_shard",
]

Row = dict[str, Any]
FORMAT = 1
INDEX = "shards.json"
FACTS = "shard.json"
ROWS = "rows.json"
IMAGE, MASK, TOKENS, ENDS = "image.npy", "lesion_mask.npy", "tokens.npy", "token_ends.npy"


def is_shard_folder(path: str | os.PathLike) -> bool:
    """Whether a finished conversion lies at `path`."""
    return (Path(path) / INDEX).is_file()


def write_json(path: Path, content: Any) -> None:
    """Replaces `path` by JSON, or leaves it as it was."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    aside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    aside.replace(path)


def write_shard(
    folder: Path,
    name: str,
    arrays: Mapping[str, np.ndarray],
    rows: Sequence[Row],
    facts: Mapping[str, Any],
    beside: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes one shard under a name of its own and renames it, so that it is whole or absent.

    Args:
        folder: of the shards.
        name: of the shard, ``<section>-<number>``.
        arrays: by file name.
        rows: as `shard_content` is to give them, ``image`` and ``shard_row`` aside.
        facts: what goes into ``shard.json`` beside the files' checksums.
        beside: JSON by file name, without checksum: what may differ between conversions of equal images.

    Returns:
        The content of ``shard.json``.
    """
    aside = folder / f".{name}.{uuid.uuid4().hex}"
    aside.mkdir(parents=True)
    try:
        for file, array in arrays.items():
            np.save(aside / file, array, allow_pickle=False)
        text = json.dumps(list(rows), ensure_ascii=False)
        (aside / ROWS).write_text(text + "\n", "utf-8")
        files = {path.name: _described(path) for path in sorted(aside.iterdir())}
        content = {**facts, "format": FORMAT, "num_rows": len(rows), "files": files}
        for file, more in {**(beside or {}), FACTS: content}.items():
            write_json(aside / file, more)
        _flush(aside)
        _rename(aside, folder / name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return content


def _described(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_digest(path)}


def _flush(folder: Path) -> None:
    """Files to the disk before the rename, so that a power cut leaves no empty ones under the final name."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _rename(aside: Path, final: Path) -> None:
    """An older shard of this name, made from other rows, goes first."""
    if final.exists():
        old = aside.with_name(f"{aside.name}.old")
        final.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    aside.rename(final)


def read_index(folder: str | os.PathLike) -> dict[str, Any]:
    """The content of ``shards.json``.

    Raises:
        ValueError: When there is none, or it was written by a later version.
    """
    path = Path(folder) / INDEX
    if not path.is_file():
        raise ValueError(
            f"A folder of shards must hold {INDEX}, found none in {str(folder)!r}: let `python -m "
            "monai_unimedi convert` finish first; the same command goes on where it stopped."
        )
    index = json.loads(path.read_text("utf-8"))
    if index.get("format") != FORMAT:
        raise ValueError(
            f"{str(path)!r} must have format {FORMAT}, got {index.get('format')!r}: convert anew with the "
            "installed version."
        )
    return dict(index)


def check_files(folder: str | os.PathLike, name: str, contents: bool = False) -> str | None:
    """What is wrong with a shard's files, in a few words; None where nothing is.

    Args:
        folder: of the shards.
        name: of the shard.
        contents: compare checksums, which reads everything; else sizes only.
    """
    shard = Path(folder) / name
    if not (shard / FACTS).is_file():
        return f"{name} is missing"
    for file, expected in json.loads((shard / FACTS).read_text("utf-8"))["files"].items():
        path = shard / file
        size = path.stat().st_size if path.is_file() else -1
        if size != expected["bytes"]:
            return f"{name}/{file} must have {expected['bytes']} bytes, has {max(size, 0)}"
        if contents and file_digest(path) != expected["sha256"]:
            return f"{name}/{file} does not have the checksum that it was written with"
    return None


def shard_content(folder: str | os.PathLike, sections: Sequence[str] | None = None) -> dict[str, Any]:
    """The shards as the datalist that they were made from: ``{"training": rows, ..., "label_names": ...}``.

    Each row has ``image`` (the array's file), ``shard_row`` (the place in it), ``shard_digest`` (the array's
    checksum, so that a run's fingerprint knows other images) and ``path`` (of the file that it came from).

    Args:
        folder: of the shards.
        sections: whose rows are wanted; all where None. Others are empty lists.

    Raises:
        ValueError: When the folder is no finished conversion, or a shard is missing or cut off.
    """
    index = read_index(folder)
    content: dict[str, Any] = dict(index["datalist"])
    for section, names in index["sections"].items():
        wanted = names if sections is None or section in sections else []
        content[section] = [row for name in wanted for row in _rows(Path(folder), name)]
    return content


def _rows(folder: Path, name: str) -> list[Row]:
    if wrong := check_files(folder, name):
        raise ValueError(
            f"Shards in {str(folder)!r} must be whole, but {wrong}: give the command of the conversion again."
        )
    facts = json.loads((folder / name / FACTS).read_text("utf-8"))
    rows: list[Row] = json.loads((folder / name / ROWS).read_text("utf-8"))
    place_of = {file: os.path.abspath(folder / name / file) for file in (IMAGE, MASK)}
    shared = {"image": place_of[IMAGE], "shard_digest": facts["files"][IMAGE]["sha256"]}
    for place, row in enumerate(rows):
        row.update(shared, shard_row=place)
        if row.pop("has_lesion_mask", False):
            row["lesion_mask"] = place_of[MASK]
    return rows


class ShardReader:
    """Reads rows of shards by batched gather from memory-mapped arrays, opened when first asked for.

    Pickled to another process it arrives without open files.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_arrays": {}}

    def array(self, path: str) -> np.ndarray:
        """The whole array of a file, mapped, not read."""
        if path not in self._arrays:
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
            self._arrays[path] = np.asarray(mapped)  # indexing np.memmap itself costs as much as a copy
        return self._arrays[path]

    def gather(
        self, rows: Sequence[Mapping[str, Any]], key: str = "image", out: np.ndarray | None = None
    ) -> np.ndarray:
        """The stored images of some rows, as they lie on disk.

        Args:
            rows: from `shard_content`, all of one source.
            key: ``image`` or ``lesion_mask``.
            out: array of an earlier call, at least as long, to be written over: new memory costs twice the
                copying.

        Returns:
            (B, X, Y) or (B, X, Y, Z), uint8 or int16, a copy, in `out` where it is given.
        """
        first = self.array(rows[0][key])
        batch = np.empty((len(rows), *first.shape[1:]), first.dtype) if out is None else out[: len(rows)]
        for place, row in enumerate(rows):
            batch[place] = self.array(row[key])[row["shard_row"]]
        return batch

    def tokens(self, row: Mapping[str, Any]) -> np.ndarray:
        """The report's token ids (L,) int32, special tokens included, of shards with a tokenizer."""
        folder = os.path.dirname(row["image"])
        ends, place = self.array(os.path.join(folder, ENDS)), row["shard_row"]
        start = int(ends[place - 1]) if place else 0
        return np.asarray(self.array(os.path.join(folder, TOKENS))[start : int(ends[place])])
