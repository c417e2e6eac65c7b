# SPDX-License-Identifier: Apache-2.0
"""Which sentences of which reports are to be found again in their images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from monai_unimedi.data.report_text import line_sections
from monai_unimedi.transforms.report import split_sentences

__all__ = ["report_sentences", "sentences_to_ground"]

MAX_SENTENCES = 12
FIRST = ("findings", "", "impression")


def report_sentences(report: str, max_sentences: int = MAX_SENTENCES) -> list[str]:
    """Sentences of a cleaned report: its findings', then its impression's, each once, headings left out.

    Args:
        report: one line, as ``ReportTextd`` leaves it.
        max_sentences: the first so many.
    """
    sections = line_sections(report)
    sentences = [s for name in FIRST for s in split_sentences(sections.get(name, ""))]
    return list(dict.fromkeys(sentences))[:max_sentences]


def sentences_to_ground(
    test: Mapping[str, Mapping[str, Any]],
    label_names: Sequence[str],
    stated_finding: Callable[[str], str | None] | None = None,
    shown: Mapping[str, Collection[int]] | None = None,
    max_cases: int = 200,
) -> dict[str, dict[int, list[dict[str, Any]]]]:
    """Chooses what is grounded: the cases that can be judged, and those that a page shows.

    A case can be judged when two or more of its findings have a sentence of their own. A finding's sentence is the
    one under its key ``sentence`` in the datalist, or any that `stated_finding` recognises.

    Args:
        test: by source, evaluation arrays with `report`, and `findings` and `lesion_mask` where there are.
        label_names: findings in the order of the bits of `lesion_mask`.
        stated_finding: from a sentence to the finding that it states to be there, or None; of the phantoms.
        shown: by source, rows to ground in any case.
        max_cases: of each source, at most so many cases to be judged, the first ones.

    Returns:
        By source and row, ``{"sentence", "finding"}`` each; `finding` is the index in `label_names`, or None.
    """
    chosen: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for source, arrays in test.items():
        reports, findings = arrays.get("report"), arrays.get("findings")
        if reports is None:
            continue
        rows: dict[int, list[dict[str, Any]]] = {}
        judged = 0
        for row, report in enumerate(reports):
            present = [] if findings is None else findings[row]
            found = _sentences(report, present, label_names, stated_finding)
            can_be_judged = len({one["finding"] for one in found} - {None}) > 1 and "lesion_mask" in arrays
            judged += can_be_judged
            if found and ((can_be_judged and judged <= max_cases) or row in (shown or {}).get(source, ())):
                rows[row] = found
        if rows:
            chosen[source] = rows
    return chosen


def _sentences(
    report: str,
    findings: Sequence[Mapping[str, Any]],
    label_names: Sequence[str],
    stated_finding: Callable[[str], str | None] | None,
) -> list[dict[str, Any]]:
    """The report's sentences, and those that the datalist names, with the present finding that each states."""
    own = {one["sentence"]: one["finding"] for one in findings if one.get("sentence")}
    present = {one["finding"] for one in findings} & set(label_names)
    rows = []
    for sentence in dict.fromkeys([*report_sentences(report), *own]):
        name = own.get(sentence) or (stated_finding(sentence) if stated_finding else None)
        rows.append({"sentence": sentence, "finding": label_names.index(name) if name in present else None})
    return rows
