# SPDX-License-Identifier: Apache-2.0
"""The evidence's driver runs every row of tiers 1 and 2 once, in under 30 minutes on two cores.

    python tests/acceptance/evidence_smoke.py [--rows ROW ...]

The runs are too short to learn anything; they show that each row's options train and are judged.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time

from _bundle import OUTPUT, REPOSITORY

sys.path.insert(0, str(REPOSITORY))

from benchmarks.phantom.results import done, read
from benchmarks.phantom.runs import ROWS

MOST = 30 * 60.0


def main() -> int:
    """Returns 0 where all rows have figures in time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), metavar="ROW", help="these alone; all otherwise")
    rows = parser.parse_args().rows
    folder = OUTPUT / "evidence_smoke"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.phantom", "--budget", "smoke", "--output", str(folder), "--jobs", "2"]
    start = time.monotonic()
    status = subprocess.run([*command, "--rows", *rows], cwd=REPOSITORY, check=False).returncode
    seconds = time.monotonic() - start
    lines = read(folder / "smoke.csv")
    finished = {run.row for run in done(lines)}
    missing = [row for row in rows if row not in finished]
    print(f"missing: {', '.join(missing) or 'none'}")
    print(
        f"evidence_smoke: {len(rows) - len(missing)} of {len(rows)} rows in {seconds / 60:.1f} minutes (at most "
        f"{MOST / 60:.0f}), {len(lines) / max(len(finished), 1):.0f} figures a row"
    )
    return int(bool(status or missing or seconds > MOST))


if __name__ == "__main__":
    sys.exit(main())
