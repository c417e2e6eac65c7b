# SPDX-License-Identifier: Apache-2.0
"""What stands round the heading words in a report: decoration, numbers, separators, letters, neighbours."""

from __future__ import annotations

import re
from typing import NamedTuple

from monai_unimedi.data.report_markup import BOLD
from monai_unimedi.data.report_headings import (
    ASIDE_SUFFIX,
    CONTINUING,
    LEADING,
    LEFT,
    LEFT_INSIDE,
    SUFFIX,
    first_phrase,
    fold,
    heading_section,
    section_of,
)

__all__ = [
    "FARTHEST",
    "Page",
    "Seen",
    "ends_before",
    "follows_end",
    "goes_on",
    "is_led_to",
    "is_opened",
    "margin_of",
    "next_word",
    "opening",
    "page_of",
    "passed_decoration",
    "see",
]

FARTHEST = 60
"""Characters of decoration, number and qualifying words before a heading."""

_DECORATION = rf"*=#~\]}}>|»›】{BOLD}"
_ASIDES = frozenset(("indication", "comparison", "technique"))
_ARROWS = "\u2190-\u21ff\u25a0-\u25ff\u2700-\u27bf\u2900-\u297f\u2b00-\u2bff"  # and other pictures
_AFTER = re.compile(
    rf"(?P<close>[\"'`”’)]*(?:[ \t){_DECORATION}]|(?<!_)_{{1,2}}(?!_)|/+(?=\s|$))*(?:[\"'`”’]+(?=[ \t]*[:：=]))?)"
    rf"(?P<sep>[:：](?:[-–—]+>?)?|[{_ARROWS};]+|[-=–—]+>+|\.[-–—]+|\.{{2,}}|…|\.(?=\s|$)|[-–—]+|)"
    rf"(?P<tail>(?:[ \t:){_DECORATION}–—-]|(?<!_)_{{1,2}}(?!_)|/+(?=\s|$))*)"
)
_OPENING = re.compile(rf"(?:[\s*=#~|\[({{<>»«‹•/;–—{BOLD}-]|(?<!_)_{{1,2}}(?!_))*$")
_DECORATED = re.compile(rf"[{_DECORATION}/]|(?<!_)_{{1,2}}(?!_)")
_OPENED = re.compile(rf"[*=#~|\[{{<»«‹【{BOLD}]|//|(?<!_)_{{1,2}}(?!_)")
_ENDS = re.compile(r"""(?:[.!?:;)\]"”»|/>]|_{2,}|X{3,})\s*$""")
_LAST_WORD = re.compile(r"([^\W_]+)\W*$")
_NEXT_WORD = re.compile(r"(?:[^\w\n]*\n)*[\s\"'(\[]*(\S+)")
_SYMBOLS = re.compile(r"(?<![^\W_])([^\w\s]{1,4})[ \t]*$")
_STOPPING = re.compile(r"[.,;:?!)\]\"'%]")  # these may end the text before
_MIRROR = str.maketrans("()[]{}<>«»‹›“”【】\\/", ")(][}{><»«›‹”“】【/\\")
_NUMBER = re.compile(r"(?<!\w)\(?(?:\d{1,2}|i{1,3}|iv|vi{0,3}|[a-h])[.):\]][ \t]*$")
_QUALIFIED = re.compile(r"(?:[ \t]+[^\W\d_]{3,}){1,2}(?=[ \t]*[:：])")
_MARGIN = re.compile(r".*?(?P<words>)")
_LOOSE_WORDS = re.compile(r"[\W_]*(?P<words>[^\W\d_a-z][^\W\d_]*[ /-](?:[^\W\d_]+[ /-]){0,2})")
_NUMBERED = re.compile(r"[^\w\n]*(?:\d{1,2}|i{1,3}|iv|vi{0,3}|[a-h])[.):\]]")


class Page(NamedTuple):
    """A report: its text, the same folded, and its letters: upper, lower or mixed."""

    text: str
    folded: str
    case: str
    margins: frozenset[str] = frozenset()  # of lines with headings, see `margin_of`


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


def page_of(text: str) -> Page:
    """The text with what is looked up in it again and again."""
    return Page(text, fold(text), _case_of_text(text))


def see(page: Page, start: int, end: int) -> Seen:
    """What surrounds the heading words between two places."""
    line = page.text.rfind("\n", 0, start) + 1
    left = _left(page, line, start, end) if start - line <= FARTHEST else None
    section, is_shy = section_of(page.folded[start:end])
    begin = left.start("words") if left else _words_inside(page, line, start, _case(page.text[start:end]))
    words, case = page.text[begin:start], _case(page.text[begin:end])
    symbols = _SYMBOLS.search(page.text, max(line, begin - 12), begin)
    frame = symbols.group(1) if symbols else ""
    stop, separator = _separator(page, start, end, line, left is not None, frame, section in _ASIDES)
    if left:
        begin = line
    else:
        is_framed = symbols is not None and _closed(page, end, frame) > end
        begin = opening(page, line, symbols.start(1) if symbols and is_framed else begin)
    return Seen(line, begin, start, stop, section, is_shy, case, separator, left is not None, words)


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
    if is_measured and LEADING.intersection(fold(loose["words"]).split()) or not (is_measured or is_loud):
        return None
    is_alike = page.text[start:end].isupper() == loose["words"].isupper()
    _, kind = _separator(page, start, end, line, True, "", False)
    return loose if is_alike and kind == "colon" else None


def margin_of(before: str) -> str:
    """What stands before a heading in its line, its numbers alike: the same before several is their form."""
    is_form = before.strip() and not before.isspace() and not all(c.isalpha() or c.isspace() for c in before)
    return re.sub(r"\d+", "0", before) if is_form else ""


def _case_of_text(text: str) -> str:
    sample = text[:: 1 + len(text) // 400].replace("X", "")  # marks of de-identification are no capitals
    capitals, small = sum(map(str.isupper, sample)), sum(map(str.islower, sample))
    return "upper" if small < capitals / 4 else "lower" if capitals < small / 200 else "mixed"


def _words_inside(page: Page, line: int, start: int, case: str) -> int:
    """Where the qualifying words before a heading inside a line begin: "None. | chest findings - ..."."""
    before = LEFT_INSIDE.search(page.folded, max(line, start - FARTHEST), start)
    if before is None:
        return start
    words = page.text[before.start() : start].split()
    if case == "lower":
        place = opening(page, line, before.start())
        is_apart = place == line or page.text[place : before.start()].strip()
        return before.start() if is_apart or _ENDS.search(page.text, max(line, place - 24), place) else start
    return before.start() if all(_case(word) == case for word in words) else start


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


def _case(words: str) -> str:
    first = next(filter(str.isalpha, words), "")
    if not first or words.isupper():
        return "upper"
    return "title" if first.isupper() else "lower"


def _separator(
    page: Page, start: int, end: int, line: int, is_at_line_start: bool, symbols: str, is_aside: bool
) -> tuple[int, str]:
    """Where the text after a heading begins, and what separates it, see `Seen`."""
    if is_at_line_start and (qualified := _QUALIFIED.match(page.folded, end)):
        words = qualified.group().split()
        if not CONTINUING.intersection(words) and not any(map(heading_section, words)):
            return _kind(page, start, qualified.end(), line, symbols)
    suffix = SUFFIX.match(page.folded, end)
    assert suffix is not None  # it matches nothing too
    is_louder = page.text[start:end].isupper() and _case(page.text[end : suffix.end("words")]) != "upper"
    if suffix.end() > end and not is_louder:
        stop, kind = _kind(page, start, suffix.end(), line, symbols)
        is_upper = page.text[start : suffix.end()].isupper()
        goes_on = kind == "eol" and page.case == "mixed" and page.text[stop : stop + 2].strip().islower()
        if kind in ("colon", "mark") or (is_at_line_start and kind in ("eol", "dash", "gap") and not goes_on):
            return stop, kind
        if is_at_line_start and kind == "dot" and is_upper:
            return stop, kind
    stop, kind = _kind(page, start, end, line, symbols)
    if kind == "none" and is_at_line_start and page.text[start].isupper() and is_aside:
        further = ASIDE_SUFFIX.match(page.folded, end)
        stop, kind = _kind(page, start, further.end() if further else end, line, symbols)
        if kind != "eol" or not page.text[stop:].lstrip()[:1].islower():
            return stop, kind
        stop, kind = _kind(page, start, end, line, symbols)
    first = first_phrase(page.folded, start)
    return _kind(page, start, first, line, symbols) if kind == "none" and first < end else (stop, kind)


def _kind(page: Page, start: int, end: int, line: int, symbols: str) -> tuple[int, str]:
    closed = _closed(page, end, symbols)
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


def _closed(page: Page, end: int, symbols: str) -> int:
    """Where the text goes on after symbols that answer those before the heading: ``!Findings!``."""
    if symbols and not re.fullmatch(r"[.,;:?)\]]", symbols):
        spaces = end + len(page.text[end : end + 4]) - len(page.text[end : end + 4].lstrip(" \t"))
        for closing in (symbols, symbols.translate(_MIRROR)[::-1]):
            if page.text.startswith(closing, spaces):
                return spaces + len(closing)
    return end


def is_led_to(page: Page, place: int, words: frozenset[str]) -> bool:
    """Whether the word before a place is one that a sentence goes on after: "no acute | findings"."""
    before = page.text[max(0, place - 40) : place]
    word = _LAST_WORD.search(fold(before))
    return word is not None and word.group(1) in words and not _ENDS.search(before)


def follows_end(page: Page, place: int) -> bool:
    """Whether what stands before a place is finished: the start of the text, a blank line or a full stop."""
    before = page.text[max(0, place - 80) : place]
    blank = before.rstrip(" \t")
    return (
        not blank.strip()
        or blank.endswith("\n\n")
        or bool(re.search(r"\n[ \t]*\n[ \t]*$", before))
        or bool(_ENDS.search(before))
    )


def next_word(page: Page, stop: int) -> tuple[str, bool]:
    """The word after a heading, folded, and whether it begins like a sentence."""
    found = _NEXT_WORD.match(page.text, stop)
    word = found.group(1) if found else ""
    return fold(word).rstrip(".,;"), word[:1].isupper() or word[:1].isdigit() or word[:1] in "_<[-•*"


def goes_on(page: Page, word: str, is_capital: bool) -> bool:
    """Whether a sentence goes on with the word after the heading: "Findings | suggest"."""
    return word in CONTINUING and not (is_capital and page.case == "mixed")


def ends_before(page: Page, line: int, place: int) -> bool:
    """Whether the text of the line up to a place has a sentence's end as its last character, or is empty."""
    return not page.text[line:place].strip() or bool(_ENDS.search(page.text, max(line, place - 24), place))


def is_opened(page: Page, seen: Seen) -> bool:
    """Whether decoration that takes a pair stands before the heading."""
    return bool(_OPENED.search(page.text, seen.begin, seen.start))


def passed_decoration(page: Page, end: int) -> int:
    """Where the text goes on after separators and decoration."""
    after = _AFTER.match(page.text, end)
    return after.end() if after else end
