# SPDX-License-Identifier: Apache-2.0
"""What an X-ray's DICOM header says of the picture as a whole: is it for viewing, and how does it lie?"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import (
    DigitalIntraOralXRayImageStorageForProcessing,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForProcessing,
)

__all__ = ["PURPOSE_TAGS", "is_for_processing", "turned_orientation"]

PURPOSE_TAGS = ("SOPClassUID", "PresentationIntentType", "PatientOrientation")
_FOR_PROCESSING = (
    DigitalXRayImageStorageForProcessing,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalIntraOralXRayImageStorageForProcessing,
)


def is_for_processing(header: Dataset) -> bool:
    """Whether the pixels are those of the detector, which nobody reads: often a negative, of linear values."""
    intent = str(header.get("PresentationIntentType") or "").strip().upper()
    return intent == "FOR PROCESSING" or str(header.get("SOPClassUID", "")) in _FOR_PROCESSING


def turned_orientation(header: Dataset) -> str | None:
    r"""``PatientOrientation`` where it says that the stored picture is mirrored, upside down or on its side.

    A frontal X-ray as it is viewed has rows to the patient's left and columns to the feet, ``L\F``; the rows of a
    lateral one run to anterior or posterior. Nothing is said where the header says nothing.

    Returns:
        The first letter of each direction, such as ``R\F``; None for a picture that lies as it is viewed.
    """
    value = header.get("PatientOrientation")
    directions = [str(word).strip().upper()[:1] for word in value] if value and not isinstance(value, str) else []
    if len(directions) != 2 or not all(directions):
        return None
    row, column = directions
    is_turned = row in ("R", "H", "F") or column in ("H", "L", "R", "A", "P")
    return f"{row}\\{column}" if is_turned else None
