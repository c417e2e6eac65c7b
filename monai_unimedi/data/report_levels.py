# SPDX-License-Identifier: Apache-2.0
"""How sure it is that heading words are a heading, by what surrounds them."""

from __future__ import annotations

import re

from monai_unimedi.data.report_headings import BLOCKING, LEADING
from monai_unimedi.data.report_page import Page, ends_before, follows_end, goes_on, is_led_to, next_word
from monai_unimedi.data.report_surroundings import Seen, is_opened

__all__ = ["NOT", "PERHAPS", "SURE", "level_at_line_start", "level_inside"]

SURE, PERHAPS, NOT = 2, 1, 0
_BETWEEN = re.compile(r"[|/;\]>»]")


def level_at_line_start(page: Page, seen: Seen) -> int:
    """Level of heading words that begin a line."""
    if seen.section == "record":
        return SURE if seen.separator == "colon" else NOT
    word, is_capital = next_word(page, seen.stop)
    differs = page.case == "mixed" and (seen.case == "upper" or is_capital)  # from the text, by its letters
    is_after_end = follows_end(page, seen.line)
    is_doubtful = False
    is_plain = seen.case != "lower" and page.case == "mixed" and seen.separator in ("colon", "mark", "dash")
    if not is_plain and not is_after_end:
        if is_led_to(page, seen.line, LEADING):
            return NOT
        is_weak = seen.separator in ("none", "gap", "eol") and not differs
        is_doubtful = is_weak and is_led_to(page, seen.line, BLOCKING)
    if seen.separator == "eol":
        return _level_on_own_line(page, seen, is_after_end, differs, is_doubtful)
    if seen.separator in ("none", "gap"):
        return _level_without_separator(page, seen, word, is_capital, is_after_end)
    return _level_by_separator(page, seen, is_after_end)


def _level_by_separator(page: Page, seen: Seen, is_after_end: bool) -> int:
    is_small = seen.case == "lower"
    if seen.separator == "colon":
        return SURE if not (seen.is_shy and is_small) or is_after_end or page.case == "lower" else NOT
    if seen.separator == "mark":
        return SURE if not seen.is_shy or not is_small else PERHAPS
    if seen.separator == "dash":
        return SURE if not seen.is_shy or seen.case == "upper" else PERHAPS
    if is_small:  # "findings." may end a sentence, unless it has the line to itself
        return PERHAPS if is_after_end and page.text[seen.stop : seen.stop + 1] in ("", "\n") else NOT
    is_end = page.case == "upper" and not is_after_end  # "THE PREVIOUS | STUDY."
    return NOT if is_end else PERHAPS if seen.is_shy else SURE


def _level_on_own_line(page: Page, seen: Seen, is_after_end: bool, differs: bool, is_doubtful: bool) -> int:
    if seen.case == "lower" or is_doubtful:
        is_sure = is_after_end and not seen.is_shy
        return (SURE if is_sure else PERHAPS) if page.text[seen.stop :].strip() else NOT
    is_good = not seen.is_shy or is_after_end or page.text[seen.line : seen.start].strip()
    return SURE if is_good and (differs or page.case != "mixed") else PERHAPS


def _level_without_separator(page: Page, seen: Seen, word: str, is_capital: bool, is_after_end: bool) -> int:
    is_small = seen.case == "lower"
    is_first = page.case == "upper" and not page.text[: seen.begin].strip() and not seen.is_shy
    if is_first and goes_on(page, word, is_capital):
        return PERHAPS
    if goes_on(page, word, is_capital) or (seen.words and is_small and seen.separator == "none"):
        return NOT
    if seen.case == "upper" and page.case != "upper":
        return PERHAPS if seen.is_shy else SURE
    if seen.separator == "gap":
        return PERHAPS if seen.is_shy or is_small else SURE
    is_good = is_capital or page.case != "mixed" or seen.case == "title" or is_after_end
    return PERHAPS if is_good and not seen.is_shy else NOT


def level_inside(page: Page, seen: Seen) -> int:
    """Level of heading words inside a line."""
    if seen.section == "record":
        return NOT
    is_loud = seen.case == "upper" and page.case != "upper"
    ends = ends_before(page, seen.line, seen.begin)
    ends = ends or bool(_BETWEEN.search(page.text, seen.begin, seen.start))
    if seen.is_shy:
        is_good = is_loud or (ends and (seen.case != "lower" or page.case == "lower"))
        if seen.separator != "colon":
            return PERHAPS if ends and seen.separator in ("dash", "mark") and seen.case != "lower" else NOT
        return SURE if is_good else NOT if is_led_to(page, seen.begin, LEADING) else PERHAPS
    is_weak = seen.separator in ("none", "gap", "eol") and not is_loud
    is_led = not ends and is_led_to(page, seen.begin, BLOCKING if is_weak else LEADING)
    if seen.separator == "colon":
        return SURE if is_loud or not is_led else NOT
    if seen.separator == "mark":
        before = page.text[seen.begin : seen.start].strip()
        is_framed = is_opened(page, seen) or (seen.case != "lower" and before)
        return SURE if is_framed or is_loud else PERHAPS if ends else NOT
    return NOT if is_led else _level_inside_without_separator(page, seen, is_loud, ends)


def _level_inside_without_separator(page: Page, seen: Seen, is_loud: bool, ends: bool) -> int:
    word, is_capital = next_word(page, seen.stop)
    if seen.separator in ("none", "gap") and goes_on(page, word, is_capital):
        return NOT
    if is_loud:
        return SURE
    if seen.separator == "eol":
        return NOT
    if page.case != "mixed":
        return PERHAPS
    is_dashed = seen.separator == "dash"
    return PERHAPS if (ends and (is_capital or is_dashed)) or (is_dashed and seen.case != "lower") else NOT
