# SPDX-License-Identifier: Apache-2.0
"""The pre-training engine: one Ignite step with many losses and a teacher."""

from __future__ import annotations

from .pretrainer import PretrainEvents, UniMediPretrainer
from .selection_cache import SelectionCache

__all__ = ["PretrainEvents", "SelectionCache", "UniMediPretrainer"]
