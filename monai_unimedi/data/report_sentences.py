# SPDX-License-Identifier: Apache-2.0
"""Where a sentence of a report ends: the full stop of "Dr.", "approx." or "vs." ends none."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["sentence_ends"]

_MARK = re.compile(r"[.!?][)\]\"'”’»]*\s+(?=\S)")
_WORDS = """dr dra drs drin prof profa mrs sr sra srta dott dott.ssa sig mme mlle herr frau med priv doz jr
    approx aprox appr circa vs cf viz incl inkl excl resp bzw ggf evtl sog vgl e.g i.e z.b d.h p.ej p.ex"""
_CASED = "Mr|Ms|Hr|Fr|St|Ca|ca"  # MR, MS and CA end sentences
_TITLE = r"(?i:dr|dra|prof|profa|dott|mrs)|Mr|Ms"
_GOES_ON = re.compile(
    rf"(?<![\w.])(?:(?i:{'|'.join(map(re.escape, _WORDS.split()))})|{_CASED}"
    rf"|(?:{_TITLE})\.?(?: ?[^\W\d_]\.)* ?[^\W\d_])\.$|(?<![\w.])(?i:z\. ?b|d\. ?h|e\. ?g|i\. ?e)\.$"
)
_BEFORE_NUMBER = re.compile(
    r"(?<![\w.])(?:nos?|nr|núm|num|figs?|imgs?|im|ser|se|pgs?|pp?|vol|abb|lvl|lwk|bwk|th"
    r"|jan|febr?|mar|apr|jun|jul|aug|sept?|oct|okt|nov|dec|dez|ene|abr|ago|dic)\.$",
    re.IGNORECASE,
)
_DOTTED = re.compile(r"(?<!\w)(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,2}\.$")  # i.v., a.m., M.D.
_FIRST_LETTER = re.compile(r"(?<![\w.])[a-z]\.$")  # of "z. B."
_INITIAL = re.compile(r"(?<![\w.])[^\W\d_]\.$")
_LONGEST = 24  # characters of an abbreviation with the initials behind it


def sentence_ends(text: str, start: int = 0, stop: int | None = None, has_names: bool = False) -> Iterator[int]:
    """Where the sentences begin that follow another one.

    Args:
        text: what is looked through.
        start: where the first sentence begins.
        stop: where the last one ends; nothing for the end of the text.
        has_names: whether a single letter is the initial of a name.
    """
    for mark in _MARK.finditer(text, start, len(text) if stop is None else stop):
        before = text[max(start, mark.start() - _LONGEST) : mark.start() + 1]
        if not _goes_on(before, text[mark.end() : mark.end() + 2], has_names):
            yield mark.end()


def _goes_on(before: str, following: str, has_names: bool) -> bool:
    """Whether a full stop belongs to the word before it."""
    if _GOES_ON.search(before) or (has_names and _INITIAL.search(before)):
        return True
    if following[1:] == "." and _FIRST_LETTER.search(before):
        return True
    is_number = following[0].isdigit() or following[0] == "#"
    return bool((is_number and _BEFORE_NUMBER.search(before)) or (following[0].islower() and _DOTTED.search(before)))
