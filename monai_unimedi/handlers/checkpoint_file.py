# SPDX-License-Identifier: Apache-2.0
"""Files that are either whole or not there: written aside, flushed to disk, and then renamed.

MONAI's `CheckpointSaver` and Ignite's `DiskSaver` (as MONAI uses it, `atomic=False`) write in place, so that
a kill while saving destroys the only checkpoint.
"""

from __future__ import annotations

import contextlib
import logging
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy
import torch
from torch import Tensor

__all__ = ["load_first_readable", "plain", "remove_leftovers", "save_tensors", "write_atomically"]

logger = logging.getLogger(__name__)


def plain(value: Any, name: str = "checkpoint") -> Any:
    """A copy of nested containers with tensors on the CPU and nothing that `weights_only=True` could not
    load.

    Raises:
        TypeError: When something else than tensors, numbers, strings, lists, tuples and dicts is found; names
            its place.
    """
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {key: plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(item, f"{name}[{index}]") for index, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, numpy.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        "A checkpoint must hold tensors, numbers, strings and containers of them only, got a "
        f"{type(value).__name__} at {name}; return plain values from state_dict."
    )


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Replaces `path` by what `write` writes, or leaves it untouched.

    Raises:
        OSError: When the file cannot be written, for instance on a full disk; nothing is left behind.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def save_tensors(path: Path, content: Any) -> None:
    """Writes plain containers of tensors atomically with `torch.save`.

    Raises:
        OSError: When the file cannot be written; says that an earlier file is still there and what to do.
    """
    try:
        write_atomically(path, lambda file: torch.save(plain(content), file))
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        reason = (
            error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        )
        cause = error.__context__
        if isinstance(error, RuntimeError) and isinstance(cause, OSError) and cause.strerror:
            reason = cause.strerror
        kept = "the one saved before is untouched" if path.exists() else "there is none from before"
        raise OSError(
            f"{path} could not be written ({reason}); {kept}. Free some space and give the same command "
            "again."
        ) from error


def load_first_readable(paths: Iterable[Path]) -> tuple[Path, dict[str, Any]] | None:
    """The first file of `paths` that holds a whole checkpoint, with its content; None when there is no file.

    Raises:
        ValueError: When there are files and none can be read.
    """
    unreadable = []
    for path in paths:
        try:
            return path, _load(path)
        except FileNotFoundError:
            continue
        except Exception as error:  # whatever a damaged file makes the reader raise
            logger.warning(
                "%s is damaged and is passed over (%s).",
                path,
                str(error).splitlines()[0] if str(error) else error,
            )
            unreadable.append(str(path))
    if unreadable:
        raise ValueError(
            "A checkpoint must be readable to go on from it, got only damaged files: "
            f"{', '.join(unreadable)}; give `--resume false` to start again."
        )
    return None


def _load(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"wrong checksum of {damaged}")
    return torch.load(path, map_location="cpu", weights_only=True)


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes left half written."""
    for aside in folder.glob(".*.part"):
        aside.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Makes renames in `folder` survive a power cut, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
