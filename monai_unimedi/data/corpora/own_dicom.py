# SPDX-License-Identifier: Apache-2.0
"""Your own tree of DICOM files: X-rays (CR, DX) and CT series, matched with reports by accession number.

--reports is a table (CSV, columns found by their usual names or named) or a folder of text files named by
accession number; DICOM SR objects in the tree are read in any case. A CT whose folder holds nothing else is
that folder; otherwise its slices are linked into series/ below --output. Ids are hashes of the UIDs, the
patient's a hash of his id with that of his first study: pseudonyms, no anonymisation.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from monai_unimedi.data.corpora.items import Found, Item, LeftOut, Note, list_files
from monai_unimedi.data.prepare_dicom import (
    DicomFile,
    link_series,
    read_header,
    series_problem,
    without_localizers,
)
from monai_unimedi.data.prepare_reports import Reports
from monai_unimedi.data.text_columns import Text, unread_note

__all__ = ["add_arguments", "items"]

XRAYS = ("CR", "DX")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Reports, and what is kept."""
    add = parser.add_argument
    add("--reports", type=Path, metavar="CSV_OR_FOLDER", help="default: DICOM SR objects of the tree alone")
    add("--accession", metavar="COL", help="column of the accession number (or StudyInstanceUID)")
    add("--report", nargs="+", metavar="COL", help="column of the report, or those of findings and impression")
    add("--patient", metavar="COL", help="column of the PatientID: a report of another patient is refused")
    add(
        "--views",
        choices=("all", "frontal"),
        default="all",
        help="frontal: ViewPosition PA or AP (default all)",
    )
    add("--body_part", metavar="NAME", help="BodyPartExamined that an image must have, such as CHEST")
    add("--min_slices", type=int, default=20, help="a CT must have (default %(default)s)")
    add(
        "--series", choices=("all", "largest"), default="all",
        help="CT series of a study: all, or of those that can be used the one of most slices (default %(default)s)",
    )  # fmt: skip
    add("--keep_uids", action="store_true", help="ids are the UIDs and PatientIDs themselves")


def items(root: Path, options: argparse.Namespace) -> Iterator[Item]:
    """One row an X-ray file, one a CT series."""
    errors: list[OSError] = []
    files: list[DicomFile] = []
    in_folder: Counter[Path] = Counter()
    skipped = os.path.realpath(options.reports) if options.reports else None
    for path in tqdm(list(list_files(root, errors.append)), desc="read headers", unit=" files", disable=None):
        if skipped is not None and f"{os.path.realpath(path)}{os.sep}".startswith(f"{skipped}{os.sep}"):
            continue
        found = read_header(path)
        in_folder[path.parent] += found != "not a DICOM file"
        if isinstance(found, str):
            yield LeftOut(_within(root, path), found)
        else:
            files.append(found)
    for error in errors:
        yield LeftOut(_within(root, Path(error.filename)), "the folder may not be read (permission)")
    tree = _Tree(root, files, in_folder, options)
    yield from tree.read_reports()
    yield from tree.xrays()
    yield from tree.volumes()
    yield from tree.notes()


def _within(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


class _Series(NamedTuple):
    """Files of one CT series: its slices, what was left out of it, its report or why there is no volume."""

    first: DicomFile
    slices: list[DicomFile]
    left_out: list[LeftOut]
    text: Text
    reason: str

    @property
    def uid(self) -> str:
        return self.first.series

    @property
    def study(self) -> str:
        return self.first.study or self.first.series


class _Tree:
    """The readable files of a tree by kind, and how many DICOM files each folder holds."""

    def __init__(
        self, root: Path, files: list[DicomFile], in_folder: Counter[Path], options: argparse.Namespace
    ) -> None:
        self.root, self.files, self.in_folder, self.options = root, files, in_folder, options
        self.reports = Reports()
        self.nearly = self.turned = 0
        self.first_study: dict[str, str] = {}
        for file in files:
            study = self.first_study.setdefault(file.patient, file.study)
            self.first_study[file.patient] = min(study, file.study)

    def read_reports(self) -> Iterator[Item]:
        given = self.options.reports
        if given is not None and given.is_dir():
            self.reports.add_folder(given)
        elif given is not None:
            columns = self.options.accession, self.options.report, self.options.patient
            self.reports.add_table(given, *columns)
            yield from self.reports.unusable
        structured = [file for file in self.files if file.modality == "SR"]
        for file in structured:
            try:
                self.reports.add_structured(file)
            except Exception:  # a broken file can raise anything from the parser
                yield LeftOut(_within(self.root, file.path), "the DICOM SR cannot be read")
        if given is None and not structured:
            raise ValueError(
                "Reports must come from --reports (a CSV file or a folder of text files) or from DICOM SR "
                f"objects in the tree, found none in {str(self.root)!r}."
            )

    def xrays(self) -> Iterator[Item]:
        seen = set()
        for file in self.files:
            name = _within(self.root, file.path)
            if file.modality not in (*XRAYS, "CT", "SR"):
                yield LeftOut(name, f"modality {file.modality or 'not stated'}: no X-ray or CT")
            elif file.modality in XRAYS:
                text, reason = self.reports.match(file)
                self.nearly += self._is_nearly(file, reason)
                reason = self._refused(file) or reason
                if file.instance in seen and not reason:
                    reason = "another file has the same SOPInstanceUID"
                seen.add(file.instance)
                row = {"id": self._id(file.instance), "image": str(file.path), "report": text}
                row |= {"patient": self._patient(file), "study": self._id(file.study)}
                row |= {"view": file.view} if file.view else {}
                self.turned += file.is_turned and not reason
                yield LeftOut(name, reason) if reason else Found(row, "2d")

    def _refused(self, file: DicomFile) -> str | None:
        """Why a file is no row whatever its report. What the detector gave (``FOR PROCESSING``) is left out even
        where its study has nothing else: it is often a negative, and the report is about the processed image."""
        if not file.instance or not file.size[0]:
            return "no SOPInstanceUID, or no image"
        if file.modality in XRAYS and file.frames > 1:
            return "several frames"
        if file.modality in XRAYS and file.is_for_processing:
            return "for processing: the detector's raw image, not the one for viewing"
        if self.options.body_part and file.body_part != self.options.body_part.upper():
            return f"the body part is not {self.options.body_part.upper()}"
        if file.modality in XRAYS and self.options.views == "frontal" and file.view not in ("PA", "AP"):
            return f"the view is {file.view or 'not stated'}"
        return None

    def volumes(self) -> Iterator[Item]:
        series: dict[str, list[DicomFile]] = {}
        for file in self.files:
            if file.modality == "CT":
                series.setdefault(file.series, []).append(file)
        found = [self._series(files) for files in series.values()]
        largest: dict[str, str] = {}
        for one in sorted(found, key=lambda one: (-len(one.slices), one.uid)):
            if not one.reason:
                largest.setdefault(one.study, one.uid)
        for one in found:
            is_smaller = self.options.series == "largest" and largest.get(one.study, one.uid) != one.uid
            yield from self._volume(
                one, "another series of the study has more slices, or as many" if is_smaller else ""
            )

    def _series(self, files: list[DicomFile]) -> _Series:
        slices, copies = _without_copies(without_localizers(files))
        left_out = [LeftOut(self._name(file), "localizer") for file in files if slices and file.is_localizer]
        left_out += [LeftOut(self._name(copy), "another file has the same SOPInstanceUID") for copy in copies]
        text, unmatched = self.reports.match(files[0])
        self.nearly += self._is_nearly(files[0], unmatched)
        reason = self._refused(files[0]) or series_problem(slices, self.options.min_slices) or unmatched
        return _Series(files[0], slices, left_out, text, reason)

    def _volume(self, one: _Series, smaller: str) -> Iterator[Item]:
        yield from one.left_out
        identity = self._id(one.uid)
        reason = one.reason or smaller
        if reason:
            yield LeftOut(f"{_within(self.root, one.first.path.parent)} (series {identity})", reason)
            return
        row = {"id": identity, "image": str(self._folder(one.slices, identity)), "report": one.text}
        yield Found(row | {"patient": self._patient(one.first), "study": self._id(one.first.study)}, "3d")

    def _name(self, file: DicomFile) -> str:
        return _within(self.root, file.path)

    def _folder(self, slices: list[DicomFile], identity: str) -> Path:
        """The series' own folder, or one of links where it shares it or lies in several."""
        folder = slices[0].path.parent
        if self.in_folder[folder] == len(slices) and all(file.path.parent == folder for file in slices):
            return folder
        return link_series(slices, self.options.output / "series" / identity)

    def _is_nearly(self, file: DicomFile, reason: str) -> bool:
        return reason == "no report for the accession number" and self.reports.nearly(file)

    def _id(self, uid: str) -> str:
        return uid if self.options.keep_uids else _hash(uid)

    def _patient(self, file: DicomFile) -> str:
        if self.options.keep_uids:
            return file.patient or file.study
        return _hash("patient", file.patient, self.first_study[file.patient] if file.patient else file.study)

    def notes(self) -> Iterator[Item]:
        if self.nearly:
            yield Note(f"{self.nearly} images would find a report without leading zeros: mend the table's numbers")
        if self.turned:
            yield Note(
                f"{self.turned} X-rays are stored mirrored or turned (PatientOrientation) and are read as stored: "
                "`check` names them"
            )
        if self.reports.unread:
            yield unread_note(self.reports.unread)
        if self.reports.joined:
            yield Note(f"{len(self.reports.joined)} accession numbers have several reports, which are joined")


def _without_copies(files: list[DicomFile]) -> tuple[list[DicomFile], list[DicomFile]]:
    """Files of one series, and those that are the same instance at the same place once more."""
    seen = set()
    kept: list[DicomFile] = []
    copies: list[DicomFile] = []
    for file in files:
        key = file.instance, file.position
        (copies if key in seen else kept).append(file)
        seen.add(key)
    return kept, copies


def _hash(*parts: str) -> str:
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).hexdigest()
