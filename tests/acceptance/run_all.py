# SPDX-License-Identifier: Apache-2.0
"""Runs the acceptance scripts of this folder one after the other and prints the last line of each.

    python tests/acceptance/run_all.py [PART_OF_NAME ...]

A script is any other Python file here that does not begin with an underscore. It exits 0 when its line holds
and ends in one line with its number. What it prints goes to ``output/acceptance/<name>.log``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
LOGS = REPOSITORY / "output" / "acceptance"


def scripts(parts: list[str]) -> list[Path]:
    """Returns the scripts whose names contain one of the parts; all of them when there is no part."""
    found = sorted(path for path in HERE.glob("[!_]*.py") if path.name != Path(__file__).name)
    return [path for path in found if not parts or any(part in path.stem for part in parts)]


def run_script(path: Path) -> bool:
    """Runs one script from the repository's root and prints its verdict, time and last line."""
    log = LOGS / f"{path.stem}.log"
    start = time.monotonic()
    with log.open("w") as stream:
        status = subprocess.run(
            [sys.executable, str(path)], stdout=stream, stderr=subprocess.STDOUT, cwd=REPOSITORY, check=False
        ).returncode
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    verdict = "ok  " if status == 0 else "FAIL"
    last = lines[-1] if lines else "(printed nothing)"
    print(f"{verdict} {path.stem} ({time.monotonic() - start:.0f} s): {last}", flush=True)
    return status == 0


def main(parts: list[str]) -> int:
    """Runs the chosen scripts; returns 1 when one failed or none was found."""
    chosen = scripts(parts)
    if not chosen:
        print(f"no acceptance script in {HERE} has a name with {' or '.join(parts) or '.py'}")
        return 1
    LOGS.mkdir(parents=True, exist_ok=True)
    results = [run_script(path) for path in chosen]
    print(f"{sum(results)} of {len(results)} acceptance scripts hold; logs in {LOGS.relative_to(REPOSITORY)}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
