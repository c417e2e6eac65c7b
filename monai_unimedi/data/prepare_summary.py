# SPDX-License-Identifier: Apache-2.0
"""The summary of a preparation as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["format_summary"]


def format_summary(summary: Mapping[str, Any]) -> str:
    """Found, kept, left out by reason; rows and patients of each list; remarks.

    Args:
        summary: from `write_datalists`.
    """
    counts = [("found", summary["found"]), ("kept", summary["kept"])]
    counts += [(f"left out: {reason}", count) for reason, count in summary["left_out"].items()]
    width = max(len(name) for name, _ in counts)
    lines = [f"{name:<{width}}  {count:>9,}" for name, count in counts]
    for source, datalist in summary["datalists"].items():
        lines += ["", f"{datalist['file']} ({source})  hash {datalist['hash']}"]
        lines += [
            f"  {name:<{width - 2}}  {facts['rows']:>9,} rows  {facts['patients']:>9,} patients"
            for name, facts in datalist["lists"].items()
        ]
    notes = [f"note: {note}" for note in summary["notes"]]
    return "\n".join([*lines, *([""] if notes else []), *notes])
