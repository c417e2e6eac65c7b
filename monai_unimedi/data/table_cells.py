# SPDX-License-Identifier: Apache-2.0
"""Cells of a table's rows, with quotation marks as RFC 4180, MySQL or an export without quoting means them.

A quote that opens a cell and is nowhere closed would take the rows behind it into the cell. So a table that
is not well-formed is read row by row, and such a row is given up alone.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

__all__ = ["read_cells"]

_MAX_FIELD = 2**24  # characters of one cell; a report is far below
_LINE = re.compile(r"\r\n|\r|\n")


def read_cells(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | None]]:
    """The number of each row's first line, from 1, and its cells; None where a quote is not closed.

    - Well-formed tables (RFC 4180) are read as that; where they are not, but are with ``\\"`` for a quote
      within a cell, as that. A ``\\"`` before a delimiter or a line's end closes the cell.
    - Where all lines between tabs have the cells of the header, no cell holds a line break: each line is a
      row, and one whose quotes do not fit keeps them.
    - Else a row of one line is read leniently, and one of several lines must be well-formed.
    """
    csv.field_size_limit(_MAX_FIELD)
    if delimiter == "\t" and '"' in text and _is_rectangular(text):
        yield from _tab_lines(text)
        return
    options: dict[str, Any] = {"delimiter": delimiter}
    if not _is_well_formed(text, options) and '\\"' in text:
        text, options = _with_escapes(text, delimiter), {**options, "escapechar": "\\"}
    if _is_well_formed(text, options):
        reader, start = _reader(text, options), 1
        for cells in reader:
            yield start, cells
            start = reader.line_num + 1
    else:
        yield from _one_by_one(text, options)


def _reader(text: str, options: dict[str, Any]) -> Any:
    return csv.reader(io.StringIO(text, newline=""), **options)


def _is_well_formed(text: str, options: dict[str, Any]) -> bool:
    try:
        for _ in _reader(text, {**options, "strict": True}):
            pass
    except csv.Error:
        return False
    return True


def _is_rectangular(text: str) -> bool:
    counts = {line.count("\t") for line in _LINE.split(text) if line.strip()}
    return len(counts) == 1


def _tab_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(_LINE.split(text), start=1):
        is_quoted = '"' in line and _is_well_formed(line, {"delimiter": "\t"})
        yield number, next(csv.reader([line], delimiter="\t"), []) if is_quoted else line.split("\t")


def _with_escapes(text: str, delimiter: str) -> str:
    """The text with every backslash doubled that is no escape of a quote within a cell."""
    end = rf"[{re.escape(delimiter)}\r\n]|\Z"
    return re.sub(rf'\\(?!"(?!{end}))', r"\\\\", text)


def _one_by_one(text: str, options: dict[str, Any]) -> Iterator[tuple[int, list[str] | None]]:
    """Rows of a table that is not well-formed; behind one that is given up the next line is a row."""
    lines = io.StringIO(text, newline="").readlines()
    start = 0
    while start < len(lines):
        reader, offset, is_open = csv.reader(islice(lines, start, None), **options), start, False
        while not is_open and start < len(lines):
            try:
                cells: list[str] = next(reader)
            except csv.Error:  # a cell beyond all measure
                cells, is_open = [], True
            end = offset + reader.line_num
            is_open = is_open or (end > start + 1 and not _is_well_formed("".join(lines[start:end]), options))
            yield start + 1, None if is_open else cells
            start = start + 1 if is_open else end
