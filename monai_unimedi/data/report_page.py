# SPDX-License-Identifier: Apache-2.0
"""A report as it is looked at for headings, and what the words next to a place in it say."""

from __future__ import annotations

import re
from typing import NamedTuple

from monai_unimedi.data.report_headings import CONTINUING, fold

__all__ = [
    "SPOKEN_COLON",
    "Page",
    "case_of",
    "ends_before",
    "follows_end",
    "goes_on",
    "is_led_to",
    "margin_of",
    "next_word",
    "page_of",
]

SPOKEN_COLON = re.compile(r"[ \t]+(?:colon|dos puntos|deux[- ]points|doppelpunkt|due punti|dois pontos)\b[ \t]*")
_ENDS = re.compile(r"""(?:[.!?:;)\]"”»|/>]|_{2,}|X{3,})\s*$""")
_LAST_WORD = re.compile(r"([^\W_]+)\W*$")
_NEXT_WORD = re.compile(r"(?:[^\w\n]*\n)*[\s\"'(\[]*(\S+)")


class Page(NamedTuple):
    """A report: its text, the same folded, and its letters: upper, lower or mixed."""

    text: str
    folded: str
    case: str
    is_spoken: bool  # "colon" stands in words
    margins: frozenset[str] = frozenset()  # of lines with headings, see :func:`margin_of`


def page_of(text: str) -> Page:
    """The text with what is looked up in it again and again."""
    folded = fold(text)
    return Page(text, folded, _case_of_text(text), len(SPOKEN_COLON.findall(folded)) > 1)


def _case_of_text(text: str) -> str:
    sample = text[:: 1 + len(text) // 400].replace("X", "")  # marks of de-identification are no capitals
    capitals, small = sum(map(str.isupper, sample)), sum(map(str.islower, sample))
    return "upper" if small < capitals / 4 else "lower" if capitals < small / 200 else "mixed"


def case_of(words: str) -> str:
    """Letters of a heading: upper, title or lower."""
    first = next(filter(str.isalpha, words), "")
    if not first or words.isupper():
        return "upper"
    return "title" if first.isupper() else "lower"


def margin_of(before: str) -> str:
    """What stands before a heading in its line, its numbers alike: the same before several is their form."""
    is_form = before.strip() and not before.isspace() and not all(c.isalpha() or c.isspace() for c in before)
    return re.sub(r"\d+", "0", before) if is_form else ""


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
