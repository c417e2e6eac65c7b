# SPDX-License-Identifier: Apache-2.0
"""``python -m monai_unimedi phantom``: chest phantoms with reports, labels and lesion masks, on disk."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from monai_unimedi.data.phantom import VERSION, ensure_phantom

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Writes the set, or says that it is there.

    Args:
        argv: the arguments after the verb.

    Returns:
        0, or 2 when an argument is out of range.
    """
    arguments = _parser().parse_args(argv)
    splits = ("training", "validation", "test")
    counts = [dict(zip(("2d", "3d"), pair)) for pair in zip(arguments.num_2d, arguments.num_3d)]
    start = time.perf_counter()
    numbers: dict[str, Any] = {f"num_{split}": count for split, count in zip(splits, counts)}
    try:
        datalists = ensure_phantom(
            arguments.output,
            seed=arguments.seed,
            ct_shape=arguments.ct_shape,
            xray_shape=arguments.xray_shape,
            num_processes=arguments.num_processes,
            show_progress=sys.stderr.isatty(),
            **numbers,
        )
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for dimension, path in datalists.items():
        print(f"{dimension}: {path}")
    print(f"phantom version {VERSION}, seed {arguments.seed}, {time.perf_counter() - start:.1f} s")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m monai_unimedi phantom", description=__doc__)
    add = parser.add_argument
    splits = ("TRAINING", "VALIDATION", "TEST")
    add(
        "--output",
        required=True,
        metavar="DIR",
        help="folder of the set; left alone if complete and the same",
    )
    add("--seed", type=int, default=0, help="of the set (default %(default)s)")
    add(
        "--num_2d",
        type=int,
        nargs=3,
        default=(6000, 200, 200),
        metavar=splits,
        help="X-rays (default %(default)s)",
    )
    add(
        "--num_3d",
        type=int,
        nargs=3,
        default=(6000, 200, 200),
        metavar=splits,
        help="CTs (default %(default)s)",
    )
    add(
        "--ct_shape",
        type=int,
        nargs=3,
        default=(48, 48, 16),
        metavar=("X", "Y", "Z"),
        help="voxels; 96 96 32 is harder",
    )
    add(
        "--xray_shape",
        type=int,
        nargs=2,
        default=(72, 72),
        metavar=("X", "Y"),
        help="pixels; 144 144 is harder",
    )
    add("--num_processes", type=int, default=None, help="default: the CPU cores there are")
    return parser
