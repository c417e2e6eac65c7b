# SPDX-License-Identifier: Apache-2.0
"""The page of a check is one file, holds what it was given, and pictures only where they are wanted."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from monai_unimedi.visualize.check_page import write_check_page

FINDINGS = [
    {"severity": "warning", "check": "CT slice", "datalist": "l.json", "section": "training", "row": i,
     "id": f"row <{i}>", "message": "Looks like one & is."}
    for i in range(3)
]  # fmt: skip


def test_page_loads_nothing_and_escapes(tmp_path: Path) -> None:
    page = write_check_page(
        tmp_path / "a" / "check.html", FINDINGS, {"l.json": {"rows": {"training": 3}}}
    ).read_text()
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert "row &lt;0&gt;" in page
    assert "Training may start" in page
    assert "<img" not in page


def test_pictures_are_asked_for_until_there_are_enough(tmp_path: Path) -> None:
    asked = []

    def picture_of(number: int) -> np.ndarray | None:
        asked.append(number)
        return np.full((30, 20), 0.5) if number else None

    page = write_check_page(tmp_path / "check.html", FINDINGS, {}, picture_of, max_pictures=1).read_text()
    assert page.count("<img") == 1
    assert asked == [0, 1]


def test_error_says_that_training_must_not_start(tmp_path: Path) -> None:
    page = write_check_page(tmp_path / "check.html", [{**FINDINGS[0], "severity": "error"}], {}).read_text()
    assert "Training must not start" in page
