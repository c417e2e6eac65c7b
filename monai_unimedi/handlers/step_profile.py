# SPDX-License-Identifier: Apache-2.0
"""Where the time of a training step goes: a trace and a table of a few steps, by PyTorch's profiler."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ignite.engine import Events
from torch.profiler import profile, schedule

__all__ = ["StepProfile"]

logger = logging.getLogger(__name__)


class StepProfile:
    """Records a few iterations without and a few with distillation, each after a warm-up.

    Writes to ``output_dir``, for each of the two (``contrast``, ``distillation``) that the run comes to,
    ``<phase>.pt.trace.json``, which Perfetto and TensorBoard's profiler read, and ``<phase>.txt``, the largest
    entries by their own time. MONAI's and Ignite's profilers time handlers and transforms, not operators.

    Args:
        output_dir: made where it is absent; an older profile is replaced.
        num_warmup: iterations of a phase before those that are recorded, at least 1.
        num_recorded: iterations that are recorded.
        num_rows: entries of the table.
    """

    def __init__(self, output_dir: str | Path, num_warmup: int = 2, num_recorded: int = 3, num_rows: int = 10) -> None:
        self.output_dir = Path(output_dir)
        self.num_warmup, self.num_recorded, self.num_rows = num_warmup, num_recorded, num_rows
        self._profile: profile | None = None
        self._seen: set[str] = set()

    def attach(self, engine: Any) -> None:
        """Attaches to a `UniMediPretrainer`."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self._stop)

    def __call__(self, engine: Any) -> None:
        """Ends an iteration."""
        phase = "distillation" if engine.state.output[0]["distillation_weight"] > 0 else "contrast"
        if phase not in self._seen:
            self._stop()
            self._start(phase)
        elif self._profile is not None:
            self._profile.step()

    def _start(self, phase: str) -> None:
        self._seen.add(phase)
        logger.info("Profiling %d steps (%s) into %s.", self.num_recorded, phase, self.output_dir)
        self._profile = profile(
            schedule=schedule(wait=0, warmup=self.num_warmup, active=self.num_recorded, repeat=1),
            on_trace_ready=lambda recorded: self._write(recorded, phase),
        )
        self._profile.start()

    def _write(self, recorded: profile, phase: str) -> None:
        self.output_dir.mkdir(parents=True, exist_ok=True)
        recorded.export_chrome_trace(str(self.output_dir / f"{phase}.pt.trace.json"))
        entries = recorded.key_averages()
        on_device = any(entry.self_device_time_total > 0 for entry in entries)
        order = "self_device_time_total" if on_device else "self_cpu_time_total"
        table = entries.table(sort_by=order, row_limit=self.num_rows, max_name_column_width=60)
        (self.output_dir / f"{phase}.txt").write_text(table, encoding="utf-8")

    def _stop(self) -> None:
        if self._profile is not None:
            self._profile.stop()
            self._profile = None
