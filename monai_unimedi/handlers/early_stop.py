# SPDX-License-Identifier: Apache-2.0
"""MONAI's early stopping with a state, so that a resumed run stops where the uninterrupted one does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai.handlers import EarlyStopHandler

__all__ = ["EarlyStop"]


class EarlyStop(EarlyStopHandler):
    """`monai.handlers.EarlyStopHandler` that can be saved; its arguments are the same.

    `set_trainer` (or the argument `trainer`) comes before `load_state_dict`.
    """

    def state_dict(self) -> dict[str, Any]:
        """Evaluations without improvement, and the best score."""
        return dict(self._ignite_handler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on counting."""
        self._ignite_handler.load_state_dict(state)

    @property
    def _ignite_handler(self) -> Any:
        if self._handler is None:
            raise RuntimeError(
                "EarlyStop must know its trainer: give `trainer`, or call `set_trainer` first."
            )
        return self._handler
