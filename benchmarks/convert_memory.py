# SPDX-License-Identifier: Apache-2.0
"""Peak memory of a worker of ``convert``: long CTs, few and many.

    python -m benchmarks.convert_memory

One CT of 512 x 512 x 704 voxels (int16, 369 MB, longer than a thorax with arms) stands in a list once, and six
times under other ids; the peak of the process that converts them must not grow with the list.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np

from benchmarks.side_by_side import record

MEASURE = """
import resource, sys
from monai_unimedi.verbs.convert import main
status = main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
sys.exit(status)
"""
FEW, MANY = 1, 6


def write_ct(path: Path) -> None:
    block = np.random.RandomState(0).randint(-1000, 400, (512, 512, 64), dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(np.tile(block, (1, 1, 11)), np.diag([-0.7, -0.7, 1.0, 1.0])), path)


def peak_gigabytes(folder: Path, num_rows: int) -> float:
    """Peak resident memory of one converting process."""
    rows = [{"id": str(i), "image": "ct.nii", "report": f"Nodule number {i} is seen."} for i in range(num_rows)]
    datalist = folder / f"list_{num_rows}.json"
    datalist.write_text(json.dumps({"training": rows}))
    words = [str(datalist), "--output", str(folder / f"shards_{num_rows}"), "--jobs", "1"]
    command = [sys.executable, "-c", MEASURE, *words]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return float(done.stdout.rsplit("peak", 1)[1])


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        write_ct(Path(name) / "ct.nii")
        few, many = (peak_gigabytes(Path(name), count) for count in (FEW, MANY))
    record(
        "python -m benchmarks.convert_memory",
        "peak memory of a worker, CT 512x512x704",
        f"{many:.2f} GB for a list of {MANY}",
        f"{few:.2f} GB for a list of {FEW}",
        f"{many / few:.2f}x",
        "under 2 GB at any size of the list",
    )


if __name__ == "__main__":
    main()
