# SPDX-License-Identifier: Apache-2.0
"""Text and headings of DICOM structured reports."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from monai_unimedi.data.report_sr import structured_report_text
from monai_unimedi.data.report_text import read_report


def code(meaning: str) -> Sequence:
    entry = Dataset()
    entry.CodeValue, entry.CodingSchemeDesignator, entry.CodeMeaning = "1", "DCM", meaning
    return Sequence([entry])


def item(kind: str, name: str, text: str = "", parts: list[Dataset] | None = None) -> Dataset:
    part = Dataset()
    part.ValueType = kind
    part.ConceptNameCodeSequence = code(name)
    if kind == "TEXT":
        part.TextValue = text
    if kind == "CODE":
        part.ConceptCodeSequence = code(text)
    if kind == "PNAME":
        part.PersonName = text
    if parts:
        part.ContentSequence = Sequence(parts)
    return part


def report() -> Dataset:
    findings = [item("TEXT", "Finding", "The lungs are clear."), item("TEXT", "Finding", "Heart normal.")]
    return item(
        "CONTAINER",
        "Diagnostic Imaging Report",
        parts=[
            item("PNAME", "Person Observer Name", "Doe^Jane"),
            item("CONTAINER", "History", parts=[item("TEXT", "History", "Cough.")]),
            item("CONTAINER", "Findings", parts=findings),
            item("CONTAINER", "Impressions", parts=[item("CODE", "Impression", "Normal chest")]),
        ],
    )


def test_sections_come_out_of_a_basic_report() -> None:
    assert read_report(structured_report_text(report())) == {
        "indication": "Cough.",
        "findings": "The lungs are clear. Heart normal.",
        "impression": "Normal chest",
    }


def test_text_without_containers_is_headed_by_its_concept() -> None:
    flat = item(
        "CONTAINER", "Report", parts=[item("TEXT", "Finding", "Clear."), item("TEXT", "Conclusion", "Ok.")]
    )
    assert read_report(structured_report_text(flat)) == {"findings": "Clear.", "impression": "Ok."}


def test_names_stay_out() -> None:
    assert "Doe" not in structured_report_text(report())


def test_what_is_no_structured_report_raises() -> None:
    with pytest.raises(ValueError, match="must have a ContentSequence"):
        structured_report_text(Dataset())
    with pytest.raises(ValueError, match="must hold text"):
        structured_report_text(item("CONTAINER", "Report", parts=[item("PNAME", "Observer", "Doe^J")]))
