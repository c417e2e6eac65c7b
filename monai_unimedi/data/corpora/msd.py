# SPDX-License-Identifier: Apache-2.0
"""Medical Segmentation Decathlon: its CT tasks (Lung, Liver, ...), one task's folder or that of several.

The official test images have no masks: they are the list ``unlabelled``, and validation and test are drawn
from the labelled ones. Tasks that are not CT are left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monai_unimedi.data.corpora.items import Found, Item, LabelNames, LeftOut
from monai_unimedi.data.corpora.pairs import case_name, mask_names

__all__ = ["AMOUNTS", "add_arguments", "items"]

AMOUNTS = {"validation": 0.125, "test": 0.2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The task."""
    parser.add_argument("--task", metavar="NAME", help="of several the one to read: Task06_Lung")


def items(root: Path, options: argparse.Namespace) -> Iterator[Item]:
    """One row a volume, id task/case, label the mask's path."""
    folders = (
        [root] if (root / "dataset.json").is_file() else sorted(p.parent for p in root.glob("*/dataset.json"))
    )
    tasks = {folder.name: folder for folder in folders if options.task in (None, folder.name)}
    contents = {name: json.loads((path / "dataset.json").read_text("utf-8")) for name, path in tasks.items()}
    wanted = {name: content for name, content in contents.items() if _is_ct(content)}
    if not wanted:
        raise ValueError(
            f"A CT task with its dataset.json must lie below --root, found none in {str(root)!r} "
            f"(tasks: {', '.join(folder.name for folder in folders) or 'none'})."
        )
    if len(wanted) > 1:
        raise ValueError(f"--task must choose one of {', '.join(wanted)}: their labels differ.")
    for name in sorted(set(contents) - set(wanted)):
        yield LeftOut(name, "the task is not CT")
    for name, content in wanted.items():
        yield LabelNames("3d", mask_names(tasks[name] / "dataset.json", ()))
        yield from _task(tasks[name], content)


def _task(folder: Path, content: dict[str, Any]) -> Iterator[Item]:
    for entry in content["training"]:
        yield Found(_row(folder, entry["image"]) | {"label": str(folder / entry["label"])}, "3d")
    for entry in content.get("test", ()):
        image = entry if isinstance(entry, str) else entry["image"]
        yield Found(_row(folder, image), "3d", "unlabelled")


def _row(folder: Path, image: str) -> dict[str, Any]:
    path = folder / image
    return {"id": f"{folder.name}/{case_name(path)}", "image": str(path)}


def _is_ct(content: dict[str, Any]) -> bool:
    return set(content.get("modality", content.get("channel_names", {})).values()) == {"CT"}
