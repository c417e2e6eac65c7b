# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page of a datalist's check: what it holds, what is wrong, pictures of the latter.

Ids only; how it looks is in ``assets/check.html`` and ``check.css``, on the style of the report page.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from monai_unimedi.visualize.pictures import picture_data
from monai_unimedi.visualize.report_page import ASSETS, write_whole

__all__ = ["write_check_page"]

SEVERITIES = ("error", "warning", "note")
_MAX_ROWS = 500  # of one kind of finding; a browser is no spreadsheet
_MAX_SIDE = 192


def write_check_page(
    path: str | os.PathLike,
    findings: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Mapping[str, Any]],
    picture_of: Callable[[int], np.ndarray | None] | None = None,
    max_pictures: int = 24,
    title: str = "Check of the data",
) -> Path:
    """Writes the page.

    Args:
        path: HTML file to write; its folder is made.
        findings: each with ``severity``, ``check``, ``datalist``, ``section``, ``row`` (-1: all), ``id`` and
            ``message``.
        summary: by datalist, what it holds.
        picture_of: number of a finding to its image (X, Y) in [0, 1], None where there is none; no pictures
            where it is None itself.
        max_pictures: of one kind of finding.
        title: heading of the page.

    Returns:
        The file written.
    """
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    groups = _groups(findings, picture_of, max_pictures)
    counts = {name: sum(f["severity"] == name for f in findings) for name in SEVERITIES}
    html = environment.get_template("check.html").render(
        title=title,
        counts=counts,
        may_start=counts["error"] == 0,
        has_pictures=any(group["pictures"] for group in groups),
        summary={name: {k: _plain(v) for k, v in facts.items()} for name, facts in summary.items()},
        groups=groups,
        limit=_MAX_ROWS,
    )
    return write_whole(Path(path), html)


def _groups(
    findings: Sequence[Mapping[str, Any]],
    picture_of: Callable[[int], np.ndarray | None] | None,
    max_pictures: int,
) -> list[dict[str, Any]]:
    """Findings of one severity and check together, the severe ones first."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for number, finding in enumerate(findings):
        numbers.setdefault((finding["severity"], finding["check"]), []).append(number)
    return [
        {
            "severity": severity,
            "check": check,
            "anchor": f"{severity}-{check}".replace(" ", "-"),
            "findings": [findings[n] for n in numbers[severity, check]],
            "pictures": _pictures(findings, numbers[severity, check], picture_of, max_pictures),
        }
        for severity, check in sorted(numbers, key=lambda key: SEVERITIES.index(key[0]))
    ]


def _pictures(
    findings: Sequence[Mapping[str, Any]],
    numbers: Sequence[int],
    picture_of: Callable[[int], np.ndarray | None] | None,
    max_pictures: int,
) -> list[dict[str, Any]]:
    pictures: list[dict[str, Any]] = []
    for number in numbers if picture_of is not None else ():
        if len(pictures) == max_pictures:
            break
        image = picture_of(number) if picture_of is not None and findings[number]["row"] >= 0 else None
        if image is not None:
            data = picture_data(torch.from_numpy(np.ascontiguousarray(image)), _MAX_SIDE)
            width, height = image.shape
            pictures.append({"id": findings[number]["id"], "data": data, "width": width, "height": height})
    return pictures


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {count}" for name, count in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return str(value)
