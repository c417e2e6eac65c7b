# SPDX-License-Identifier: Apache-2.0
"""Two runs of one row with one seed give the same numbers; with another seed they differ.

    python tests/acceptance/evidence_repeats.py [--row full]

Each run is the driver's own command in a process and folder of its own, phantoms included, at the smoke budget.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from _bundle import OUTPUT, REPOSITORY

sys.path.insert(0, str(REPOSITORY))

from benchmarks.phantom.results import Results, read

RUNS = {"one": 0, "two": 0, "other seed": 1}


def main() -> int:
    """Returns 0 where the runs of one seed agree in every figure and interval, and the other seed's does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", default="full")
    row = parser.parse_args().row
    shutil.rmtree(OUTPUT / "evidence_repeats", ignore_errors=True)
    found = {name: run(row, seed, OUTPUT / "evidence_repeats" / name.replace(" ", "_")) for name, seed in RUNS.items()}
    differing = [name for name, figure in found["one"].items() if found["two"].get(name) != figure]
    moved = sum(found["other seed"].get(name) != figure for name, figure in found["one"].items())
    print(*differing, sep="\n")
    print(
        f"evidence_repeats: {row}, one seed twice: {len(differing)} of {len(found['one'])} figures differ; another "
        f"seed: {moved} differ"
    )
    return int(bool(differing) or not moved or len(found["one"]) != len(found["two"]))


def run(row: str, seed: int, folder: Path) -> dict[str, tuple[str, ...]]:
    """Figures by name, each with interval and count, as the driver writes them."""
    words = ["--budget", "smoke", "--rows", row, "--seeds", str(seed), "--output", str(folder), "--jobs", "1"]
    subprocess.run([sys.executable, "-m", "benchmarks.phantom", *words], cwd=REPOSITORY, check=True)
    lines: Results = read(folder / "smoke.csv")
    return {line["figure"]: tuple(line[key] for key in ("value", "low", "high", "count")) for line in lines}


if __name__ == "__main__":
    sys.exit(main())
