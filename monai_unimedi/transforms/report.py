# SPDX-License-Identifier: Apache-2.0
"""Report text: cleaning, sections and sentences, and showing sometimes only a part of it.

``ReportTextd`` also makes ``pair_group`` (``method.md`` section 2): equal reports are not each other's
negatives.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Hashable, Mapping

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, RandomizableTransform, Transform

from monai_unimedi.data.hashing import stable_hash
from monai_unimedi.data.report_sentences import sentence_ends
from monai_unimedi.data.report_text import clean_text, line_sections

__all__ = [
    "RandReportSentences",
    "RandReportSentencesd",
    "ReportText",
    "ReportTextd",
    "report_group",
    "split_sections",
    "split_sentences",
]

_ENUMERATION = re.compile(r"(?:\d{1,2}|[A-Za-z])[.)]")
_MIN_WORDS = 3
_MAX_SENTENCES = 126


def split_sections(report: str) -> dict[str, str]:
    """Sections of a cleaned report by heading, lower case; text before the first heading is under ``""``.

    The headings are those of :func:`monai_unimedi.data.report_text.read_report`: ``conclusion`` counts as
    ``impression``, one heading for both as ``findings``. Empty sections are left out.
    """
    return line_sections(report)


def split_sentences(text: str) -> list[str]:
    """Sentences of a cleaned text in order; a list's number ("1.") stays with its sentence, a "Dr." with the name."""
    text = text.strip()
    ends = [0, *sentence_ends(text), len(text)]
    sentences: list[str] = []
    for start, end in itertools.pairwise(ends):
        piece = text[start:end].rstrip()
        if sentences and _ENUMERATION.fullmatch(sentences[-1]):
            sentences[-1] += f" {piece}"
        elif piece:
            sentences.append(piece)
    return sentences


def report_group(report: str) -> int:
    """``pair_group`` of a cleaned report: equal texts, upper or lower case, give equal 63-bit numbers."""
    return stable_hash("pair_group", report.lower())


class ReportText(Transform):
    """Clean a report: white space and line breaks become one space, de-identification marks ("___",
    "XXXX", "[**...**]") go."""

    def __call__(self, report: str) -> str:
        """
        Args:
            report: the text as the datalist holds it.

        Raises:
            TypeError: When ``report`` is not a string.
        """
        if not isinstance(report, str):
            raise TypeError(f"A report must be a string, got {type(report).__name__}.")
        return clean_text(report)


class ReportTextd(MapTransform):
    """Dictionary form of ``ReportText``; writes ``pair_group`` (int), the hash of the whole cleaned report.

    Place it before ``RandReportSentencesd``: two rows belong together by their whole reports, not by what is
    shown.

    Args:
        group_key: where the group goes; the first of ``keys`` gives it.
    """

    def __init__(
        self, keys: KeysCollection = "report", group_key: str = "pair_group", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.group_key = group_key
        self.clean = ReportText()

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        row = dict(data)
        for key in self.key_iterator(row):
            row[key] = self.clean(row[key])  # type: ignore[arg-type]
            row.setdefault(self.group_key, report_group(str(row[key])))
        return row


class RandReportSentences(RandomizableTransform):
    """Sometimes show only the impression, or a random part of the sentences, so that sentence-level prompts
    work.

    With probability ``prob`` a part is shown: the impression where there is one with probability
    ``impression_prob``, otherwise a random number of sentences (at least one) in their order. A part of fewer
    than three words is not shown alone: then the whole report stays. *Open* in the paper (``method.md``
    section 6).
    """

    def __init__(self, prob: float = 0.3, impression_prob: float = 0.5) -> None:
        super().__init__(prob)
        self.impression_prob = impression_prob
        self._draw = np.zeros(2 + _MAX_SENTENCES)

    def randomize(self, data: object = None) -> None:
        super().randomize(None)
        self._draw = self.R.random_sample(2 + _MAX_SENTENCES)

    def __call__(self, report: str, randomize: bool = True) -> str:
        if randomize:
            self.randomize()
        if not self._do_transform:
            return report
        shown = self._part(report)
        return shown if len(shown.split()) >= _MIN_WORDS else report

    def _part(self, report: str) -> str:
        sections = split_sections(report)
        if "impression" in sections and self._draw[0] < self.impression_prob:
            return sections["impression"]
        sentences = [s for text in sections.values() for s in split_sentences(text)][:_MAX_SENTENCES]
        count = 1 + int(self._draw[1] * len(sentences))
        order = np.argsort(self._draw[2 : 2 + len(sentences)])
        return " ".join(sentences[i] for i in sorted(order[:count]))


class RandReportSentencesd(Randomizable, MapTransform):
    """Dictionary form of ``RandReportSentences``; all ``keys`` share one draw."""

    def __init__(
        self,
        keys: KeysCollection = "report",
        prob: float = 0.3,
        impression_prob: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.show = RandReportSentences(prob, impression_prob)

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        row = dict(data)
        self.show.R = self.R
        self.show.randomize()
        for key in self.key_iterator(row):
            row[key] = self.show(row[key], randomize=False)  # type: ignore[arg-type]
        return row
