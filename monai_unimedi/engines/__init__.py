# SPDX-License-Identifier: Apache-2.0
"""The engines: pre-training, one Ignite step with many losses and a teacher; supervised training."""

from __future__ import annotations

from .finetuner import AutocastEvaluator, Finetuner
from .pretrainer import PretrainEvents, UniMediPretrainer
from .selection_cache import SelectionCache

__all__ = ["AutocastEvaluator", "Finetuner", "PretrainEvents", "SelectionCache", "UniMediPretrainer"]
