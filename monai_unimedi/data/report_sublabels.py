# SPDX-License-Identifier: Apache-2.0
"""Labels inside findings and impressions that name no section of the report: "Technical quality: Adequate."

Once findings or an impression have begun, a heading of another section is one where it is styled as the main
headings are. Otherwise it takes its own line, or it stays where it stands with what follows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from monai_unimedi.data.report_headings import fold
from monai_unimedi.data.report_page import Page, case_of
from monai_unimedi.data.report_sentences import sentence_ends
from monai_unimedi.data.report_trailer import is_formal

__all__ = ["CLOSING", "Candidate", "Heading", "without_sublabels"]

CLOSING = "/"
"""Section of a mark that ends one (``[/FINDINGS]``, ``END OF IMPRESSION``): what follows belongs to it."""


class Heading(NamedTuple):
    """A heading: its place, with all that decorates it, the section it opens, and words worth keeping."""

    start: int
    end: int
    section: str
    words: str = ""
    is_set_off: bool = False  # by the form of the export


class Candidate(NamedTuple):
    """What may be a heading, how sure that is, and how it is written."""

    heading: Heading
    level: int
    is_at_line_start: bool
    style: tuple[str, str]  # letters, separator
    is_shy: bool = False
    is_whole: bool = True  # no word stands with those of the list: "Prior surgery:"


class _Shape(NamedTuple):
    case: str
    is_alone: bool
    is_after_blank: bool


_MAIN = frozenset(("findings", "impression", "joined", "interpretation"))
_ASIDE = frozenset(("indication", "comparison", "technique", "examination"))
_LOOSE = _ASIDE | {"recommendation", "notification", "report"}
_OF_IMAGES = frozenset(("technique", "examination"))
_QUALITY = re.compile(r"\b(?:\w*quali[td]\w*|calidad|kwaliteit|limita[ct]i\w*|einschrank\w*|[ck]ontrast\w*)")
_TAIL = re.compile(r"(?:(?<=[.!?:]\s)|^)[^\w\n]*[^\W\d_]{3,}(?:[ \t]+[^\W\d_]+)?[ \t]*$")
_NEVER = re.compile(r"[ck]orr?el")
_SUBLABEL = re.compile(r"^[^\w\n]*(?:\d{1,2}[.)][ \t]*)?(?P<label>[^\W\d_][^\n:.;,]{1,40}):", re.MULTILINE)
_INSIDE = re.compile(r"(?:(?<=[.!?:])\s+|^\s*)(?P<label>[^\W\d_][^\n:.;,]{1,30}):(?=\s)")
_UNBROKEN = 45  # characters of a line that is not broken for want of room


def without_sublabels(page: Page, candidates: Sequence[Candidate]) -> list[Heading]:
    """The headings of the candidates, in order; a section goes on below the line of a label inside it."""
    shapes = [_shape(page, c) for c in candidates if c.heading.section in _MAIN and c.is_at_line_start]
    headings: list[Heading] = []
    opened: Candidate | None = None
    for c in candidates:
        if opened is None or not _may_be_sublabel(c, opened):
            opened = _opened(c, opened)
            headings.append(c.heading)
        elif _is_main(page, c, opened, candidates, shapes):
            opened = None
            headings.append(c.heading)
        elif end := _own_end(page, c, opened, candidates, shapes):
            headings += [c.heading, Heading(end, end, opened.heading.section)]
    return headings


def _opened(c: Candidate, opened: Candidate | None) -> Candidate | None:
    """The candidate of the section that goes on after a heading, where that is one of the report proper."""
    if c.heading.section in _MAIN:
        return c
    return opened if c.heading.section in (CLOSING, "record") else None


def _may_be_sublabel(c: Candidate, opened: Candidate) -> bool:
    if c.heading.is_set_off or opened.heading.is_set_off:
        return False
    return c.heading.section in (_LOOSE if _is_loose(c) else _ASIDE)


def _is_loose(c: Candidate) -> bool:
    return c.is_shy or not c.is_whole


def _is_main(
    page: Page, c: Candidate, opened: Candidate, candidates: Sequence[Candidate], shapes: Sequence[_Shape]
) -> bool:
    """Whether a heading is written as those of findings and impression are, and not as labels inside them are."""
    shape, label = _shape(page, c), page.folded[c.heading.start : c.heading.end]
    is_apart = shape.is_alone or shape.is_after_blank
    if _is_tail(page, c, opened):
        return False
    if not _is_loose(c) and (shape.is_alone or not c.is_at_line_start):
        return shape.is_alone or not (_is_first(page, c, opened) and _has_lines_below(page, c, candidates))
    if _is_first(page, c, opened) or _has_siblings(page, c, opened, candidates):
        return False
    if not _is_loose(c) and shape.is_after_blank:
        return True
    if _is_loose(c) and (_NEVER.search(label) or (_QUALITY.search(label) and not is_apart)):
        return False
    is_like = is_apart and any(shape.case == main.case for main in shapes)
    return not c.is_at_line_start or is_like or (shape in shapes and c.is_whole)


def _is_first(page: Page, c: Candidate, opened: Candidate) -> bool:
    """Whether nothing stands between the heading of the open section and a label."""
    return not any(map(str.isalnum, page.text[opened.heading.end : c.heading.start]))


def _has_lines_below(page: Page, c: Candidate, candidates: Sequence[Candidate]) -> bool:
    """Whether lines follow that of a label before the next heading."""
    stop = min((o.heading.start for o in candidates if o.heading.start > c.heading.start), default=len(page.text))
    return bool(page.text[_line_end(page, c.heading.end) : stop].strip())


def _is_tail(page: Page, c: Candidate, opened: Candidate) -> bool:
    """Whether heading words end a longer label: "Calidad técnica:"."""
    if c.is_at_line_start:
        return False
    line = page.text.rfind("\n", 0, c.heading.start) + 1
    before = page.text[max(line, opened.heading.end) : c.heading.start]
    begin = _TAIL.search(before)
    if begin is None or case_of(begin.group().strip()) not in (c.style[0], "title"):
        return False
    is_whole_line = line >= opened.heading.end and not before[: begin.start()].strip()
    return is_whole_line or bool(_QUALITY.search(fold(begin.group())))


def _own_end(
    page: Page, c: Candidate, opened: Candidate, candidates: Sequence[Candidate], shapes: Sequence[_Shape]
) -> int:
    """Where the entry of a label ends that is told apart, or 0 where it stays in its section."""
    shape, label = _shape(page, c), page.folded[c.heading.start : c.heading.end]
    is_inside = not c.is_at_line_start and (_is_loose(c) or not _is_first(page, c, opened))
    if is_inside or shape.is_alone or c.heading.section == "report":
        return 0
    if not c.is_whole and (shape not in shapes or _has_siblings(page, c, opened, candidates)):
        return 0
    later = (other.heading.start for other in candidates if other.heading.start >= c.heading.end)
    end = _entry_end(page, c.heading.end, min(later, default=len(page.text)))
    is_long = any(True for _ in sentence_ends(page.text, c.heading.end, end))
    is_kept = (is_long and c.heading.section in _OF_IMAGES) or _NEVER.search(label)
    return 0 if _is_loose(c) and is_kept else end


def _entry_end(page: Page, start: int, stop: int) -> int:
    """Where the lines end that one entry is broken into."""
    end = _line_end(page, start)
    while end + 1 < stop:
        following = page.text[end + 1 : _line_end(page, end + 1)].strip()
        line = page.text[page.text.rfind("\n", 0, end) + 1 : end].rstrip()
        is_broken = len(line) > _UNBROKEN and line[-1:] not in ".!?:)"
        if not following or not (is_broken or following[0].islower()) or _SUBLABEL.match(following):
            break
        end = _line_end(page, end + 1)
    return min(end, stop)


def _line_end(page: Page, start: int) -> int:
    found = page.text.find("\n", start)
    return len(page.text) if found < 0 else found


def _shape(page: Page, c: Candidate) -> _Shape:
    start, end = c.heading.start, c.heading.end
    return _Shape(c.style[0], not page.text[end : _line_end(page, end)].strip(), _is_after_blank(page, start))


def _is_after_blank(page: Page, start: int) -> bool:
    """Whether a blank line, or one of symbols only, stands before a place."""
    before = page.text[max(0, start - 120) : start]
    rest = before.rstrip("".join({character for character in before if not character.isalnum()}))
    return before[len(rest) :].count("\n") > 1


def _has_siblings(page: Page, c: Candidate, opened: Candidate, candidates: Sequence[Candidate]) -> bool:
    """Whether labels that head no section are written alike in the section that is open."""
    start, later = opened.heading.end, [o.heading.start for o in candidates if o.heading.section in _MAIN]
    stop = min((place for place in later if place > c.heading.start), default=c.heading.start)
    if c.is_at_line_start:
        known = {other.heading.start for other in candidates}
        return any(shape == _shape(page, c) for shape in _labels(page, start, stop, known))
    found = _INSIDE.finditer(page.text[start:stop])
    alike = [label.span("label") for label in found if case_of(label["label"]) == c.style[0]]
    places = [(other.heading.start - start, other.heading.end - start) for other in candidates]
    return sum(not any(first < end and begin < last for first, last in places) for begin, end in alike) > 1


def _labels(page: Page, start: int, stop: int, known: set[int]) -> Iterator[_Shape]:
    """The shapes of the labels at line starts between two places, without those known as headings."""
    for label in _SUBLABEL.finditer(page.text, start, stop):
        line = page.text[label.start() : _line_end(page, label.end())]
        is_heading = any(label.start() <= place <= label.start("label") for place in known)
        if label.start() > start and not is_heading and not is_formal(line):
            is_alone = not page.text[label.end() : _line_end(page, label.end())].strip()
            yield _Shape(case_of(label["label"]), is_alone, _is_after_blank(page, label.start()))
