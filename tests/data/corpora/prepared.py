# SPDX-License-Identifier: Apache-2.0
"""Runs the verb on a tree and reads what it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monai_unimedi.data.datalist import check_datalist, load_datalist, section_names
from monai_unimedi.verbs.prepare import main

PATH_KEYS = ("image", "lesion_mask", "label")


class Prepared:
    """What one run left in its folder."""

    def __init__(self, output: Path, status: int) -> None:
        self.output = output
        self.status = status
        self.summary: dict[str, Any] = json.loads((output / "summary.json").read_text())

    @property
    def reasons(self) -> dict[str, int]:
        return dict(self.summary["left_out"])

    def lists(self, source: str) -> dict[str, Any]:
        return dict(json.loads((self.output / f"datalist_{source}.json").read_text()))

    def rows(self, source: str, section: str = "training") -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in self.lists(source)[section]}

    def rows_of_all(self, source: str) -> dict[str, dict[str, Any]]:
        names = ("training", "validation", "test")
        return {key: row for name in names for key, row in self.rows(source, name).items()}

    def check(self, dataset_dir: Path) -> int:
        """Reads every list as trainings do; returns the number of rows."""
        total = 0
        for source in self.summary["datalists"]:
            path = self.output / f"datalist_{source}.json"
            for section in section_names(path):
                rows = load_datalist(path, section, dataset_dir, PATH_KEYS)
                keys = ("id", "image", "report") if all("report" in row for row in rows) else ("id", "image")
                masks = [key for key in PATH_KEYS if isinstance(rows[0].get(key), str)]
                total += len(check_datalist(rows, source, keys, masks))
        return total


def prepare(corpus: str, root: Path, output: Path, *options: str) -> Prepared:
    status = main([corpus, "--root", str(root), "--output", str(output), *options])
    found = Prepared(output, status)
    counts = found.summary
    assert counts["found"] == counts["kept"] + sum(counts["left_out"].values())
    left_out = (output / "left_out.csv").read_text().splitlines()
    assert len(left_out) - 1 == sum(counts["left_out"].values())
    dataset_dir = Path(options[options.index("--dataset_dir") + 1]) if "--dataset_dir" in options else root
    if counts["kept"]:
        found.check(dataset_dir)
    return found
