# SPDX-License-Identifier: Apache-2.0
"""Segmentation of one whole CT, from file to mask on its grid, beside MONAI's UNETR of the same width.

    python -m benchmarks.segmentation_inference [--spacing 1.5 1.5 2.0] [--data FOLDER]

Both networks: patches of 16 voxels a side, windows of 96, equal hidden size, layers, heads, feature size, overlap and
precision; random weights, one class. Each run is a process of its own, so that its peak memory is its own; the two take
turns. The second row of each precision of ours is the default (bfloat16), of UNETR MONAI's (float32).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
COMMAND = "python -m benchmarks.segmentation_inference"
HIDDEN, LAYERS, HEADS, WINDOW, FEATURES = 384, 12, 6, 96, 16


def network(name: str) -> Any:
    """One of the two, untrained, in eval."""
    if name == "unetr":
        from monai.networks.nets import UNETR

        return UNETR(1, 1, WINDOW, FEATURES, HIDDEN, 4 * HIDDEN, HEADS).eval()
    from monai_unimedi.networks.nets.segmenter import UniMediSegmenter

    sizes = {"hidden_size": HIDDEN, "mlp_dim": 4 * HIDDEN, "num_layers": LAYERS, "num_heads": HEADS}
    grid = {"patch_size": (16, 16), "patch_depth": 16, "grid_size": (6, 6), "num_depths": 6}
    return UniMediSegmenter(3, feature_size=FEATURES, **grid, **sizes).eval()  # type: ignore[arg-type]


def segment(name: str, precision: str, path: str, spacing: list[float]) -> dict[str, float]:
    """Reads, resamples, slides windows, inverts; wall seconds, CPU seconds and peak memory (GB) of this process."""
    import torch
    from monai.data import MetaTensor
    from monai.inferers import SlidingWindowInferer
    from monai.transforms import Compose, Invertd, Orientationd, ScaleIntensityRanged

    from monai_unimedi.transforms import LoadVolumed, ResampleVolumed, ScoresToMaskd

    window = ScaleIntensityRanged("image", -1150, 350, 0, 1, clip=True)
    chain = Compose(
        [LoadVolumed("image"), Orientationd("image", "LPS", labels=None), ResampleVolumed("image", spacing), window]
    )
    post = Compose(
        [Invertd("pred", chain, orig_keys="image", nearest_interp=False), ScoresToMaskd("pred", [0], False)]
    )
    model = network(name)
    inferer = SlidingWindowInferer(WINDOW, sw_batch_size=1, overlap=0.25, mode="gaussian")
    wall, cpu = time.perf_counter(), time.process_time()
    row: dict[str, Any] = chain({"image": path})
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        pred = inferer(row["image"].as_tensor()[None].contiguous(), model)
    row["pred"] = MetaTensor(pred[0].float().sigmoid())
    shape = post(row)["pred"].shape
    seconds = time.perf_counter() - wall
    return {
        "seconds": seconds,
        "cpu": time.process_time() - cpu,
        "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "voxels": float(torch.Size(shape).numel()),
    }


def child(name: str, precision: str, arguments: argparse.Namespace) -> dict[str, float]:
    """`segment` in a process of its own."""
    words = ["--child", name, precision, "--data", str(arguments.data), "--spacing", *map(str, arguments.spacing)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.segmentation_inference", *words],
        check=True, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Takes turns, prints and records the ratios."""
    default = os.environ.get("UNIMEDI_REAL_DATA") or REPOSITORY.parent / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--spacing", type=float, nargs=3, default=[1.5, 1.5, 2.0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    path = arguments.data / "thorax_organs" / "cxr.nii.gz"
    if not path.is_file():
        print(f"skipped: no CT at {path}; set UNIMEDI_REAL_DATA to the folder of the real files")
        return
    if arguments.child:
        print(json.dumps(segment(*arguments.child, str(path), arguments.spacing)))
        return
    from benchmarks.side_by_side import record

    pairs = [("ours", "float32"), ("unetr", "float32"), ("ours", "bfloat16"), ("unetr", "bfloat16")]
    runs: dict[tuple[str, str], list[dict[str, float]]] = {pair: [] for pair in pairs}
    for _ in range(arguments.repeats):
        for pair in pairs:
            runs[pair].append(child(*pair, arguments))
    middle = {pair: statistics.median(run["cpu"] for run in found) for pair, found in runs.items()}
    most = {pair: max(run["gb"] for run in found) for pair, found in runs.items()}
    where = " x ".join(f"{side:g}" for side in arguments.spacing)
    for ours, theirs in [("float32", "float32"), ("bfloat16", "bfloat16"), ("bfloat16", "float32")]:
        one, two = ("ours", ours), ("unetr", theirs)
        record(
            COMMAND,
            f"CT 512x512x133 segmented at {where} mm, {ours} against {theirs}",
            f"{middle[one]:.1f} s CPU, {most[one]:.2f} GB",
            f"{middle[two]:.1f} s CPU, {most[two]:.2f} GB, MONAI UNETR of the same width",
            f"{middle[one] / middle[two]:.2f}x its time",
            "at most 1.3x; at the default precision 1x; under 3 GB",
        )


if __name__ == "__main__":
    main()
