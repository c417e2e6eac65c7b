# SPDX-License-Identifier: Apache-2.0
"""Slice scores from the [CLS] row beside a plain forward pass by scaled-dot-product attention.

    python -m benchmarks.class_scores [--size base] [--repeats 5] [--precision bfloat16]

One CT of 32 slices of 128 x 128: 2,048 patches of all slices in one sequence. The plain pass is the same blocks
without any row. Memory: the most that the row's own tensors take at one time, beside q, k and v. The reference
computes the full attention matrix of every head of the first three layers in float64 and takes its [CLS] row,
renormalised over the patches.
"""

from __future__ import annotations

import argparse
import statistics

from benchmarks.side_by_side import one_thread, ratio, record, turns

one_thread()

import torch  # noqa: E402
from torch.profiler import ProfilerActivity, profile  # noqa: E402

from benchmarks import training_steps as steps  # noqa: E402
from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder  # noqa: E402


def slice_tokens(encoder: UniMediImageEncoder, volume: torch.Tensor) -> torch.Tensor:
    """T_2D tokens (1, S * N, C) of every slice."""
    every = torch.arange(volume.shape[4])[None]
    content, position = encoder.vit.tokenizer.slices(volume, every)
    return content + position


def plain(encoder: UniMediImageEncoder, tokens: torch.Tensor) -> torch.Tensor:
    """All blocks, by scaled-dot-product attention in any precision."""
    x = encoder.vit.with_class(tokens)
    for block in encoder.vit.blocks:
        q, k, v = block.attention.heads(block.norm1(x))
        attended = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + block.attention.out(attended.transpose(1, 2).flatten(2))
        x = x + block.mlp(block.norm2(x))
    return x


def reference(encoder: UniMediImageEncoder, tokens: torch.Tensor, depth: int) -> torch.Tensor:
    """Scores (1, S * N) from the full attention matrices of the first layers."""
    x, total = encoder.vit.with_class(tokens), torch.zeros(tokens.shape[:2], dtype=tokens.dtype)
    for block in encoder.vit.blocks[:depth]:
        q, k, v = block.attention.heads(block.norm1(x))
        matrix = (q @ k.transpose(2, 3) * q.shape[3] ** -0.5).softmax(3)
        row = matrix[:, :, 0, 1:]
        total += (row / row.sum(2, keepdim=True)).mean(1)
        x = x + block.attention.out((matrix @ v).transpose(1, 2).flatten(2))
        x = x + block.mlp(block.norm2(x))
    return total / depth


def row_memory(encoder: UniMediImageEncoder, tokens: torch.Tensor) -> float:
    """Peak MB of one layer's row, beside q, k and v."""
    block = encoder.vit.blocks[0]
    q, k, v = block.attention.heads(block.norm1(encoder.vit.with_class(tokens)))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        block.weigh(q, k, v, 1, "attention")
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most / 1e6


def main() -> None:
    """Takes turns, prints and records the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=steps.SIZES, default="base")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    encoder = steps.image_encoder(arguments.size).eval()
    layers = encoder.every_layer
    with torch.no_grad():
        tokens = slice_tokens(encoder, torch.rand(1, 1, 128, 128, 32))
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.precision == "bfloat16"):
            seconds = turns(
                {
                    "scores": lambda: encoder.vit.class_attention(tokens, 1, layers),
                    "plain": lambda: plain(encoder, tokens),
                },
                arguments.repeats,
            )
            memory = row_memory(encoder, tokens)
        tokens, encoder = tokens.double(), encoder.double()
        expected = reference(encoder, tokens, 3)
        error = ((encoder.vit.class_attention(tokens, 1, layers[:3]) - expected).abs() / expected).max().item()
    record(
        f"python -m benchmarks.class_scores --size {arguments.size} --precision {arguments.precision}",
        "slice scores of a CT of 32 slices, 2,048 patches, from the [CLS] rows of all layers",
        f"{statistics.median(seconds['scores']):.2f} s CPU, {memory:.2f} MB a volume, relative difference to the full "
        f"matrix {error:.0e}",
        f"{statistics.median(seconds['plain']):.2f} s CPU, plain forward by scaled-dot-product attention",
        f"{ratio(seconds['scores'], seconds['plain'])} its time",
        "at most 1.05x, 2 MB, equal",
        is_kept=arguments.size == "base",
    )


if __name__ == "__main__":
    main()
