# SPDX-License-Identifier: Apache-2.0
"""Acceptance: ``check`` on a public X-ray set finds what its description says.

167 pictures of 95 patients, 7 of them CT slices, in 1, 3 and 4 channels, with 149 different texts: the counts
must come out of the pixels and texts, and the slices be found among the X-rays by their pixels alone.

    python tests/acceptance/check_covid_cxr.py
"""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from monai_unimedi.data.check import CheckResult, check_datalists
from monai_unimedi.verbs.check import main as check_verb

REPOSITORY = Path(__file__).resolve().parents[2]
BANDS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
MAX_FALSE_ALARMS = 3  # of 160


def folder() -> Path:
    """Where the real images are."""
    return Path(os.environ.get("UNIMEDI_REAL_DATA") or REPOSITORY.parent / "shared" / "data") / "covid_cxr"


def manifest() -> list[dict[str, str]]:
    with (folder() / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_datalist(rows: list[dict[str, str]], path: Path) -> Path:
    """A datalist of the manifest: every row for training."""
    keys = {"image": "path", "report": "report_text", "patient": "patient"}
    content = [{key: row[name] for key, name in keys.items()} for row in rows]
    path.write_text(json.dumps({"training": content}), encoding="utf-8")
    return path


def expected(rows: list[dict[str, str]]) -> dict[str, object]:
    return {
        "patients": len({row["patient"] for row in rows}),
        "different texts": len({row["report_text"] for row in rows}),
        "images opened": f"{len(rows)} of {len(rows)}",
        "channels": Counter(BANDS[row["pil_mode"]] for row in rows),
    }


def ct_slices(rows: list[dict[str, str]], result: CheckResult) -> tuple[int, int, int, int]:
    """Slices found, slices there are, X-rays taken for slices, X-rays there are."""
    flagged = {found.id for found in result.findings if found.check == "CT slice"}
    slices = {row["path"] for row in rows if row["modality"] == "CT"}
    xrays = {row["path"] for row in rows} - slices
    return len(flagged & slices), len(slices), len(flagged & xrays), len(xrays)


def main() -> int:
    rows = manifest()
    with tempfile.TemporaryDirectory() as name:
        path = write_datalist(rows, Path(name) / "datalist_2d.json")
        page = Path(name) / "check.html"
        table = Path(name) / "findings.csv"
        options = ["--dataset_dir", str(folder()), "--output", str(page), "--findings", str(table)]
        status = check_verb([str(path), *options, "--num_processes", "2"])
        result = check_datalists([path], folder())
        size = page.stat().st_size
        with table.open(encoding="utf-8", newline="") as stream:
            same = [tuple(map(str, found)) for found in result.findings] == [*map(tuple, csv.reader(stream))][
                1:
            ]
        leaked = sum(row["report_text"][:40] in page.read_text(encoding="utf-8") for row in rows)
    wanted, got = expected(rows), result.summary[path.name]
    wrong = [key for key, value in wanted.items() if got[key] != value]
    found, slices, alarms, xrays = ct_slices(rows, result)
    near = sum(finding.check == "near image" for finding in result.findings)
    for key in wanted:
        print(f"{key}: {got[key]}{' WRONG, expected ' + str(wanted[key]) if key in wrong else ''}")
    print(f"page of {size / 2**20:.1f} MiB, {leaked} report texts in it; {near} images nearly another row's")
    print(f"two processes find {'the same' if same else 'SOMETHING ELSE'}")
    holds = (
        not wrong and status == 0 and same and found == slices and alarms <= MAX_FALSE_ALARMS and not leaked
    )
    print(
        f"check covid_cxr: {len(wanted) - len(wrong)} of {len(wanted)} counts as described; {found} of "
        f"{slices} CT slices found among the X-rays, {alarms} of {xrays} X-rays taken for one"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    if not folder().is_dir():
        print(f"check covid_cxr: skipped, no real images at {folder()}: set UNIMEDI_REAL_DATA")
        sys.exit(0)
    sys.exit(main())
