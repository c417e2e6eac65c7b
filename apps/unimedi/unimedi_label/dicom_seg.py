# SPDX-License-Identifier: Apache-2.0
"""What a DICOM SEG says of itself: of which image it is, when it was made, what its segments are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
from pydicom import Dataset

__all__ = ["image_of", "made_at", "segments_of"]


def image_of(header: Dataset) -> str:
    """Series that it was drawn on; nothing where it names none."""
    references = header.get("ReferencedSeriesSequence") or [Dataset()]
    return str(references[0].get("SeriesInstanceUID", ""))


def made_at(header: Dataset) -> tuple[str, str]:
    """Date and time, which sort: of the series, else of the instance."""
    kind = "Series" if header.get("SeriesDate") else "InstanceCreation"
    return str(header.get(f"{kind}Date") or ""), str(header.get(f"{kind}Time") or "")


def segments_of(path: Path) -> list[dict[str, Any]]:
    """Names and numbers of its segments."""
    found = pydicom.dcmread(path, stop_before_pixels=True).get("SegmentSequence", [])
    return [{"name": str(one.SegmentLabel), "idx": int(one.SegmentNumber)} for one in found]
