# SPDX-License-Identifier: Apache-2.0
"""The contrast of 8,192 x 512 embeddings, forward and backward: time, memory and gradients beside plain InfoNCE.

    python -m benchmarks.contrastive_loss [--rows 8192] [--repeats 3] [--many_rows 32768]

Peers, written out here: InfoNCE as open_clip computes it, one product of matrices for each direction, and with one
product of which the other direction is the transpose. Seconds are CPU seconds, interleaved, on one thread. Memory is
the peak of a process of its own above what it holds with the embeddings, so that gradients count. `--many_rows` is
computed once, alone; 0 leaves it out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.side_by_side import medians, one_thread, record

one_thread()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn.functional import cross_entropy, normalize  # noqa: E402

from monai_unimedi.losses import ImageTextLoss  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SIZE = 512
COMMAND = "python -m benchmarks.contrastive_loss"


def two_products(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    target = torch.arange(len(image))
    to_text, to_image = scale * image @ text.T, scale * text @ image.T
    return (cross_entropy(to_text, target) + cross_entropy(to_image, target)) / 2


def one_product(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    target, logits = torch.arange(len(image)), scale * image @ text.T
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


LOSSES: dict[str, Callable[..., Tensor]] = {
    "here": ImageTextLoss(),
    "two products": two_products,
    "one product": one_product,
}


def embeddings(rows: int) -> list[Tensor]:
    """Image and text embeddings (rows, 512) that agree in part, and the scale."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(rows, SIZE, generator=generator)
    pair = [normalize(common + torch.randn(rows, SIZE, generator=generator), dim=1) for _ in range(2)]
    return [each.requires_grad_() for each in (*pair, torch.tensor(1 / 0.07))]


def step(name: str, inputs: list[Tensor]) -> list[Tensor]:
    """Loss and gradients."""
    loss = LOSSES[name](*inputs)
    return [loss.detach(), *torch.autograd.grad(loss, inputs)]


def difference(rows: int) -> float:
    """Largest relative difference of loss and gradients to plain InfoNCE in float64."""
    found = step("here", embeddings(rows))
    exact = step("one product", [each.detach().double().requires_grad_() for each in embeddings(rows)])
    return max(float((one - other).norm() / other.norm()) for one, other in zip(found, exact))


def memory(key: str) -> float:
    """MiB of this process: `VmRSS`, or its peak `VmHWM`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def measure(name: str, rows: int) -> None:
    """In a process of its own: prints the peak above the embeddings, the whole peak (MiB), and CPU seconds."""
    torch.set_num_threads(1)
    step(name, embeddings(256))  # libraries and threads
    inputs = embeddings(rows)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, start = memory("VmRSS"), time.process_time()
    kept = step(name, inputs)
    assert all(torch.isfinite(each).all() for each in kept)
    print(memory("VmHWM") - before, memory("VmHWM"), time.process_time() - start)


def measured(name: str, rows: int) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.contrastive_loss", "--measure", name, "--rows", str(rows)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return [float(word) for word in done.stdout.split()]


def compare(rows: int, repeats: int) -> None:
    torch.set_num_threads(1)
    inputs = embeddings(rows)
    seconds = medians({name: (lambda name=name: step(name, inputs)) for name in LOSSES}, repeats)
    peaks = {name: measured(name, rows)[0] for name in LOSSES}
    wrong = difference(rows)
    for peer, asked in (("two products", "no slower, under 200 MiB, gradients within 1e-4"), ("one product", "")):
        record(
            COMMAND,
            f"contrast of {rows} x {SIZE}, float32, beside {peer}",
            f"{seconds['here']:.2f} s CPU, {peaks['here']:.0f} MiB, gradients within {wrong:.0e} of float64",
            f"{seconds[peer]:.2f} s CPU, {peaks[peer]:.0f} MiB, plain InfoNCE",
            f"{seconds['here'] / seconds[peer]:.2f}x its time, {peaks['here'] / peaks[peer]:.2f}x its memory",
            asked,
        )


def run_many(rows: int) -> None:
    above, whole, seconds = measured("here", rows)
    record(
        COMMAND,
        f"contrast of {rows} x {SIZE}, float32, alone",
        f"{seconds:.0f} s CPU, {above:.0f} MiB above the embeddings, {whole / 1024:.2f} GB in all",
        f"{5.5 * rows**2 * 4 / 2**30:.0f} GB expected of plain InfoNCE, 5.5 squares of logits",
        "",
        "runs in 24 GB",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--many_rows", type=int, default=32768)
    parser.add_argument("--measure", choices=list(LOSSES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.rows)
        return
    compare(arguments.rows, arguments.repeats)
    if arguments.many_rows:
        run_many(arguments.many_rows)


if __name__ == "__main__":
    main()
