# SPDX-License-Identifier: Apache-2.0
"""Writes the tables of the downstream benchmarks into docs/downstream.md, between their markers.

    python docs/make_downstream.py [--output output]

Reads ``tables.md`` of ``downstream_phantom``, ``downstream_hybrid``, ``downstream_segmentation`` and
``downstream_malignancy`` below the folder; a table that is not there stays as it is.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
TABLES = ("downstream_phantom", "downstream_hybrid", "downstream_segmentation", "downstream_malignancy")


def main() -> None:
    """Fills the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "output")
    folder, page = parser.parse_args().output, REPOSITORY / "docs" / "downstream.md"
    text = page.read_text(encoding="utf-8")
    for name in TABLES:
        if (folder / name / "tables.md").is_file():
            text = fill(text, name, (folder / name / "tables.md").read_text(encoding="utf-8"))
    page.write_text(text, encoding="utf-8")


def fill(text: str, name: str, table: str) -> str:
    """Replaces what stands between the two markers of a table."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", flags=re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n\n{table.strip()}\n\n{end}", text)


if __name__ == "__main__":
    main()
