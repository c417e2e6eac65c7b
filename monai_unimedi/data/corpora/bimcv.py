# SPDX-License-Identifier: Apache-2.0
"""BIMCV-COVID19+ (any iteration): CTs of the lung with Spanish reports, pre-training; and its X-rays.

Files are known by their names (``sub-S0_ses-E0_run-1_bp-chest_vp-pa_dx.png``, ``..._bp-chest_ct.nii.gz``),
wherever they lie below --root. The report is the session's ``medical_evaluation`` (``*_sessions.tsv``) or the
``Report`` of the tables in derivatives/labels. There is no official split: drawn by patient.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import nibabel

from monai_unimedi.data.corpora.items import Found, Item, LeftOut, Note, list_files
from monai_unimedi.data.prepare_tables import read_columns, read_table

__all__ = ["AMOUNTS", "add_arguments", "items"]

AMOUNTS = {"validation": 0.05 / 0.9, "test": 0.1}  # validation of what test left
_IMAGE = re.compile(r"^(sub-[^_]+)_(ses-[^_]+)_(?:.*_)?(ct|dx|cr)\.(nii\.gz|nii|png)$")
_BODY_PART = "00180015"  # BodyPartExamined in the JSON beside an image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Dimensions, views and volumes."""
    add = parser.add_argument
    add("--sources", choices=("both", "2d", "3d"), default="both", help="X-rays, CTs or both (default both)")
    add("--views", choices=("frontal", "all"), default="frontal", help="of X-rays (default %(default)s)")
    add("--min_slices", type=int, default=20, help="a CT must have (default %(default)s)")


def items(root: Path, options: argparse.Namespace) -> Iterator[Item]:
    """One row an image, id its file's name, patient ``sub-...``."""
    images: list[Path] = []
    reports: dict[tuple[str, str], str] = {}
    weaker: dict[tuple[str, str], str] = {}
    for path in list_files(root):
        if path.name.endswith("_sessions.tsv"):
            reports |= _sessions(path)
        elif path.suffix.lower() == ".tsv" and path.parent.name == "labels":
            weaker |= _reports(path)
        elif _IMAGE.match(path.name):
            images.append(path)
    if not images:
        raise ValueError(
            f"BIMCV's images (sub-..._ses-..._ct.nii.gz, ..._dx.png) must lie below --root, found none in "
            f"{str(root)!r}: unpack the archives."
        )
    yield Note("reports are Spanish: choose a multilingual text model")
    reports = weaker | {session: text for session, text in reports.items() if text}
    for path in images:
        yield _item(path, reports, options)


def _item(path: Path, reports: dict[tuple[str, str], str], options: argparse.Namespace) -> Item:
    found = _IMAGE.match(path.name)
    assert found is not None
    patient, session, kind, suffix = found.groups()
    name = path.name.removesuffix(f".{suffix}")
    source = "3d" if kind == "ct" else "2d"
    reason = _refused(path, source, options)
    if reason is None and (patient, session) not in reports:
        reason = "no report of the session"
    if reason is not None:
        return LeftOut(name, reason)
    row = {"id": name, "image": str(path), "report": reports[patient, session], "patient": patient}
    return Found(row | {"study": session, "language": "es"}, source)


def _refused(path: Path, source: str, options: argparse.Namespace) -> str | None:
    if options.sources not in ("both", source):
        return f"not asked for (--sources {options.sources})"
    if (source == "3d") != path.name.endswith((".nii.gz", ".nii")):
        return f"a CT must be NIfTI and an X-ray PNG, got {path.suffix}"
    part = _entity(path, "bp") or _body_part(path)
    if part and part.lower() not in ("chest", "thorax", "torax"):
        return "the body part is not the chest"
    if source == "3d":
        return _volume_problem(path, options.min_slices)
    view = _entity(path, "vp") or "not stated"
    return f"the view is {view}" if options.views == "frontal" and view not in ("pa", "ap") else None


def _volume_problem(path: Path, min_slices: int) -> str | None:
    try:
        shape = nibabel.Nifti1Image.from_filename(path).shape
    except (nibabel.filebasedimages.ImageFileError, OSError, EOFError, ValueError):
        return "the image file cannot be read"
    if len(shape) != 3:
        return f"the volume has {len(shape)} dimensions"
    return f"under {min_slices} slices (a localizer)" if min(shape) < min_slices else None


def _entity(path: Path, name: str) -> str:
    """The value of one part of the file's name: ``chest`` of ``bp-chest``."""
    found = re.search(rf"_{name}-([^_.]+)", path.name)
    return found.group(1).lower() if found else ""


def _body_part(path: Path) -> str:
    """As the JSON beside the image has it; empty without."""
    sidecar = path.with_name(re.sub(r"\.(nii\.gz|nii|png)$", ".json", path.name))
    try:
        values = json.loads(sidecar.read_text("utf-8")).get(_BODY_PART, {}).get("Value") or [""]
        return str(values[0])
    except (OSError, ValueError, AttributeError):
        return ""


def _sessions(path: Path) -> dict[tuple[str, str], str]:
    """Reports of one patient's sessions."""
    patient = path.name.removesuffix("_sessions.tsv")
    if not {"session_id", "medical_evaluation"} <= set(read_columns(path)):
        return {}
    return {(patient, line["session_id"]): _text(line["medical_evaluation"]) for line in read_table(path)}


def _reports(path: Path) -> dict[tuple[str, str], str]:
    """Reports of a table of labels, where it has them."""
    if not {"PatientID", "ReportID", "Report"} <= set(read_columns(path)):
        return {}
    return {
        (_prefixed("sub-", line["PatientID"]), _prefixed("ses-", line["ReportID"])): _text(line["Report"])
        for line in read_table(path)
    }


def _prefixed(prefix: str, name: str) -> str:
    return name if name.startswith(prefix) else prefix + name


def _text(cell: str) -> str:
    """A cell's text; a Python list of texts, as the tables have it, becomes lines."""
    if not cell.startswith("["):
        return "" if cell.lower() == "nan" else cell
    try:
        return "\n".join(str(part) for part in ast.literal_eval(cell))
    except (ValueError, SyntaxError):
        return cell
