# SPDX-License-Identifier: Apache-2.0
"""What the texts of all sections of a report begin or end with belongs to its form and not to the texts.

Quotes round each text, a comma after each, "colon" dictated before each: what a single section has stays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["without_common_affixes"]

_PAIRS = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "(": ")", "[": "]", "{": "}", "`": "`"}
_KEPT_AT_END = frozenset(".!?)%]\"'”’»}`")
_KEPT_AT_START = frozenset("([{<\"'“‘«`.")
_SPOKEN = re.compile(
    r"(?:(?:colon|dash|hyphen|period|full stop|comma|semicolon|new line|newline|next line|new paragraph|next paragraph"
    r"|dos puntos|punto|punto y aparte|nueva linea|nueva línea|nuevo parrafo|nuevo párrafo|deux[- ]points"
    r"|nouvelle ligne|à la ligne|doppelpunkt|neue zeile|neuer absatz|absatz|due punti|a capo|dois pontos)"
    r"\b[ \t]*[:.,-]*\s*)+",
    re.IGNORECASE,
)
_SPOKEN_END = re.compile(
    r"[\s,]*\b(?:new line|newline|next line|new paragraph|next paragraph|next section|end of section|end section"
    r"|punto y aparte|neue zeile|neuer absatz|nouvelle ligne|end paragraph)[\s.]*$",
    re.IGNORECASE,
)
_LABEL = re.compile(  # "text = " before each
    r"(?:[^\W\d][\w ]{0,20}[ \t]*=+>?|(?i:text|value|content|body|note|texto|[A-Z])[ \t]*:)\s*"
)
_CONTENT = re.compile(r"(?:text|value|content)[ \t]*[:=]+[ \t]*", re.IGNORECASE)
_BEFORE_COLON = re.compile(r"(?P<text>[^\n:]{0,30}(?::\d{2})*):[ \t]*")
_SUBNUMBER = re.compile(r"\d{1,2}\.\d{1,2}[.)]?[ \t]+")
_TAIL_LINE = re.compile(r"\n[ \t]*(?:[^\w\s][ \t]*){1,3}$")
_MOST = 12  # symbols on either side


def without_common_affixes(pieces: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pieces (section, text) without what all texts of two or more sections begin or end with."""
    places = [i for i, (section, text) in enumerate(pieces) if section and text.strip()]
    texts = [_without_closing(pieces[i][1].strip()) for i in places]
    shorten = _shorter if len({pieces[i][0] for i in places}) > 1 else _shorter_alone
    for _ in range(_MOST):
        shorter = shorten([text for text in texts if text]) if any(texts) else None
        if shorter is None:
            break
        rest = iter(shorter)
        texts = [next(rest).strip() if text else "" for text in texts]
    trimmed = list(pieces)
    for i, text in zip(places, texts):
        trimmed[i] = (pieces[i][0], text)
    return trimmed


def _shorter(texts: Sequence[str]) -> list[str] | None:
    """The texts without one more thing that they share; nothing where they share none."""
    first, last = texts[0][0], texts[0][-1]
    starts_alike = all(text[0] == first for text in texts)
    closing = _PAIRS.get(first)
    if starts_alike and closing and all(len(text) > 1 and text[-1] == closing for text in texts):
        return None if first == "[" and texts[0].startswith("[**") else [text[1:-1] for text in texts]
    common = max({text[0] for text in texts}, key=lambda mark: sum(text[0] == mark for text in texts))
    if _is_symbol(common) and common not in _KEPT_AT_START and _is_common(texts, common):
        return [text.lstrip(common) for text in texts]
    label = _LABEL.match(texts[0]) or _LABEL.match(texts[-1])
    if label and sum(text.startswith(label.group()) for text in texts) > 1:
        return [text.removeprefix(label.group()) for text in texts]
    if all(_SUBNUMBER.match(text) for text in texts) or all(text.startswith(("A. ", "a) ")) for text in texts):
        return [text.partition(" ")[2] for text in texts]
    last_words = {text.split()[-1] for text in texts[:-1]}
    if len(texts) > 2 and len(last_words) == 1 and (word := last_words.pop()).isupper() and word.isalpha():
        return [text.removesuffix(word) for text in texts]
    if shared := _shared(texts):
        return [text[len(shared) :] for text in texts]
    if sum(_SPOKEN.match(text) is not None for text in texts) > 1:
        return [_SPOKEN.sub("", text, count=1) for text in texts]
    if all(_SPOKEN_END.search(text) for text in texts[:-1]):
        return [_SPOKEN_END.sub("", text) for text in texts]
    if all(_TAIL_LINE.search(text) for text in texts[:-1]):
        return [_TAIL_LINE.sub("", text) for text in texts]
    if _is_symbol(last) and all(text[-1] == last for text in texts[:-1]):
        is_unpaired = last in _PAIRS.values() and all(_is_unpaired(text, last) for text in texts)
        if last not in _KEPT_AT_END or is_unpaired:
            return [text.removesuffix(last) for text in texts]
    return None


def _shared(texts: Sequence[str]) -> str:
    """What stands before a colon in all of three or more texts alike, of two where it holds a symbol."""
    found = _BEFORE_COLON.match(texts[0])
    is_form = found is not None and (len(texts) > 2 or not found.group("text").replace(" ", "").isalpha())
    return found.group() if found and is_form and all(t.startswith(found.group()) for t in texts) else ""


def _shorter_alone(texts: Sequence[str]) -> list[str] | None:
    """A single text without the quotes round it or the dictated colon before it."""
    if len(texts) != 1:
        return None
    text = texts[0]
    if text[0] in "\"'" and text[0] == text[-1] and (text[0] == "'" or text.count('"') == 2):
        return [text[1:-1]]
    if (tail := _TAIL_LINE.search(text)) and text[: tail.start()].endswith("."):
        return [text[: tail.start()]]
    if text.endswith((".;", ".,", ".|")):
        return [text[:-1]]
    if text[0] in "?>=|":
        return [text[1:]]
    spoken = _SPOKEN.match(text) or _CONTENT.match(text)
    return [text[spoken.end() :]] if spoken and text[spoken.end() :][:1].isupper() else None


def _without_closing(text: str) -> str:
    """The text without brackets at its end that were opened before its heading."""
    while text.endswith(("]", "}")) and _is_unpaired(text, text[-1]):
        text = text[:-1].rstrip()
    return text[:-1] if text.endswith(">") and "<" not in text else text


def _is_common(texts: Sequence[str], mark: str) -> bool:
    """Whether all texts begin with a mark, of three or more all but one."""
    missing = sum(text[0] != mark for text in texts)
    return missing == 0 or (missing == 1 and len(texts) > 2)


def _is_symbol(character: str) -> bool:
    return not character.isalnum() and character != "_"


def _is_unpaired(text: str, closing: str) -> bool:
    """Whether the text ends with a closing mark whose opening one is not in it."""
    opening = next(mark for mark, answer in _PAIRS.items() if answer == closing)
    is_odd = text.count(closing) % 2 == 1 if opening == closing else text.count(closing) > text.count(opening)
    return text.endswith(closing) and is_odd
