# SPDX-License-Identifier: Apache-2.0
"""In which language a report is written, by the share of its most frequent small words.

It tells six languages of reports apart and says "unknown" where it cannot; it is no general detector.
"""

from __future__ import annotations

import re

from monai_unimedi.data.report_headings import fold

__all__ = ["LANGUAGES", "UNKNOWN", "language_of"]

UNKNOWN = "unknown"
_MIN_WORDS = 4
_MIN_SHARE = 0.08  # of the words
_MARGIN = 1.3  # times the share of the second

_WORDS = {
    "en": """the of is are was were and no with without there in to for within has have been not or this that
        from at on by as it which be seen right left lung lungs heart chest clear size normal limits""",
    "es": """de la el los las se en y con no del sin una un por que al es son para o a ni su lo
        derecho derecha izquierdo izquierda torax pulmon pulmones observa observan""",
    "de": """der die das und mit ohne im in den des dem ist kein keine keinen eine ein einer nicht zu zum bei
        sind auf von vom am als auch es nach rechts links beidseits herz lunge thorax""",
    "fr": """le la les de des du et en un une avec sans pas est sont au aux dans sur il par ou a ce se l d
        droit droite gauche poumon poumons coeur thorax""",
    "pt": """de da do das dos em e com nao sem uma um os as o a ao na no nas nos por que se foi sao
        direito direita esquerdo esquerda pulmao pulmoes torax""",
    "it": """di della del dei delle dello il la le i gli lo e con non in un una nel nella al alla per senza si
        da sono destro destra sinistro sinistra polmone polmoni torace""",
}
LANGUAGES = tuple(_WORDS)
"""ISO 639-1 codes of the languages that are told apart."""

_LETTERS = re.compile(r"[^\W\d_]+")
_SPOKEN_BY = {
    word: [language for language, text in _WORDS.items() if word in text.split()]
    for word in " ".join(_WORDS.values()).split()
}


def language_of(text: str) -> str:
    """One of :data:`LANGUAGES`, or ``unknown``.

    A small word counts for its language, one that several languages share for each by its part. Below four
    words, with few small words, or where two languages are close, the answer is ``unknown``.

    Args:
        text: a report; case and accents do not count.
    """
    words = _LETTERS.findall(fold(text))
    if len(words) < _MIN_WORDS:
        return UNKNOWN
    scores = dict.fromkeys(LANGUAGES, 0.0)
    for word in words:
        speakers = _SPOKEN_BY.get(word, [])
        for language in speakers:
            scores[language] += 1 / len(speakers) / len(words)
    second, share = sorted(scores.values())[-2:]
    best = max(scores, key=scores.__getitem__)
    return best if share >= _MIN_SHARE and share >= _MARGIN * second else UNKNOWN
