# SPDX-License-Identifier: Apache-2.0
"""Acceptance: with 10 % of the labels the pre-trained encoder beats the same architecture from scratch, in AUROC and
in lesion Dice, in X-rays and CTs, with 95 % intervals above 0; and by more with 1 %.

    python tests/acceptance/downstream_gain.py     (after `make demo SEED=n` of the seeds; 48 trainings)
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import downstream
from benchmarks.bundle_command import REPOSITORY
from benchmarks.paired import interval

WEIGHTS = [REPOSITORY / "output" / name / "models" / "model.pt" for name in ("demo", "demo-1", "demo-2")]


def main() -> int:
    """Runs the benchmark; returns 0 where each main figure holds."""
    words = sys.argv[1:] or ["--pretrained", *(str(path) for path in WEIGHTS if path.is_file())]
    found: dict[tuple[str, str], dict[float, dict[str, float]]] = {}
    for result in downstream.main(words):
        name = downstream.FIGURES[result["task"]]
        found.setdefault((name, result["dimension"]), {})[result["fraction"]] = result["figures"][name]["difference"]
    above = [gains[10]["low"] > 0 for gains in found.values()]
    larger = [gains[1]["value"] > gains[10]["value"] for gains in found.values()]
    parts = [
        f"{name} {dimension} {interval(gains[10])} at 10 %, {interval(gains[1])} at 1 %"
        for (name, dimension), gains in found.items()
    ]
    print(
        f"downstream_gain: {'; '.join(parts)}: {sum(above)} of {len(above)} above 0 at 10 %, "
        f"{sum(larger)} of {len(larger)} larger at 1 %"
    )
    return int(not (all(above) and all(larger)))


if __name__ == "__main__":
    sys.exit(main())
