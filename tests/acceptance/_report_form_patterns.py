# SPDX-License-Identifier: Apache-2.0
"""What the forms of ``_report_forms.py`` and its parts are made of."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["Form", "Sections", "fill", "lines", "names", "quoted"]

Sections = Sequence[tuple[str, str]]
Form = Callable[[Sections], str]


def lines(pattern: str, names: Mapping[str, str] | None = None, separator: str = "\n") -> Form:
    """A form that writes each section by one pattern of ``name``, ``NAME``, ``Name``, ``text`` and ``i``."""

    def write(sections: Sections) -> str:
        parts = []
        for i, (section, text) in enumerate(sections, start=1):
            name = (names or {}).get(section, section)
            Name = name if names else name.capitalize()
            parts.append(pattern.format(name=name.lower(), NAME=name.upper(), Name=Name, text=text, i=i))
        return separator.join(parts)

    return write


def names(findings: str, impression: str, indication: str, comparison: str) -> dict[str, str]:
    """Names of the sections."""
    return {
        "findings": findings,
        "impression": impression,
        "indication": indication,
        "comparison": comparison,
    }


def fill(text: str, width: int = 72, **options: Any) -> str:
    """The text in lines of a width."""
    return textwrap.fill(text, width, **options)


def quoted(text: str) -> str:
    """The text as a cell of a table of comma-separated values."""
    return '"' + text.replace('"', '""') + '"'
