# SPDX-License-Identifier: Apache-2.0
"""Sentences over slices and patches: scale, true range, and no text where none may be shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from monai_unimedi.visualize import write_report_page
from monai_unimedi.visualize.grounding import sentence_rows
from tests.visualize.conftest import LABEL_NAMES, make_source


def with_sentences(source: str, count: int = 3) -> dict[str, Any]:
    arrays = make_source(source, count)
    rising = torch.arange(16.0) if source == "3d" else torch.arange(36.0).reshape(6, 6)
    arrays["grounding"] = {
        row: [
            {"sentence": "A <nodule> on the left.", "finding": 0, "scores": rising},
            {"sentence": "Follow up.", "finding": None, "scores": torch.zeros_like(rising)},
        ]
        for row in range(count)
    }
    return arrays


def test_colour_is_the_score_above_the_mean_and_the_true_range_is_framed() -> None:
    arrays = with_sentences("3d")
    arrays["lesion_mask"][0] = 0
    arrays["lesion_mask"][0, 3, 3, 2:5] = 1
    first, second = sentence_rows(arrays, 0, LABEL_NAMES, show_text=True)
    above = [(2 * i + 1) / 15 for i in range(8)]
    assert [cell["strength"] for cell in first["cells"]] == pytest.approx([0.0] * 8 + above)
    assert [cell["edges"] for cell in first["cells"]][1:6] == ["", "lesion first", "lesion", "lesion last", ""]
    assert (first["best"], first["name"], second["name"]) == (15, "nodule", None)
    assert (first["peak"], second["peak"]) == (1, 0)
    assert not any(cell["strength"] or cell["edges"] for cell in second["cells"])


def test_nothing_grounded_nothing_shown() -> None:
    assert sentence_rows(make_source("3d", 2), 0, LABEL_NAMES, show_text=True) == []


@pytest.mark.parametrize("show_text", [True, False])
def test_page_shows_sentences_only_where_texts_may_be_shown(
    tmp_path: Path, metrics: dict[str, Any], show_text: bool
) -> None:
    test = {source: with_sentences(source) for source in ("2d", "3d")}
    page = write_report_page(tmp_path / "p.html", test, metrics, None, LABEL_NAMES, "T", show_text).read_text()
    assert page.count('class="sentences"') == 3 and page.count('class="phrases"') == 3
    assert ("A &lt;nodule&gt; on the left." in page) == show_text
    assert ("sentence 2" in page) == (not show_text)
    assert "<nodule>" not in page
