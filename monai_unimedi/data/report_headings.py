# SPDX-License-Identifier: Apache-2.0
"""The words that head a section of a radiology report, and the section each of them opens.

The words are those of :mod:`.report_vocabulary`, compared without case and accents, see :func:`fold`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from monai_unimedi.data.report_vocabulary import MODIFIERS, PLAIN, SHY, SUFFIXES

__all__ = [
    "ASIDE_SUFFIX",
    "BLOCKING",
    "CONTINUING",
    "LEADING",
    "LEFT",
    "LEFT_INSIDE",
    "SUFFIX",
    "find_words",
    "first_phrase",
    "fold",
    "heading_section",
    "is_title",
    "section_of",
    "titled_section",
]

_CONNECTOR = r"(?:[ \t]*(?:[/&+\\]|,|\band\b|\by\b|\be\b|\bet\b|\bund\b|\ben\b|\bve\b)[ \t]*|-)"

# A heading is not one after these words ("no acute | findings"), nor before those ("Findings | suggest").
LEADING = frozenset(
    """a an the no not any all some other others following additional significant important pertinent relevant
    these those this that such as with without and or of in on by for from to my our his her their its
    suspicious equivocal subtle specific nonspecific acute chronic critical key main major minor incidental
    unexpected abnormal clinical imaging radiographic radiological related associated further remaining two
    three several multiple many few which is are was were be have had has
    los las estos estas otros otras siguientes sin con de del la el un una keine der die das ein eine des les
    sans avec""".split()
)
"""Words that no sentence ends with."""
BLOCKING = LEADING | frozenset(
    "new old same similar above below prior previous ct chest normal positive negative stable".split()
)
CONTINUING = frozenset(
    """are is was were be been being has have had may might could can should would will do does did suggest
    suggests suggesting suggestive consistent compatible represent represents representing likely probably
    possibly most more of in on at by to with within without from for as and or that which who concerning
    discussed communicated reported described noted above below remain remains appear appears seen include
    includes including indicate indicates indicating favor favors raise raises reflect reflects correlate
    correlates unchanged made not worrisome typical characteristic highly strongly also again between than
    section only
    sugestivos compatibles de del en con que son es sobre entre sind ist mit von im""".split()
)
_TITLE_NAMES = frozenset(
    "chest thorax radiograph radiographs radiography x-ray xray x-rays cxr ct torax tc tac".split()
)
_TITLE_WORDS = frozenset(
    """ap pa lateral lat portable upright supine semi-upright semiupright semi erect frontal single two
    one three 1 2 3 view views of the and chest thorax radiograph radiographs radiography x-ray xray x-rays
    cxr ct hrct cta scan film study examination exam with without contrast iv intravenous only bedside
    pulmonary angiogram angiography high resolution low dose at on in dated performed abdomen pelvis
    tc tac de torax rx simple posteroanterior anteroposterior y am pm a p m hrs hours""".split()
)


def fold(text: str) -> str:
    """Lower case without accents and underscores, of the same length: places agree with those of ``text``."""
    return text.translate(_FOLDED)


def find_words(folded: str) -> Iterator[tuple[int, int]]:
    """Start and end of each run of heading words in a folded text ("findings and impression" is one)."""
    end = 0
    for word in _FIRST_WORD.finditer(folded):
        if word.start() >= end:
            found = _CORE.match(folded, word.start())
            if found:
                end = found.end()
                yield found.span()


def first_phrase(folded: str, start: int) -> int:
    """End of the first of the words that :func:`find_words` found ("findings" of "findings-comparison")."""
    found = _PHRASE.match(folded, start)
    assert found is not None
    return found.end()


def section_of(heading: str) -> tuple[str, bool]:
    """The section that a folded heading opens, and whether its words are shy.

    Of several ("findings and impression") findings and impression come first; both together are ``joined``.
    """
    phrases = [" ".join(found.group().split()) for found in _PHRASE.finditer(heading)]
    names = [_SECTION[phrase] for phrase in phrases]
    is_shy = all(phrase in _SHY_PHRASES for phrase in phrases)
    if "findings" in names and "impression" in names:
        return "joined", is_shy
    for name in ("findings", "impression"):
        if name in names:
            return name, is_shy
    return names[0], is_shy


def heading_section(name: str) -> str:
    """The section that a name opens where it says nothing else ("findingsText", "chest impression"), or ""."""
    return _named(name)[0]


def titled_section(text: str) -> str:
    """As :func:`heading_section`, but for what may as well be a section's text ("Follow-up", "Study") ""."""
    section, is_shy = _named(text)
    return "" if is_shy and section in _LOOSE else section


def _named(name: str) -> tuple[str, bool]:
    folded = fold(_SEPARATED.sub(" ", name)).strip()
    spans = list(find_words(folded)) if len(folded) <= _LONGEST_NAME else []
    for start, end in spans:
        suffix = SUFFIX.match(folded, end)
        is_whole = suffix is not None and not folded[suffix.end() :].strip(" :.-=*#_")
        if is_whole and LEFT.fullmatch(folded, 0, start):
            return section_of(folded[start:end])
    return "", False


def _phrases(table: dict[str, str]) -> dict[str, str]:
    return {" ".join(phrase.split()): name for name, text in table.items() for phrase in text.split(",")}


def _longest_first(words: str) -> list[str]:
    return sorted({re.escape(word) for word in words.split()}, key=len, reverse=True)


def _alternatives(phrases: Iterable[str]) -> str:
    """One pattern for all phrases as a tree of letters, longest first: each place is compared with few."""
    branches: dict[str, list[str]] = {}
    for phrase in set(phrases):
        branches.setdefault(phrase[:1], []).append(phrase[1:])
    if list(branches) == [""]:
        return ""
    letters = (
        (r"[ \t]+" if letter == " " else re.escape(letter)) + _alternatives(tails)
        for letter, tails in sorted(branches.items())
        if letter
    )
    return f"(?:{'|'.join([*letters, *([''] if '' in branches else [])])})"


_FOLDED = {
    code: fold_to
    for code in [*range(0x41, 0x5B), *range(0xC0, 0x180), *range(0x370, 0x460)]
    if len(fold_to := unicodedata.normalize("NFD", chr(code))[0].lower()) == 1
}
_FOLDED.update({ord(letter): folded for letter, folded in zip("_ıøłđæßØŁĐÆ", " ioldasolda")})
_SEPARATED = re.compile(r"(?<=[a-z])(?=[A-Z])|[_:]+|(?<=[A-Za-z])[.-](?=[A-Za-z])")
_LONGEST_NAME = 80
_LOOSE = frozenset(("recommendation", "notification", "examination", "record"))
_SHY_PHRASES = _phrases(SHY)
_SECTION = {**_SHY_PHRASES, **_phrases(PLAIN)}
_ANY = rf"\b{_alternatives(_SECTION)}(?!\w)"
_PHRASE = re.compile(_ANY)
_WORDS = "|".join(_longest_first(MODIFIERS))
_ENUMERATION = r"(?:\d{1,2}(?:\.\d{1,2})*[.):\]\-]*|(?:i{1,3}|iv|vi{0,3}|[a-h])[.):\]\-]+)"

_CORE = re.compile(rf"{_ANY}(?:{_CONNECTOR}{_ANY})*")
_FIRST_WORD = re.compile(r"\b" + _alternatives(re.split(r"\W", phrase)[0] for phrase in _SECTION) + r"\b")
_TIME = (
    r"(?:\d{1,4}(?:[/.-]\d{1,4}){1,2}|\d{1,2}:\d{2}(?::\d{2})?|\d{1,4}(?=[ \t]+[a-z])"
    r"|(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*|[ap]\.?m\.?|hrs|hours|at)(?![\w/])"
)
LEFT = re.compile(
    rf"[\W_]*(?:{_ENUMERATION}[\W_]*)?(?:(?:section|part|seccion|abschnitt)\s*\d{{0,2}}[\W_]*)?"
    rf"(?P<words>(?:(?:{_WORDS})[\s/-]+)*)[\W_]*"
)
"""What may stand between the start of a line and the heading: decoration, number, qualifying words."""
LEFT_INSIDE = re.compile(rf"(?:\b(?:{_WORDS})\s+)+$")
"""Qualifying words right before a heading inside a line."""
SUFFIX = re.compile(
    rf"(?P<words>(?:(?:[ \t/,]+|[ \t]*[-–—][ \t]*)(?:(?:{'|'.join(_longest_first(SUFFIXES))})\b|{_TIME})){{0,12}})"
    r"(?:[ \t]*#?\d{1,2}(?=[ \t]*:))?(?:[ \t]*[(\[][^()\[\]\n]{0,60}[)\]])?"
)
"""What may stand between a heading and its separator."""
ASIDE_SUFFIX = re.compile(
    r"(?:[ \t]+[^\W\d_]+){1,4}(?=[ \t]*:)"
    r"|[ \t]+(?:with|to|of|for|from|and|de|del|con|avec|mit)(?:[ \t]+[^\W\d_]+){1,3}(?=[ \t]*\n)"
)
"""Words that may go, before a colon or alone on a line, after the heading of a section beside the report proper."""
_TITLE_WORD = re.compile(r"[^\W\d]+(?:-[^\W\d]+)*")


def is_title(folded: str) -> bool:
    """Whether a folded line names an examination and says nothing else: ``portable ap chest radiograph``."""
    words = _TITLE_WORD.findall(folded)
    return all(word in _TITLE_WORDS for word in words) and any(word in _TITLE_NAMES for word in words)
