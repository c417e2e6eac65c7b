# SPDX-License-Identifier: Apache-2.0
"""Where the headings of a report lie.

Every run of heading words (:mod:`.report_headings`) is a candidate. What stands round it says how sure it is:
its place in the line, what separates it from the text, its letters, and the words before and after it. Sure
ones count by themselves; the others where at least two sections of the report are headed in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from monai_unimedi.data.report_cleaning import BOLD
from monai_unimedi.data.report_headings import (
    BLOCKING,
    CONTINUING,
    LEADING,
    LEFT,
    LEFT_INSIDE,
    SUFFIX,
    find_words,
    fold,
    is_title,
    section_of,
)

__all__ = ["CLOSING", "Heading", "find_headings"]

CLOSING = "/"
"""Section of a mark that ends one (``[/FINDINGS]``, ``END OF IMPRESSION``): what follows still belongs to it."""

_DECORATION = rf"*=#~\]}}>|»›】{BOLD}"
_AFTER = re.compile(
    rf"(?P<close>(?:[ \t\"'`”’){_DECORATION}]|(?<!_)_{{1,2}}(?!_)|/+(?=\s|$))*)"
    r"(?P<sep>[:：](?:[-–—]+>?)?|[→⇒;]|[-=–—]+>+|\.[-–—]+|\.{2,}|…|\.(?=\s|$)|[-–—]+|)"
    rf"(?P<tail>(?:[ \t:){_DECORATION}–—-]|(?<!_)_{{1,2}}(?!_))*)"
)
_OPENING = re.compile(rf"(?:[\s*=#~|\[({{<>»«‹•/;–—{BOLD}-]|(?<!_)_{{1,2}}(?!_))*$")
_DECORATED = re.compile(rf"[{_DECORATION}/]|(?<!_)_{{1,2}}(?!_)")
_OPENED = re.compile(rf"[*=#~|\[{{<»«‹【{BOLD}]|//|(?<!_)_{{1,2}}(?!_)")
_ENDS = re.compile(r"""(?:[.!?:;)\]"”»|/>]|_{2,}|X{3,})\s*$""")
_CLOSES = re.compile(r"(?:[<\[({]\s*/\s*|(?:^|\W)(?:end\s+of\s+(?:the\s+)?|end\s+))$")
_LAST_WORD = re.compile(r"([^\W_]+)\W*$")
_NEXT_WORD = re.compile(r"[\s\"'(\[]*(\S+)")
_TITLE_LINE = re.compile(r"^[ \t]*([A-Z0-9_][^\n:]{3,90}):", re.MULTILINE)
_FARTHEST = 60  # characters of decoration, number and qualifying words before a heading
_NAMED = frozenset(("findings", "impression", "joined", "report", "addendum"))
_SURE, _PERHAPS, _NOT = 2, 1, 0


class Heading(NamedTuple):
    """A heading: its place, with all that decorates it, the section it opens, and words worth keeping."""

    start: int
    end: int
    section: str
    words: str = ""


class _Candidate(NamedTuple):
    heading: Heading
    level: int
    is_at_line_start: bool
    style: tuple[str, str]  # letters, separator


class _Page(NamedTuple):
    text: str
    folded: str
    case: str  # upper, lower or mixed


def find_headings(text: str) -> list[Heading]:
    """The headings of a text in order.

    Args:
        text: lines ended by ``\\n``, see :func:`.report_cleaning.plain_lines`; a single line is well.
    """
    folded = fold(text)
    spans = list(find_words(folded))
    if not spans:
        return []
    page = _Page(text, folded, _case_of_text(text))
    candidates = [found for span in spans if (found := _candidate(page, *span))]
    headings = _without_overlaps(_chosen(candidates))
    return sorted([*headings, *_titles(page, headings)])


def _case_of_text(text: str) -> str:
    capitals = sum(map(str.isupper, text)) - text.count("X")
    small = sum(map(str.islower, text))
    return "upper" if small < capitals / 4 else "lower" if capitals < small / 200 else "mixed"


def _candidate(page: _Page, start: int, end: int) -> _Candidate | None:
    line = page.text.rfind("\n", 0, start) + 1
    left = LEFT.fullmatch(page.folded, line, start) if start - line <= _FARTHEST else None
    if closing := _closing(page, line, start, end):
        return closing
    section, is_shy = section_of(page.folded[start:end])
    case = _case(page.text[start:end])
    stop, separator = _separator(page, start, end, line, left is not None)
    words = ""
    if left:
        begin, words = line, page.text[left.start("words") : left.end("words")]
        level = _level_at_line_start(page, line, start, stop, case, separator, section, is_shy, bool(words))
    else:
        begin = start
        if case != "lower" and (before := LEFT_INSIDE.search(page.folded, line, start)):
            words = page.text[before.start() : start]
            is_part = all(_case(word) == case for word in words.split())
            begin, words = (before.start(), words) if is_part else (start, "")
        opening = _OPENING.search(page.text, line, begin)
        begin = opening.start() if opening else begin
        level = _level_inside(page, line, begin, start, stop, case, separator, section, is_shy)
    heading = Heading(begin, stop, section, f"{words}{page.text[start:end]}:" if words.strip() else "")
    return _Candidate(heading, level, left is not None, (case, separator)) if level else None


def _closing(page: _Page, line: int, start: int, end: int) -> _Candidate | None:
    """The mark that ends a section, or nothing."""
    before = page.folded[max(line, start - 20) : start]
    if not (found := _CLOSES.search(before)):
        return None
    begin = start - len(before) + found.start()
    is_word = "end" in found.group()
    if is_word and not page.text[start:end].isupper() and page.folded[line:begin].strip(" *=-#<[("):
        return None
    after = _AFTER.match(page.text, end)
    opening = _OPENING.search(page.text, line, begin)
    begin = opening.start() if opening else begin
    stop = after.end() if after else end
    return _Candidate(Heading(begin, stop, CLOSING), _SURE, False, ("", ""))


def _case(words: str) -> str:
    letters = [letter for letter in words if letter.isalpha()] or ["A"]
    if all(letter.isupper() for letter in letters):
        return "upper"
    return "title" if letters[0].isupper() else "lower"


def _separator(page: _Page, start: int, end: int, line: int, is_at_line_start: bool) -> tuple[int, str]:
    """Where the text after a heading begins, and what stands between: colon, mark, dash, dot, gap, eol, none."""
    suffix = SUFFIX.match(page.folded, end)
    assert suffix is not None  # it matches nothing too
    is_louder = page.text[start:end].isupper() and _case(page.text[end : suffix.end("words")]) != "upper"
    if suffix.end() > end and not is_louder:
        stop, kind = _kind(page, start, suffix.end(), line)
        if kind in ("colon", "mark") or (kind in ("eol", "dash") and is_at_line_start):
            return stop, kind
    return _kind(page, start, end, line)


def _kind(page: _Page, start: int, end: int, line: int) -> tuple[int, str]:
    after = _AFTER.match(page.text, end)
    assert after is not None  # it matches nothing too
    close, sep, stop = after["close"], after["sep"], after.end()
    following = page.text[stop : stop + 1]
    if following.isdigit():  # ">5 mm" and "~5 mm" are text
        stop -= len(page.text[after.end("sep") : stop]) - len(page.text[after.end("sep") : stop].rstrip("~>#=-"))
    if sep and sep[0] in ":：→⇒;-=–—" and (sep[0] not in "-=–—" or ">" in sep):
        return stop, "colon" if sep[0] != ";" else "dot"
    if _DECORATED.search(close) or (")" in close and "(" in page.text[line:start]):
        return stop, "mark"
    if sep and sep[0] in "-–—":
        is_hyphen = sep == "-" and not close and not after["tail"] and following.islower()
        return (end, "none") if is_hyphen else (stop, "dash")
    if sep:
        return stop, "colon" if len(sep) > 1 or sep == "…" else "dot"
    if following in ("", "\n"):
        return stop, "eol"
    return stop, "gap" if "\t" in close or "  " in close else "none"


def _is_led_to(page: _Page, place: int, words: frozenset[str]) -> bool:
    """Whether the word before a place is one of those after which a sentence goes on: "no acute | findings"."""
    before = page.text[max(0, place - 40) : place]
    word = _LAST_WORD.search(fold(before))
    return word is not None and word.group(1) in words and not _ENDS.search(before)


def _follows_end(page: _Page, place: int) -> bool:
    """Whether what stands before a place is finished: the start of the text, a blank line or a full stop."""
    before = page.text[max(0, place - 80) : place]
    blank = before.rstrip(" \t")
    return not blank.strip() or blank.endswith("\n\n") or bool(re.search(r"\n[ \t]*\n[ \t]*$", before)) or bool(
        _ENDS.search(before)
    )


def _next(page: _Page, stop: int) -> tuple[str, bool]:
    """The word after a heading, folded, and whether it begins like a sentence."""
    found = _NEXT_WORD.match(page.text, stop)
    word = found.group(1) if found else ""
    return fold(word).rstrip(".,;"), word[:1].isupper() or word[:1].isdigit() or word[:1] in "_<[-•*"


def _goes_on(page: _Page, word: str, is_capital: bool) -> bool:
    """Whether a sentence goes on with the word after the heading: "Findings | suggest"."""
    return word in CONTINUING and not (is_capital and page.case == "mixed")


def _level_at_line_start(
    page: _Page, line: int, start: int, stop: int, case: str, separator: str, section: str, is_shy: bool,
    has_words: bool,
) -> int:  # fmt: skip
    word, is_capital = _next(page, stop)
    differs = page.case == "mixed" and (case == "upper" or is_capital)  # the heading from the text, by letters
    is_weak = separator in ("none", "gap", "eol") and not differs
    is_plain = case != "lower" and page.case == "mixed" and separator in ("colon", "mark", "dash")
    is_doubtful = False
    if not is_plain and not _follows_end(page, line):
        if _is_led_to(page, line, LEADING):
            return _NOT
        is_doubtful = is_weak and _is_led_to(page, line, BLOCKING)
    if section == "record":
        return _SURE if separator == "colon" else _NOT
    follows_end = _follows_end(page, line)
    if separator == "colon":
        return _SURE if not (is_shy and case == "lower") or follows_end or page.case == "lower" else _NOT
    if separator == "mark":
        return _SURE if not is_shy or case != "lower" else _PERHAPS
    if separator == "dash":
        return _SURE if not is_shy or case == "upper" else _PERHAPS
    if separator == "eol":
        if case == "lower" or is_doubtful:
            return (_SURE if follows_end and not is_shy else _PERHAPS) if page.text[stop:].strip() else _NOT
        is_good = not is_shy or follows_end or page.text[line:start].strip()
        return _SURE if is_good and (differs or page.case != "mixed") else _PERHAPS
    if separator == "dot":
        return _NOT if case == "lower" else _PERHAPS if is_shy else _SURE
    if _goes_on(page, word, is_capital) or (has_words and case == "lower"):
        return _NOT
    if case == "upper" and page.case != "upper":
        return _PERHAPS if is_shy else _SURE
    if separator == "gap":
        return _PERHAPS if is_shy or case == "lower" else _SURE
    is_good = is_capital or page.case != "mixed" or case == "title" or follows_end
    return _PERHAPS if is_good and not is_shy else _NOT


def _level_inside(
    page: _Page, line: int, begin: int, start: int, stop: int, case: str, separator: str, section: str,
    is_shy: bool,
) -> int:  # fmt: skip
    is_loud = case == "upper" and page.case != "upper"
    ends = not page.text[line:begin].strip() or bool(_ENDS.search(page.text, line, begin))
    ends = ends or bool(re.search(r"[|/;\]>»]", page.text[begin:start]))
    is_weak = separator in ("none", "gap", "eol") and not is_loud
    is_led_to = not ends and _is_led_to(page, begin, BLOCKING if is_weak else LEADING)
    if section == "record":
        return _NOT
    if is_shy:
        is_good = separator == "colon" and (is_loud or (ends and (case != "lower" or page.case == "lower")))
        return _SURE if is_good else _NOT
    if separator == "colon":
        return _SURE if is_loud or not is_led_to else _NOT
    if separator == "mark":
        return _SURE if _OPENED.search(page.text, begin, start) else _NOT
    word, is_capital = _next(page, stop)
    if is_led_to or (separator in ("none", "gap") and _goes_on(page, word, is_capital)):
        return _NOT
    if is_loud:
        return _SURE
    if separator == "eol":
        return _NOT
    if page.case != "mixed":
        return _PERHAPS
    return _PERHAPS if ends and (is_capital or separator == "dash") else _NOT


def _chosen(candidates: Sequence[_Candidate]) -> list[Heading]:
    """Sure candidates, and others in company; nothing that repeats, inside a line, what heads a line."""
    sure = {c.heading.section for c in candidates if c.is_at_line_start and c.level == _SURE}
    sure.discard("record")
    is_by_lines = len(sure) > 1
    is_loud = all(c.style[0] == "upper" for c in candidates if c.is_at_line_start and c.level == _SURE)
    first = candidates[0].heading.start if candidates else 0
    has_lines = any(c.is_at_line_start and c.heading.start > first for c in candidates)
    company: dict[tuple[str, str], set[str]] = {}
    for c in candidates:
        company.setdefault(c.style, set()).add(c.heading.section)
    is_headed = bool(candidates) and candidates[0].is_at_line_start and not candidates[0].heading.start
    opening = candidates[0].style if is_headed else None
    chosen: list[Heading] = []
    for c in candidates:
        names = {heading.section for heading in chosen}
        is_repeated = is_by_lines and c.heading.section in sure and c.heading.section != CLOSING
        is_accompanied = len(company[c.style]) > 1
        if c.heading.section == CLOSING:
            chosen.append(c.heading)
        elif c.is_at_line_start:
            is_alone = not c.heading.start and c.heading.section in _NAMED
            if c.level == _SURE or (not is_repeated and (is_accompanied or is_alone)):
                chosen.append(c.heading)
        elif c.level == _SURE:
            if not is_repeated and not (is_by_lines and is_loud and c.style[0] != "upper"):
                chosen.append(c.heading)
        elif is_accompanied and not has_lines and c.style == opening and c.heading.section not in names:
            chosen.append(c.heading)
    return chosen


def _without_overlaps(headings: Sequence[Heading]) -> list[Heading]:
    kept: list[Heading] = []
    for heading in headings:
        if not kept or heading.start >= kept[-1].end:
            kept.append(heading)
        elif heading.end > kept[-1].end:
            kept.append(heading._replace(start=kept[-1].end))
    return kept


def _titles(page: _Page, headings: Sequence[Heading]) -> Iterator[Heading]:
    """Names of examinations at line starts, outside findings and impression: what follows has no heading."""
    if "\n" not in page.text:
        return
    for found in _TITLE_LINE.finditer(page.text):
        before = [heading for heading in headings if heading.start <= found.start()]
        is_inside = bool(before) and (before[-1].section in _NAMED or before[-1].end > found.start())
        if not is_inside and is_title(page.folded[found.start(1) : found.end(1)]):
            yield Heading(found.start(), found.end(), "", found.group(1) + ":")
