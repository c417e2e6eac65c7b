# SPDX-License-Identifier: Apache-2.0
"""Acceptance 7: the losses equal slow loops, and those of open_clip and lightly where these coincide.

    python tests/acceptance/losses.py [--live]

Runs ``tests/losses``: loops on a grid of sizes, closed-form points, two ranks against one, and the golden
tensors that the peers gave. With ``--live``, or where their environment is there already, ``make peers``
computes the peers' figures again from the stored inputs. The last line holds the counts.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDED = ("test_image_text_loss.py", "test_distillation_loss.py", "test_unimedi_loss.py", "test_golden.py")


def main() -> int:
    """Runs them; returns 0 where all hold and none was skipped."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--live", action="store_true", help="make the peers' environment, in minutes")
    is_live = parser.parse_args().live or (REPOSITORY / ".venv-peers").is_dir()
    passed, wrong = run_tests()
    golden = sorted(path.stem for path in (REPOSITORY / "tests" / "losses" / "golden").glob("*.pt"))
    live = "the peers were not run again (--live)"
    if is_live:
        agrees = subprocess.run(["make", "peers"], cwd=REPOSITORY, check=False).returncode == 0
        wrong += [] if agrees else ["make peers failed"]
        live = "the peers gave the same again" if agrees else "the peers did not give the same"
    result = f"; {'; '.join(wrong)}" if wrong else ""
    print(f"losses: {passed} tests hold, golden: {', '.join(golden)}; {live}{result}")
    return int(bool(wrong))


def run_tests() -> tuple[int, list[str]]:
    """Number of tests that hold, and what is wrong."""
    folder = REPOSITORY / "tests" / "losses"
    wrong = [f"{name} is missing" for name in NEEDED if not (folder / name).is_file()]
    words = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, flush=True)
    found = re.findall(r"(\d+) (passed|failed|error|skipped)", done.stdout)
    counts = {name: int(count) for count, name in found}
    wrong += [f"{counts[name]} {name}" for name in ("failed", "error", "skipped") if counts.get(name)]
    if done.returncode and not wrong:
        wrong.append(f"pytest ended with {done.returncode}")
    return counts.get("passed", 0), wrong


if __name__ == "__main__":
    sys.exit(main())
