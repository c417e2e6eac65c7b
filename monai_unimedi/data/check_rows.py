# SPDX-License-Identifier: Apache-2.0
"""The rows of datalists as they stand, broken ones told apart instead of stopping all others."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from monai_unimedi.data.datalist import complete_row, read_datalist
from monai_unimedi.data.label_fraction import whole_section

__all__ = ["CheckRow", "Finding", "check_form", "read_rows", "without_fractions"]

SPLITS = ("training", "validation", "test")
_NOT_ROWS = ("label_names",)
_READ = re.compile(r"(.+_)?(training(_\d+(\.\d+)?)?|validation|test)")  # candidates_training, training_10
_KEYS = ("id", "image")
_TAUGHT = ("label", "lesion_mask")  # what is learnt from where there are no reports


class Finding(NamedTuple):
    """One thing that is not as it should be.

    Attributes:
        severity: ``error`` (training must not start), ``warning`` (look at it) or ``note`` (good to know).
        check: what was looked at, one word or two.
        datalist: the JSON file's name.
        section: the list within it; empty for the file as a whole.
        row: its number in the section; -1 for all of them.
        id: the row's id; empty for all of them.
        message: what must hold, what came, the remedy. No report text, no header field.
    """

    severity: str
    check: str
    datalist: str
    section: str
    row: int
    id: str
    message: str


class CheckRow(NamedTuple):
    """A row with its place."""

    datalist: str
    section: str
    number: int
    content: dict[str, Any]

    def finding(self, severity: str, check: str, message: str) -> Finding:
        """Something found at this row."""
        name = str(self.content.get("id", ""))
        return Finding(severity, check, self.datalist, self.section, self.number, name, message)

    @property
    def patient(self) -> str:
        return str(self.content.get("patient", ""))

    @property
    def split(self) -> str | None:
        """Which of `SPLITS` its section belongs to, as ``candidates_training_10`` to ``training``; None for others."""
        read = _READ.fullmatch(self.section)
        return read and read[2].split("_")[0]

    @property
    def report(self) -> str:
        report = self.content.get("report")
        return report if isinstance(report, str) else ""


def read_rows(
    path: str | os.PathLike, base_dir: str | os.PathLike | None = None
) -> tuple[list[CheckRow], list[Finding]]:
    """All rows of all sections of one datalist, and what is wrong with its form.

    Args:
        path: the JSON file.
        base_dir: folder that relative paths start from; the file's own folder where None.
    """
    name = Path(path).name
    try:
        content = read_datalist(path)
    except (ValueError, OSError) as error:
        return [], [Finding("error", "datalist", name, "", -1, "", str(error).replace(str(path), name))]
    sections = {k: v for k, v in content.items() if isinstance(v, list) and k not in _NOT_ROWS}
    rows: list[CheckRow] = []
    findings: list[Finding] = []
    folder = str(base_dir if base_dir is not None else Path(path).parent)
    for section, entries in sections.items():
        for index, entry in enumerate(entries):
            try:
                rows.append(CheckRow(name, section, index, complete_row(entry, index, name, folder)))
            except (ValueError, TypeError) as error:
                findings.append(Finding("error", "datalist", name, section, index, "", str(error)))
    if not rows and not findings:
        message = f"A datalist must have rows, those of {', '.join(SPLITS)} are empty or missing."
        findings.append(Finding("error", "datalist", name, "", -1, "", message))
    return rows, findings


def without_fractions(rows: Sequence[CheckRow]) -> list[CheckRow]:
    """The rows of one datalist but for those that ``training_1`` and the like repeat from ``training``."""
    fractions = {row.section: whole for row in rows if (whole := whole_section(row.section))}
    known = {(row.section, _content(row)) for row in rows if row.section in set(fractions.values())}
    return [row for row in rows if row.section not in fractions or (fractions[row.section], _content(row)) not in known]


def _content(row: CheckRow) -> str:
    return json.dumps(row.content, sort_keys=True, default=str)


def check_form(rows: Sequence[CheckRow]) -> list[Finding]:
    """Keys that are missing or no strings (``report`` too, but in a list of labels or masks alone), masks that are
    not there, ids that occur twice, a datalist that cannot be split."""
    keys = _KEYS if _has_no_reports(rows) else (*_KEYS, "report")
    findings = [found for row in rows if (found := _missing_key(row, keys)) is not None]
    findings += [found for row in rows if (found := _missing_mask(row)) is not None]
    findings += _repeated_ids(rows)
    return findings + _sections(rows)


def _has_no_reports(rows: Sequence[CheckRow]) -> bool:
    """Whether a list is for classification or segmentation alone: labels or masks, and not one report."""
    found = {key for row in rows for key in (*_TAUGHT, "report") if row.content.get(key) is not None}
    return bool(found) and "report" not in found


def _missing_key(row: CheckRow, keys: Sequence[str]) -> Finding | None:
    for key in keys:
        value = row.content.get(key)
        if value is None:
            return row.finding("error", "keys", f"Every row must have the key {key!r}, this one has not.")
        if not isinstance(value, str):
            kind = type(value).__name__
            return row.finding("error", "keys", f"The key {key!r} must be a string, got {kind}.")
    return None


def _missing_mask(row: CheckRow) -> Finding | None:
    mask = row.content.get("lesion_mask")
    if mask is None or (isinstance(mask, str) and os.path.exists(mask)):
        return None
    return row.finding("error", "mask", "A row's lesion_mask must be a file, there is none; leave the key out.")


def _repeated_ids(rows: Iterable[CheckRow]) -> list[Finding]:
    """Each id after its first occurrence within a section."""
    seen: dict[tuple[str, str, str], CheckRow] = {}
    findings = []
    for row in rows:
        if "id" not in row.content:
            continue
        first = seen.setdefault((row.datalist, row.section, str(row.content["id"])), row)
        if first is not row:
            message = f"Each id must occur once, row {first.number} has it too."
            findings.append(row.finding("error", "ids", message))
    return findings


def _sections(rows: Sequence[CheckRow]) -> list[Finding]:
    findings = []
    for datalist in dict.fromkeys(row.datalist for row in rows):
        own = [row for row in rows if row.datalist == datalist]
        counts: Mapping[str, int] = Counter(row.section for row in own)
        other = sorted(section for section in counts if not _READ.fullmatch(section))
        if "training" not in counts:
            message = f"To train, there must be rows under 'training', got {dict(counts)}."
            findings.append(Finding("warning", "datalist", datalist, "", -1, "", message))
        elif "validation" not in counts and len({row.patient for row in own if row.section == "training"}) < 2:
            message = "Without validation rows the training rows must be of two patients at least, got one."
            findings.append(Finding("error", "datalist", datalist, "training", -1, "", message))
        if _has_no_reports(own):
            message = "No row has a report: classification and segmentation learn from this list, pre-training cannot."
            findings.append(Finding("note", "datalist", datalist, "", -1, "", message))
        if other:
            message = (
                f"The lists {other} are checked here and read by no training; its lists are {SPLITS}, and "
                "training_1 for a label_fraction of 1."
            )
            findings.append(Finding("note", "datalist", datalist, "", -1, "", message))
    return findings
