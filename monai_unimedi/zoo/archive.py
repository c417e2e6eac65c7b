# SPDX-License-Identifier: Apache-2.0
"""Zips with the same bytes from the same files, and zips of others that are opened with care."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from monai_unimedi.file_digest import file_digest as digest

__all__ = ["check_sum", "digest", "read_sums", "unpack", "write_sums", "write_zip"]

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
SUFFIXES = {".json", ".conf", ".md", ".pt", ".safetensors", ".txt", ".yml", ".png"}
NAMES = {"LICENSE", "SHA256SUMS"}
MAX_BYTES = 8 * 2**30  # of all files of a bundle together


def write_zip(folder: Path, path: Path) -> None:
    """Packs a folder with its own name as the one top folder.

    Sorted, one time for all, stored without compression: the bytes depend on names and contents only, not on
    clock, file system or zlib.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            entry = zipfile.ZipInfo(f"{folder.name}/{file.relative_to(folder).as_posix()}", EPOCH)
            entry.create_system = 3
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, file.read_bytes())


def write_sums(path: Path, files: Iterable[Path]) -> None:
    """Writes ``SHA256SUMS`` as `sha256sum --check` reads it, names relative to its folder."""
    lines = [f"{digest(file)}  {file.relative_to(path.parent).as_posix()}\n" for file in sorted(files)]
    path.write_text("".join(lines), encoding="utf-8")


def read_sums(path: Path) -> dict[str, str]:
    """Name to digest.

    Raises:
        ValueError: When a line is not a SHA-256 digest and a name.
    """
    sums: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        value, _, name = line.partition(" ")
        if len(value) != 64 or not set(value) <= set("0123456789abcdef") or not name.strip(" *"):
            raise ValueError(f"{path} must hold a SHA-256 digest and a name in each line, line {number} does not.")
        sums[name.strip(" *")] = value
    return sums


def check_sum(path: Path, sums: Mapping[str, str], name: str | None = None) -> None:
    """Compares a file with the digest that is published for it.

    Raises:
        ValueError: When it has none, or another.
    """
    name = name or path.name
    if name not in sums:
        raise ValueError(f"{name} must be listed in the sums, but is not: do not use it.")
    if digest(path) != sums[name]:
        raise ValueError(f"{name} is not the file that was published: its SHA-256 differs; download it again.")


def unpack(path: Path, folder: Path) -> Path:
    """Unpacks a bundle's zip where every entry lies in its one top folder and no entry is more than a file.

    Args:
        path: ``<name>_v<version>.zip``.
        folder: an empty folder.

    Returns:
        ``folder/<name>``.

    Raises:
        ValueError: When the zip is damaged or holds anything else; nothing is written then.
    """
    name = path.name.split("_v")[0].removesuffix(".zip")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(path.name, name, entries)
            damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"{path.name} is damaged at {damaged}: download it again.")
            archive.extractall(folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(f"{path.name} is damaged or not a zip ({error}): download it again.") from error
    return folder / name


def _check_entries(path: str, name: str, entries: list[zipfile.ZipInfo]) -> None:
    seen: set[str] = set()
    for entry in entries:
        parts = PurePosixPath(entry.filename).parts
        outside = entry.filename.startswith("/") or {"..", "."} & set(entry.filename.split("/"))
        if outside or "\\" in entry.filename or ":" in entry.filename or parts[:1] != (name,):
            raise ValueError(f"{path} holds {entry.filename!r}, a path outside its folder {name}/: do not use it.")
        if stat.S_ISLNK(entry.external_attr >> 16) or entry.filename.casefold() in seen:
            raise ValueError(f"{path} holds {entry.filename!r} as a link or twice: do not use it.")
        seen.add(entry.filename.casefold())
        if not entry.is_dir() and parts[-1] not in NAMES and PurePosixPath(parts[-1]).suffix not in SUFFIXES:
            raise ValueError(f"{path} holds {entry.filename!r}, a kind of file that no bundle needs: do not use it.")
    if not entries or sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise ValueError(f"{path} must hold at least one file and at most {MAX_BYTES >> 30} GiB: do not use it.")
