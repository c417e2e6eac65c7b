# SPDX-License-Identifier: Apache-2.0
"""What says nothing about the patient goes out of a report: line breaks, marks, dictation.

:func:`plain_lines` undoes how a report was exported, before its headings are looked for; :func:`clean_piece`
makes one line of a section; :func:`clean_text` is the part of it that any text can bear, at each access.
"""

from __future__ import annotations

import html
import re
import unicodedata

__all__ = ["BOLD", "clean_piece", "clean_text", "plain_lines"]

BOLD = "\ue000"
"""Stands where a tag began or ended bold text, until the headings are found."""

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

_TAG = re.compile(
    r"<(/?)(br|p|div|li|ul|ol|tr|td|th|table|h[1-6]|pre|b|strong|u|i|em|span|font|html|body)\b[^<>]*>", re.I
)
_BREAKING = frozenset("br p div li ul ol tr table h1 h2 h3 h4 h5 h6 pre html body".split())
_ENTITY = re.compile(r"&(?:amp|lt|gt|nbsp|quot|apos|#\d{1,5}|#x[\da-fA-F]{1,4});")
_WRITTEN_BREAK = re.compile(r"\\r\\n|\\n|\\r")
_HL7_BREAK = re.compile(r"\\\.br\\|\\X0D\\(?:\\X0A\\)?")
_BREAK = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_ODD_SPACE = re.compile(r"[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_INVISIBLE = re.compile(r"[\ufeff\u200b-\u200f\u2060\xad\x00-\x08\x0e-\x1f]")

_SPACED = re.compile(r"^[^\w\n]*(?:\d[.)] )?(?:[A-Z] ){4,}[A-Z](?!\w)", re.MULTILINE)  # F I N D I N G S

_RULER = re.compile(r"^[ \t]*(?:[-=*_~#.+<>|:][ \t]*){3,}$", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*(?:[•▪◦●‣∙·]+|[-*–—>+]+(?=[ \t]))[ \t]*", re.MULTILINE)
_TABLE_ROW = re.compile(r"[ \t]*\|[ \t]*$", re.MULTILINE)
_BROKEN_WORD = re.compile(r"(?<=\w)-\n[ \t]*(?=\w)")

_REST = r"(?:[^.\n]|\n(?!\s*\n)|\.(?=\w)|(?<=\bDr)\.|(?<=\b[A-Z])\.)*\.?"
_DONE = r"""(?:dictated|transcribed|signed|verified|authenticated|approved|finali[sz]ed|validated|typed
    |released|interpreted|reviewed|read|edited|prepared|created)"""
_SIGNATURE = re.compile(
    rf"""(?:^[\s*=\-\#(\[<]*|(?<=[.!?)\]])\s+)
    (?:(?:this|the)?\s*(?:final\s+|preliminary\s+)?(?:report|examination|study|exam)\s+(?:was\s+|has\s+been\s+)?)?
    (?:(?:electronically|digitally)\s+)?
    (?:{_DONE}(?:\s*(?:,|/|&|and|,\s*and)\s*(?:electronically\s+|digitally\s+)?{_DONE})*
        (?:\s+(?:electronically|digitally))?\s*(?:by\b|:)
    |(?:signed|dictated|transcribed|approved|verified|finali[sz]ed)\s+(?:electronically\s+)?(?:on|at)\b
    |(?:electronically|digitally)\s+signed
    |(?:attending|staff|reading|reporting|interpreting|resident|fellow|teaching)\s+(?:radiologist|physician)\s*:
    |(?:radiologist|transcriptionist|transcriber|resident|attending)\s*:
    |(?:informe\s+)?(?:firmado|validado|dictado|transcrito|informado|realizado)\s+(?:electr[oó]nicamente\s+)?por\b
    |(?:diktiert|signiert|freigegeben|elektronisch\s+signiert)\s+(?:von|durch)\b
    |(?:sign[ée]|dict[ée]|valid[ée])\s+(?:[ée]lectroniquement\s+)?par\b
    |[DT]{{1,2}}\s*:\s*(?:\d{{1,4}}[/.-]\d|__)
    )[^\n]*""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_OPEN_ENDED = re.compile(r"(?:\b(?:by|on|at|por|von|par)|[:,])\s*$", re.IGNORECASE)
_SENTENCE = re.compile(
    rf"""(?:^|(?<=[.!?:)\]*\s]))(?:
    (?:as\s+the\s+(?:attending|teaching|staff)[^.\n]{{0,60}},\s*)?
        \bI(?:,[^.\n]{{1,80}}?,)?\s+(?:have\s+|hereby\s+|was\s+)?(?:personally\s+|independently\s+|also\s+)*
        (?:reviewed|viewed|examined|interpreted|supervised|attest|certify|confirm|agree|present)\b
        (?=(?:[^.]|\.(?=\w))*\b(?:agree|resident|resident's|fellow|interpretation|attest|certify|personally|above
        |report|as\s+written|as\s+dictated)\b){_REST}
    |(?:the\s+)?(?:attending|staff|teaching)\s+(?:radiologist|physician)\b
        (?=[^.]*\b(?:reviewed|agrees|concurs)\b){_REST}
    |(?:(?:this|the|portions|parts|some|although|please|due|despite|note)\b)
        (?=[^.]*\b(?:voice[- ]recognition|speech[- ]recognition|dictation\s+(?:software|system|device)
        |transcription(?:al)?\s+errors?|typographical\s+errors?|powerscribe|dragon)\b){_REST}
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_END = re.compile(
    r"""[*=\-\#<\[(~_\s]*\b(?:end\s+of\s+(?:the\s+)?(?:\w+\s+)?(?:report|dictation|document|addendum|text)
    |fin\s+del?\s+(?:informe|rapport))\b[*=\-\#>\])~_.:]*|^\W*(?:final|preliminary|unsigned|end)\W*$
    |^\W*(?:report\s+)?status\s*:\s*(?:final|preliminary|signed)\W*$""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_MAY_BE_DICTATION = re.compile(
    r"(?i)\bby\b|sign|agree|attest|certif|recogni|dictat|transcri|errors?\b|end of|\bfin de|final|"
    r"preliminary|unsigned|radiologist|physician|resident|attending|\b[dt]{1,2} ?:|\bpor\b|\bvon\b|durch|"
    r"\bpar\b|status|^\W*end\W*$"
)
_LONG_SIGNATURE = 160
_SENTENCE_END = re.compile(r"(?<![A-Z])(?<!\bDr)(?<!\bMr)\.\s+(?=[A-Z\d])")


def clean_text(text: str) -> str:
    """One line without de-identification marks: ``___``, ``XXXX``, ``[**...**]``, ``<DATE>``, ``[NAME]``."""
    if _MAY_HOLD_MARKS.search(text):
        text = _MARKS.sub(" ", text)
    return _SPACE_BEFORE_MARK.sub(r"\1", " ".join(text.split()))


def clean_piece(piece: str) -> str:
    """A section's text as one clean line: rulers, bullets, dictation and marks gone, broken words joined."""
    if _MAY_BE_DICTATION.search(piece):
        piece = _without_dictation(piece)
    piece = _BROKEN_WORD.sub("-", _BULLET.sub("", _RULER.sub("", piece)))
    if "|" in piece:
        piece = _TABLE_ROW.sub("", piece)
    cleaned = clean_text(piece.replace(BOLD, " "))
    return cleaned if any(map(str.isalnum, cleaned)) else ""


def plain_lines(raw: str) -> str:
    """The text with ``\\n`` as its only line break and the space as its only blank beside tabs; no markup."""
    text = unicodedata.normalize("NFC", raw)
    text = _INVISIBLE.sub("", _ODD_SPACE.sub(" ", _BREAK.sub("\n", text)))
    if "\\" in text:
        text = _HL7_BREAK.sub("\n", text)
        text = text if "\n" in text else _WRITTEN_BREAK.sub("\n", text)
    if "&" in text:
        text = _ODD_SPACE.sub(" ", _ENTITY.sub(lambda found: html.unescape(found.group()), text))
    text = _TAG.sub(_instead_of_tag, text) if "<" in text else text
    return _SPACED.sub(lambda found: re.sub(r"(?<=[A-Z]) (?=[A-Z])", "", found.group()), text)


def _instead_of_tag(tag: re.Match[str]) -> str:
    name = tag.group(2).lower()
    if name in _BREAKING:
        return "\n"
    return BOLD if name in ("b", "strong", "u", "th") else " " if name == "td" else ""


def _without_dictation(piece: str) -> str:
    piece = _SENTENCE.sub(" ", _END.sub(" ", piece))
    start = 0
    while found := _SIGNATURE.search(piece, start):
        end = found.end()
        if len(found.group()) > _LONG_SIGNATURE and (
            stop := _SENTENCE_END.search(piece, found.start() + 1, end)
        ):
            end = stop.end()
        elif _OPEN_ENDED.search(found.group()):
            following = piece.find("\n", end + 1)
            end = len(piece) if following < 0 else following
        piece = f"{piece[: found.start()]} {piece[end:]}"
        start = found.start()
    return piece
