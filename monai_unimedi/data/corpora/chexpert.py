# SPDX-License-Identifier: Apache-2.0
"""CheXpert (v1.0-small, v1.0, or v1.0 in its four batch folders): classification of X-rays, and the 5x200 set
for retrieval.

Five tasks, frontal views; uncertain is 1 for Atelectasis and Edema and 0 otherwise, blank is 0. The official
``valid.csv`` is the test list; 5,000 images of ``train.csv`` are drawn for validation, by patient.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_unimedi.data.corpora.items import Found, Item, LabelNames, LeftOut, Note, require_file
from monai_unimedi.data.hashing import stable_hash
from monai_unimedi.data.prepare_tables import read_table

__all__ = ["AMOUNTS", "add_arguments", "items"]

AMOUNTS = {"validation": 5000.0}
TASKS = ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"]
OTHERS = [
    *("No Finding", "Enlarged Cardiomediastinum", "Lung Opacity", "Lung Lesion", "Pneumonia"),
    *("Pneumothorax", "Pleural Other", "Fracture", "Support Devices"),
]
ONES = {"Atelectasis", "Edema"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Label policy, tasks, views and the retrieval set."""
    add = parser.add_argument
    add(
        "--uncertain", choices=("protocol", "ones", "zeros", "leave_out"), default="protocol",
        help="what -1 becomes: 1 for Atelectasis and Edema and 0 otherwise (protocol), always 1, always 0, "
        "or the image is left out (default %(default)s)",
    )  # fmt: skip
    add("--tasks", type=int, choices=(5, 14), default=5, help="labels of a row (default %(default)s)")
    add("--views", choices=("frontal", "all"), default="frontal", help="default %(default)s")
    add(
        "--retrieval", type=int, default=200, metavar="N",
        help="images a class of the list retrieval_5x200, taken from train.csv and kept out of training; "
        "0 for none (default %(default)s)",
    )  # fmt: skip


def items(root: Path, options: argparse.Namespace) -> Iterator[Item]:
    """One row an image, id its path within the corpus, patient from the path."""
    names = TASKS if options.tasks == 5 else [*TASKS, *OTHERS]
    yield LabelNames("2d", names)
    rows = list(_rows(root, "train.csv", names, options))
    chosen = _five_by_n([item.row for item in rows if isinstance(item, Found)], options)
    if options.retrieval and not chosen:
        yield Note(f"no retrieval_5x200: a class has under {options.retrieval} patients of its own in train.csv")
    for item in rows:
        yield _without_retrieval(item, chosen) if isinstance(item, Found) else item
    for item in _rows(root, "valid.csv", names, options):
        if isinstance(item, Found):
            item.row.pop("class")
            item = item._replace(section="test")
        yield item


def _without_retrieval(item: Found, chosen: Mapping[str, str]) -> Item:
    """A training row, unless it or its patient is in the retrieval set."""
    if item.row["patient"] not in chosen:
        item.row.pop("class")
        return item
    if chosen[item.row["patient"]] == item.row["id"]:
        return item._replace(section="retrieval_5x200")
    return LeftOut(item.row["id"], "another image of the patient is in retrieval_5x200")


def _rows(root: Path, table: str, names: list[str], options: argparse.Namespace) -> Iterator[Item]:
    path = require_file(root, [table, f"CheXpert*/{table}"], f"CheXpert's {table}")
    batches = _batches(path.parent)
    for line in read_table(path, ("Path", "Frontal/Lateral", *TASKS, *names)):
        within = Path(line["Path"])
        if within.parts[0].startswith("CheXpert"):
            within = Path(*within.parts[1:])
        view = line["Frontal/Lateral"]
        values = {name: float(line[name] or 0) for name in names}
        if options.views == "frontal" and view != "Frontal":
            yield LeftOut(within.as_posix(), f"the view is {view}")
        elif options.uncertain == "leave_out" and -1 in values.values():
            yield LeftOut(within.as_posix(), "a label is uncertain")
        else:
            row = {
                "id": within.as_posix(),
                "image": str(_place(path.parent, within, batches)),
                "patient": next((part for part in within.parts if part.startswith("patient")), None),
                "label": [_value(name, value, options.uncertain) for name, value in values.items()],
            }
            yield Found(row | {"class": _only_finding(line)}, "2d")


def _batches(folder: Path) -> dict[str, Path]:
    """Where the batches of the full-size download keep each training patient; empty for the other forms."""
    batches = [path for path in sorted(folder.parent.glob("CheXpert*batch*")) if "batch" in folder.name]
    bases = [base for batch in batches for base in (batch / "train", batch) if base.is_dir()]
    return {path.name: path for base in bases for path in base.glob("patient*")}


def _place(folder: Path, within: Path, batches: Mapping[str, Path]) -> Path:
    """The file of ``train/patient00001/study1/view1_frontal.jpg``."""
    is_apart = within.parts[0] == "train" and within.parts[1] in batches
    return batches[within.parts[1]].joinpath(*within.parts[2:]) if is_apart else folder / within


def _only_finding(line: Mapping[str, str]) -> str | None:
    """The one of the five findings that is positive, where no other of them is, nor uncertain."""
    values = {name: float(line[name] or 0) for name in TASKS}
    found = [name for name, value in values.items() if value != 0]
    return found[0] if len(found) == 1 and values[found[0]] == 1 else None


def _value(name: str, value: float, policy: str) -> int:
    if value != -1:
        return int(value == 1)
    return int(policy == "ones" or (policy == "protocol" and name in ONES))


def _five_by_n(rows: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> dict[str, str]:
    """The id of one image by patient: N images a class that have this one of the five findings alone; empty
    where a class has fewer."""
    chosen: dict[str, str] = {}
    for number, task in enumerate(TASKS if options.retrieval else (), start=1):
        able = [row for row in rows if row["class"] == task]
        order = np.random.RandomState(stable_hash("5x200", options.seed, task) % 2**32).permutation(len(able))
        for row in (able[index] for index in order):
            if len(chosen) < number * options.retrieval:
                chosen.setdefault(row["patient"], row["id"])
        if len(chosen) < number * options.retrieval:
            return {}
    return chosen
