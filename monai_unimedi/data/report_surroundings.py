# SPDX-License-Identifier: Apache-2.0
"""What stands round the heading words in a report: decoration, numbers, separators, letters."""

from __future__ import annotations

import re
from typing import NamedTuple

from monai_unimedi.data.report_headings import LEADING, LEFT, LEFT_INSIDE, fold, section_of
from monai_unimedi.data.report_markup import BOLD
from monai_unimedi.data.report_page import Page, case_of, ends_before, margin_of
from monai_unimedi.data.report_separators import FARTHEST, past_answer, separator

__all__ = ["Seen", "is_opened", "opening", "see"]

_ASIDES = frozenset(("indication", "comparison", "technique"))
_OPENING = re.compile(rf"(?:[\s*=#~|\[({{<>»«‹•/;–—{BOLD}-]|(?<!_)_{{1,2}}(?!_))*$")
_OPENED = re.compile(rf"[*=#~|\[{{<»«‹【{BOLD}]|//|(?<!_)_{{1,2}}(?!_)")
_SYMBOLS = re.compile(r"(?<![^\W_])([^\w\s]{1,4})[ \t]*$")
_STOPPING = re.compile(r"[.,;:?!)\]\"'%]")  # these may end the text before
_NUMBER = re.compile(r"(?<!\w)\(?(?:\d{1,2}|i{1,3}|iv|vi{0,3}|[a-h])[.):\]][ \t]*$")
_MARGIN = re.compile(r".*?(?P<words>)")
_LOOSE_WORDS = re.compile(r"[\W_]*(?P<words>[^\W\d_a-z][^\W\d_]*[ /-](?:[^\W\d_]+[ /-]){0,2})")
_NUMBERED = re.compile(r"[^\w\n]*(?:\d{1,2}|i{1,3}|iv|vi{0,3}|[a-h])[.):\]]")


class Seen(NamedTuple):
    """A run of heading words and its surroundings; all places are those of the text.

    ``separator`` is colon, mark (decoration on both sides), dash, dot, gap, eol (the line ends) or none.
    """

    line: int  # start of its line
    begin: int  # of all that goes with the heading
    start: int  # of the heading words
    stop: int  # where the text goes on
    section: str
    is_shy: bool
    case: str  # upper, lower or title
    separator: str
    is_at_line_start: bool
    words: str  # before the heading words: "CHEST " of "CHEST FINDINGS:"


def see(page: Page, start: int, end: int) -> Seen:
    """What surrounds the heading words between two places."""
    line = page.text.rfind("\n", 0, start) + 1
    left = _left(page, line, start, end) if start - line <= FARTHEST else None
    section, is_shy = section_of(page.folded[start:end])
    begin = left.start("words") if left else _words_inside(page, line, start, case_of(page.text[start:end]))
    words, case = page.text[begin:start], case_of(page.text[begin:end])
    symbols = _SYMBOLS.search(page.text, max(line, begin - 12), begin)
    frame = symbols.group(1) if symbols else ""
    stop, kind = separator(page, start, end, line, left is not None, frame, section in _ASIDES)
    if left:
        begin = line
    else:
        is_framed = symbols is not None and past_answer(page, end, frame) > end
        begin = opening(page, line, symbols.start(1) if symbols and is_framed else begin)
    return Seen(line, begin, start, stop, section, is_shy, case, kind, left is not None, words)


def _left(page: Page, line: int, start: int, end: int) -> re.Match[str] | None:
    """What stands between the start of the line and a heading, where that is no sentence."""
    if left := LEFT.fullmatch(page.folded, line, start):
        return left
    if margin_of(page.text[line:start]) in page.margins:
        return _MARGIN.fullmatch(page.text, line, start)
    loose = _LOOSE_WORDS.fullmatch(page.text, line, start)
    if loose is None or page.case == "lower":
        return None
    is_loud = page.text[start:end].isupper() and page.case == "mixed"
    is_measured = section_of(page.folded[start:end])[0] in ("findings", "impression")
    if (is_measured and LEADING.intersection(fold(loose["words"]).split())) or not (is_measured or is_loud):
        return None
    is_alike = page.text[start:end].isupper() == loose["words"].isupper()
    _, kind = separator(page, start, end, line, True, "", False)
    return loose if is_alike and kind == "colon" else None


def _words_inside(page: Page, line: int, start: int, case: str) -> int:
    """Where the qualifying words before a heading inside a line begin: "None. | chest findings - ..."."""
    before = LEFT_INSIDE.search(page.folded, max(line, start - FARTHEST), start)
    if before is None:
        return start
    words = page.text[before.start() : start].split()
    if case == "lower":
        place = opening(page, line, before.start())
        is_apart = place == line or bool(page.text[place : before.start()].strip())
        return before.start() if is_apart or ends_before(page, line, place) else start
    is_apart = page.case == "mixed" or ends_before(page, line, before.start())
    return before.start() if is_apart and all(case_of(word) == case for word in words) else start


def opening(page: Page, line: int, begin: int) -> int:
    """Where the decoration before a heading inside a line begins, its number included."""
    last = -1
    while begin != last:
        last = begin
        if found := _OPENING.search(page.text, max(line, begin - 40), begin):
            begin = found.start()
        if (found := _SYMBOLS.search(page.text, max(line, begin - 12), begin)) and not _STOPPING.match(
            found.group(1)
        ):
            begin = found.start(1)
        if _NUMBERED.match(page.folded) and (
            found := _NUMBER.search(page.folded, max(line, begin - 12), begin)
        ):
            begin = found.start()
    return begin


def is_opened(page: Page, seen: Seen) -> bool:
    """Whether decoration that takes a pair stands before the heading."""
    return bool(_OPENED.search(page.text, seen.begin, seen.start))
