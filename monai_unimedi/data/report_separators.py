# SPDX-License-Identifier: Apache-2.0
"""What separates heading words from the text after them: qualifying words, decoration, a colon, a dash."""

from __future__ import annotations

import re
from collections.abc import Iterator

from monai_unimedi.data.report_headings import (
    ASIDE_SUFFIX,
    CONTINUING,
    SUFFIX,
    first_phrase,
    heading_section,
)
from monai_unimedi.data.report_markup import BOLD
from monai_unimedi.data.report_page import SPOKEN_COLON, Page, case_of

__all__ = ["FARTHEST", "passed_decoration", "past_answer", "separator"]

FARTHEST = 60
"""Characters of decoration, number and qualifying words before a heading."""

_DECORATION = rf"*=#~\]}}>|»›】{BOLD}"
_ARROWS = "\u2190-\u21ff\u25a0-\u25ff\u2700-\u27bf\u2900-\u297f\u2b00-\u2bff"  # and other pictures
_AFTER = re.compile(
    rf"(?P<close>[\"'`”’)]*(?:[ \t){_DECORATION}]|(?<!_)_{{1,2}}(?!_)|/+(?=\s|$))*(?:[\"'`”’]+(?=[ \t]*[:：=]))?)"
    rf"(?P<sep>[:：](?:[-–—]+>?)?|[{_ARROWS};]+|[-=–—]+>+|\.[-–—]+|\.{{2,}}|…|\.(?=\s|$)|[-–—]+|)"
    rf"(?P<tail>(?:[ \t:){_DECORATION}–—-]|(?<!_)_{{1,2}}(?!_)|/+(?=\s|$))*)"
)
_DECORATED = re.compile(rf"[{_DECORATION}/]|(?<!_)_{{1,2}}(?!_)")
_MIRROR = str.maketrans("()[]{}<>«»‹›“”【】\\/", ")(][}{><»«›‹”“】【/\\")
_DASH = re.compile(r"[ \t]*[-–—]")
_QUALIFIED = re.compile(r"(?:[ \t]+[^\W\d_]{3,}){1,2}(?=[ \t]*[:：])")


def separator(
    page: Page, start: int, end: int, line: int, is_at_line_start: bool, symbols: str, is_aside: bool
) -> tuple[int, str]:
    """Where the text after a heading begins, and what separates it, see :class:`.report_surroundings.Seen`."""
    for further in _ends_with_words(page, start, end, is_at_line_start):
        stop, kind = _kind(page, start, further, line, symbols)
        if _is_after_words(page, start, further, stop, kind, is_at_line_start):
            return stop, kind
    stop, kind = _kind(page, start, end, line, symbols)
    if kind == "none" and is_at_line_start and page.text[start].isupper() and is_aside:
        aside = ASIDE_SUFFIX.match(page.folded, end)
        there, separated = _kind(page, start, aside.end() if aside else end, line, symbols)
        if separated != "eol" or not page.text[there:].lstrip()[:1].islower():
            return there, separated
    first = first_phrase(page.folded, start)
    return _kind(page, start, first, line, symbols) if kind == "none" and first < end else (stop, kind)


def _ends_with_words(page: Page, start: int, end: int, is_at_line_start: bool) -> Iterator[int]:
    """Where the words end that may go with a heading: "FINDINGS | of the chest - PA view"; longest first."""
    suffix = SUFFIX.match(page.folded, end)
    assert suffix is not None  # it matches nothing too
    is_louder = page.text[start:end].isupper() and case_of(page.text[end : suffix.end("words")]) != "upper"
    if suffix.end() > end and not is_louder:
        yield suffix.end()
        if dash := _DASH.search(suffix.group(), 1):
            yield end + dash.start()
    qualified = _QUALIFIED.match(page.folded, end) if is_at_line_start else None
    words = qualified.group().split() if qualified else []
    if qualified and not CONTINUING.intersection(words) and not any(map(heading_section, words)):
        yield qualified.end()


def _is_after_words(page: Page, start: int, end: int, stop: int, kind: str, is_at_line_start: bool) -> bool:
    """Whether words after a heading belong to it, by what follows them."""
    is_upper = page.text[start:end].isupper()
    is_loud = is_upper and page.case == "mixed"
    if kind in ("colon", "mark") or (kind == "dash" and is_loud):
        return True
    if not is_at_line_start:
        return False
    is_open = page.text[end - 1].isalnum() and not is_loud and page.case == "mixed"
    goes_on = kind == "eol" and is_open and page.text[stop : stop + 2].strip().islower()
    return (kind in ("eol", "dash", "gap") and not goes_on) or (kind == "dot" and is_upper)


def _kind(page: Page, start: int, end: int, line: int, symbols: str) -> tuple[int, str]:
    if page.is_spoken and (spoken := SPOKEN_COLON.match(page.folded, end)):
        return spoken.end(), "colon"
    closed = past_answer(page, end, symbols)
    after = _AFTER.match(page.text, closed)
    assert after is not None  # it matches nothing too
    close, sep, stop = after["close"], after["sep"], after.end()
    following = page.text[stop : stop + 1]
    if following.isdigit():  # ">5 mm" and "~5 mm" are text
        stop -= len(page.text[after.end("sep") : stop]) - len(
            page.text[after.end("sep") : stop].rstrip("~>#=-")
        )
    if sep and (sep[0] in ":：" or sep[0] > "\u2100" or (sep[0] in "-=–—" and ">" in sep)):
        return stop, "colon"
    if (
        closed > end
        or _DECORATED.search(close)
        or (")" in close and "(" in page.text[max(line, start - FARTHEST) : start])
    ):
        return stop, "mark"
    if sep and sep[0] in "-–—":
        is_hyphen = sep == "-" and not close and not after["tail"] and following.islower()
        return (end, "none") if is_hyphen else (stop, "dash")
    if sep:
        return stop, "colon" if len(sep) > 1 or sep == "…" else "dot"
    if following in ("", "\n"):
        return stop, "eol"
    return stop, "gap" if "\t" in close or "  " in close else "none"


def past_answer(page: Page, end: int, symbols: str) -> int:
    """Where the text goes on after symbols that answer those before the heading: ``!Findings!``."""
    if symbols and not re.fullmatch(r"[.,;:?)\]]", symbols):
        spaces = end + len(page.text[end : end + 4]) - len(page.text[end : end + 4].lstrip(" \t"))
        for closing in (symbols, symbols.translate(_MIRROR)[::-1]):
            if page.text.startswith(closing, spaces):
                return spaces + len(closing)
    return end


def passed_decoration(page: Page, end: int) -> int:
    """Where the text goes on after separators and decoration."""
    after = _AFTER.match(page.text, end)
    return after.end() if after else end
