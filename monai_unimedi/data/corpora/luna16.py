# SPDX-License-Identifier: Apache-2.0
"""LUNA16: chest CTs with nodules, for classification of candidates and for slice-hit.

One row a scan in datalist_3d.json: its ``nodules`` with centre (mm, the file's world: x to the left, y to the
back, z to the head) and diameter (mm), label 1 where there is one. The candidates are further lists:
``candidates_training`` and so on, each the scan with ``centre`` and label. The ten official subsets are the
folds: 0 to 7 are training, 8 validation, 9 test.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from monai_unimedi.data.corpora.items import Found, Item, LabelNames, LeftOut, find_file, require_file
from monai_unimedi.data.hashing import stable_hash
from monai_unimedi.data.prepare_tables import read_table

__all__ = ["AMOUNTS", "add_arguments", "items"]

AMOUNTS: dict[str, float] = {}
CENTRE = ("coordX", "coordY", "coordZ")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Folds and candidates."""
    add = parser.add_argument
    add("--validation_subset", type=int, default=8, metavar="0..9", help="default %(default)s")
    add("--test_subset", type=int, default=9, metavar="0..9", help="default %(default)s")
    add(
        "--negatives", type=int, default=-1, metavar="N",
        help="candidates without nodule a nodule that are kept; -1 for all (default %(default)s)",
    )  # fmt: skip


def items(root: Path, options: argparse.Namespace) -> Iterator[Item]:
    """One row a scan, id its series UID, and one a candidate."""
    annotations = require_file(root, ["annotations.csv", "*/annotations.csv"], "LUNA16's annotations")
    nodules: dict[str, list[dict[str, Any]]] = {}
    for line in read_table(annotations, ("seriesuid", *CENTRE, "diameter_mm")):
        nodule = {"centre": _centre(line), "diameter": float(line["diameter_mm"])}
        nodules.setdefault(line["seriesuid"], []).append(nodule)
    yield LabelNames("3d", ["nodule"])
    scans: dict[str, Found] = {}
    for fold in range(10):
        for path in sorted(root.glob(f"subset{fold}/*.mhd")) or sorted(root.glob(f"*/subset{fold}/*.mhd")):
            item = _scan(path, fold, nodules.get(path.stem, []), options)
            if isinstance(item, Found):
                scans[path.stem] = item
            yield item
    if not scans:
        raise ValueError(
            f"LUNA16's scans must be subset0 to subset9 below --root, found none in {str(root)!r}."
        )
    for name in sorted(set(nodules) - set(scans)):
        yield LeftOut(name, "annotated, but the scan is missing")
    yield from _candidates(root, scans, options)


def _scan(path: Path, fold: int, nodules: list[dict[str, Any]], options: argparse.Namespace) -> Item:
    if not path.with_suffix(".raw").is_file() and not path.with_suffix(".zraw").is_file():
        return LeftOut(path.stem, "the .raw file beside the .mhd is missing")
    sections = {options.validation_subset: "validation", options.test_subset: "test"}
    row = {
        "id": path.stem,
        "image": str(path),
        "fold": fold,
        "label": [int(bool(nodules))],
        "nodules": nodules,
    }
    return Found(row, "3d", sections.get(fold, "training"))


def _candidates(root: Path, scans: dict[str, Found], options: argparse.Namespace) -> Iterator[Item]:
    """All nodules among the candidates, and some of the others by the seed."""
    path = find_file(root, ["candidates_V2.csv", "*/candidates_V2.csv", "candidates.csv"])
    lines = list(read_table(path, ("seriesuid", *CENTRE, "class"))) if path else []
    lines = [line for line in lines if line["seriesuid"] in scans]
    positive = [i for i, line in enumerate(lines) if line["class"] == "1"]
    negative = [i for i, line in enumerate(lines) if line["class"] != "1"]
    count = len(negative) if options.negatives < 0 else options.negatives * len(positive)
    order = np.random.RandomState(stable_hash("negatives", options.seed) % 2**32).permutation(len(negative))
    for index in sorted([*positive, *(negative[i] for i in order[:count])]):
        line = lines[index]
        scan = scans[line["seriesuid"]]
        row = {
            "id": f"{line['seriesuid']}/{index}",
            "image": scan.row["image"],
            "patient": scan.row["id"],
            "label": [int(line["class"] == "1")],
            "centre": _centre(line),
        }
        yield Found(row, "3d", f"candidates_{scan.section}")


def _centre(line: dict[str, str]) -> list[float]:
    return [float(line[name]) for name in CENTRE]
