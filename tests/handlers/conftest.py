# SPDX-License-Identifier: Apache-2.0
"""Tests save at every step; waiting for the disk each time would take most of their time."""

from __future__ import annotations

import pytest

from monai_unimedi.handlers import checkpoint_file


@pytest.fixture(autouse=True)
def no_wait_for_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_file.os, "fsync", lambda descriptor: None)
