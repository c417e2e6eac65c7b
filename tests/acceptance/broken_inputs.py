# SPDX-License-Identifier: Apache-2.0
"""Acceptance: broken inputs get one row each with their reason; nothing crashes, is dropped or changed.

Each of the inputs of ``tests/data/broken_inputs.py`` is a row of one datalist or a datalist of its own; the
check must name each once, with the reason expected, stay silent about the sound ones among them, and leave
every file as it was. Then `prepare csv` gets the same inputs by a table and `prepare dicom` by their folder, and
`convert` what each of them kept: every row must stand in the shards or in a list of what was left out, with a
reason, and no input that cannot be opened may stand in the shards.

    python tests/acceptance/broken_inputs.py
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unicodedata import normalize

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from monai_unimedi.data.check import check_datalists
from monai_unimedi.data.check_rows import Finding
from tests.data.broken_inputs import BROKEN, LISTS, SOUND, accession, unprivileged, write_broken

REPOSITORY = Path(__file__).resolve().parents[2]
MENDED = {"two series", "duplicated uid", "localizer"}
"""What `prepare dicom` sorts into sound series."""


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


def run_verbs(folder: Path) -> tuple[list[str], int]:
    """By table and by folder to shards; returns what is wrong and how many rows there were."""
    data, wrong, count = folder / "data", [], 0
    data.mkdir()
    rows = write_broken(data)
    before = fingerprints(data)
    for row in rows:
        row["accession"] = accession(row["id"])
    write_table(folder / "table.csv", rows)
    own = ["--csv", "table.csv", "--image", "image", "--report", "report", "--patient", "patient"]
    for corpus, options in {"csv": own, "dicom": ["--reports", "table.csv", "--min_slices", "5"]}.items():
        output = folder / corpus
        verb(folder, "prepare", corpus, "--root", "data", *options, "--output", corpus)
        summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
        left_out = read_table(output / "left_out.csv")
        lost = summary["found"] - summary["kept"] - len(left_out)
        wrong += [f"prepare {corpus} loses {lost} rows"] if lost else []
        failures, kept = convert(folder, output)
        lost = summary["kept"] - kept - len(failures)
        wrong += [f"convert after prepare {corpus} loses {lost} rows"] if lost else []
        wrong += [f"prepare {corpus}: {row} without a reason" for row in left_out + failures if not row["reason"]]
        wrong += unnoticed(corpus, rows, [row["name"] for row in left_out] + [row["path"] for row in failures])
        count += summary["found"]
    wrong += ["prepare or convert changed a file"] if fingerprints(data) != before else []
    return wrong, count


def unnoticed(corpus: str, rows: Sequence[dict], named: Sequence[str]) -> list[str]:
    """Inputs that cannot be opened and are named nowhere; a series stands there by its folder."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    passed = (MENDED if corpus == "dicom" else set()) | ({"unreadable permission"} if is_root else set())
    closed = [row for row in rows if row["id"] in BROKEN and BROKEN[row["id"]].check == "opens"]
    found = {normalize("NFC", name.split(" (series")[0].split("/")[0]) for name in named}
    return [
        f"prepare {corpus}: nothing said of {row['id']!r}"
        for row in closed
        if row["id"] not in passed
        and normalize("NFC", row["image"].split("/")[0]) not in found
        and is_expected(corpus, row)
    ]


def is_expected(corpus: str, row: dict) -> bool:
    """A tree has no row for a file that is not there; a folder without DICOM is named by its files."""
    return corpus == "csv" or row["id"] not in ("missing file", "folder without dicom")


def convert(folder: Path, output: Path) -> tuple[list[dict[str, str]], int]:
    """Both lists to shards: the failures, and how many rows the shards hold."""
    failures, kept = [], 0
    for path in sorted(output.glob("datalist_?d.json")):
        shards = output / f"shards_{path.stem[-2:]}"
        verb(folder, "convert", str(path), "--dataset_dir", "data", "--output", str(shards), "--jobs", "1")
        failures += read_table(shards / "failures.csv") if (shards / "failures.csv").is_file() else []
        facts = [json.loads(file.read_text(encoding="utf-8")) for file in shards.rglob("shard.json")]
        kept += sum(fact["num_rows"] for fact in facts)
    return failures, kept


def verb(folder: Path, *words: str) -> None:
    """Runs a verb in a folder; its exit code is 1 where rows were left out."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "monai_unimedi", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or "Traceback" in done.stderr:
        raise SystemExit(f"broken inputs: {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: Sequence[dict]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ("id", "patient", "image", "report", "accession"), extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)


def main() -> int:
    wrong, count = run()
    with tempfile.TemporaryDirectory() as name:
        lost, num_rows = run_verbs(Path(name))
    for line in wrong + lost:
        print(f"WRONG {line}")
    print(
        f"broken inputs: {count - len(wrong)} of {count} have one row with the expected reason, {len(SOUND)} "
        f"odd but sound ones none; of {num_rows} rows of prepare and convert {len(lost)} are lost or unnoticed; "
        "no file was changed"
    )
    return 1 if wrong or lost else 0


if __name__ == "__main__":
    sys.exit(main())
