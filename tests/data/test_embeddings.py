# SPDX-License-Identifier: Apache-2.0
"""The table of embeddings, and that the lines of docs/search.md put it into a vector database."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from monai_unimedi.data import embeddings
from monai_unimedi.data.embeddings import EmbeddingWriter, read_embeddings


def write(path: Path, count: int = 6) -> np.ndarray:
    """X-rays and CTs by turns of two; returns the embeddings."""
    values = np.random.RandomState(0).randn(count, 8).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    with EmbeddingWriter(path, "abc") as writer:
        for first in range(0, count, 2):
            dimension = "3d" if first % 4 else "2d"
            names = [f"{dimension}-{i}" for i in range(first, min(first + 2, count))]
            scores = np.full((len(names), 4), 0.25, np.float32) if dimension == "3d" else None
            writer.write(names, [f"a/{n}.png" for n in names], dimension, values[first : first + 2], scores)
    return values


def test_table_comes_back_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "_GROUP", 3)
    values = write(tmp_path / "deep" / "e.parquet")
    table = read_embeddings(tmp_path / "deep" / "e.parquet")
    assert table.ids == ["2d-0", "2d-1", "3d-2", "3d-3", "2d-4", "2d-5"]
    assert table.paths[0] == "a/2d-0.png"
    assert table.weights == "abc"
    assert np.array_equal(table.embeddings, values)
    cts = read_embeddings(tmp_path / "deep" / "e.parquet", "3d")
    assert cts.ids == ["3d-2", "3d-3"]
    assert np.array_equal(cts.embeddings, values[2:4])
    raw = pq.ParquetFile(tmp_path / "deep" / "e.parquet")
    assert raw.num_row_groups == 2
    assert raw.schema_arrow.field("embedding").type.list_size == 8
    assert raw.read()["slice_scores"].to_pylist()[1:3] == [None, [0.25] * 4]


def test_failed_writing_leaves_no_table(tmp_path: Path) -> None:
    def fail() -> None:
        with EmbeddingWriter(tmp_path / "e.parquet") as writer:
            writer.write(["a"], ["a"], "2d", np.ones((1, 4)))
            writer.write(["b"], ["b"], "2d", np.full((1, 4), np.nan))

    with pytest.raises(ValueError, match="must be finite"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_other_files_and_absent_dimensions_stop_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "e.parquet").write_text("no table")
    with pytest.raises(ValueError, match="must be a table written by"):
        read_embeddings(tmp_path / "e.parquet")
    with EmbeddingWriter(tmp_path / "e.parquet"):
        pass
    with pytest.raises(ValueError, match="must have rows of dimension 3d"):
        read_embeddings(tmp_path / "e.parquet", "3d")


def test_lines_of_the_page_fill_a_vector_database(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("qdrant_client", reason="pip install qdrant-client")
    write(tmp_path / "embeddings.parquet")
    page = (repository / "docs" / "search.md").read_text()
    (lines,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(lines, "docs/search.md", "exec"), {})
    assert capsys.readouterr().out.split()[0] == "2d-0"
