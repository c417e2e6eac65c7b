# SPDX-License-Identifier: Apache-2.0
"""What only shows between rows: one patient on both sides of a split, one image twice, two dimensions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from monai_unimedi.data.check_image import ImageFacts
from monai_unimedi.data.check_rows import SPLITS, CheckRow, Finding
from monai_unimedi.data.perceptual_hash import near_pairs

__all__ = ["check_dimensions", "check_files_twice", "check_images_twice", "check_patients"]

_LISTED = 5


def check_patients(rows: Sequence[CheckRow]) -> list[Finding]:
    """Patients in more than one of training, validation and test, over all datalists."""
    by_patient: dict[str, list[CheckRow]] = defaultdict(list)
    for row in rows:
        if row.section in SPLITS and row.patient:
            by_patient[row.patient].append(row)
    findings = []
    for own in by_patient.values():
        counts = Counter(row.section for row in own)
        if len(counts) == 1:
            continue
        where = ", ".join(f"{counts[name]} in {name}" for name in SPLITS if name in counts)
        ids = ", ".join(str(row.content.get("id")) for row in own[:_LISTED])
        message = (
            f"A patient must be in one split, this one's rows are {where} ({ids}"
            f"{' ...' if len(own) > _LISTED else ''}); split by patient."
        )
        findings.append(own[0].finding("error", "patients", message))
    return findings


def check_files_twice(rows: Sequence[CheckRow]) -> list[Finding]:
    """Files that several rows hold: an error in two splits, else a warning where they are in one list twice.

    Rows that tell places of a file apart, by ``centre``, are different ones. Each file is named once.
    """
    findings = []
    for own in _by_image(rows).values():
        leak = next((row for row in own if _leaks(row, own[0])), None)
        seen: dict[tuple[str, str], CheckRow] = {}
        again = [row for row in own if seen.setdefault((row.datalist, str(row.content.get("centre"))), row) is not row]
        if leak is not None:
            message = f"A file must be in one split, this one is that of {_place(own[0], leak)}; split by patient."
            findings.append(leak.finding("error", "same image", message))
        elif again:
            more = f", as in {len(again) - 1} more rows" if len(again) > 1 else ""
            message = f"Each image must be in the list once, this one is the file of {_place(own[0], again[0])}{more}; "
            findings.append(again[0].finding("warning", "same image", f"{message}leave one out."))
    return findings


def check_images_twice(rows: Sequence[CheckRow], facts: Mapping[str, ImageFacts]) -> list[Finding]:
    """Files whose image is another file's: equal pixels, or so near that they show the same picture.

    Each file is named once, with the nearest of the files before it; in another split it is an error.

    Args:
        rows: with an image.
        facts: by path.
    """
    findings = []
    of_image = _by_image(rows)
    for kind in ("2d", "3d"):
        paths = [path for path in of_image if facts[path]["kind"] == kind and "near" in facts[path]]
        nearest: dict[int, tuple[int, int]] = {}
        for earlier, later, bits in near_pairs([facts[path]["near"] for path in paths]):
            is_same = facts[paths[earlier]]["exact"] == facts[paths[later]]["exact"]
            distance = -1 if is_same else bits
            nearest[later] = min(nearest.get(later, (999, 0)), (distance, earlier))
        for later, (distance, earlier) in sorted(nearest.items()):
            findings.append(_twice(of_image[paths[later]], of_image[paths[earlier]], distance < 0))
    return findings


def _by_image(rows: Sequence[CheckRow]) -> dict[str, list[CheckRow]]:
    found: dict[str, list[CheckRow]] = defaultdict(list)
    for row in rows:
        found[row.content["image"]].append(row)
    return found


def _leaks(row: CheckRow, other: CheckRow) -> bool:
    return None not in (row.split, other.split) and row.split != other.split


def _place(row: CheckRow, seen_from: CheckRow) -> str:
    return f"id {row.content.get('id')!r}" + (f" of {row.section!r}" if row.section != seen_from.section else "")


def _twice(rows: Sequence[CheckRow], others: Sequence[CheckRow], is_same: bool) -> Finding:
    """Of all rows of two files."""
    sections, known = ({row.section: row for row in reversed(own)}.values() for own in (rows, others))
    leaking = ((row, other) for row in sections for other in known if _leaks(row, other))
    row, other = next(leaking, (rows[0], others[0]))
    if is_same:
        message = (
            f"Each image must be in the list once, this one has the pixels of {_place(other, row)}; leave one out."
        )
        return row.finding("error" if _leaks(row, other) else "warning", "same image", message)
    whose = "the same patient" if row.patient == other.patient else "another patient"
    message = f"The image is nearly that of {_place(other, row)}, {whose}: a copy in another size, or two takes?"
    return row.finding("warning", "near image", message)


def check_dimensions(rows: Sequence[CheckRow], facts: Sequence[ImageFacts]) -> list[Finding]:
    """Images of the dimension that fewer images of their datalist have; a list holds one dimension."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for row, fact in zip(rows, facts):
        kinds[row.datalist][fact["kind"]] += "near" in fact
    findings = []
    for row, fact in zip(rows, facts):
        usual = _usual(kinds[row.datalist])
        if "near" in fact and fact["kind"] != usual:
            message = (
                f"The list holds {usual} images, this one is {fact['kind']}; move it to a list of its own."
            )
            findings.append(row.finding("error", "dimension", message))
    return findings


def _usual(kinds: Mapping[str, int]) -> str:
    return max(kinds, key=lambda kind: kinds[kind])
