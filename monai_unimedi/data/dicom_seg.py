# SPDX-License-Identifier: Apache-2.0
"""Masks as DICOM SEG objects beside their series, by highdicom (``pip install monai-unimedi[seg]``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.misc import is_dicom

from monai_unimedi import __version__

__all__ = ["write_dicom_seg"]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NAME = "monai-unimedi"
_MAY_BE_EMPTY = (  # of DICOM's type 2: must be there, and de-identification often drops them
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)


def write_dicom_seg(
    path: Path,
    mask: np.ndarray,
    affine: np.ndarray,
    series: Path,
    names: Sequence[str],
    values: Sequence[int],
    is_exclusive: bool,
) -> None:
    """Writes one SEG with a binary segment for each class.

    Args:
        path: file to write.
        mask: (X, Y, Z), whole numbers, on the grid that ``LoadVolume`` gave the series.
        affine: (4, 4), RAS, of that grid.
        series: folder of the DICOM slices.
        names: of the channels.
        values: number or bit of each.
        is_exclusive: numbers, the first of which is the background, or bits.

    Raises:
        ImportError: When highdicom is not installed.
        ValueError: When the image is no DICOM folder, or a slice of the mask has no file.
    """
    try:
        import highdicom
    except ImportError as error:
        raise ImportError("A DICOM SEG needs highdicom: pip install 'monai-unimedi[seg]'.") from error
    if not series.is_dir():
        raise ValueError(
            f"A DICOM SEG must refer to a folder of DICOM slices, {series.name!r} is none; write .nii.gz or .nrrd."
        )
    slices = _slices(series, affine, mask.shape[2])
    first = int(is_exclusive)
    channels = [mask == value if is_exclusive else (mask >> value) & 1 for value in values[first:]]
    frames = np.stack(channels, -1).astype(np.uint8).transpose(2, 1, 0, 3)  # (Z, rows, columns, classes)
    segmentation = highdicom.seg.Segmentation(
        source_images=slices,
        pixel_array=np.ascontiguousarray(frames),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=_descriptions(highdicom, names[first:]),
        series_instance_uid=highdicom.UID(),
        series_number=1000,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=_NAME,
        manufacturer_model_name=_NAME,
        software_versions=__version__,
        device_serial_number="0",
        series_description="Segmentation, research only",
        omit_empty_frames=len(names) - first > 1,  # viewers that read one class as a volume find all its slices
    )
    if not all(name.isascii() for name in names):
        segmentation.SpecificCharacterSet = "ISO_IR 192"  # UTF-8; the patient's name is encoded anew
    segmentation.save_as(path)


def _slices(series: Path, affine: np.ndarray, depth: int) -> list[pydicom.Dataset]:
    """Headers of the slices in the order of the grid's last axis, found by their heights: the reader allows a little
    tilt, which over many slices is more than a voxel."""
    to_grid = np.linalg.inv(_LPS_TO_RAS @ affine)
    found: dict[int, pydicom.Dataset] = {}
    for file in sorted(path for path in series.iterdir() if path.is_file() and is_dicom(path)):
        header = pydicom.dcmread(file, stop_before_pixels=True)
        if "ImagePositionPatient" in header:
            place = round((to_grid @ np.array([*(float(v) for v in header.ImagePositionPatient), 1.0]))[2])
            if 0 <= place < depth:
                found[place] = _completed(header, float(np.linalg.norm(affine[:3, 2])))
    if sorted(found) != list(range(depth)):
        raise ValueError(f"{series.name!r} must hold a file for each of {depth} slices, found {len(found)}.")
    return [found[index] for index in range(depth)]


def _completed(header: pydicom.Dataset, thickness: float) -> pydicom.Dataset:
    """The header with what highdicom asks of it and may be missing; nothing is taken from elsewhere."""
    if not header.get("SliceThickness"):
        header.SliceThickness = round(thickness, 6)
    for name in _MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, "")
    return header


def _descriptions(highdicom: Any, names: Sequence[str]) -> list[Any]:
    """What each segment is: its name as a code of this project's own, made by an algorithm."""
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=_NAME,
        version=__version__,
        family=highdicom.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
    )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=highdicom.sr.CodedConcept("123037004", "SCT", "Anatomical Structure"),
            segmented_property_type=highdicom.sr.CodedConcept(str(number), "99UNIMEDI", name[:64]),
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, name in enumerate(names, 1)
    ]
