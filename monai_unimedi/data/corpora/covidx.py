# SPDX-License-Identifier: Apache-2.0
"""COVIDx (COVID-Net's lists, any version): classification of X-rays.

The official test list; a fifth of the training patients for validation. A line is patient, file, class and
source between spaces; a file's name may hold spaces, and old lists have no source.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from monai_unimedi.data.corpora.items import Found, Item, LabelNames, LeftOut, require_file
from monai_unimedi.data.prepare_tables import read_text

__all__ = ["AMOUNTS", "add_arguments", "items"]

AMOUNTS = {"validation": 0.2}
CLASSES = ("normal", "negative", "pneumonia", "positive", "COVID-19")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Version of the lists."""
    parser.add_argument(
        "--list_version", metavar="V", help="of several lists the ones to read: 9A for train_COVIDx9A.txt"
    )


def items(root: Path, options: argparse.Namespace) -> Iterator[Item]:
    """One row an image, id its split and file, label one-hot."""
    found = {split: _lines(_list(root, split, options)) for split in ("train", "test", "val")}
    present = {kind for lines in found.values() for _, _, kind in lines}
    names = [name for name in CLASSES if name in present]
    yield LabelNames("2d", names)
    sections = {"train": "training", "val": "validation", "test": "test"}
    for split, lines in found.items():
        for patient, file, kind in lines:
            name = f"{split}/{file}"
            if kind not in CLASSES:
                yield LeftOut(name, "the line's class is not known")
                continue
            label = [int(kind == other) for other in names]
            row = {"id": name, "image": str(_place(root, split, file)), "patient": patient, "label": label}
            yield Found(row, "2d", sections[split])


def _list(root: Path, split: str, options: argparse.Namespace) -> Path | None:
    version = options.list_version or "*"
    names = [f"{split}_COVIDx{version}.txt", f"{split}_COVIDx_{version}.txt"]
    names += [] if options.list_version else [f"{split}.txt"]
    patterns = [place + name for name in names for place in ("", "*/")]
    several = sorted({path.name for pattern in patterns for path in root.glob(pattern)})
    if len(several) > 1:
        raise ValueError(f"--list_version must choose one of {', '.join(map(repr, several))}.")
    if split == "val" and not several:
        return None
    return require_file(root, patterns, f"COVIDx's {split} list")


def _lines(path: Path | None) -> list[tuple[str, str, str]]:
    """Patient, file and class of each line."""
    lines = []
    for words in (line.split() for line in (read_text(path).splitlines() if path else ())):
        if len(words) >= 3:
            end = len(words) - (1 if words[-1] in CLASSES else 2)
            lines.append((words[0], " ".join(words[1:end]), words[end]))
    return lines


def _place(root: Path, split: str, file: str) -> Path:
    places = [root / top / split / file for top in ("", "data")]
    return next((place for place in places if place.is_file()), places[0])
