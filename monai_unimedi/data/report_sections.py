# SPDX-License-Identifier: Apache-2.0
"""Where the headings of a report lie.

Every run of heading words (:mod:`.report_headings`) is a candidate. What stands round it
(:mod:`.report_page`) says how sure it is (:mod:`.report_levels`): its place in the line, what separates it
from the text, its letters, and the words before and after it. Sure ones count by themselves; the others
where at least two sections of the report are headed in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from monai_unimedi.data.report_exports import HEADED
from monai_unimedi.data.report_headings import LEFT, SUFFIX, find_words, heading_section, is_title, section_of
from monai_unimedi.data.report_labels import find_labels
from monai_unimedi.data.report_levels import PERHAPS, SURE, level_at_line_start, level_inside
from monai_unimedi.data.report_page import SPOKEN_COLON, Page, margin_of, page_of
from monai_unimedi.data.report_separators import FARTHEST, passed_decoration
from monai_unimedi.data.report_sublabels import CLOSING, Candidate, Heading, without_sublabels
from monai_unimedi.data.report_surroundings import opening, see

__all__ = ["CLOSING", "Heading", "find_headings"]

_CLOSES = re.compile(r"(?:[<\[({]\s*/\s*|(?:^|\W)(?:end\s+of\s+(?:the\s+)?|end\s+))$")
_TITLE_LINE = re.compile(r"^[ \t]*([A-Z0-9_][^\n:]{3,90}):", re.MULTILINE)
_SET_OFF = re.compile(rf"{HEADED}([^{HEADED}\n]*){HEADED}")
_LOUD = re.compile(r"[^\W\d_a-z]{3,}(?:\s[^\W\d_a-z]{2,})*(?![^\W_])")
_MEASURED = frozenset(("findings", "impression"))
_NAMED = frozenset(("findings", "impression", "joined", "interpretation", "report", "addendum"))


def find_headings(text: str) -> list[Heading]:
    """The headings of a text in order.

    Args:
        text: lines ended by ``\\n``, see :func:`.report_cleaning.plain_lines`; a single line is well.
    """
    page = page_of(text)
    set_off = _set_off(text) if HEADED in text else []
    stop = set_off[0].heading.start if {found.heading.section for found in set_off} >= _MEASURED else len(text)
    taken = [range(found.heading.start, found.heading.end) for found in set_off]
    spans = [span for span in find_words(page.folded) if not _is_prose(page, *span)]
    spans = [span for span in spans if not any(span[0] in place for place in taken)]
    page = page._replace(margins=_margins(page, spans))
    candidates = [*set_off, *(found for span in spans if (found := _candidate(page, *span)))]
    names = {found.heading.section for found in set_off}
    candidates = [c for c in candidates if c.heading.start < stop or c in set_off or _is_new(c, names)]
    candidates += _labels(page, candidates)
    candidates.sort(key=lambda found: found.heading.start)
    headings = _without_overlaps(without_sublabels(page, _chosen(candidates)))
    return sorted([*headings, *_titles(page, headings)])


def _is_new(candidate: Candidate, names: set[str]) -> bool:
    """Whether it is sure and heads what none of the names does."""
    is_sure = candidate.is_at_line_start and candidate.level == SURE and candidate.style[0] == "upper"
    return is_sure and candidate.heading.section not in names


def _margins(page: Page, spans: Sequence[tuple[int, int]]) -> frozenset[str]:
    """What stands before the headings of two or more sections alike, "RPT_" or "[10:22]"."""
    sections: dict[str, set[str]] = {}
    for start, end in spans:
        line = page.text.rfind("\n", max(0, start - FARTHEST), start) + 1
        if (line or start < FARTHEST) and (margin := margin_of(page.text[line:start])):
            sections.setdefault(margin, set()).add(section_of(page.folded[start:end])[0])
    return frozenset(margin for margin, names in sections.items() if len(names) > 1)


def _labels(page: Page, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Labels that begin lines on which there is no heading (:mod:`.report_labels`)."""
    if "\n" not in page.text or not candidates:
        return []
    taken = {page.text.rfind("\n", 0, found.heading.end - 1) for found in candidates if found.is_at_line_start}
    found = []
    for label in find_labels(page.text, page.folded):
        if page.text.rfind("\n", 0, label.end) not in taken and (page.case == "mixed" or label.has_colon):
            style = ("upper" if label.is_upper else "title", "colon" if label.has_colon else "eol")
            found.append(Candidate(Heading(label.start, label.end, label.section), PERHAPS, True, style, True, False))
    return found


def _set_off(text: str) -> list[Candidate]:
    """Headings that the form of an export tells (:mod:`.report_exports`); unknown ones open no section."""
    found = []
    for mark in _SET_OFF.finditer(text):
        section = heading_section(mark[1])
        line = text.rfind("\n", 0, mark.start()) + 1
        start = line if LEFT.fullmatch(text, line, mark.start()) else mark.start()
        heading = Heading(start, mark.end(), section, "" if section else f"{mark[1]}:", True)
        found.append(Candidate(heading, SURE, True, ("upper", "set off")))
    return found


def _is_prose(page: Page, start: int, end: int) -> bool:
    """Whether small words deep in a line stand between small words: most are, and need no closer look."""
    text = page.text
    if page.case != "mixed" or not text[start].islower() or "\n" in text[max(0, start - FARTHEST) : start]:
        return False
    before, after = text[max(0, start - 3) : start].rstrip()[-1:], text[end : end + 3].lstrip(" ")[:1]
    is_between = (before.islower() or before == ",") and (after.islower() or after in ",.")
    return start > FARTHEST and is_between and ":" not in text[end : end + FARTHEST]


def _candidate(page: Page, start: int, end: int) -> Candidate | None:
    if closing := _closing(page, start, end):
        return closing
    seen = see(page, start, _loud_end(page, start, end))
    level = level_at_line_start(page, seen) if seen.is_at_line_start else level_inside(page, seen)
    words = f"{seen.words}{page.text[start:end]}:" if seen.words.strip() else ""
    heading = Heading(seen.begin, seen.stop, seen.section, words)
    style, is_whole = (seen.case, seen.separator), _is_whole(page, end, seen.stop)
    return Candidate(heading, level, seen.is_at_line_start, style, seen.is_shy, is_whole) if level else None


def _is_whole(page: Page, end: int, stop: int) -> bool:
    """Whether no words but those that go with any heading stand between the words of a heading and its text."""
    suffix = SUFFIX.match(page.folded, end)
    rest = SPOKEN_COLON.sub("", page.folded[suffix.end() if suffix else end : stop])
    return not any(map(str.isalpha, rest))


def _loud_end(page: Page, start: int, end: int) -> int:
    """Where heading words in capitals end that others follow: "COMPARISON | Radiograph of the chest"."""
    is_mixed = page.case == "mixed" and not page.text[start:end].isupper()
    loud = _LOUD.match(page.text, start, end) if is_mixed else None
    is_heading = loud is not None and loud.end() < end and heading_section(loud.group())
    return loud.end() if loud is not None and is_heading else end


def _closing(page: Page, start: int, end: int) -> Candidate | None:
    """The mark that ends a section, or nothing."""
    line = page.text.rfind("\n", 0, start) + 1
    before = page.folded[max(line, start - 20) : start]
    if not (found := _CLOSES.search(before)):
        return None
    begin = start - len(before) + found.start()
    is_word = "end" in found.group()
    if is_word and not page.text[start:end].isupper() and page.folded[line:begin].strip(" *=-#<[("):
        return None
    begin = opening(page, line, begin)
    stop = passed_decoration(page, end)
    return Candidate(Heading(begin, stop, CLOSING), SURE, False, ("", ""))


def _chosen(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Sure candidates, and others in company; nothing that repeats, inside a line, what heads a line."""
    sure = {c.heading.section for c in candidates if c.is_at_line_start and c.level == SURE}
    sure.discard("record")
    is_by_lines = len(sure) > 1
    is_loud = all(c.style[0] == "upper" for c in candidates if c.is_at_line_start and c.level == SURE)
    first = candidates[0].heading.start if candidates else 0
    has_lines = any(c.is_at_line_start and c.heading.start > first for c in candidates)
    company: dict[tuple[str, str], set[str]] = {}
    for c in candidates:
        company.setdefault(c.style, set()).add(c.heading.section)
    is_headed = bool(candidates) and candidates[0].is_at_line_start and not candidates[0].heading.start
    first_style = candidates[0].style if is_headed else None
    chosen: list[Candidate] = []
    for c in candidates:
        names = {found.heading.section for found in chosen}
        is_repeated = is_by_lines and c.heading.section in sure and c.heading.section != CLOSING
        is_accompanied = len(company[c.style]) > 1
        if c.heading.section == CLOSING:
            chosen.append(c)
        elif c.is_at_line_start:
            is_alone = not c.heading.start and c.heading.section in _NAMED
            if c.level == SURE or (not is_repeated and (is_accompanied or is_alone)):
                chosen.append(c)
        elif c.level == SURE:
            if not is_repeated and not (is_by_lines and is_loud and c.style[0] != "upper"):
                chosen.append(c)
        elif is_accompanied and not has_lines and c.style == first_style and c.heading.section not in names:
            chosen.append(c)
    return chosen


def _without_overlaps(headings: Sequence[Heading]) -> list[Heading]:
    kept: list[Heading] = []
    for heading in headings:
        if not kept or heading.start >= kept[-1].end:
            kept.append(heading)
        elif heading.end > kept[-1].end:
            kept.append(heading._replace(start=kept[-1].end))
    return kept


def _titles(page: Page, headings: Sequence[Heading]) -> Iterator[Heading]:
    """Names of examinations at line starts, outside findings and impression: what follows has no heading."""
    if "\n" not in page.text:
        return
    for found in _TITLE_LINE.finditer(page.text):
        before = [heading for heading in headings if heading.start <= found.start()]
        is_inside = bool(before) and (before[-1].section in _NAMED or before[-1].end > found.start())
        if not is_inside and is_title(page.folded[found.start(1) : found.end(1)]):
            yield Heading(found.start(), found.end(), "", found.group(1) + ":")
