# SPDX-License-Identifier: Apache-2.0
"""Reports that lie in JSON, in cells of a table or in HL7 segments become lines with their headings set off.

What names a section there (a key, a column, an observation's code) is one beyond doubt:
:func:`set_off` puts it between marks, which :func:`.report_sections.find_headings` takes as they are.
"""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Any

from monai_unimedi.data.report_headings import heading_section, titled_section

__all__ = ["HEADED", "by_columns", "from_export", "set_off"]

HEADED = "\ue001"
"""Stands before and after a heading that the form of an export itself tells."""

_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}\|")
_DUMPED = re.compile(r"[^\n]*\b(?:CONTAINER|TEXT):\(.*?\)=")
_ITEM = re.compile(
    r"""^[\s\d.]*<(?:[a-z ]+ )?(?P<kind>[A-Z]+):\([^")]*"(?P<name>[^"]*)"\)=(?P<text>.*?)>?$""", re.MULTILINE
)
_LINE = re.compile(r"\r\n?|\n")
_HL7_ESCAPES = {"\\F\\": "|", "\\S\\": "^", "\\T\\": "&", "\\R\\": "~", "\\E\\": "\\"}
_TEXT_FIELD = {"OBX": 5, "NTE": 3, "ZTX": 2, "DSP": 3}
_DELIMITERS = ",;\t|"
_TEXTS = frozenset(("findings", "impression", "interpretation", "report", "joined"))
_CONTENT = frozenset("text value content body data string html div valuestring".split())
_CODES = frozenset("id code system status type language url uid use version resourcetype encoding format".split())


def from_export(raw: str) -> str:
    """The report as lines; as it came where it is nothing of the kind."""
    stripped = raw.strip()
    if stripped[:1] in ("{", "[", '"'):
        content = _structure(stripped)
        if isinstance(content, str):
            return content
        if content is not None and (lines := list(_walk(content, False))):
            return "\n".join(lines)
    if _DUMPED.match(stripped):
        return "\n".join(_dumped_lines(stripped))
    if _SEGMENT.match(stripped):
        return "\n".join(_segment_lines(stripped))
    return "\n".join(_cells(stripped)) or raw


def set_off(name: str) -> str:
    """The line of a heading that is beyond doubt."""
    return f"\n{HEADED}{' '.join(name.split())}{HEADED}\n"


def _structure(text: str) -> Any:
    """What JSON, its lines or members, a dictionary of Python or a cell in quotes hold; None for other text."""
    lines = f"[{','.join(filter(str.strip, text.splitlines()))}]"
    for attempt in (text, f"{{{text.rstrip(',')}}}", lines):
        try:
            content = json.loads(attempt, strict=False)
        except (ValueError, RecursionError):
            continue
        return content if isinstance(content, dict | list | str) else None
    inner = text[1:-1].replace('""', "")
    if text[-1] == '"' == text[0] and '"' not in inner:
        return text[1:-1].replace('""', '"')
    try:
        content = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _walk(value: Any, is_inside: bool) -> Iterator[str]:
    """Lines of nested values; inside a section other keys are words of its text ("lungs: clear")."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _walk(part, is_inside)
    elif isinstance(value, dict):
        title = _title(value)
        if title:
            yield set_off(title)
        has_content = is_inside and any(str(key).lower() in _CONTENT for key in value)
        for key, part in value.items():
            is_code = has_content and isinstance(part, str) and " " not in part and str(key).lower() not in _CONTENT
            if (title and part == title) or is_code:
                continue
            yield from _member(str(key), part, is_inside or bool(title), bool(title))


def _member(key: str, part: Any, is_inside: bool, is_titled: bool) -> Iterator[str]:
    if is_inside and isinstance(part, str) and key.lower() in _CODES:
        return
    section = "" if is_titled else titled_section(key) if is_inside else heading_section(key)
    if section and part:
        yield set_off(key)
        yield from _walk(part, True)
    elif isinstance(part, str) and key.lower() not in _CONTENT and not is_titled and part.strip():
        yield f"{key}: {part}" if is_inside else f"{set_off(key)}{part}"
    elif not is_titled or len(str(part).split()) > 1 or key.lower() in _CONTENT:
        yield from _walk(part, is_inside)


def _title(members: dict[Any, Any]) -> str:
    """The value that names the section of an object: ``{"title": "Findings", "text": ...}``."""
    named = {heading_section(str(key)) for key in members}
    if named & {"findings", "impression", "indication", "comparison", "technique"}:
        return ""
    texts = [value for value in members.values() if isinstance(value, str)]
    return next((text for text in texts if heading_section(text) not in ("", "record")), "")


def _dumped_lines(text: str) -> Iterator[str]:
    """Lines of a DICOM structured report as DCMTK prints its tree."""
    for item in _ITEM.finditer(text):
        if titled_section(item["name"]):
            yield set_off(item["name"])
        if item["kind"] == "TEXT":
            yield item["text"].removeprefix('"').removesuffix('"')


def _segment_lines(text: str) -> Iterator[str]:
    """Lines of the observations and notes of an HL7 message; other segments are no report."""
    last = ""
    for line in _LINE.split(text):
        fields = line.split("|")
        place = _TEXT_FIELD.get(fields[0]) if _SEGMENT.match(line) else None
        if place is None:
            if not _SEGMENT.match(line):
                yield line  # a broken line of the segment before
            continue
        code = re.split(r"[\^&]", fields[3]) if fields[0] == "OBX" and len(fields) > 3 else []
        name = next((part for part in code if heading_section(part) not in ("", "record", "examination")), "")
        if name and heading_section(name) != last:
            yield set_off(name)
        last = heading_section(name)
        yield _unescaped(fields[place] if len(fields) > place else "")


def _unescaped(field: str) -> str:
    field = field.replace("~", "\n")
    for escape, character in _HL7_ESCAPES.items():
        field = field.replace(escape, character)
    return field


def _cells(text: str) -> Iterator[str]:
    """Sections of a table: named by its first row, or each row by a cell."""
    first = text[: text.find("\n")] if "\n" in text else ""
    for delimiter in _DELIMITERS:
        if delimiter not in first:
            continue
        try:
            rows = [row for row in csv.reader(StringIO(text), delimiter=delimiter) if any(row)]
        except csv.Error:
            continue
        if len({len(row) for row in rows}) == 1 and len(rows) > 1:
            is_quoted = delimiter != "," or first.startswith('"') or ',"' in text
            yield from by_columns(rows) or (_by_rows(rows) if is_quoted else [])
            return


def by_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Sections of rows of cells whose first names them; nothing where it does not."""
    sections = [heading_section(cell) for cell in rows[0]]
    if not _TEXTS & set(sections) or len(set(sections) - {""}) < 2:
        return []
    texts = [[row[i] for row in rows[1:] if row[i].strip()] for i in range(len(sections))]
    return [f"{set_off(name)}{chr(10).join(text)}" for name, text in zip(rows[0], texts) if text]


def _by_rows(rows: Sequence[Sequence[str]]) -> list[str]:
    named = [[i for i, cell in enumerate(row) if heading_section(cell)] for row in rows]
    places = [places[0] for places in named[1:] if places]
    sections = {heading_section(row[places[0]]) for row in rows} - {""} if places else set()
    if len(places) < len(rows) - 1 or len(set(places)) > 1 or len(sections) < 2 or len(rows[0]) < 2:
        return []
    rows = rows if named[0] else rows[1:]
    place = places[0]
    return [set_off(row[place]) + max((*row[:place], *row[place + 1 :]), key=len) for row in rows]
