# SPDX-License-Identifier: Apache-2.0
"""Optimizers and parameter groups, made of the optimizers of PyTorch."""

from __future__ import annotations

from .layer_decay import layer_decay_groups
from .muon_adamw import MuonAdamW
from .param_groups import split_by_decay

__all__ = ["MuonAdamW", "layer_decay_groups", "split_by_decay"]
