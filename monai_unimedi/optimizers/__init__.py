# SPDX-License-Identifier: Apache-2.0
"""Optimizers and parameter groups, made of the optimizers of PyTorch."""

from __future__ import annotations

from .muon_adamw import MuonAdamW
from .param_groups import split_by_decay

__all__ = ["MuonAdamW", "split_by_decay"]
