# SPDX-License-Identifier: Apache-2.0
"""How far the run is: a bar on a terminal, now and then a line in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from typing import Any

from ignite.engine import Events
from ignite.handlers import ProgressBar

from monai_unimedi.engines.distributed import rank

__all__ = ["EvaluationProgress", "Progress"]

logger = logging.getLogger(__name__)


class Progress:
    """Ignite's progress bar where standard error is a terminal, else a log line every `interval` seconds;
    rank 0 only.

    Args:
        interval: seconds between log lines.
        names: keys of the flat output to show.
    """

    def __init__(self, interval: float = 30.0, names: Sequence[str] = ("loss", "loss_vl", "lr")) -> None:
        self.interval = interval
        self.names = tuple(names)
        self._first_iteration = 0
        self._start = self._last = 0.0

    def attach(self, engine: Any) -> None:
        """Attaches to a `UniMediPretrainer`."""
        if rank() > 0:
            return
        if sys.stderr.isatty():
            ProgressBar(persist=True).attach(engine, output_transform=self._shown)
        else:
            engine.add_event_handler(Events.STARTED, self._started)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._log)

    def _shown(self, output: list[dict[str, float]]) -> dict[str, float]:
        return {name: output[0][name] for name in self.names if name in output[0]}

    def _started(self, engine: Any) -> None:
        self._first_iteration = engine.state.iteration
        self._start = self._last = time.monotonic()

    def _log(self, engine: Any) -> None:
        now = time.monotonic()
        if now - self._last < self.interval:
            return
        self._last = now
        state = engine.state
        seconds = (now - self._start) / (state.iteration - self._first_iteration)
        left = seconds * (state.epoch_length * state.max_epochs - state.iteration)
        terms = ", ".join(f"{name} {value:.4g}" for name, value in self._shown(state.output).items())
        logger.info(
            "step %d of %d (epoch %d of %d): %s; %.2f s an iteration, about %s left",
            *(engine.completed_steps, engine.total_steps, state.epoch, state.max_epochs),
            *(
                terms,
                seconds,
                time.strftime("%H:%M:%S", time.gmtime(left)) if left < 86400 else f"{left / 3600:.0f} h",
            ),
        )


class EvaluationProgress:
    """The same for an evaluator, in batches.

    Args:
        interval: seconds between log lines.
    """

    def __init__(self, interval: float = 30.0) -> None:
        self.interval = interval
        self._last = 0.0

    def attach(self, engine: Any) -> None:
        """Attaches to an evaluator."""
        if rank() > 0:
            return
        if sys.stderr.isatty():
            ProgressBar(persist=True).attach(engine)
        else:
            engine.add_event_handler(Events.EPOCH_STARTED, self._started)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._log)

    def _started(self, engine: Any) -> None:
        self._last = time.monotonic()

    def _log(self, engine: Any) -> None:
        if time.monotonic() - self._last >= self.interval:
            self._last = time.monotonic()
            logger.info("batch %d of %d", engine.state.iteration, engine.state.epoch_length)
