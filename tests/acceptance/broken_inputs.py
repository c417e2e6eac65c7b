# SPDX-License-Identifier: Apache-2.0
"""Acceptance: broken inputs get one row each with their reason; nothing crashes, is dropped or changed.

Each of the inputs of ``tests/data/broken_inputs.py`` is a row of one datalist or a datalist of its own; the
check must name each once, with the reason expected, stay silent about the sound ones among them, and leave
every file as it was.

    python tests/acceptance/broken_inputs.py
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from monai_unimedi.data.check import check_datalists
from monai_unimedi.data.check_rows import Finding
from tests.data.broken_inputs import BROKEN, LISTS, SOUND, unprivileged, write_broken


def fingerprints(folder: Path) -> dict[str, str]:
    """What every file and link of a folder holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.blake2b(path.read_bytes()).hexdigest()
    return found


def check_rows(folder: Path) -> dict[str, list[Finding]]:
    """Findings of each row, by id. X-rays and CTs are rows of two lists, as a user has them."""
    rows = write_broken(folder)
    is_volume = {row["id"]: _is_volume(folder / row["image"]) for row in rows}
    lists = []
    for number, kind in ((2, False), (3, True)):
        path = folder / f"datalist_{number}d.json"
        content = {"training": [row for row in rows if is_volume[row["id"]] is kind]}
        path.write_text(json.dumps(content), encoding="utf-8")
        lists.append(path)
    folder.chmod(0o755)
    before = fingerprints(folder)
    with unprivileged():
        findings = check_datalists(lists).findings
    if fingerprints(folder) != before:
        raise AssertionError("the check changed a file")
    by_id: dict[str, list[Finding]] = {row["id"]: [] for row in rows}
    for finding in findings:
        by_id.setdefault(finding.id, []).append(finding)
    return by_id


def _is_volume(path: Path) -> bool:
    return path.is_dir() or path.name.endswith((".nii.gz", ".mha", ".nhdr"))


def verdict(found: Sequence[Finding], severity: str, check: str, reason: str) -> str:
    """Empty where there is one finding and it is the expected one; else what is wrong."""
    if len(found) != 1:
        return f"{len(found)} findings: " + "; ".join(f"{f.check}: {f.message}" for f in found)
    got = found[0]
    if (got.severity, got.check) != (severity, check) or not re.search(reason, got.message):
        return f"{got.severity} {got.check}: {got.message}"
    return ""


def run() -> tuple[list[str], int]:
    """Prints the table; returns what is wrong and how many inputs there were."""
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        by_id = check_rows(Path(name))
        for key, broken in BROKEN.items():
            fault = verdict(by_id[key], broken.severity, broken.check, broken.reason)
            wrong += [f"{key}: {fault}"] if fault else []
            _print(broken.severity, broken.check, key, by_id[key])
        for key in SOUND:
            wrong += [f"{key}: {found.message}" for found in by_id[key]]
        wrong += [f"unexpected: {f.message}" for f in by_id.get("", [])]
    with tempfile.TemporaryDirectory() as name:
        for key, (make, reason) in LISTS.items():
            found = check_datalists([make(Path(name))]).findings
            fault = verdict(found, "error", "datalist", reason)
            wrong += [f"{key}: {fault}"] if fault else []
            _print("error", "datalist", key, found)
    return wrong, len(BROKEN) + len(LISTS)


def _print(severity: str, check: str, name: str, found: Sequence[Finding]) -> None:
    print(f"{severity:<8}{check:<15}{name:<33}{found[0].message if found else '-'}")


def main() -> int:
    wrong, count = run()
    for line in wrong:
        print(f"WRONG {line}")
    print(
        f"broken inputs: {count - len(wrong)} of {count} have one row with the expected reason, {len(SOUND)} "
        "odd but sound ones none; no file was changed"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
