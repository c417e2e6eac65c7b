# SPDX-License-Identifier: Apache-2.0
"""Labels of sections that no list of headings holds, told by the stem of a word: "Presenting symptoms:".

Only sections beside findings and impression are told in this way, since it is enough to know where these end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Label", "find_labels"]

_STEMS = {
    "comparison": r"compar|kompar|previous|prior|previ[oae]|anterior|old|earlier|vergleich|vorauf|vorunter|confront",
    "indication": r"clinic|klini|symptom|sintom|complain|histor|moti[vfu]|reason|indic|indik|anamn|question|referral"
    r"|suspect|sospech|suspicion|presenting|admitting|fragestell|request|concern",
    "technique": r"techni|tecnic|protocol|proje[ck]tion|contrast|dose|dosis|exposure|parameter",
    "record": r"patient|provider|physician|accession|ordering|hospital|department|doctor|radiologist",
}
_LINE = re.compile(
    r"^(?P<mark>[^\w\n]*(?:\d{1,2}[.)][ \t]*)?[^\w\n]*)(?P<label>[^\W\d_][^\n:.;,]{2,44}?)[^\w\n:：]*"
    r"(?:(?P<colon>[:：])[^\w\n]*|$)",
    re.MULTILINE,
)
_STEM = re.compile("|".join(rf"(?P<{name}>\b(?:{stems}))" for name, stems in _STEMS.items()))
_NO_LABEL = re.compile(
    r"\b(?:correlat|recommend|disease|chang|finding|impress|conclu|is|are|was|were|has|have|no|not|with|for follow)"
)
_MOST_WORDS = 4


class Label(NamedTuple):
    """Where a label stands, with its marks, the section it opens and whether a colon follows."""

    start: int
    end: int
    section: str
    is_upper: bool
    has_colon: bool


def find_labels(text: str, folded: str) -> Iterator[Label]:
    """Labels at the starts of lines: before a colon, or alone on their line in capitals.

    Args:
        text: lines ended by ``\\n``.
        folded: the same, see :func:`.report_headings.fold`.
    """
    for line in _LINE.finditer(text):
        label = folded[line.start("label") : line.end("label")]
        is_upper, has_colon = line["label"].isupper(), line["colon"] is not None
        if not line["label"][0].isupper() or len(label.split()) > _MOST_WORDS or not (is_upper or has_colon):
            continue
        found = _STEM.search(label)
        if found and found.lastgroup and not _NO_LABEL.search(label):
            yield Label(line.start(), line.end(), found.lastgroup, is_upper, has_colon)
