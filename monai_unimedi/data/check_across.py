# SPDX-License-Identifier: Apache-2.0
"""What only shows between rows: one patient on both sides of a split, one image twice, two dimensions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from monai_unimedi.data.check_image import ImageFacts
from monai_unimedi.data.check_rows import SPLITS, CheckRow, Finding
from monai_unimedi.data.perceptual_hash import near_pairs

__all__ = ["check_dimensions", "check_images_twice", "check_patients"]

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


def check_images_twice(rows: Sequence[CheckRow], facts: Sequence[ImageFacts]) -> list[Finding]:
    """Images that are another row's: equal pixels, or so near that they show the same picture.

    Each row is named once, with the nearest of the rows before it; in another split it is an error.
    """
    findings = []
    for kind in ("2d", "3d"):
        places = [i for i, fact in enumerate(facts) if fact["kind"] == kind and "near" in fact]
        nearest: dict[int, tuple[int, int]] = {}
        for earlier, later, bits in near_pairs([facts[i]["near"] for i in places]):
            is_same = facts[places[earlier]]["exact"] == facts[places[later]]["exact"]
            distance = -1 if is_same else bits
            nearest[later] = min(nearest.get(later, (999, 0)), (distance, earlier))
        for later, (distance, earlier) in sorted(nearest.items()):
            findings.append(_twice(rows[places[later]], rows[places[earlier]], distance < 0))
    return findings


def _twice(row: CheckRow, other: CheckRow, is_same: bool) -> Finding:
    place = f"id {other.content.get('id')!r}" + (
        f" of {other.section!r}" if other.section != row.section else ""
    )
    leaks = row.section != other.section and {row.section, other.section} <= set(SPLITS)
    if is_same:
        message = f"Each image must be in the list once, this one has the pixels of {place}; leave one out."
        return row.finding("error" if leaks else "warning", "same image", message)
    whose = "the same patient" if row.patient == other.patient else "another patient"
    message = f"The image is nearly that of {place}, {whose}: a copy in another size, or two takes?"
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
