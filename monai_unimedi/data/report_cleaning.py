# SPDX-License-Identifier: Apache-2.0
"""What says nothing about the patient goes out of a report: line breaks, marks, dictation.

:func:`plain_lines` undoes how a report was exported, before its headings are looked for; :func:`clean_piece`
makes one line of a section; :func:`clean_text` is the part of it that any text can bear, at each access.
"""

from __future__ import annotations

import html
import itertools
import re
import unicodedata

from monai_unimedi.data.report_dictation import without_dictation
from monai_unimedi.data.report_exports import HEADED, from_export
from monai_unimedi.data.report_markup import BOLD, from_rtf, without_commands, without_tags

__all__ = ["clean_piece", "clean_text", "plain_lines"]

_MARK_NAMES = r"""date|dates|time|name|names|patient|doctor|physician|provider|hospital|institution|location|
    address|phone|age|id|mrn|dob|unk|phi|redacted|removed|deidentified|de-identified|anonymi[sz]ed|person|
    organi[sz]ation|contact|fecha|nombre|hospital name|last name|first name|number|accession"""
_MARKS = re.compile(
    r"_{2,}|\[\*\*.*?\*\*\]|\bX{3,}\b"
    rf"|<+(?i:{_MARK_NAMES})\b[^<>\n]{{0,30}}>+|\[(?i:{_MARK_NAMES})\b[^\[\]\n]{{0,30}}\]".replace(
        "\n    ", ""
    )
)
_MAY_HOLD_MARKS = re.compile(r"__|XXX|[<\[]")
_SPACE_BEFORE_MARK = re.compile(r"\s+([.,;:!?])")

_ENTITY = re.compile(r"&(?:[A-Za-z]{2,8}|#\d{1,5}|#x[\da-fA-F]{1,4});")
_WRITTEN_TAG = re.compile(r"&lt;(?:/\w|br)", re.IGNORECASE)
_CHARACTER_BREAK = re.compile(r"_x000[DdAa]_|<(?:CR|LF|NL|CRLF)>|\[(?:CR|LF|NL)\]|[¶↵⏎␤␍]|\^[pM](?![a-z])")
_SYMBOL_BREAK = re.compile(r"[~^|¦¬](?:(?![ \t]*\d)|(?=[ \t]*\d{1,2}[.)][ \t]))")
_LINE_NUMBER = re.compile(r"^[ \t]*(\d{1,4})(?:[|\t]|(?<=\d\d)[:.)]?[ \t]|[:.)]\t)[ \t]*", re.MULTILINE)
_WRITTEN_BREAK = re.compile(r"\\r\\n|\\n|\\r")
_HL7_BREAK = re.compile(r"\\\.br\\|\\X0D\\(?:\\X0A\\)?")
_BREAK = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_ODD_SPACE = re.compile(r"[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_INVISIBLE = re.compile(r"[\ufeff\u200b-\u200f\u2060\xad\x00-\x08\x0e-\x1f]")

_SPACED = re.compile(r"^[^\w\n]*(?:\d[.)] )?(?:[^\W\d_] ){4,}[^\W\d_](?!\w)", re.MULTILINE)  # F I N D I N G S

_RULER = re.compile(r"^(?=(?:[ \t]*[^\s]){3})(?:[^\w\n]|_)+$", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*(?:[•▪◦●‣∙·]+|[-*–—>+]+(?=[ \t]))[ \t]*", re.MULTILINE)
_ROW = re.compile(r"^(?:[ \t]*[|│║┃¦])+[ \t]?(?P<text>.*?)[ \t]*[|│║┃¦]?[ \t]*$", re.MULTILINE)
_TABLE_ROW = re.compile(r"[ \t]*\|[ \t]*$", re.MULTILINE)
_BROKEN_WORD = re.compile(r"(?<=\w)-\n[ \t]*(?=\w)")

def clean_text(text: str) -> str:
    """One line without de-identification marks: ``___``, ``XXXX``, ``[**...**]``, ``<DATE>``, ``[NAME]``."""
    if _MAY_HOLD_MARKS.search(text):
        text = _MARKS.sub(" ", text)
    return _SPACE_BEFORE_MARK.sub(r"\1", " ".join(text.split()))


def clean_piece(piece: str) -> str:
    """A section's text as one clean line: rulers, bullets, dictation and marks gone, broken words joined."""
    piece = without_dictation(piece.replace(BOLD, " ").replace(HEADED, " "))
    piece = _BROKEN_WORD.sub("-", _BULLET.sub("", _RULER.sub("", piece)))
    if "|" in piece:
        piece = _TABLE_ROW.sub("", piece)
    cleaned = clean_text(piece).lstrip(": ")
    return cleaned if any(map(str.isalnum, cleaned)) else ""


def plain_lines(raw: str) -> str:
    """The text with ``\\n`` as its only line break and the space as its only blank beside tabs; no markup."""
    text = unicodedata.normalize("NFC", from_rtf(from_export(raw.lstrip("\ufeff"))))
    text = _INVISIBLE.sub("", _ODD_SPACE.sub(" ", _BREAK.sub("\n", text)))
    text = without_commands(text)
    if "\\" in text:
        text = _HL7_BREAK.sub("\n", text)
        text = text if "\n" in text else _WRITTEN_BREAK.sub("\n", text)
    text = html.unescape(text) if _WRITTEN_TAG.search(text) else text
    text = without_tags(text) if "<" in text else text
    if "&" in text:
        text = _ODD_SPACE.sub(" ", _ENTITY.sub(lambda found: html.unescape(found.group()), text))
    text = _CHARACTER_BREAK.sub("\n", text)
    if "\n" not in text and len(_SYMBOL_BREAK.findall(text)) > 1:
        text = _SYMBOL_BREAK.sub("\n", text)
    text = _without_line_numbers(text)
    text = _ROW.sub(r"\g<text>", text)
    return _SPACED.sub(lambda found: re.sub(r"(?<=[^\W\d_]) (?=[^\W\d_])", "", found.group()), text)


def _without_line_numbers(text: str) -> str:
    """The text without the number that each of its lines has."""
    numbers = [int(number) for number in _LINE_NUMBER.findall(text)]
    is_numbered = len(numbers) > 2 and len(numbers) == sum(map(bool, map(str.strip, text.split("\n"))))
    are_rising = all(after - before in (0, 1) for before, after in itertools.pairwise(numbers))
    return _LINE_NUMBER.sub("", text) if is_numbered and are_rising else text
