# SPDX-License-Identifier: Apache-2.0
"""A benchmark's row: it takes the place of the older one, and names the commit of the code that ran."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import side_by_side


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table below a new repository with one commit."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # as in a hook
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    monkeypatch.setattr(side_by_side, "RESULTS", folder / "RESULTS.md")
    (folder / "RESULTS.md").write_text(side_by_side._HEAD)
    (folder / "code.py").write_text("one")
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return folder / "RESULTS.md"


def rows(results: Path) -> list[str]:
    return [line for line in results.read_text().splitlines() if line.startswith("| `")]


def test_row_takes_the_place_of_the_older_one(results: Path) -> None:
    for here in ("1 s", "2 s"):
        side_by_side.record("python -m benchmarks.a", "figure", here, "3 s", "0.5x", "")
    side_by_side.record("python -m benchmarks.b", "figure", "4 s", "3 s", "0.5x", "", is_kept=False)
    (row,) = rows(results)
    assert "| 2 s | 3 s | 0.5x |" in row


def test_rows_written_before_do_not_make_the_commit_dirty(results: Path) -> None:
    for figure in ("one", "other"):
        side_by_side.record("python -m benchmarks.a", figure, "1 s", "2 s", "0.5x", "")
    assert len(rows(results)) == 2 and not any("dirty" in row for row in rows(results))
    (results.parent / "code.py").write_text("another")
    side_by_side.record("python -m benchmarks.a", "third", "1 s", "2 s", "0.5x", "")
    assert [row.endswith("-dirty |") for row in rows(results)] == [False, False, True]
