# SPDX-License-Identifier: Apache-2.0
"""What full pre-training would take, by arithmetic: nothing here is measured on a GPU.

    python -m benchmarks.growth_on_paper

Sizes are those of ``paper.json`` (ViT-B/16, BERT-base, X-rays of 224 x 224, CTs of 128 x 128 x 32 with four slices,
reports of 128 tokens). Slopes measured at small sizes by ``growth.py`` are named below; the rest is counted. The card
is taken to reach 40 % of 790 TFLOP/s in bfloat16, 400 GB/s to its neighbours and, a machine of eight cards, 50 GB/s to
the next machine; a disk to reach 1 GB/s. The tables printed are those of ``docs/scaling.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PLANS", "Plan", "costs", "encoder_flops", "step_flops", "table"]

WIDTH, LAYERS, XRAY_TOKENS, CT_TOKENS, SELECTION_TOKENS, TEXT_TOKENS = 768, 12, 197, 513, 2049, 128
IMAGE_TOWER, TEXT_TOWER, HEAD = 86.0e6, 108.7e6, 8.4e6  # parameters
TRAINED, TEACHER = IMAGE_TOWER + TEXT_TOWER + HEAD, IMAGE_TOWER + HEAD
EMBEDDING, SLICES, REFRESH = 512, 32, 5
CARD, NEIGHBOUR, MACHINE, DISK = 0.4 * 790e12, 400e9, 50e9, 1e9  # FLOP/s, B/s
BYTES_A_TOKEN = 34  # kept for backward a token, layer and channel, bfloat16, attention not kept
ROW_MEMORY, ROW_SECONDS = 0.8e3, 6.0e-5  # B and CPU s a row of the lists in each process, growth.py
ROW_DISK = 0.6e3  # B a row beside its pixels, growth.py
XRAY_PIXELS, CT_VOXELS = 224 * 224, 2 * 128 * 128 * 32  # B, uint8 and int16
XRAY_READS, CT_READS = 2491, 301  # rows/s of a loader on one core, epoch_reads.py


@dataclass
class Plan:
    """One run. Batches are those of all ranks; a rank is one GPU, eight to a machine."""

    name: str
    xrays: int
    cts: int
    ranks: int
    batch_2d: int
    batch_3d: int
    epochs: int = 50


PLANS = (
    Plan("377k X-rays + 8k CTs, 8 GPUs", 377_000, 8_000, 8, 128, 16),
    Plan("9 M X-rays + 1 M CTs, 256 GPUs", 9_000_000, 1_000_000, 256, 8192, 1024, epochs=10),
)


def encoder_flops(tokens: int) -> float:
    """Forward pass of the tower over one sequence: 24 N C^2 + 4 N^2 C a layer."""
    return LAYERS * (24.0 * tokens * WIDTH**2 + 4.0 * tokens**2 * WIDTH)


def step_flops(source: str) -> float:
    """One sample as `paper.json` trains: whole and masked student (three forwards' worth each), teacher, text."""
    tokens = XRAY_TOKENS if source == "2d" else CT_TOKENS
    selection = 0.0 if source == "2d" else encoder_flops(SELECTION_TOKENS) / REFRESH
    return 7 * encoder_flops(tokens) + 3 * encoder_flops(TEXT_TOKENS) + selection


def ring(size: float, plan: Plan) -> float:
    """Seconds of an all-reduce of so many bytes."""
    speed = MACHINE if plan.ranks > 8 else NEIGHBOUR
    return 2 * (plan.ranks - 1) / plan.ranks * size / speed


def costs(plan: Plan) -> dict[str, float]:
    """SI units throughout."""
    of_rank = {"2d": plan.batch_2d / plan.ranks, "3d": plan.batch_3d / plan.ranks}
    tokens = {"2d": 2 * XRAY_TOKENS + TEXT_TOKENS, "3d": 2 * CT_TOKENS + TEXT_TOKENS}
    compute = sum(of_rank[s] * step_flops(s) for s in of_rank) / CARD
    steps = max(plan.xrays // plan.batch_2d, plan.cts // plan.batch_3d)
    gathered = 4.0 * 2 * EMBEDDING * (plan.batch_2d + plan.batch_3d)
    rows, pixels = plan.xrays + plan.cts, of_rank["2d"] * XRAY_PIXELS + of_rank["3d"] * CT_VOXELS
    checkpoint = 4 * (TRAINED + TEACHER) + 8 * TRAINED + plan.cts * (4 * SLICES + 8)
    gradients, gathering = ring(4 * TRAINED, plan), 1.5 * ring(gathered, plan)
    return {
        "FLOP a step, all ranks": plan.ranks * compute * CARD,
        "seconds of compute a step": compute,
        "bytes of gradients a step and rank": 4 * TRAINED,
        "seconds of their all-reduce, not overlapped": gradients,
        "bytes gathered a step (embeddings)": gathered,
        "seconds of gather and its backward": gathering,
        "steps an epoch": steps,
        "hours of the run, exchange overlapped": plan.epochs * steps * compute / 3600,
        "hours of the run, nothing overlapped": plan.epochs * steps * (compute + gradients + gathering) / 3600,
        "GPU memory, weights and moments": 16 * TRAINED + 4 * TEACHER,
        "GPU memory, activations": sum(of_rank[s] * tokens[s] for s in of_rank) * LAYERS * WIDTH * BYTES_A_TOKEN,
        "GPU memory, rows of the similarity": 4 * 4.0 * of_rank["2d"] * plan.batch_2d,
        "disk of shards": plan.xrays * XRAY_PIXELS + plan.cts * CT_VOXELS + rows * ROW_DISK,
        "disk of a checkpoint": checkpoint,
        "seconds of writing it, rank 0 alone": checkpoint / DISK,
        "bytes read at a resume, all ranks": plan.ranks * checkpoint,
        "lists in memory, a machine": min(plan.ranks, 8) * rows * ROW_MEMORY,
        "seconds of reading the lists, each rank": rows * ROW_SECONDS,
        "validation of a tenth, similarities in each process": 9.0 * 1024 * plan.xrays / 10,
        "loader cores a rank": (of_rank["2d"] / XRAY_READS + of_rank["3d"] / CT_READS) / compute,
        "bytes a second from shards, a machine": min(plan.ranks, 8) * pixels / compute,
        "bytes a second from shards, all machines": plan.ranks * pixels / compute,
    }


def shown(value: float) -> str:
    """Three digits with a prefix."""
    for prefix, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    if value < 0.1:
        return f"{value * 1e6:.3g} u" if value < 1e-3 else f"{value * 1e3:.3g} m"
    return f"{value:.3g}"


def table() -> list[str]:
    """Rows of the table, one a cost, one column a plan."""
    found = [costs(plan) for plan in PLANS]
    head = [f"| arithmetic | {' | '.join(plan.name for plan in PLANS)} |", "|---|" + "---|" * len(PLANS)]
    return head + [f"| {name} | {' | '.join(shown(cost[name]) for cost in found)} |" for name in found[0]]


if __name__ == "__main__":
    print("\n".join(table()))
