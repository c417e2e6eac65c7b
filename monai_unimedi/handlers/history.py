# SPDX-License-Identifier: Apache-2.0
"""The run's curves as one JSON line every few steps; a killed run leaves no line twice and none out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ignite.engine import Events

from monai_unimedi.engines.distributed import rank

from .checkpoint_file import write_atomically

__all__ = ["History", "read_history"]


class History:
    """Averages the flat output over `interval` optimizer steps and appends it to
    `<output_dir>/history.jsonl`.

    A line is `{"step", "iteration", "epoch", "seconds", <averages>}`; a validation's line holds its metrics
    as `val_<name>`. At the start of a run, lines beyond the restored iteration are cut off; the sums of an
    unfinished interval are this handler's state, so that a resumed run writes the lines of the uninterrupted
    one (but for the seconds). Rank 0 only.

    Args:
        output_dir: the run's folder.
        interval: optimizer steps a line.
        validator: engine whose metrics are written after each of its runs.
    """

    def __init__(self, output_dir: str | Path, interval: int = 10, validator: Any = None) -> None:
        self.path = Path(output_dir) / "history.jsonl"
        self.interval = interval
        self.validator = validator
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def attach(self, engine: Any) -> None:
        """Attaches to a `UniMediPretrainer`."""
        if rank() > 0:
            return
        engine.add_event_handler(Events.STARTED, self._truncate)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration_completed)
        if self.validator is not None:
            self.validator.add_event_handler(Events.COMPLETED, self._validated, engine)

    def _truncate(self, engine: Any) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []
        last = engine.state.iteration or -1  # a fresh run keeps nothing
        kept = b"".join(line for line in lines if _iteration_of(line) <= last)
        write_atomically(self.path, lambda file: file.write(kept))

    def _iteration_completed(self, engine: Any) -> None:
        for name, value in engine.state.output[0].items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        steps = engine.completed_steps
        if engine.ends_optimizer_step and (steps % self.interval == 0 or steps == engine.total_steps):
            self._append(engine, {name: total / self.counts[name] for name, total in self.sums.items()})
            self.sums, self.counts = {}, {}

    def _validated(self, validator: Any, engine: Any) -> None:
        metrics = {
            f"val_{name}": float(value)
            for name, value in validator.state.metrics.items()
            if _is_scalar(value)
        }
        if metrics:
            self._append(engine, metrics)

    def _append(self, engine: Any, values: dict[str, float]) -> None:
        where = {
            "step": engine.completed_steps,
            "iteration": engine.state.iteration,
            "epoch": engine.state.epoch,
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**where, "seconds": round(engine.train_seconds, 3), **values}) + "\n")

    def state_dict(self) -> dict[str, Any]:
        """Sums of the interval that is not complete yet."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on summing."""
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])


def read_history(output_dir: str | Path) -> list[dict[str, Any]]:
    """The whole lines of ``history.jsonl`` in a run's folder; none where there is no such file."""
    path = Path(output_dir) / "history.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if _iteration_of(line) < float("inf")]


def _iteration_of(line: bytes) -> float:
    """A line's iteration; a line cut short by a kill lies beyond every iteration."""
    try:
        return float(json.loads(line)["iteration"]) if line.endswith(b"\n") else float("inf")
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (int, float)) or getattr(value, "ndim", None) == 0
