# SPDX-License-Identifier: Apache-2.0
"""Open-I, the Indiana University chest X-rays: XML reports with PNG images, pre-training and retrieval.

One XML file is one patient's study. It does not say which image is which view: with the table
``indiana_projections.csv`` beside it only frontal images are kept, without it all are.
"""

from __future__ import annotations

import argparse
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from monai_unimedi.data.corpora.items import Found, Item, LeftOut, Note, find_file, list_files
from monai_unimedi.data.prepare_tables import read_table
from monai_unimedi.data.report_text import open_i_sections

__all__ = ["AMOUNTS", "add_arguments", "items"]

AMOUNTS = {"validation": 0.125, "test": 0.2}  # validation of what test left
PROJECTIONS = "indiana_projections.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Views."""
    parser.add_argument(
        "--views", choices=("frontal", "all"), default="frontal",
        help=f"frontal needs {PROJECTIONS} in --root, without which all are kept (default %(default)s)",
    )  # fmt: skip


def items(root: Path, options: argparse.Namespace) -> Iterator[Item]:
    """One row an image, id as in the XML, patient the report's number."""
    reports, images = [], {}
    for path in list_files(root):
        if path.suffix.lower() == ".xml":
            reports.append(path)
        elif path.suffix.lower() in (".png", ".jpg"):
            images[path.stem] = path
    if not reports:
        raise ValueError(
            "Open-I must have its XML reports (ecgen-radiology/*.xml) below --root, found none in "
            f"{str(root)!r}."
        )
    projections = _projections(root)
    if options.views == "frontal" and not projections:
        yield Note(f"no {PROJECTIONS}: the views are not known, frontal and lateral images are kept")
    for path in sorted(reports, key=lambda report: (len(report.stem), report.stem)):
        yield from _study(path, root, images, projections if options.views == "frontal" else {})


def _study(path: Path, root: Path, images: dict[str, Path], projections: dict[str, str]) -> Iterator[Item]:
    try:
        content = path.read_bytes()
        tree, sections = ElementTree.fromstring(content), open_i_sections(content)
    except (ElementTree.ParseError, ValueError):
        yield LeftOut(path.relative_to(root).as_posix(), "the XML cannot be read")
        return
    uid = tree.find("uId")
    patient = uid.get("id", path.stem) if uid is not None else path.stem
    names = [str(node.get("id")) for node in tree.iter("parentImage")]
    if not names:
        yield LeftOut(patient, "the report names no image")
    for name in names:
        projection = projections.get(_plain(name), "not stated" if projections else "Frontal")
        if projection != "Frontal":
            yield LeftOut(name, f"the view is {projection}")
        elif name not in images:
            yield LeftOut(name, "the image file is missing")
        else:
            row = {"id": name, "image": str(images[name]), "report": sections, "patient": patient}
            yield Found(row, "2d")


def _projections(root: Path) -> dict[str, str]:
    path = find_file(root, [PROJECTIONS, f"*/{PROJECTIONS}"])
    if path is None:
        return {}
    return {_plain(line["filename"]): line["projection"] for line in read_table(path, ("filename",))}


def _plain(name: str) -> str:
    """``CXR1_1_IM-0001-4001`` and ``1_IM-0001-4001.dcm.png`` are one image."""
    found = re.search(r"\d+_IM[\d-]+", name)
    return found.group() if found else name
