# SPDX-License-Identifier: Apache-2.0
"""One CT from a folder of DICOM slices: ordered by place, in HU, and refused where it is no even stack.

A volume with a gap, a tilted gantry or slices of two series looks like any other once it is an array, and
every slice score and spacing after it is wrong. So it stops here, in a sentence.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.misc import is_dicom
from pydicom.uid import MediaStorageDirectoryStorage

from monai_unimedi.transforms.dicom_pixels import modality_values, read_dicom, stored_values

__all__ = ["read_series"]

logger = logging.getLogger(__name__)
SLICED = ("CT", "MR", "PT")
_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "ImageType", "NumberOfFrames"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"),
    *("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PlanarConfiguration", "RescaleSlope", "RescaleIntercept"),
    *("ModalityLUTSequence", "PixelData"),
)
_SORT = "python -m monai_unimedi prepare dicom sorts such folders into series"
_EVEN = 0.1  # slice spacings that a slice may lie off its place: positions are often rounded to 0.1 mm
_TILT = 0.2  # degrees between the stack's direction and the slices' normal; 1 mm over 300 mm
_SHIFT = 0.2  # mm that a slice may lie beside the stack's line, or half a pixel where that is more
_UNIT = 1e-3  # how far the axes' lengths and angles may be from right


class _Slice(NamedTuple):
    name: str
    header: Dataset


def read_series(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The volume of a folder that holds one series.

    Files that are no DICOM, and a DICOMDIR, are passed over and counted in the log.

    Args:
        folder: not searched deeper.

    Returns:
        (X, Y, Z) along the rows, the columns and the slices' normal, int16 where that holds every value and
        float32 otherwise, rescaled slice by slice; and the matrix (4, 4) from voxels to mm, LPS.

    Raises:
        ValueError: When the folder holds no slices or several series; when a file is broken; when slices
            differ in size, spacing or direction, lie on one another, leave a gap, are unevenly spaced, shifted
            sideways or sheared by a tilted gantry.
    """
    slices = _slices(folder)
    _check_one_series(slices)
    _check_grid(slices)
    slices, affine = _ordered(slices)
    return _stacked(slices), affine


def _slices(folder: Path) -> list[_Slice]:
    """Every DICOM object of the folder, in the order of names."""
    found, others = [], 0
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not (path.is_file() or path.is_symlink()):
            continue
        if not path.is_file():
            raise ValueError(f"Every slice must be a file, {path.name!r} is a link that leads nowhere.")
        if path.suffix.lower() != ".dcm" and not is_dicom(path):
            others += 1
            continue
        header = read_dicom(path, _TAGS)
        if header.get("SOPClassUID", _media_class(header)) == MediaStorageDirectoryStorage:
            others += 1
            continue
        found.append(_Slice(path.name, header))
    if others:
        logger.info("%d files beside %d DICOM slices are none and were passed over", others, len(found))
    if not found:
        raise ValueError(f"A folder of slices must hold DICOM files, {folder.name!r} holds none.")
    return found


def _media_class(header: Dataset) -> object:
    return header.file_meta.get("MediaStorageSOPClassUID") if hasattr(header, "file_meta") else None


def _check_one_series(slices: Sequence[_Slice]) -> None:
    modalities = {str(s.header.get("Modality", "")) for s in slices}
    others = sorted(modalities - {*SLICED, ""})
    if others:
        raise ValueError(f"A volume must be made of CT slices, the folder holds objects of {others}; {_SORT}.")
    series = Counter(str(s.header.get("SeriesInstanceUID", "")) for s in slices)
    if len(series) > 1:
        counts = " and ".join(str(n) for n in sorted(series.values(), reverse=True))
        raise ValueError(f"The folder must hold one series, it holds {len(series)} of {counts} files; {_SORT}.")
    localizers = sum("LOCALIZER" in (s.header.get("ImageType") or ()) for s in slices)
    if localizers:
        raise ValueError(
            f"A volume must be made of axial slices, {localizers} of {len(slices)} files are localizers "
            f"(scouts); {_SORT}."
        )
    framed = sum(int(s.header.get("NumberOfFrames") or 1) > 1 for s in slices)
    if framed:
        raise ValueError(
            f"Each file must hold one slice, {framed} of {len(slices)} hold several frames (enhanced CT); "
            "convert the series to NIfTI first."
        )
    if len(slices) < 2:
        raise ValueError("A volume must have two slices at least, the folder holds one.")


def _check_grid(slices: Sequence[_Slice]) -> None:
    """Size, channels, direction and pixel spacing: there, sound and the same in all slices."""
    for name in ("Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        missing = sum(s.header.get(name) in (None, "") for s in slices)
        if missing:
            raise ValueError(f"Every slice must give its {name}, {missing} of {len(slices)} do not.")
    sizes = Counter((int(s.header.Columns), int(s.header.Rows)) for s in slices)
    if len(sizes) > 1:
        raise ValueError(f"All slices must have one size, got {dict(sizes)} (columns, rows); {_SORT}.")
    colored = sum(int(s.header.get("SamplesPerPixel", 1)) != 1 for s in slices)
    if colored:
        raise ValueError(f"A CT must have one channel, {colored} of {len(slices)} slices are in colour.")
    for name, tolerance in (("ImageOrientationPatient", _UNIT), ("PixelSpacing", 1e-4)):
        values = np.array([_numbers(s, name) for s in slices])
        if not np.isfinite(values).all() or np.abs(values - values[0]).max() > tolerance:
            raise ValueError(f"All slices must have one {name}, it differs or is no number; {_SORT}.")
    if min(_numbers(slices[0], "PixelSpacing")) <= 0:
        raise ValueError(f"The pixel spacing must be positive, got {_numbers(slices[0], 'PixelSpacing')} mm.")


def _numbers(one: _Slice, name: str) -> list[float]:
    lengths = {"ImageOrientationPatient": 6, "ImagePositionPatient": 3, "PixelSpacing": 2}
    try:
        numbers = [float(value) for value in one.header[name].value]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != lengths[name]:
        raise ValueError(f"{name} of {one.name!r} must be {lengths[name]} numbers.")
    return numbers


def _ordered(slices: Sequence[_Slice]) -> tuple[list[_Slice], np.ndarray]:
    """The slices from the lowest to the highest along their normal, and the affine (LPS)."""
    across, down = np.array(_numbers(slices[0], "ImageOrientationPatient")).reshape(2, 3)
    normal = np.cross(across, down)
    lengths = np.array([np.linalg.norm(across), np.linalg.norm(down), np.linalg.norm(normal)])
    if np.abs(lengths - 1).max() > _UNIT:
        raise ValueError("The slices' axes must be of length 1 and at right angles, the header's are not.")
    positions = np.array([_numbers(s, "ImagePositionPatient") for s in slices])
    heights = positions @ normal
    if not np.isfinite(heights).all():
        raise ValueError("Every slice's position must be three finite numbers.")
    order = np.argsort(heights, kind="stable")
    step = _check_steps(heights[order])
    _check_tilt(positions[order[-1]] - positions[order[0]], normal)
    row_spacing, column_spacing = _numbers(slices[0], "PixelSpacing")
    _check_shifts(positions[order], normal, largest_shift(row_spacing, column_spacing))
    affine = np.eye(4)
    affine[:3, :3] = np.stack([across * column_spacing, down * row_spacing, normal * step], axis=1)
    affine[:3, 3] = positions[order[0]]
    return [slices[i] for i in order], affine


def _check_steps(heights: np.ndarray) -> float:
    """The spacing (mm) of slices in order, which must be even."""
    steps = np.diff(heights)
    usual = float(np.median(steps))
    stacked = int((steps < 0.01).sum())
    if stacked or usual < 0.01:
        raise ValueError(
            f"Every slice must have a place of its own, {stacked} of {len(heights)} lie on another one (a "
            f"file twice, or several phases in one series); {_SORT}."
        )
    gaps = steps[steps > 1.5 * usual]
    if len(gaps):
        missing = int(np.rint(gaps / usual - 1).sum())
        raise ValueError(
            f"The slices must follow one another, about {missing} are missing in {len(gaps)} gaps of up to "
            f"{gaps.max():.1f} mm where the spacing is {usual:.2f} mm; copy the series again."
        )
    mean = float(heights[-1] - heights[0]) / (len(heights) - 1)
    off = np.abs(heights - heights[0] - mean * np.arange(len(heights))).max()
    if max(off, np.abs(steps - usual).max()) > _EVEN * usual:
        raise ValueError(
            f"The slices must be evenly spaced, the distances run from {steps.min():.2f} to "
            f"{steps.max():.2f} mm; resample the series to an even spacing first."
        )
    return mean


def _check_tilt(way: np.ndarray, normal: np.ndarray) -> None:
    tilt = np.degrees(np.arccos(np.clip(way @ normal / np.linalg.norm(way), -1, 1)))
    if tilt > _TILT:
        raise ValueError(
            f"The slices must lie straight above one another, the gantry was tilted by {tilt:.1f} degrees; "
            "convert the series with a tool that corrects the tilt."
        )


def largest_shift(row_spacing: float, column_spacing: float) -> float:
    """How far a slice may lie beside the stack's line, mm."""
    return max(_SHIFT, min(row_spacing, column_spacing) / 2)


def shifts_beside_line(positions: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(N,) mm from positions (N, 3), in order along the normal, to the line from the first to the last."""
    ways = positions - positions[0]
    along = (ways @ normal) / (ways[-1] @ normal)
    return np.asarray(np.linalg.norm(ways - along[:, None] * ways[-1], axis=1))


def _check_shifts(positions: np.ndarray, normal: np.ndarray, limit: float) -> None:
    shifts = shifts_beside_line(positions, normal)
    if shifts.max() > limit:
        raise ValueError(
            f"The slices must lie straight above one another, {int((shifts > limit).sum())} of {len(shifts)} lie up to "
            f"{shifts.max():.1f} mm beside the line from the first to the last; resample the series to one grid first."
        )


def _stacked(slices: Sequence[_Slice]) -> np.ndarray:
    """(X, Y, Z) in the modality's units."""
    volume: np.ndarray | None = None
    for number, one in enumerate(slices):
        plane = _plane(one)
        if volume is None:
            volume = np.empty((len(slices), *plane.shape), plane.dtype)
        if plane.dtype != volume.dtype:
            volume = volume.astype(np.float32)
        volume[number] = plane
        if "PixelData" in one.header:
            del one.header["PixelData"]
    assert volume is not None
    return volume.transpose(2, 1, 0)


def _plane(one: _Slice) -> np.ndarray:
    """(rows, columns) in the modality's units; int16 where that loses nothing."""
    header = one.header
    if header.get("PhotometricInterpretation") not in ("MONOCHROME2", None):
        raise ValueError(f"A CT slice must be MONOCHROME2, {one.name!r} is not.")
    stored = stored_values(header, one.name)
    slope, intercept = (float(header.get(f"Rescale{n}") or d) for n, d in (("Slope", 1), ("Intercept", 0)))
    whole = slope == 1 and intercept.is_integer() and "ModalityLUTSequence" not in header
    if not whole or stored.dtype.itemsize > 2:
        return modality_values(stored, header).astype(np.float32, copy=False)
    low, high = int(stored.min()) + intercept, int(stored.max()) + intercept
    if low < -(2**15) or high >= 2**15:
        return modality_values(stored, header).astype(np.float32, copy=False)
    return (
        (stored.astype(np.int32) + int(intercept)).astype(np.int16)
        if stored.dtype == np.uint16
        else (stored.astype(np.int16) + np.int16(intercept))
    )
