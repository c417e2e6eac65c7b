# SPDX-License-Identifier: Apache-2.0
"""What a run will take, measured on a few of its own steps; nothing of them is written or kept."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from .distributed import unwrap

__all__ = ["estimate_run", "format_estimate"]

GB = 1e9


def estimate_run(
    trainer: Any,
    output_dir: str | Path,
    validator: Any = None,
    val_interval: int = 1,
    distillation_start: int | float = 0.0,
    keep_last: int = 2,
    num_measured: int = 3,
) -> dict[str, Any]:
    """Steps, time, memory and disk of a run.

    The trainer's network is changed by the measurement: do not train with it afterwards.

    Args:
        trainer: a `UniMediPretrainer` that has not run.
        output_dir: where the run will write.
        validator: engine whose first batch is timed.
        val_interval: epochs from one validation to the next.
        distillation_start: first step, or share of the run, with distillation.
        keep_last: number of checkpoints that are kept.
        num_measured: steps to time, each without and with distillation; one more warms up.

    Returns:
        ``steps``, ``seconds_per_step`` of both kinds, ``seconds_reading``, ``seconds_validating``,
        ``seconds``, ``memory_gb``, ``device_memory_gb`` (None on a CPU), ``disk_gb``, ``free_disk_gb``.
    """
    weight = float(trainer.loss_function.distillation_weight)
    batches = _timed(trainer.data_loader, 2 * num_measured + 1)
    read, loaded = zip(*batches)
    _step(trainer, loaded[0], weight, 1)
    plain = [_step(trainer, batch, 0.0, 1) for batch in loaded[1 : 1 + num_measured]]
    distilled = [_step(trainer, batch, weight, 1) for batch in loaded[1 + num_measured :]]
    turns = getattr(trainer.data_loader.batch_sampler, "turns", 1)
    per_step = [_typical(times, turns) * trainer.accumulation_steps for times in (plain, distilled)]
    steps = trainer.total_steps
    start = distillation_start * steps if isinstance(distillation_start, float) else distillation_start
    first = min(steps, max(0.0, start)) if weight > 0 else steps
    reading = _seconds_reading(trainer, sum(read) / len(read))
    validating = _seconds_validating(validator) * (trainer.state.max_epochs // val_interval)
    disk = _checkpoint_bytes(trainer) * (keep_last + 1) / GB
    return {
        "steps": steps,
        "seconds_per_step": per_step,
        "seconds_reading": reading,
        "seconds_validating": validating,
        "seconds": per_step[0] * first + per_step[1] * (steps - first) + reading + validating,
        "memory_gb": _memory_bytes(trainer, validator) / GB,
        "device_memory_gb": _device_memory_gb(trainer.state.device),
        "disk_gb": disk,
        "free_disk_gb": shutil.disk_usage(_existing(Path(output_dir))).free / GB,
    }


def format_estimate(estimate: dict[str, Any]) -> str:
    """The estimate as lines for a terminal."""
    plain, distilled = estimate["seconds_per_step"]
    lines = [
        f"steps    {estimate['steps']}, {plain:.3f} s each, {distilled:.3f} s with distillation",
        f"time     about {_duration(estimate['seconds'])}, of it reading files "
        f"{_duration(estimate['seconds_reading'])}, validation {_duration(estimate['seconds_validating'])}",
        f"memory   about {estimate['memory_gb']:.1f} GB on this machine, the caches of images included",
        f"disk     {estimate['disk_gb']:.2f} GB at most, {estimate['free_disk_gb']:.0f} GB are free",
        "dry run: nothing was trained; leave --dry_run out to train",
    ]
    if estimate["device_memory_gb"] is not None:
        lines.insert(3, f"device   {estimate['device_memory_gb']:.1f} GB")
    if estimate["disk_gb"] > estimate["free_disk_gb"]:
        lines.insert(-1, "WARNING: the disk is too small; name another --output_dir")
    return "\n".join(lines)


def _timed(loader: Any, count: int) -> Iterator[tuple[float, Any]]:
    """Batches of the loader, each with the seconds it took."""
    batches = iter(loader)
    for _ in range(count):
        start = time.perf_counter()
        batch = next(batches)
        yield time.perf_counter() - start, batch


def _step(trainer: Any, batch: Any, weight: float, iteration: int) -> float:
    """Seconds of one micro-step."""
    trainer.loss_function.distillation_weight = weight
    trainer.state.iteration = iteration
    start = time.perf_counter()
    trainer._iteration(trainer, batch)  # waits for the device when it reads the loss
    return time.perf_counter() - start


def _typical(times: list[float], turns: int) -> float:
    """Mean over the sources that take turns of the median over a source's steps."""
    medians = [sorted(found)[len(found) // 2] for found in (times[turn::turns] for turn in range(turns)) if found]
    return sum(medians) / len(medians)


def _seconds_reading(trainer: Any, seconds_per_batch: float) -> float:
    """Rows that fit into the cache are read once, the others at every visit."""
    loader = trainer.data_loader
    iterations = trainer.state.epoch_length * trainer.state.max_epochs
    sampler = loader.batch_sampler
    names = getattr(sampler, "lengths", {})  # without the sources that are left out
    datasets = {name: loader.dataset.datasets[name] for name in names}
    longest = max((sampler.batches_per_pass(name) for name in names), default=iterations)
    first_pass = longest * getattr(sampler, "turns", 1)
    cached = sum(dataset.num_cached for dataset in datasets.values())
    share = cached / max(sum(map(len, datasets.values())), 1)
    uncached = min(iterations, first_pass) + (1 - share) * max(iterations - first_pass, 0)
    return uncached * seconds_per_batch / max(loader.num_workers, 1)


def _seconds_validating(validator: Any) -> float:
    """Seconds of one validation, from its first batch."""
    if validator is None or not validator.state.epoch_length:
        return 0.0
    start = time.perf_counter()
    validator._iteration(validator, next(iter(validator.data_loader)))
    return (time.perf_counter() - start) * validator.state.epoch_length


def _checkpoint_bytes(trainer: Any) -> int:
    """Network with teacher, and two moments of each trained parameter."""
    tensors = unwrap(trainer.network).state_dict().values()
    trained = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    return sum(t.numel() * t.element_size() for t in tensors) + sum(8 * p.numel() for p in trained)


def _memory_bytes(trainer: Any, validator: Any) -> float:
    """Of all processes of this machine, which are alike."""
    unit = 1 if sys.platform == "darwin" else 1024
    loaders = [engine.data_loader for engine in (trainer, validator) if engine is not None]
    caches = [dataset for loader in loaders for dataset in getattr(loader.dataset, "datasets", {}).values()]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return float(processes * (peak + sum(dataset.cache_bytes for dataset in caches)))


def _device_memory_gb(device: torch.device) -> float | None:
    return torch.cuda.max_memory_allocated(device) / GB if device.type == "cuda" else None


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.absolute().parent)


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
