# SPDX-License-Identifier: Apache-2.0
"""A table's columns of report text: one of the whole report, or those of its findings and its impression."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from monai_unimedi.data.corpora.items import Note
from monai_unimedi.data.prepare_tables import find_column
from monai_unimedi.data.report_text import clean_text, read_report

__all__ = ["Text", "find_texts", "is_text", "join_texts", "report_of", "unread_note", "unread_texts"]

Text = str | dict[str, str]  # raw, or clean sections
WHOLE = ("report", "report_text", "text", "radiology_report", "informe")
FINDINGS = ("findings", "findings_text", "befund", "narrative")
IMPRESSION = (
    *("impression", "impressions", "impression_text", "conclusion", "conclusions", "beurteilung"),
    *("impresion", "impresión", "conclusión"),
)
_OWN_HEADING = re.compile(r"\W*(findings?|befund|narrative|impressions?|conclusions?|beurteilung)\s*:", re.I)


def find_texts(names: Sequence[str]) -> list[str]:
    """The column of the whole report by its usual names, else those of findings and impression; none without
    either of the whole report and the findings."""
    whole, findings = find_column(names, WHOLE), find_column(names, FINDINGS)
    impression = find_column(names, IMPRESSION) if findings else None
    return [whole] if whole else [name for name in (findings, impression) if name]


def unread_texts(names: Sequence[str], read: Collection[str]) -> list[str]:
    """Columns with a usual name of report text that are not read."""
    return [name for name in names if name not in read and find_column([name], WHOLE + FINDINGS + IMPRESSION)]


def unread_note(columns: Sequence[str]) -> Note:
    """The remark about them."""
    return Note(f"not read: the text of {', '.join(map(repr, columns))}; --report takes several columns")


def report_of(line: Mapping[str, str], columns: Sequence[str]) -> Text:
    """A row's report: the cell as it is, or of several columns clean findings and impression. A column without
    a usual name of the impression is of the findings."""
    if len(columns) == 1:
        return line[columns[0]]
    sections: dict[str, str] = {}
    for column in columns:
        name = "impression" if find_column([column], IMPRESSION) else "findings"
        sections[name] = f"{sections.get(name, '')} {clean_text(_OWN_HEADING.sub('', line[column], 1))}".strip()
    return sections


def is_text(report: Text) -> bool:
    """Whether there is any."""
    return any(text.strip() for text in ([report] if isinstance(report, str) else report.values()))


def join_texts(reports: Sequence[Text]) -> Text:
    """Several reports as one, section by section where one of them is in sections."""
    texts = [report for report in reports if isinstance(report, str)]
    if len(texts) == len(reports):
        return "\n".join(texts)
    parts = [read_report(report) if isinstance(report, str) else report for report in reports]
    return {name: " ".join(part[name] for part in parts if part.get(name)) for name in ("findings", "impression")}
