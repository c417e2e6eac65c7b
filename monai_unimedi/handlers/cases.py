# SPDX-License-Identifier: Apache-2.0
"""What is to be kept of each case of an evaluation, so that whole volumes need not be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ignite.engine import Events

__all__ = ["CaseRecorder"]


class CaseRecorder:
    """Calls `record` with each decollated case after its postprocessing and keeps what it returns.

    Args:
        record: from a case (the batch's keys and `pred`) to what is kept; None keeps nothing of that case.
        finish: called with everything kept when the evaluation ends.
    """

    def __init__(
        self, record: Callable[[Mapping[str, Any]], Any], finish: Callable[[list[Any]], Any] | None = None
    ) -> None:
        self.record = record
        self.finish = finish
        self.cases: list[Any] = []

    def attach(self, engine: Any) -> None:
        """Attaches to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._record)
        engine.add_event_handler(Events.COMPLETED, self._completed)

    def _started(self, engine: Any) -> None:
        self.cases = []

    def _record(self, engine: Any) -> None:
        pairs = zip(engine.state.batch, engine.state.output, strict=True)
        found = [self.record({**row, **output}) for row, output in pairs]
        self.cases += [case for case in found if case is not None]

    def _completed(self, engine: Any) -> None:
        if self.finish is not None:
            self.finish(self.cases)
