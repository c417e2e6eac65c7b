# SPDX-License-Identifier: Apache-2.0
"""Reports of one's own DICOM files: by accession number from a table or from text files, or DICOM SR.

Matching is exact. Findings and impression may lie in two columns. Several different reports of one accession
number (an addendum) are joined in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pydicom

from monai_unimedi.data.corpora.items import LeftOut, list_files
from monai_unimedi.data.prepare_dicom import DicomFile
from monai_unimedi.data.prepare_tables import find_column, read_columns, read_lines, read_text
from monai_unimedi.data.report_sr import structured_report_text
from monai_unimedi.data.text_columns import Text, find_texts, is_text, join_texts, report_of, unread_texts

__all__ = ["Reports"]

ACCESSION = ("AccessionNumber", "accession", "accession_no", "accession_nr", "acc", "acc_no")
STUDY = ("StudyInstanceUID", "study_uid", "study_instance")
PATIENT = ("PatientID", "patient", "mrn", "subject_id")
TEXTS = (".txt", ".text", ".md")


class _Report(NamedTuple):
    text: Text
    patient: str  # empty where the table does not say


class Reports:
    """Reports by accession number, and by study where an SR object or a table has no such number."""

    def __init__(self) -> None:
        self.reports: dict[str, list[_Report]] = {}
        self.joined: set[str] = set()
        self.unread: list[str] = []
        self.unusable: list[LeftOut] = []
        self._without_zeros: set[str] | None = None

    def add(self, key: str, text: Text, patient: str = "") -> None:
        """A report under an accession number or StudyInstanceUID; a text that is there adds nothing."""
        known = self.reports.setdefault(key, [])
        if is_text(text) and text not in [report.text for report in known]:
            known.append(_Report(text, patient))

    def add_table(self, path: Path, accession: str | None, report: Sequence[str] | None, patient: str | None) -> None:
        """Every row of a CSV file; the columns are found by their usual names where they are not given. Rows that
        cannot be told into cells are `unusable`.

        Raises:
            ValueError: When a column is missing; the message names those that are there.
        """
        names = read_columns(path)
        key = accession or find_column(names, ACCESSION) or find_column(names, STUDY)
        texts = list(report or find_texts(names))
        for option, column in (("--accession", key), *(("--report", text) for text in texts or [""])):
            if column not in names:
                raise ValueError(
                    f"{path.name!r} must have a column for {option}; its columns are "
                    f"{', '.join(map(repr, names))}: name one."
                )
        owner = patient or find_column(names, PATIENT)
        self.unread = unread_texts(names, [str(key), *texts])
        for number, line in read_lines(path, [column for column in (key, *texts, patient) if column]):
            if isinstance(line, str):
                self.unusable.append(LeftOut(f"{path.name}, line {number}", line))
            elif line[str(key)]:
                self.add(line[str(key)], report_of(line, texts), line[owner] if owner else "")

    def add_folder(self, folder: Path) -> None:
        """Every text file, named by its accession number.

        Raises:
            ValueError: When there is none.
        """
        paths = [path for path in list_files(folder) if path.suffix.lower() in TEXTS]
        if not paths:
            raise ValueError(
                f"--reports must be a table or a folder of text files named by accession number "
                f"({', '.join(TEXTS)}), found none in {str(folder)!r}."
            )
        for path in paths:
            self.add(path.stem, read_text(path))

    def add_structured(self, file: DicomFile) -> None:
        """One DICOM SR object, under its accession number and its study."""
        text = structured_report_text(pydicom.dcmread(file.path))
        for key in {file.accession, file.study} - {""}:
            self.add(key, text, file.patient)

    def match(self, file: DicomFile) -> tuple[Text, str]:
        """The report's text of an image, or why there is none: one of the two is empty."""
        found = self.reports.get(file.accession, self.reports.get(file.study))
        if not file.accession and found is None:
            return "", "no accession number, and no report of the study"
        if found is None:
            return "", "no report for the accession number"
        if not found:
            return "", "the report is empty"
        if any(report.patient and file.patient and report.patient != file.patient for report in found):
            return "", "the report is another patient's"
        if len(found) > 1:
            self.joined.add(file.accession or file.study)
        return join_texts([report.text for report in found]), ""

    def nearly(self, file: DicomFile) -> bool:
        """Whether the accession number would match but for leading zeros, which spreadsheets take away."""
        if self._without_zeros is None:
            self._without_zeros = {key.lstrip("0") for key in self.reports}
        return file.accession.lstrip("0") in self._without_zeros
