# SPDX-License-Identifier: Apache-2.0
"""Reports of a datalist: empty, damaged, equal, too long, in another language, of another patient.

Counts and ids leave this module, never a word of a report.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from monai_unimedi.data.check_rows import CheckRow, Finding
from monai_unimedi.data.collate import token_limit
from monai_unimedi.data.datalist import word_count
from monai_unimedi.transforms.report import ReportText

__all__ = ["check_reports", "language_counts"]

MIN_WORDS = 3
_LISTED = 5
_BATCH = 512
_REPLACED = re.compile("\N{REPLACEMENT CHARACTER}|[ÃÂ][\x80-\xbf©³±­¡ª°º¿]|â\x80|â€")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
_NUMBERED = re.compile(r"[\w-]*\d[\w-]*")
_MIN_ID = 5  # characters: shorter numbers are sizes and dates


def check_reports(
    rows: Sequence[CheckRow],
    tokenizer: Any | None = None,
    language_of: Callable[[str], str | None] | None = None,
) -> list[Finding]:
    """What the reports have against them.

    Args:
        rows: of one datalist.
        tokenizer: a Hugging Face tokenizer, whose ``model_max_length`` is the limit; not used where None.
        language_of: text to language code, None where it cannot tell; not looked at where None.
    """
    texts = [ReportText()(row.report) for row in rows]
    written = [(row, text) for row, text in zip(rows, texts) if isinstance(row.content.get("report"), str)]
    findings = [found for row, text in written if (found := _damage(row, text)) is not None]
    bad = {id(row) for row, text in written if word_count(text) < MIN_WORDS}
    sound = [(row, text) for row, text in written if id(row) not in bad]
    findings += _other_patients(sound)
    findings += _equal_reports(sound)
    if tokenizer is not None:
        findings += _long_reports(sound, tokenizer)
    if language_of is not None:
        findings += _languages(sound, language_of)
    return findings


def _damage(row: CheckRow, text: str) -> Finding | None:
    words = word_count(text)
    if words < MIN_WORDS:
        message = (
            f"A report must have {MIN_WORDS} words at least, this one has {words}; mend it or leave it out."
        )
        return row.finding("error", "empty report", message)
    if _CONTROL.search(row.report):
        message = "A report must be text, this one holds control characters; export it again."
        return row.finding("warning", "damaged text", message)
    if _REPLACED.search(text):
        message = (
            "The report was decoded as another character set than it was written in; export it as UTF-8."
        )
        return row.finding("warning", "damaged text", message)
    return None


def _other_patients(sound: Sequence[tuple[CheckRow, str]]) -> list[Finding]:
    """Reports that name the id of a patient who is not the row's."""
    known = {row.patient for row, _ in sound}
    known = {name for name in known if len(name) >= _MIN_ID and _NUMBERED.fullmatch(name)}
    findings = []
    for row, text in sound:
        if known & (set(_NUMBERED.findall(text)) - {row.patient}):
            message = "The report names the id of another patient; is it matched with the right image?"
            findings.append(row.finding("error", "other patient", message))
    return findings


def _equal_reports(sound: Sequence[tuple[CheckRow, str]]) -> list[Finding]:
    groups: dict[str, list[CheckRow]] = defaultdict(list)
    for row, text in sound:
        groups[text.lower()].append(row)
    repeated = [group for group in groups.values() if len(group) > 1]
    if not repeated:
        return []
    across = sum(len({row.patient for row in group}) > 1 for group in repeated)
    ids = "; ".join(", ".join(_id(row) for row in group[:_LISTED]) for group in repeated[:_LISTED])
    message = (
        f"{len(groups)} different texts among {len(sound)} reports: {sum(map(len, repeated))} rows share "
        f"{len(repeated)} texts, {across} of them across patients; they are not each other's negatives: {ids}"
        f"{' ...' if len(repeated) > _LISTED else ''}"
    )
    return [_for_all(sound, "note", "equal reports", message)]


def _long_reports(sound: Sequence[tuple[CheckRow, str]], tokenizer: Any) -> list[Finding]:
    limit = token_limit(tokenizer)
    lengths: list[int] = []
    for start in range(0, len(sound), _BATCH):
        batch = [text for _, text in sound[start : start + _BATCH]]
        lengths += map(len, tokenizer(batch, truncation=False, verbose=False)["input_ids"])
    long = [row for (row, _), length in zip(sound, lengths) if length > limit]
    if not long:
        return []
    message = (
        f"{len(long)} of {len(sound)} reports have more than the tokenizer's {limit} tokens (the longest "
        f"{max(lengths)}); training keeps their impression and a part of the rest: {_some(long)}."
    )
    return [_for_all(sound, "note", "long reports", message)]


def language_counts(texts: Sequence[str], language_of: Callable[[str], str | None]) -> Counter[str]:
    """Reports by language; ``unknown`` where it cannot be told."""
    return Counter(language_of(text) or "unknown" for text in texts)


def _languages(
    sound: Sequence[tuple[CheckRow, str]], language_of: Callable[[str], str | None]
) -> list[Finding]:
    """The languages other than the most frequent one."""
    by_language: dict[str, list[CheckRow]] = defaultdict(list)
    for row, text in sound:
        by_language[language_of(text) or "unknown"].append(row)
    known = sorted((len(found), name) for name, found in by_language.items() if name != "unknown")
    findings = []
    for count, name in known[:-1]:
        message = (
            f"{count} of {len(sound)} reports are in {name!r} where most are in {known[-1][1]!r}; use a "
            f"multilingual text encoder, or leave them out: {_some(by_language[name])}."
        )
        findings.append(_for_all(sound, "warning", "language", message))
    return findings


def _for_all(sound: Sequence[tuple[CheckRow, str]], severity: str, check: str, message: str) -> Finding:
    return Finding(severity, check, sound[0][0].datalist, "", -1, "", message)


def _some(rows: Sequence[CheckRow]) -> str:
    return ", ".join(map(_id, rows[:_LISTED])) + (" ..." if len(rows) > _LISTED else "")


def _id(row: CheckRow) -> str:
    return str(row.content.get("id", row.number))
