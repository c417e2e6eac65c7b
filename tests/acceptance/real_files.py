# SPDX-License-Identifier: Apache-2.0
"""Acceptance: real X-rays and CT crops. The loss falls in every run, no file fails, and the true text's rank
on unseen patients beats chance and what a crop's extent alone tells (CT crops, start from the phantoms).

    python tests/acceptance/real_files.py      (after `make demo`; options as in benchmarks/real_files.py)
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import real_files

LEVEL = 0.05


def main() -> int:
    """Runs the benchmark; returns 0 where all holds. Without the real files nothing was shown: 1."""
    results = real_files.main(sys.argv[1:])
    if "skipped" in results:
        print(f"real_files: nothing shown, {results['skipped']}")
        return 1
    crops, xrays = results["pooled"]["3d"]["phantom"], results["pooled"]["2d"]["phantom"]
    control = min(results["control"].values(), key=lambda figure: figure["rank"])
    falls = sum(run["loss"]["last"] < run["loss"]["first"] for run in results["runs"])
    files = results["every_file"]
    holds = (
        crops["rank"] < control["rank"]
        and max(crops["p_chance"], control["p"]["phantom"]) < LEVEL
        and falls == len(results["runs"])
        and not files["failed"]
    )
    print(
        f"real_files: CT crops, template text, rank {crops['rank']:.3f} (chance 0.5, "
        f"p {crops['p_chance']:.4f}; extent alone {control['rank']:.3f}, p {control['p']['phantom']:.4f}); "
        f"X-rays {xrays['rank']:.3f} (p {xrays['p_chance']:.4f}); "
        f"loss falls in {falls} of {len(results['runs'])} runs; "
        f"{files['embedded']} files embedded, {len(files['failed'])} failed"
    )
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
