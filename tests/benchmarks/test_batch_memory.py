# SPDX-License-Identifier: Apache-2.0
"""The largest batch by memory: a line through the measured peaks, within the limit of a measuring process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import batch_memory, side_by_side


def test_line_and_largest_batch() -> None:
    fixed, slope = batch_memory.fit([2, 3, 4], [5.5e9, 6e9, 7e9])  # the first peak is the gradients'
    assert (fixed, slope) == pytest.approx((3e9, 1e9))
    assert [batch_memory.largest(fixed, slope, memory) for memory in (2e9, 8.5e9, 24.5e9)] == [0, 5, 21]
    with pytest.raises(ValueError, match=r"two batch sizes or more, got \[2\]"):
        batch_memory.fit([2], [1e9])


def test_table_has_both_forms_and_leaves_out_what_is_too_large(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = []

    def in_child(size: str, kind: str, batch: int, is_on: bool, precision: str) -> float:
        assert precision == "float32"
        measured.append((batch, is_on))
        return 0.9e9 + batch * (0.25e9 if is_on else 1e9)

    monkeypatch.setattr(batch_memory, "in_child", in_child)
    monkeypatch.setattr(side_by_side, "RESULTS", tmp_path / "RESULTS.md")
    words = ["batch_memory", "--sizes", "tiny", "--kinds", "2d", "--batches", "2", "3", "4", "--limit_gb", "4.5"]
    words += ["--precision", "float32"]
    monkeypatch.setattr(sys, "argv", words)
    batch_memory.main()
    assert measured == [(2, False), (3, False), (2, True), (3, True), (4, True)]
    row = (tmp_path / "RESULTS.md").read_text().splitlines()[-1]
    assert "tiny, 2d, float32, extrapolated from batches 2,3 / 2,3,4" in row
    assert "0.90 GB + 1000.0 MB a row" in row
    assert "8 GB: 7 / 28; 16 GB: 15 / 60" in row
    assert "batch 4 checkpointing True: 1.90 GB" in capsys.readouterr().out
