# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page of sentences and where they lead to, in one's own images.

How it looks is in ``assets/grounding.html``, on the style of the report page.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_unimedi.visualize.grounding import sentence_rows
from monai_unimedi.visualize.pictures import Pictures
from monai_unimedi.visualize.report_page import page_environment, write_whole

__all__ = ["write_grounding_page"]


def write_grounding_page(
    path: str | os.PathLike, sources: Mapping[str, Mapping[str, Any]], title: str = "Where sentences lead to"
) -> Path:
    """Writes the page.

    Args:
        path: HTML file to write; its folder is made.
        sources: by ``2d`` and ``3d``, `id`, `image` (N, 1, X, Y[, S]) in [0, 1] and `grounding`: by row,
            ``{"sentence", "finding", "scores"}`` each; and `lesion_mask` where there is.
        title: heading of the page.

    Returns:
        The file written.
    """
    pictures = Pictures(sources, [])
    cases = [
        {"picture": _opened(pictures(source, row), sentences), "sentences": sentences}
        for source, arrays in sources.items()
        for row in arrays["grounding"]
        if (sentences := sentence_rows(arrays, row, [], show_text=True))
    ]
    html = page_environment().get_template("grounding.html").render(title=title, cases=cases, pictures=pictures)
    return write_whole(Path(path), html)


def _opened(picture: dict[str, Any], sentences: list[dict[str, Any]]) -> dict[str, Any]:
    """A CT opens at the best slice of its first sentence."""
    return {**picture, "slice": sentences[0]["best"]} if picture["slices"] > 1 else picture
