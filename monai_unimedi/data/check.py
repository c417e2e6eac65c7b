# SPDX-License-Identifier: Apache-2.0
"""Everything that can be known about datalists before a training starts, as one table of findings.

Every image is opened once, however many rows it has, by the reader that the training uses, in processes of its own
where there are many; of each only a few numbers and two hashes are kept. Findings name rows by id; report texts and
header fields stay out of them.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from monai_unimedi.data.check_across import check_dimensions, check_files_twice, check_images_twice, check_patients
from monai_unimedi.data.check_image import ImageFacts, inspect_image
from monai_unimedi.data.check_rows import CheckRow, Finding, check_form, read_rows, without_fractions
from monai_unimedi.data.check_text import check_reports, language_counts
from monai_unimedi.data.datalist import word_count
from monai_unimedi.transforms.report import ReportText

__all__ = ["CheckResult", "check_datalists", "write_findings"]

SEVERITIES = ("error", "warning", "note")
_MANY = 200  # images from which on processes pay


class CheckResult(NamedTuple):
    """Attributes:
    findings: errors first, then warnings, then notes; within them by list and row.
    summary: by datalist's file name, what it holds: counts, sizes, spacings, words.
    images: by (datalist, section, row), the path of each row's image.
    """

    findings: list[Finding]
    summary: dict[str, dict[str, Any]]
    images: dict[tuple[str, str, int], str]

    @property
    def may_start(self) -> bool:
        """Whether there is no error."""
        return all(found.severity != "error" for found in self.findings)


def check_datalists(
    paths: Sequence[str | os.PathLike],
    dataset_dir: str | os.PathLike | None = None,
    tokenizer: Any | None = None,
    language_of: Callable[[str], str | None] | None = None,
    num_processes: int | None = None,
    show_progress: bool = False,
) -> CheckResult:
    """Reads every row of every datalist.

    Args:
        paths: JSON files in Decathlon form; patients and images are compared across them. What ``training_1``
            and the like repeat from ``training`` is looked at once.
        dataset_dir: folder that the rows' paths start from; each list's own folder where None.
        tokenizer: whose ``model_max_length`` reports are measured against; not where None.
        language_of: text to language code; languages are not looked at where None.
        num_processes: that open images; where None, one for a short list and all cores for a long one.
        show_progress: draw a bar.
    """
    rows: list[CheckRow] = []
    once: list[CheckRow] = []
    findings: list[Finding] = []
    for path in paths:
        own, wrong = read_rows(path, dataset_dir)
        rows, findings = rows + own, findings + wrong + check_form(own)
        different = without_fractions(own)
        once += different
        if different:
            findings += check_reports(different, tokenizer, language_of)
    shown = [row for row in once if isinstance(row.content.get("image"), str)]
    images = list(dict.fromkeys(row.content["image"] for row in shown))
    found = dict(zip(images, _inspected(images, num_processes, show_progress)))
    facts = [found[row.content["image"]] for row in shown]
    folders = [str(dataset_dir)] if dataset_dir is not None else [str(Path(path).parent) for path in paths]
    for row, fact in zip(shown, facts):
        for severity, check, message in fact["faults"]:
            findings.append(row.finding(severity, check, _within(message, folders)))
    findings += check_dimensions(shown, facts) + check_files_twice(shown) + check_images_twice(shown, found)
    findings += check_patients(rows)
    order = {name: number for number, name in enumerate(SEVERITIES)}
    findings.sort(key=lambda f: (order[f.severity], f.datalist, f.section, f.row))
    places = {(row.datalist, row.section, row.number): row.content["image"] for row in shown}
    return CheckResult(findings, _summary(rows, shown, found, language_of), places)


def _inspected(paths: Sequence[str], num_processes: int | None, show_progress: bool) -> Iterator[ImageFacts]:
    """Facts of each image, in order."""
    count = num_processes or (1 if len(paths) < _MANY else -1)
    jobs = (delayed(inspect_image)(path) for path in paths)
    found = Parallel(n_jobs=count, return_as="generator", batch_size=1 if count == 1 else 4)(jobs)
    yield from tqdm(found, total=len(paths), unit="image", desc="check", disable=not show_progress)


def _within(message: str, folders: Iterable[str]) -> str:
    """A message whose paths start at the data set's folder."""
    for folder in folders:
        message = message.replace(os.path.join(folder, ""), "")
    return message


def _summary(
    rows: Sequence[CheckRow],
    shown: Sequence[CheckRow],
    facts: Mapping[str, ImageFacts],
    language_of: Callable[[str], str | None] | None,
) -> dict[str, dict[str, Any]]:
    summary = {}
    for name in dict.fromkeys(row.datalist for row in rows):
        own = [row for row in rows if row.datalist == name]
        seen = dict.fromkeys(row.content["image"] for row in shown if row.datalist == name)
        summary[name] = _counts(own) | _image_summary([facts[path] for path in seen])
        if language_of is not None and any(row.report for row in own):
            summary[name]["languages"] = dict(language_counts([row.report for row in own], language_of))
    return summary


def _counts(rows: Sequence[CheckRow]) -> dict[str, Any]:
    counts = {
        "rows": dict(Counter(row.section for row in rows)),
        "patients": len({row.patient for row in rows}),
    }
    if not any(row.report for row in rows):
        return counts
    texts = [ReportText()(row.report) for row in rows]
    return counts | {
        "different texts": len({text.lower() for text in texts}),
        "words (least, median, most)": _spread([word_count(text) for text in texts]),
    }


def _image_summary(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    opened = [fact for fact in facts if "near" in fact]
    summary: dict[str, Any] = {"images opened": f"{len(opened)} of {len(facts)}"}
    for key, name in (("channels", "channels"), ("photometric", "kinds"), ("orientation", "orientations")):
        counts = Counter(fact[key] for fact in opened if key in fact)
        if counts:
            summary[name] = dict(counts.most_common())
    for key, name in (("shape", "voxels"), ("spacing", "spacing (mm)")):
        for length, where in ((2, "columns x rows"), (3, name)):
            values = [fact[key] for fact in opened if len(fact.get(key, ())) == length]
            if values:
                summary[f"{where} (least, median, most)"] = _spread(values)
    return summary


def _spread(values: Sequence[Any]) -> list[str]:
    """Least, median and most of numbers or, along each axis, of tuples."""
    array = np.asarray(values, dtype=float).reshape(len(values), -1)
    if not array.size:
        return []
    rows = (array.min(0), np.median(array, axis=0), array.max(0))
    return [" x ".join(f"{number:g}" for number in row) for row in rows]


def write_findings(findings: Sequence[Finding], path: str | os.PathLike) -> None:
    """All findings as a CSV file, one a line."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(Finding._fields)
        writer.writerows(findings)
