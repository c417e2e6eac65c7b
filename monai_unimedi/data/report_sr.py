# SPDX-License-Identifier: Apache-2.0
"""The text of a report that lies in a DICOM structured report, with its headings.

Containers give the headings ("Findings"), text and code items the sentences (template TID 2000, Basic
Diagnostic Imaging Report). Names, dates and references are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from monai_unimedi.data.report_headings import find_words, fold, section_of

__all__ = ["structured_report_text"]


def structured_report_text(dataset: Any) -> str:
    """Plain text of a structured report, for :func:`monai_unimedi.data.report_text.read_report`.

    Args:
        dataset: a ``pydicom.Dataset`` of modality SR.

    Raises:
        ValueError: When ``dataset`` is no structured report, or holds no text.
    """
    if "ContentSequence" not in dataset:
        raise ValueError("A structured report must have a ContentSequence, found none: is it an SR object?")
    lines = list(_lines(dataset, ""))
    if not lines:
        raise ValueError("A structured report must hold text, found none in its ContentSequence.")
    return "\n".join(lines)


def _lines(item: Any, section: str) -> Iterator[str]:
    for part in item.get("ContentSequence", []):
        name = _meaning(part, "ConceptNameCodeSequence")
        kind = str(part.get("ValueType", ""))
        if kind == "CONTAINER":
            if name:
                yield f"\n{name}:"
            yield from _lines(part, _section(name) or section)
        elif text := _text(part, kind):
            is_headed = not name or _section(name) == section
            yield text if is_headed else f"{name}: {text}"
            yield from _lines(part, section)


def _text(part: Any, kind: str) -> str:
    if kind == "TEXT":
        return str(part.get("TextValue", "")).strip()
    if kind == "CODE":
        return _meaning(part, "ConceptCodeSequence")
    if kind == "NUM" and part.get("MeasuredValueSequence"):
        value = part.MeasuredValueSequence[0]
        unit = value.get("MeasurementUnitsCodeSequence")
        return f"{value.get('NumericValue', '')} {unit[0].get('CodeValue', '') if unit else ''}".strip()
    return ""


def _meaning(part: Any, keyword: str) -> str:
    codes = part.get(keyword)
    return str(codes[0].get("CodeMeaning", "")).strip() if codes else ""


def _section(name: str) -> str:
    """The section that a concept's name opens ("Finding", "Impressions"); empty where it opens none."""
    folded = fold(name)
    spans = list(find_words(folded))
    return section_of(folded[slice(*spans[0])])[0] if spans else ""
