# SPDX-License-Identifier: Apache-2.0
"""Small files in the real formats, for trees in the corpora's official layouts."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    ComprehensiveSRStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

REPORT = "FINDINGS: The lungs are clear. No effusion.\n\nIMPRESSION: No acute disease."
UID = "1.2.826.0.1.3680043.8.498."


def picture(path: Path, size: tuple[int, int] = (24, 20), value: int | None = None) -> Path:
    """A grey JPEG or PNG of (columns, rows)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.add.outer(np.arange(size[1]), np.arange(size[0])) * 255 // sum(size)
    grey = ramp if value is None else np.full(ramp.shape, value)
    Image.fromarray(grey.astype(np.uint8)).save(path)
    return path


def nifti(path: Path, shape: Sequence[int] = (8, 8, 24), spacing: float = 2.0) -> Path:
    """A volume in HU, LPS like CTs, or a mask where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    volume = np.arange(int(np.prod(shape))).reshape(shape) % (14 if "label" in str(path) else 1000)
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    nibabel.save(nibabel.Nifti1Image(volume.astype(np.int16), affine), path)
    return path


def table(path: Path, rows: Sequence[Mapping[str, Any]], delimiter: str = ",", header: str = "") -> Path:
    """A CSV file, ``.gz`` where its name says so; ``header`` replaces the line of names as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    text = stream.getvalue()
    if header:
        text = header + "\n" + text.split("\n", 1)[1]
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def _dicom(path: Path, kind: str, facts: Mapping[str, Any]) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.UID(kind)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = kind
    for key, value in facts.items():
        setattr(dataset, key, value)
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    return dataset


def _pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes() * int(dataset.get("NumberOfFrames", 1))


def xray(path: Path, number: int, **facts: Any) -> Path:
    """A digital X-ray of 20 rows and 24 columns; patient, study and accession number follow the number."""
    known = {
        "SOPInstanceUID": f"{UID}1.{number}",
        "SeriesInstanceUID": f"{UID}2.{number}",
        "StudyInstanceUID": f"{UID}3.{number}",
        "PatientID": f"P{number}",
        "PatientName": "Secret^Person",
        "AccessionNumber": f"A{number:04d}",
        "Modality": "DX",
        "ViewPosition": "PA",
        "BodyPartExamined": "CHEST",
        "ImageType": ["ORIGINAL", "PRIMARY"],
    }
    dataset = _dicom(path, str(DigitalXRayImageStorageForPresentation), known | facts)
    _pixels(dataset, (np.add.outer(np.arange(20), np.arange(24)) * 90 + number).astype(np.uint16))
    dataset.save_as(path)
    return path


def ct_slice(path: Path, number: int, index: int, pixels: np.ndarray | None = None, **facts: Any) -> Path:
    """One axial slice, 2 mm from the next, of the series with this number."""
    known = {
        "SOPInstanceUID": f"{UID}4.{number}.{index}",
        "SeriesInstanceUID": f"{UID}5.{number}",
        "StudyInstanceUID": f"{UID}6.{number}",
        "PatientID": f"C{number}",
        "PatientName": "Secret^Person",
        "AccessionNumber": f"B{number:04d}",
        "Modality": "CT",
        "InstanceNumber": index + 1,
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ImagePositionPatient": [-10.0, -10.0, 2.0 * index],
        "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "PixelSpacing": [1.0, 1.0],
        "SliceThickness": 2.0,
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
    }
    dataset = _dicom(path, str(CTImageStorage), known | facts)
    shade = np.add.outer(np.arange(16), np.arange(18)) * 40 + index
    _pixels(dataset, (shade if pixels is None else pixels).astype(np.int16))
    dataset.save_as(path)
    return path


def ct_series(folder: Path, number: int, count: int = 24, **facts: Any) -> Path:
    """A folder of slices."""
    for index in range(count):
        ct_slice(folder / f"1-{index + 1:03d}.dcm", number, index, **facts)
    return folder


def _code(meaning: str) -> Items:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99TEST", meaning
    return Items([code])


def _node(kind: str, name: str, **facts: Any) -> Dataset:
    node = Dataset()
    node.RelationshipType, node.ValueType, node.ConceptNameCodeSequence = "CONTAINS", kind, _code(name)
    for key, value in facts.items():
        setattr(node, key, value)
    return node


def structured_report(path: Path, number: int, findings: str, impression: str, **facts: Any) -> Path:
    """A DICOM SR object: an observer's name, a section of findings with a measurement, an impression."""
    value = Dataset()
    value.NumericValue, value.MeasurementUnitsCodeSequence = "12", _code("mm")
    content = [
        _node("PNAME", "Person Observer Name", PersonName="Secret^Reader"),
        _node("CONTAINER", "Findings", ContentSequence=Items([
            _node("TEXT", "Finding", TextValue=findings),
            _node("NUM", "Diameter", MeasuredValueSequence=Items([value])),
        ])),
        _node("TEXT", "Impression", TextValue=impression),
    ]  # fmt: skip
    known = {
        "SOPInstanceUID": f"{UID}7.{number}",
        "SeriesInstanceUID": f"{UID}8.{number}",
        "StudyInstanceUID": f"{UID}6.{number}",
        "PatientID": f"C{number}",
        "AccessionNumber": f"B{number:04d}",
        "Modality": "SR",
        "ValueType": "CONTAINER",
        "ContentSequence": Items(content),
    }
    _dicom(path, str(ComprehensiveSRStorage), known | facts).save_as(path)
    return path
