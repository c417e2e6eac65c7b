# SPDX-License-Identifier: Apache-2.0
"""UniMedI in MONAI Label: the tasks, strategies and routes of the app, and what MONAI Label needs to run safely."""

from __future__ import annotations

__all__ = ["RESEARCH_USE"]

RESEARCH_USE = "research use"
