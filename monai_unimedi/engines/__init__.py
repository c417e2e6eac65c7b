# SPDX-License-Identifier: Apache-2.0
"""Engines: pre-training (many losses, a teacher) and fine-tuning, both resumable to the same bits."""

from __future__ import annotations

from .finetuner import AutocastEvaluator, Finetuner
from .pretrainer import PretrainEvents, UniMediPretrainer
from .selection_cache import SelectionCache

__all__ = ["AutocastEvaluator", "Finetuner", "PretrainEvents", "SelectionCache", "UniMediPretrainer"]
