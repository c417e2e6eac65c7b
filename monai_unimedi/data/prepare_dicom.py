# SPDX-License-Identifier: Apache-2.0
"""DICOM files of a tree: their headers, which files make a series, and whether a series is a whole volume.

Of a header only what grouping, matching and geometry need is read, and nothing of it is logged.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from monai_unimedi.data.dicom_xray import PURPOSE_TAGS, is_for_processing, turned_orientation
from monai_unimedi.transforms.dicom_series import largest_shift, shifts_beside_line

__all__ = ["DicomFile", "link_series", "read_header", "series_problem", "without_localizers"]

_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "Modality"),
    *("AccessionNumber", "ImageType", "ViewPosition", "BodyPartExamined", "NumberOfFrames", "Rows"),
    *("Columns", "BitsAllocated", "SamplesPerPixel", "ImagePositionPatient", "ImageOrientationPatient"),
    *("PixelSpacing", *PURPOSE_TAGS),
]
_DICOMDIR = "1.2.840.10008.1.3.10"
_AXIAL = 0.9  # cosine between the slices' normal and the body's axis
_TILT = np.cos(np.deg2rad(0.2))  # between the normal and the line through the slices
_GAP = 1.5  # steps between slices, by their median
_EVEN = 0.1  # slice spacings that a slice may lie off its place: positions are often rounded to 0.1 mm
_SAME = 1e-3  # mm


class DicomFile(NamedTuple):
    """What is known of one file without its pixels; texts that are missing are empty."""

    path: Path
    modality: str
    instance: str
    series: str
    study: str
    patient: str
    accession: str
    view: str
    body_part: str
    is_localizer: bool
    is_for_processing: bool
    is_turned: bool  # the stored picture is mirrored, upside down or on its side
    frames: int
    size: tuple[int, int]  # rows, columns
    position: tuple[float, ...] | None  # of the first pixel, mm
    orientation: tuple[float, ...] | None  # of rows and columns
    spacing: tuple[float, ...] | None  # of rows and columns, mm


def read_header(path: Path) -> DicomFile | str:
    """A file's header, or why it cannot be used."""
    if not os.path.exists(path):
        return "a link that leads nowhere or to itself"
    try:
        if not pydicom.misc.is_dicom(path) and path.suffix.lower() != ".dcm":
            return "not a DICOM file"
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    except PermissionError:
        return "the file may not be read (permission)"
    except Exception:  # a broken file can raise anything from the parser
        return "the DICOM header cannot be read"
    try:
        if str(header.get("SOPClassUID", "")) == _DICOMDIR or path.name.upper() == "DICOMDIR":
            return "a DICOMDIR, no image"
        if "Modality" not in header and "SOPInstanceUID" not in header:
            return "the DICOM header cannot be read"
        return _is_short(path, header) or _as_file(path, header)
    except (TypeError, ValueError, AttributeError, OSError):
        return "the DICOM header cannot be read"


def _as_file(path: Path, header: Dataset) -> DicomFile:
    def text(name: str) -> str:
        return str(header.get(name) or "").strip()

    def numbers(name: str, count: int) -> tuple[float, ...] | None:
        values = tuple(float(value) for value in header.get(name) or ())
        return values if len(values) == count and bool(np.isfinite(values).all()) else None

    return DicomFile(
        path=path,
        modality=text("Modality").upper(),
        instance=text("SOPInstanceUID"),
        series=text("SeriesInstanceUID"),
        study=text("StudyInstanceUID"),
        patient=text("PatientID"),
        accession=text("AccessionNumber"),
        view=text("ViewPosition").upper(),
        body_part=text("BodyPartExamined").upper(),
        is_localizer="LOCALIZER" in [str(word).upper() for word in header.get("ImageType") or ()],
        is_for_processing=is_for_processing(header),
        is_turned=turned_orientation(header) is not None,
        frames=int(header.get("NumberOfFrames") or 1),
        size=(int(header.get("Rows") or 0), int(header.get("Columns") or 0)),
        position=numbers("ImagePositionPatient", 3),
        orientation=numbers("ImageOrientationPatient", 6),
        spacing=numbers("PixelSpacing", 2),
    )


def _is_short(path: Path, header: Dataset) -> str:
    """Why the pixels cannot be whole, where the file is smaller than they are; else empty."""
    syntax = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    if not header.get("Rows") or (syntax is not None and syntax.is_encapsulated):
        return ""
    pixels = int(header.Rows) * int(header.Columns) * int(header.get("NumberOfFrames") or 1)
    size = pixels * int(header.get("SamplesPerPixel") or 1) * int(header.get("BitsAllocated") or 8) // 8
    is_deflated = syntax is not None and getattr(syntax, "is_deflated", False)
    return "the file is truncated" if not is_deflated and path.stat().st_size < size else ""


def without_localizers(files: Sequence[DicomFile]) -> list[DicomFile]:
    """The files of a series that are slices."""
    return [file for file in files if not file.is_localizer]


def series_problem(files: Sequence[DicomFile], min_slices: int) -> str | None:
    """Why the files are not the axial slices of one whole volume; None where they are.

    Args:
        files: one series, without localizers.
        min_slices: fewer are no volume.
    """
    if not files:
        return "localizer"
    if any(file.frames > 1 for file in files):
        return "multi-frame CT: convert it to NIfTI first"
    if len(files) < max(min_slices, 2):
        return f"under {max(min_slices, 2)} slices"
    if any(None in (file.position, file.orientation, file.spacing) for file in files):
        return "slices without position, orientation or pixel spacing"
    if len({(file.size, file.spacing) for file in files}) > 1:
        return "slices differ in size or pixel spacing"
    if min(files[0].spacing or (0.0,)) <= 0:
        return "the pixel spacing is not positive"
    if len({file.instance for file in files}) < len(files):
        return "two slices share a SOPInstanceUID"
    return _geometry_problem(files)


def _geometry_problem(files: Sequence[DicomFile]) -> str | None:
    orientations = np.array([file.orientation for file in files])
    positions = np.array([file.position for file in files])
    if np.abs(orientations - orientations[0]).max() > 1e-3:
        return "slices differ in orientation"
    normal = np.cross(orientations[0, :3], orientations[0, 3:])
    if abs(normal[2]) < _AXIAL:
        return "not axial: coronal, sagittal or oblique"
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    steps = np.diff(along[order])
    if steps.min() < _SAME:
        return "several images at one position"
    line = positions[order[-1]] - positions[order[0]]
    if abs(line @ normal) < _TILT * np.linalg.norm(line):
        return "gantry tilt: the slices are sheared"
    if steps.max() > _GAP * np.median(steps):
        return "slices are missing"
    if shifts_beside_line(positions[order], normal).max() > largest_shift(*(files[0].spacing or (0.0, 0.0))):
        return "slices are shifted sideways"
    places = np.linspace(along[order[0]], along[order[-1]], len(files))
    off = max(np.abs(along[order] - places).max(), np.abs(steps - np.median(steps)).max())
    return "slices are unevenly spaced" if off > _EVEN * np.median(steps) else None


def link_series(files: Sequence[DicomFile], folder: Path) -> Path:
    """A folder of symbolic links to the files, in their order, for readers that take a folder for a volume;
    where the disk has no symbolic links, hard links.

    Raises:
        ValueError: When a link does not lead to its file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    real = os.path.realpath(folder)  # the disk resolves links from there
    for index, file in enumerate(files):
        link, source = folder / f"{index:05d}.dcm", os.path.realpath(file.path)
        try:
            link.symlink_to(os.path.relpath(source, real))
        except OSError:
            os.link(source, link)
        if not os.path.exists(link) or not os.path.samefile(link, source):
            raise ValueError(f"The link {str(link)!r} must lead to {source!r}, and does not: choose another --output.")
    return folder
