# SPDX-License-Identifier: Apache-2.0
"""The X-ray training step beside a plain CLIP step with the same towers.

    python -m benchmarks.xray_step [--size base] [--batch 8] [--repeats 5]

Ours: the bundle's engine with ``paper.json``'s losses, clipping and AdamW, distillation and teacher update included,
the masked view encoded by its visible tokens alone, reports padded to the longest of the batch. Peers: a CLIP step
with this package's own towers, and open_clip's step (``pip install ".[peers]"``, in an environment of its own: it
needs torchvision), each with reports padded to 256 tokens and to the longest. One precision and one optimizer. The
optimizer and the teacher's update cost the same whatever the batch: with fewer rows they weigh more.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

from benchmarks.side_by_side import one_thread, ratio, record, turns

one_thread()

import torch  # noqa: E402

from benchmarks import training_steps as steps  # noqa: E402

GOALS = {("masked", "256"): "at most 0.85x", ("masked", "longest"): "at most 1.05x"}


def peers(size: str) -> dict[str, Callable[[steps.Batch], Callable[[], object]]]:
    """By name; open_clip only where it is installed."""
    found = {"plain CLIP step, same modules": steps.clip_step(size)}
    try:
        found["open_clip"] = steps.open_clip_step(size)
    except ImportError as error:
        print(f'left out: open_clip ({error}); make peers, or pip install ".[peers]" in an environment of its own')
    return found


def main() -> None:
    """Takes turns, prints and records the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=steps.SIZES, default="base")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = {padding: steps.batch("2d", arguments.batch, padding == "256") for padding in ("256", "longest")}
    engine = steps.trainer(steps.unimedi(arguments.size, visible_only=True), data["longest"])
    functions = {view: steps.unimedi_step(engine, data["longest"], view) for view in ("masked", "whole")}
    found = peers(arguments.size)
    functions |= {f"{peer}, {padding}": of(data[padding]) for peer, of in found.items() for padding in data}
    seconds = turns(functions, arguments.repeats)
    for view in ("masked", "whole"):
        for peer in found:
            for padding in data:
                write(arguments, view, peer, padding, seconds)


def write(arguments: argparse.Namespace, view: str, peer: str, padding: str, seconds: dict[str, list[float]]) -> None:
    """One row."""
    here, theirs = seconds[view], seconds[f"{peer}, {padding}"]
    text = "256 tokens" if padding == "256" else f"the longest, {steps.LONGEST} tokens"
    record(
        f"python -m benchmarks.xray_step --size {arguments.size}",
        f"X-ray step, contrast_view {view}, visible_only, batch {arguments.batch}, {steps.PRECISION}; peer: {peer}, "
        f"text padded to {text}",
        f"{statistics.median(here):.2f} s CPU",
        f"{statistics.median(theirs):.2f} s CPU",
        f"{ratio(here, theirs)} its time",
        GOALS.get((view, padding), ""),
        is_kept=arguments.size == "base",
    )


if __name__ == "__main__":
    main()
