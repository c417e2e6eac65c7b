# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks of ratios share: interleaved medians of CPU seconds, and a row of ``RESULTS.md``."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["RESULTS", "medians", "one_thread", "ratio", "record", "turns"]

RESULTS = Path(__file__).with_name("RESULTS.md")
_HEAD = """# Benchmarks

Ratios against named peers, each taken in one run, side by side, on one thread: medians of interleaved
repetitions in CPU seconds, which other processes on the machine disturb least. A script prints its row and
writes it here. An absolute figure moves between machines; a ratio moves less.

| command | figure | here | peer | ratio | asked | machine |
|---|---|---|---|---|---|---|
"""


def one_thread() -> None:
    """One thread for everything that is imported after this."""
    for name in ("OMP", "MKL", "OPENBLAS", "ITK_GLOBAL_DEFAULT"):
        key = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS" if name.startswith("ITK") else f"{name}_NUM_THREADS"
        os.environ.setdefault(key, "1")


def medians(functions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each function, called by turns after one warm-up each.

    Args:
        functions: by name.
        repeats: turns that count.
    """
    return {name: statistics.median(found) for name, found in turns(functions, repeats).items()}


def turns(functions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each function in each turn that counts; arguments as in ``medians``."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            if turn:
                seconds[name].append(time.process_time() - start)
    return seconds


def ratio(here: Sequence[float], peer: Sequence[float]) -> str:
    """Ratio of two medians, and its least and largest value in one turn: ``0.80x (0.78 to 0.83)``."""
    found = [one / other for one, other in zip(here, peer)]
    return f"{statistics.median(here) / statistics.median(peer):.2f}x ({min(found):.2f} to {max(found):.2f})"


def record(command: str, figure: str, here: str, peer: str, ratio: str, asked: str, is_kept: bool = True) -> None:
    """Prints a row of the table and, if it is to be kept, puts it in the place of the older row of this figure."""
    row = f"| `{command}` | {figure} | {here} | {peer} | {ratio} | {asked} | {_machine()} |"
    print(row, flush=True)
    if not is_kept:
        return
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.is_file() else _HEAD
    start = f"| `{command}` | {figure} |"
    lines = [line for line in text.splitlines() if not line.startswith(start)]
    last = max(i for i, line in enumerate(lines) if line.startswith("|"))
    RESULTS.write_text("\n".join([*lines[: last + 1], row, *lines[last + 1 :]]) + "\n", encoding="utf-8")


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return f"{name or platform.processor()}, {os.cpu_count()} cores{_commit()}"


def _commit() -> str:
    """Of the code that ran; the rows written before this one are no change of it."""
    asked = ["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "-uno", "--", ":/", f":(exclude){RESULTS.name}"]
    try:
        head, changed = (
            subprocess.run(["git", *words], cwd=RESULTS.parent, capture_output=True, text=True) for words in asked
        )
    except FileNotFoundError:
        return ""
    dirty = "-dirty" if changed.stdout.strip() else ""
    return f", commit {head.stdout.strip()}{dirty}" if head.returncode == 0 else ""
