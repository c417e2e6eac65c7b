# SPDX-License-Identifier: Apache-2.0
"""A report as it was exported to clean sections, and the choice of the text that a model is trained on.

``read_report`` knows the headings of MIMIC-CXR, Open-I, CT-RATE and BIMCV reports and of many others, in
several languages and styles; ``docs/reports.md`` lists them.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping

from monai_unimedi.data.report_affixes import without_common_affixes
from monai_unimedi.data.report_cleaning import clean_piece, clean_text, plain_lines
from monai_unimedi.data.report_headings import fold, is_title
from monai_unimedi.data.report_sections import CLOSING, find_headings

__all__ = ["USES", "choose_text", "clean_text", "line_sections", "open_i_sections", "read_report"]

USES = ("findings", "impression", "both", "longer")
"""What ``choose_text`` can give."""

_ASIDE = frozenset(("indication", "comparison", "technique", "examination"))
_PARAGRAPHS = re.compile(r"\n[ \t]*\n\s*")
_LONGEST_ASIDE = 60  # words of a comparison that is all there is; a longer one is the report itself
_SHORTEST = 5  # words of a paragraph without heading that is taken for findings
_FEWEST = 4  # words of a sentence below names and numbers
_CHOSEN = re.compile("Findings: (?P<findings>.+) Impression: (?P<impression>.+)")  # as choose_text writes it
_LINE_NAMES = {
    **dict.fromkeys(("joined", "report"), "findings"),
    **dict.fromkeys(("interpretation", "comment"), "impression"),
}
_Piece = tuple[str, str]  # section, text


def read_report(raw: str) -> dict[str, str]:
    """Clean sections of a report as a hospital or a corpus wrote it, in their order.

    Keys: ``findings``, ``impression``, ``indication``, ``comparison``, ``technique``, ``examination``,
    ``recommendation``, ``addendum``, ``notification``, ``preliminary``, ``record`` (names, numbers
    and dates of the patient and the examination), and ``""`` for what no heading opens. Without a findings
    section, that is ``findings``: so is a whole report without headings. Under one heading for both
    ("FINDINGS/IMPRESSION:") the text is both. A heading that comes twice gives one text. Empty sections are
    left out.

    Args:
        raw: the text, with its line breaks.

    Raises:
        TypeError: When ``raw`` is not a string.
    """
    if not isinstance(raw, str):
        raise TypeError(f"A report must be a string, got {type(raw).__name__}.")
    text = plain_lines(raw)
    pieces = _with_findings(without_common_affixes(_cut(text)), text)
    sections: dict[str, str] = {}
    for section, text in pieces:
        if cleaned := clean_piece(text):
            sections[section] = f"{sections[section]} {cleaned}" if section in sections else cleaned
    joined = sections.pop("joined", "")
    if joined:
        sections["findings"] = " ".join(filter(None, [sections.get("findings", ""), joined]))
        sections.setdefault("impression", joined)
    return sections


def line_sections(report: str) -> dict[str, str]:
    """Sections of a cleaned one-line report, as :func:`read_report` but each word once and as it stands.

    Text before the first heading stays under ``""``; one heading for findings and impression gives findings.
    """
    if (known := _CHOSEN.fullmatch(report)) and report.count("Impression: ") == 1:
        return known.groupdict()
    sections: dict[str, str] = {}
    for section, text in _cut(report):
        name = _LINE_NAMES.get(section, section)
        if stripped := text.strip():
            sections[name] = f"{sections[name]} {stripped}" if name in sections else stripped
    return sections


def choose_text(sections: Mapping[str, str], use: str = "both") -> str:
    """The text to train on; empty where the report has none of it.

    ``both`` gives ``Findings: ... Impression: ...`` where there are two different texts, so that what comes
    later still knows the impression; where there is one, that one alone. ``longer`` counts words.

    Args:
        sections: of :func:`read_report`.
        use: one of :data:`USES`.

    Raises:
        ValueError: When ``use`` is none of them.
    """
    if use not in USES:
        raise ValueError(f"use must be one of {', '.join(USES)}, got {use!r}.")
    findings, impression = sections.get("findings", ""), sections.get("impression", "")
    if use in ("findings", "impression"):
        return findings if use == "findings" else impression
    if use == "longer":
        return max(findings, impression, key=lambda text: len(text.split()))
    if findings and impression and findings != impression:
        return f"Findings: {findings} Impression: {impression}"
    return findings or impression


def open_i_sections(xml: bytes) -> dict[str, str]:
    """Clean sections of an Open-I report from its XML file; empty ones are left out.

    Raises:
        ValueError: When ``xml`` cannot be parsed, or holds no ``AbstractText``.
    """
    try:
        found = list(ElementTree.fromstring(xml).iter("AbstractText"))
    except ElementTree.ParseError as error:
        raise ValueError(f"An Open-I report must be XML: {error}.") from error
    if not found:
        raise ValueError("An Open-I report must hold its sections as AbstractText, found none.")
    texts = ((str(part.get("Label", "")).lower(), clean_piece("".join(part.itertext()))) for part in found)
    return {label: text for label, text in texts if text}


def _cut(text: str) -> list[_Piece]:
    """The text between the headings; names, numbers and dates only before the report proper, a line each."""
    pieces: list[_Piece] = []
    section, start, words = "", 0, ""
    is_begun = is_set_off = False
    for heading in [*find_headings(text), None]:
        if heading and heading.section == "record" and not heading.is_set_off:
            is_begun = is_begun or (section == "record" and _tells(text[start : heading.start]))
            if is_begun:
                continue
        stop = heading.start if heading else len(text)
        pieces += [(section, text[start:stop])] if is_set_off else _pieces(section, words, text[start:stop])
        if heading is None:
            break
        is_same = heading.section in (section, CLOSING)
        section = section if heading.section == CLOSING else heading.section
        words = heading.words if is_same or not section else ""
        start, is_set_off = heading.end, heading.is_set_off and section == "record"
        is_begun = is_begun or section in ("findings", "impression", "joined")
    return pieces


def _tells(record: str) -> bool:
    """Whether sentences follow the line of a name or a number: the report has begun."""
    _, _, rest = record.partition("\n")
    return len(rest.split()) >= _FEWEST and "." in rest


def _pieces(section: str, words: str, text: str) -> list[_Piece]:
    if section == "record":
        line, _, rest = text.partition("\n")
        return [(section, line), ("", rest)]
    return [(section, f"{words} {text}" if words else text)]


def _with_findings(pieces: list[_Piece], text: str) -> list[_Piece]:
    """Gives a report without findings section the text that no heading opens as findings.

    That is what stands before the first heading, below "REPORT", or in paragraphs of its own after a short
    section such as the comparison.
    """
    pieces = _with_roles(pieces)
    names = {section for section, text in pieces if text.strip()}
    if len(names) == 1 and names < _ASIDE and len(text.split()) >= _LONGEST_ASIDE:
        return [("findings", text)]
    if names & {"findings", "joined"}:
        return [("" if section == "report" else section, text) for section, text in pieces]
    if not any(section in ("", "report") and _is_text(text) for section, text in pieces):
        pieces = [part for section, text in pieces for part in _paragraphs(section, text)]
    is_reported = any(section == "report" and _is_text(text) for section, text in pieces)
    taken = {"report": "findings"} if is_reported else {"": "findings"}
    return [
        (taken.get(section, section) if _is_text(text) else section or "examination", text)
        for section, text in pieces
    ]


def _with_roles(pieces: list[_Piece]) -> list[_Piece]:
    """An interpretation is the findings where an impression follows them, and the impression otherwise."""
    names = {section for section, text in pieces if text.strip()}
    role = "findings" if "impression" in names and not names & {"findings", "joined", "report"} else "impression"
    roles = {"interpretation": role, "comment": "impression"}
    if "impression" in names:
        pieces = _with_comments(pieces)
    return [(roles.get(section, section), text) for section, text in pieces]


def _with_comments(pieces: list[_Piece]) -> list[_Piece]:
    """A comment beside an impression belongs to the section that it follows."""
    kept: list[_Piece] = []
    for section, text in pieces:
        is_comment = section == "comment" and bool(kept)
        kept.append((kept[-1][0], f"Comment: {text}") if is_comment else (section, text))
    return kept


def _is_text(text: str) -> bool:
    """Whether it says more than which examination was made."""
    return not is_title(fold(text)) and bool(text.strip())


def _paragraphs(section: str, text: str) -> list[_Piece]:
    first, *others = _PARAGRAPHS.split(text.strip()) if section in _ASIDE else [text]
    rest = "\n\n".join(others)
    return [(section, first), ("findings", rest)] if len(rest.split()) >= _SHORTEST else [(section, text)]
