# SPDX-License-Identifier: Apache-2.0
"""Exact search: the scan in bfloat16 finds what plain float32 search finds, whatever the table looks like."""

from __future__ import annotations

import pytest
import torch

from monai_unimedi.data import search
from monai_unimedi.data.search import EmbeddingIndex
from monai_unimedi.precision import has_bfloat16_units


def rows(kind: str, count: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    """L2-normalised, (count, size): at random, in tight clusters, all but equal, or with copies."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, size, generator=generator)
    if kind == "clusters":
        values = torch.randn(5, size, generator=generator)[torch.arange(count) % 5] + 0.01 * values
    if kind == "cone":
        values = torch.ones(size) + 1e-4 * values
    if kind == "copies":
        values = values[torch.arange(count) % 50]
    return torch.nn.functional.normalize(values, dim=1)


@pytest.mark.parametrize("kind", ["random", "clusters", "cone", "copies"])
@pytest.mark.parametrize("is_bfloat16", [True, False])
@pytest.mark.parametrize(("count", "top"), [(3000, 10), (1000, 1), (130, 130), (1, 5)])
def test_scores_are_those_of_plain_float32_search(kind: str, is_bfloat16: bool, count: int, top: int) -> None:
    table, queries = rows(kind, count), torch.cat([rows(kind, 3, seed=1), rows(kind, count)[:2]])
    scores, found = EmbeddingIndex(table, is_bfloat16).search(queries, top)
    products = queries @ table.T
    expected = products.topk(min(top, count), dim=1).values
    assert scores.shape == found.shape == expected.shape
    torch.testing.assert_close(scores, expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(products.gather(1, found), expected, atol=2e-6, rtol=0)
    assert all(len(set(row)) == len(row) for row in found.tolist())


def test_result_is_proven_or_searched_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the proof, rows that bfloat16 cannot tell apart come in the wrong order."""
    table, queries = rows("cone", 3000), rows("cone", 4, seed=1)
    expected = (queries @ table.T).topk(10, dim=1).values
    monkeypatch.setattr(EmbeddingIndex, "_unproven", lambda *a: torch.zeros(0, dtype=torch.int64))
    scores, _ = EmbeddingIndex(table, True).search(queries, 10)
    assert float((expected - scores).max()) > 1e-7


def test_row_finds_itself_first_and_many_queries_are_split() -> None:
    table = rows("random", 300)
    scores, found = EmbeddingIndex(table).search(table[:150], 3)
    assert found[:, 0].tolist() == list(range(150))
    torch.testing.assert_close(scores[:, 0], torch.ones(150))
    assert search._QUERIES < 150


def test_bad_tables_and_queries_stop_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        EmbeddingIndex(torch.zeros(0, 4))
    with pytest.raises(ValueError, match="must be finite"):
        EmbeddingIndex(torch.full((2, 4), torch.nan))
    with pytest.raises(ValueError, match=r"queries must be \(Q, 4\)"):
        EmbeddingIndex(torch.ones(2, 4)).search(torch.ones(1, 3))
    assert isinstance(has_bfloat16_units(), bool)
