# SPDX-License-Identifier: Apache-2.0
"""Acceptance: nodules, lungs and organs segmented, and malignancy rated, on real files: pre-trained, from scratch, and
MONAI's networks at the same budget, whatever they show.

    python tests/acceptance/downstream_real.py     (after `make demo` and tests/acceptance/real_files.py)
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import downstream_malignancy, downstream_segmentation
from benchmarks.bundle_command import REPOSITORY
from benchmarks.paired import interval

STARTS = [
    f"phantom={REPOSITORY}/output/demo/models/model.pt",
    f"real={REPOSITORY}/output/real/fold{{fold}}_phantom/models/model.pt",
]

NAMES = {"difference": "scratch", "to_unet": downstream_segmentation.UNET}


def main() -> int:
    """Runs both benchmarks; returns 0 where every table has its figures. Without the real files: 1."""
    words = sys.argv[1:] or ["--pretrained", *STARTS]
    masks, ratings = downstream_segmentation.main(words), downstream_malignancy.main(words)
    if not masks or not ratings:
        print("downstream_real: nothing shown, no real files")
        return 1
    parts = [
        f"{task} {arm} Dice {figure['dice']['value']:.3f}, minus {NAMES[key]} {interval(figure[key])}"
        for task, found in masks.items()
        for arm, figure in found.items()
        for key in NAMES
        if key in figure
    ]
    parts += [f"malignancy {arm} AUROC {figure['auroc']['value']:.3f}" for arm, figure in ratings.items()]
    print(f"downstream_real: {'; '.join(parts)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
