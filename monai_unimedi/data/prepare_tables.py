# SPDX-License-Identifier: Apache-2.0
"""Tables and texts as hospitals and corpora hand them out: CSV, TSV, plain or compressed, in any encoding.

The delimiter is the one that the header speaks for; column names lose the spaces round them. Texts are UTF-8
or, where they cannot be, Windows-1252 (Latin-1), and the log says so: nothing is replaced. A row that
cannot be told into cells is refused, never cut.
"""

from __future__ import annotations

import gzip
import logging
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from monai_unimedi.data.table_cells import read_cells

__all__ = ["find_column", "read_columns", "read_lines", "read_table", "read_text"]

logger = logging.getLogger(__name__)
_Cells = tuple[int, list[str] | None]
MORE = "more cells than columns: a cell that holds the delimiter must stand in quotes"
OPEN = "a quote opens a cell and is not closed"
_DELIMITERS = ",;\t|"


def read_text(path: str | os.PathLike) -> str:
    """A file's text: UTF-8, UTF-16 with a byte-order mark, else Windows-1252 or Latin-1, which the log says.

    ``.gz`` is unpacked, of a ``.zip`` the only file is read.

    Raises:
        ValueError: When the file is missing, cannot be read, or is binary.
    """
    path = Path(path)
    data = _read_bytes(path)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    if b"\x00" in data[:4096]:
        raise ValueError(f"{path.name!r} must be text, got a binary file; export it as CSV in UTF-8.")
    logger.warning("%s is not UTF-8; read as Windows-1252 (Latin-1)", path.name)
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _read_bytes(path: Path) -> bytes:
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path) as stream:
                return stream.read()
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                (name,) = (name for name in archive.namelist() if not name.startswith("__MACOSX"))
                return archive.read(name)
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ValueError(f"There must be a file {path.name!r} in {str(path.parent)!r}, found none.") from error
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name!r} cannot be read: {error}") from error


def read_table(path: str | os.PathLike, columns: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """Rows of a CSV or TSV file, cells without the spaces round them; a short row's missing cells are empty.

    Args:
        path: the file, plain, ``.gz`` or ``.zip``.
        columns: that must be there. All columns are handed out.

    Raises:
        ValueError: When the file is missing or empty, lacks a column (the message names what it has), or a row
            cannot be told into cells.
    """
    return _usable(Path(path).name, read_lines(path, columns))


def read_lines(path: str | os.PathLike, columns: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str] | str]]:
    """As `read_table`, each row with the number of its line; of one that cannot be told into cells the reason."""
    names, rows = _open(Path(path))
    missing = [name for name in columns if name not in names]
    if missing:
        raise ValueError(
            f"{Path(path).name!r} must have the columns {', '.join(map(repr, missing))}; "
            f"its columns are {', '.join(map(repr, names))}."
        )
    return _named(names, rows)


def _usable(name: str, rows: Iterator[tuple[int, dict[str, str] | str]]) -> Iterator[dict[str, str]]:
    for number, row in rows:
        if isinstance(row, str):
            raise ValueError(f"{name!r}, line {number}: {row}.")
        yield row


def _named(names: Sequence[str], rows: Iterator[_Cells]) -> Iterator[tuple[int, dict[str, str] | str]]:
    for number, cells in rows:
        if cells is None:
            yield number, OPEN
        elif any(cell.strip() for cell in cells[len(names) :]):
            yield number, MORE
        elif any(cell.strip() for cell in cells):
            cells = cells[: len(names)] + [""] * (len(names) - len(cells))
            yield number, {name: cell.strip() for name, cell in zip(names, cells)}


def read_columns(path: str | os.PathLike) -> list[str]:
    """The column names of a CSV or TSV file."""
    return _open(Path(path))[0]


def _open(path: Path) -> tuple[list[str], Iterator[_Cells]]:
    raw = read_text(path)
    text = raw.lstrip("\r\n")  # a first column without a name is a leading tab
    header = text.split("\n", 1)[0]
    if not header.strip():
        raise ValueError(f"{path.name!r} must have a line of column names, got an empty file.")
    rows = read_cells(text, max(_DELIMITERS, key=header.count))
    _, names = next(rows)
    if names is None:
        raise ValueError(f"{path.name!r}, line 1: {OPEN}.")
    before = len(raw[: len(raw) - len(text)].splitlines())
    return [name.strip() for name in names], ((number + before, cells) for number, cells in rows)


def find_column(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    """The first of ``wanted`` among the names, whatever the case, spaces, dots and underscores."""
    plain = {_plain(name): name for name in reversed(names)}
    return next((plain[_plain(name)] for name in wanted if _plain(name) in plain), None)


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
