# SPDX-License-Identifier: Apache-2.0
"""How cost grows: time, memory, disk and network of a step against samples, tokens, parameters and ranks.

    python -m benchmarks.growth [--repeats 5] [--only time,memory,network,checkpoint,disk,rows]

Measured at small sizes on one thread: step seconds (CPU, interleaved medians) and bytes kept for the backward pass
(counted, each tensor once) against batch, image tokens and text tokens; bytes of each collective by 1, 2 and 4 gloo
processes on this machine (counted); bytes of a checkpoint against parameters; bytes and read seconds of shards, and
memory of the lists, against rows. Each is a straight line by least squares, printed as a row of ``docs/scaling.md``,
with the share of the variance that the line leaves unexplained. ``growth_on_paper.py`` takes it from there.
"""

from __future__ import annotations

import argparse
import functools
import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import medians, one_thread

one_thread()

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
import torch.multiprocessing as mp  # noqa: E402
from monai.bundle import ConfigParser  # noqa: E402
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

from benchmarks.growth_of_lists import disk_rows, list_rows  # noqa: E402

CONFIG = Path(__file__).resolve().parents[1] / "bundles" / "pretrain" / "configs" / "train.json"
VOCABULARY, TEXT_TOKENS, BATCH = 1000, 64, 8
Sources = dict[str, dict[str, torch.Tensor]]


def built(**changes: Any) -> tuple[Any, Any]:
    """Network and loss of ``train.json``, on the CPU, with some of its top keys changed."""
    parser = ConfigParser()
    parser.read_config(str(CONFIG))
    for name, value in {"max_tokens": 512, "report_encoder#vocab_size": VOCABULARY, **changes}.items():
        parser[name] = value
    torch.manual_seed(0)
    return parser.get_parsed_content("unimedi").train(), parser.get_parsed_content("loss_function").train()


def batch(source: str, rows: int, size: Sequence[int], tokens: int = TEXT_TOKENS) -> Sources:
    """Random images (rows, 1, *size) with reports of equal length; every row its own group on any rank."""
    generator = torch.Generator().manual_seed(0)
    first = rows * (dist.get_rank() if dist.is_initialized() else 0)
    return {
        source: {
            "image": torch.rand(rows, 1, *size, generator=generator),
            "input_ids": torch.randint(5, VOCABULARY, (rows, tokens), generator=generator),
            "attention_mask": torch.ones(rows, tokens, dtype=torch.int64),
            "sample_seed": torch.arange(rows),
            "pair_group": first + torch.arange(rows),
        }
    }


def step(network: Any, loss: Any, sources: Sources) -> None:
    """Forward and backward of everything; the optimizer's part is a constant of the network."""
    network.zero_grad(set_to_none=True)
    loss(network(sources, distill=True))[0].backward()


def kept_bytes(run: Callable[[], Any]) -> int:
    """Bytes that autograd keeps for the backward pass, parameters included, each storage once."""
    storages: dict[int, int] = {}
    held = []  # so that no address is used twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        held.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(storages.values())


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Intercept, slope, and the share of the variance that is left."""
    slope, intercept = np.polyfit(x, y, 1)
    if np.ptp(y) < 1e-9 * max(abs(max(y)), 1e-300):
        return float(np.mean(y)), 0.0, 0.0
    left = np.var(np.asarray(y) - intercept - slope * np.asarray(x)) / np.var(y)
    return float(intercept), float(slope), float(left)


def row(figure: str, against: str, x: Sequence[float], y: Sequence[float], unit: str) -> None:
    """One row of the table of slopes."""
    intercept, slope, left = line(x, y)
    at = ", ".join(f"{value:g}" for value in x)
    print(f"| {figure} | {against} ({at}) | {intercept:.3g} {unit} | {slope:.3g} {unit} | {left:.1%} |", flush=True)


def swept() -> dict[str, list[tuple[int, tuple[Any, ...]]]]:
    """What is varied: its name, and for each value the batch's source, rows, size and text tokens."""
    patch = 12
    images = [(side // patch) ** 2 for side in (48, 96, 144, 192)]
    return {
        "X-rays a batch, 36 tokens each": [(n, ("2d", n, (72, 72))) for n in (4, 8, 16, 32)],
        "CTs a batch, 32 + 64 tokens each": [(n, ("3d", n, (48, 48, 16))) for n in (4, 8, 16)],
        "image tokens, 8 X-rays": [(t, ("2d", BATCH, (side, side))) for t, side in zip(images, (48, 96, 144, 192))],
        "text tokens, 8 X-rays": [(t, ("2d", BATCH, (72, 72), t)) for t in (32, 64, 128, 256)],
    }


def time_rows(repeats: int) -> None:
    network, loss = built()
    for against, cases in swept().items():
        runs = {f"{x}": functools.partial(step, network, loss, batch(*case)) for x, case in cases}
        seconds = medians(runs, repeats)
        row("step", against, [x for x, _ in cases], [1e3 * seconds[f"{x}"] for x, _ in cases], "ms")


def memory_rows() -> None:
    network, loss = built()
    for against, cases in swept().items():
        runs = [functools.partial(lambda c: loss(network(batch(*c), distill=True)), case) for _, case in cases]
        row("kept for backward", against, [x for x, _ in cases], [kept_bytes(run) / 1e6 for run in runs], "MB")


def checkpoint_rows() -> None:
    """What ``resume.pt`` holds of network and optimizer, as AdamW (paper.json) keeps it."""
    parameters, sizes = [], []
    for hidden in (64, 128, 192):
        network, loss = built(hidden_size=hidden, mlp_dim=4 * hidden)
        trained = [p for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained)
        step(network, loss, batch("2d", 2, (72, 72)))
        optimizer.step()
        file = io.BytesIO()
        torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, file)
        parameters.append(sum(p.numel() for p in trained) / 1e6)
        sizes.append(file.tell() / 1e6)
    row("checkpoint", "million trained parameters", [round(p, 2) for p in parameters], sizes, "MB")


def counted(function: Any, name: str, counts: dict[str, list[int]]) -> Any:
    """The collective, with the bytes of what this rank gives noted."""

    def call(*given: Any, **options: Any) -> Any:
        tensor = given[1] if name == "all_gather" else given[0]
        if options.get("async_op"):  # DDP's own, counted by the bucket
            return function(*given, **options)
        counts.setdefault(name, []).append(tensor.numel() * tensor.element_size())
        return function(*given, **options)

    return call


def network_step(rank: int, ranks: int, rows: int, folder: str) -> None:
    """Counts the collectives of one step on one rank; rank 0 writes them."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store-{ranks}-{rows}", rank=rank, world_size=ranks)
    network, loss = built()
    counts: dict[str, list[int]] = {}

    def hook(state: Any, bucket: Any) -> Any:
        counts.setdefault("gradients", []).append(bucket.buffer().numel() * bucket.buffer().element_size())
        return allreduce_hook(state, bucket)

    hook.__annotations__ = {"bucket": dist.GradBucket, "return": torch.futures.Future[torch.Tensor]}
    module = DistributedDataParallel(network, find_unused_parameters=True, broadcast_buffers=False)
    module.register_comm_hook(None, hook)
    for name in ("all_reduce", "all_gather"):
        setattr(dist, name, counted(getattr(dist, name), name, counts))
    step(module, loss, batch("2d", rows, (72, 72)))
    if rank == 0:
        torch.save(counts, f"{folder}/counts-{ranks}-{rows}.pt")
    dist.destroy_process_group()


def network_rows() -> None:
    """Every rank's share of X-rays is varied at two ranks, the ranks at a share of 8."""
    found: dict[tuple[int, int], dict[str, list[int]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for ranks, rows in ((2, 4), (2, 8), (2, 16), (4, 8)):
            mp.start_processes(network_step, args=(ranks, rows, folder), nprocs=ranks, start_method="fork")
            found[ranks, rows] = torch.load(f"{folder}/counts-{ranks}-{rows}.pt")
    trained = sum(p.numel() for p in built()[0].parameters() if p.requires_grad)
    for (ranks, rows), counts in found.items():
        print(f"{ranks} ranks, {rows} rows each: " + ", ".join(
            f"{name} {sum(sizes)} B in {len(sizes)}" for name, sizes in counts.items()
        ), flush=True)  # fmt: skip
    print(f"gradients: {sum(found[2, 8]['gradients']) / trained:.2f} B a trained parameter")
    for name in ("all_gather", "all_reduce"):
        sums = [sum(found[2, rows][name]) / 1e3 for rows in (4, 8, 16)]
        row(f"{name} a step, 2 ranks", "X-rays a rank", (4, 8, 16), sums, "kB")
        sums = [sum(found[ranks, 8][name]) / 1e3 for ranks in (2, 4)]
        row(f"{name} a step, 8 X-rays a rank", "ranks", (2, 4), sums, "kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="time,memory,network,checkpoint,disk,rows")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parts: dict[str, Callable[[], None]] = {
        "network": network_rows,  # first: it forks
        "memory": memory_rows,
        "checkpoint": checkpoint_rows,
        "disk": lambda: disk_rows(row, arguments.repeats),
        "rows": lambda: list_rows(row),
        "time": lambda: time_rows(arguments.repeats),
    }
    print("| figure | against (measured at) | at 0 | for each one more | left unexplained |\n|---|---|---|---|---|")
    for name, part in parts.items():
        if name in arguments.only.split(","):
            part()


if __name__ == "__main__":
    main()
