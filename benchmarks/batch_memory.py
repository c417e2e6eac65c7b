# SPDX-License-Identifier: Apache-2.0
"""The largest batch by memory, of ViT-Ti/16, -S/16 and -B/16, with and without activation checkpointing.

    python -m benchmarks.batch_memory [--sizes tiny small base] [--kinds 2d 3d] [--batches 4 8 16] [--limit_gb 8]
                                      [--precision bfloat16]

Peak memory of whole training steps (both views, teacher, slice scores, distillation, fused AdamW) at a few batch
sizes (the contrast needs two rows), each in a process of its own, one at a time; then a line through the two
largest that were measured, memory = fixed + slope * batch, and from it the largest batch for some cards: at a few
rows the gradients make the peak, not the activations. X-rays are 224 x 224; CTs 128 x 128 x 32 in patches of 16 x
16 x 4 with 4 slices beside them; reports have 128 tokens, and the text tower the image tower's width and depth; the
heads are those of ``paper.json``. On a GPU the peak is ``torch.cuda.max_memory_allocated``; on a CPU it is the
process's largest resident memory, libraries included, and what stands beyond the measured batches is extrapolated.
A CPU keeps attention matrices in bfloat16, which a GPU's fused attention does not: its figures for CTs are on the
safe side. The precision is bfloat16 (autocast) where the device has units for it, else float32: a product in
bfloat16 takes 13 times as long there (``docs/decisions.md``: 53 against 4.9 ms). Batches whose prediction exceeds
``--limit_gb`` are left out of the measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
COMMAND = "python -m benchmarks.batch_memory"
SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}  # width, heads; 12 layers
SHAPES = {"2d": (1, 224, 224), "3d": (1, 128, 128, 32)}
CARDS_GB = (8, 16, 24, 40, 80, 141)
TOKENS, VOCABULARY, STEPS = 128, 28_996, 2  # the second step has AdamW's moments
HEADS = {"head_dim": 2048, "bottleneck_dim": 256, "num_prototypes": 8192}


def build(size: str, is_on: bool, device: str) -> Any:
    """UniMedI of one size, untrained."""
    from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder
    from monai_unimedi.networks.nets.report_encoder import ReportEncoder
    from monai_unimedi.networks.nets.unimedi import UniMedI

    width, heads = SIZES[size]
    common: dict[str, Any] = {"hidden_size": width, "mlp_dim": 4 * width, "num_layers": 12, "num_heads": heads}
    text = ReportEncoder(vocab_size=VOCABULARY, max_tokens=512, **common)
    network = UniMedI(UniMediImageEncoder(**common), text, activation_checkpointing=is_on, **HEADS)
    return network.to(device).train()


def measure(size: str, kind: str, batch: int, is_on: bool, precision: str) -> float:
    """Peak bytes of training steps in this process."""
    import torch

    from monai_unimedi.losses import UniMediLoss
    from monai_unimedi.losses.distillation_loss import SelfDistillationLoss
    from monai_unimedi.losses.image_text_loss import ImageTextLoss

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    network = build(size, is_on, device)
    loss_function = UniMediLoss(ImageTextLoss(), SelfDistillationLoss(HEADS["num_prototypes"]), 1.0).to(device)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, 2e-5, fused=True)
    sources = {
        kind: {
            "image": torch.rand(batch, *SHAPES[kind], device=device),
            "input_ids": torch.randint(5, VOCABULARY, (batch, TOKENS), device=device),
            "attention_mask": torch.ones(batch, TOKENS, dtype=torch.int64, device=device),
            "sample_seed": torch.arange(batch, device=device),
        }
    }
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            outputs = network(sources)
        loss, _ = loss_function(outputs)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        del outputs, loss
    if device == "cuda":
        return float(torch.cuda.max_memory_allocated())
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def fast_precision() -> str:
    """Of the device that measures."""
    import torch

    from monai_unimedi.precision import has_bfloat16_units

    return "bfloat16" if has_bfloat16_units("cuda" if torch.cuda.is_available() else "cpu") else "float32"


def in_child(size: str, kind: str, batch: int, is_on: bool, precision: str) -> float:
    """`measure` in a process of its own, whose allocator gives freed memory back at once."""
    words = ["--child", size, kind, str(batch), str(int(is_on)), precision]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.batch_memory", *words],
        check=True, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=environment,
    )  # fmt: skip
    return float(json.loads(done.stdout.splitlines()[-1]))


def fit(batches: Sequence[int], peaks: Sequence[float]) -> tuple[float, float]:
    """Fixed bytes and bytes a row, through the two largest batches.

    Args:
        batches: ascending.
        peaks: bytes of each.

    Raises:
        ValueError: When there are fewer than two batch sizes.
    """
    if len(set(batches)) < 2:
        raise ValueError(f"A line needs two batch sizes or more, got {list(batches)}: raise --limit_gb.")
    slope = (peaks[-1] - peaks[-2]) / (batches[-1] - batches[-2])
    return peaks[-1] - slope * batches[-1], slope


def largest(fixed: float, slope: float, memory: float) -> int:
    """Rows that fit into ``memory`` bytes; 0 where none does."""
    return max(0, int((memory - fixed) / slope))


def line(
    size: str, kind: str, is_on: bool, precision: str, batches: Sequence[int], limit: float
) -> tuple[float, float, list[int]]:
    """Fixed bytes, bytes a row, and the batch sizes that were measured."""
    peaks: list[float] = []
    for index, batch in enumerate(batches):
        if index > 1:
            fixed, slope = fit(batches[:index], peaks)
            if fixed + slope * batch > limit:
                break
        peaks.append(in_child(size, kind, batch, is_on, precision))
        print(f"{size} {kind} {precision} batch {batch} checkpointing {is_on}: {peaks[-1] / 1e9:.2f} GB", flush=True)
    return *fit(batches[: len(peaks)], peaks), list(batches[: len(peaks)])


def main() -> None:
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=tuple(SIZES), default=list(SIZES))
    parser.add_argument("--kinds", nargs="+", choices=tuple(SHAPES), default=list(SHAPES))
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 8, 16], help="ascending, 2 or more")
    parser.add_argument("--limit_gb", type=float, default=8.0, help="of a measuring process")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), help="default: bfloat16 where it is fast")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        size, kind, batch, is_on, precision = arguments.child
        print(json.dumps(measure(size, kind, int(batch), bool(int(is_on)), precision)))
        return
    from benchmarks.side_by_side import record

    precision = arguments.precision or fast_precision()

    for size in arguments.sizes:
        for kind in arguments.kinds:
            limit = arguments.limit_gb * 1e9
            found = [line(size, kind, on, precision, arguments.batches, limit) for on in (False, True)]
            said = [f"{fixed / 1e9:.2f} GB + {slope / 1e6:.1f} MB a row" for fixed, slope, _ in found]
            fits = "; ".join(
                f"{card} GB: {' / '.join(str(largest(fixed, slope, card * 1e9)) for fixed, slope, _ in found)}"
                for card in CARDS_GB
            )
            measured = " / ".join(",".join(map(str, batches)) for *_, batches in found)
            figure = f"largest batch by memory, {size}, {kind}, {precision}, extrapolated from batches {measured}"
            record(COMMAND, figure, said[0], f"{said[1]}, activation checkpointing", fits, "a table")


if __name__ == "__main__":
    main()
