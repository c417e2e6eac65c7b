# SPDX-License-Identifier: Apache-2.0
"""Scores are kept per volume, refreshed in time, and never mixed up."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from monai_unimedi.engines import SelectionCache

SCORES = torch.arange(40, dtype=torch.float32).reshape(10, 4)


def visit(cache: SelectionCache, rows: list[int], offset: float = 0.0) -> tuple[Tensor, list[int]]:
    """Looks rows up; returns the scores and which of them were computed."""
    row, computed = torch.tensor(rows), []

    def compute(is_stale: Tensor) -> Tensor:
        computed.extend(row[is_stale].tolist())
        return SCORES[row[is_stale]] + offset

    return cache.lookup("3d", row, compute), computed


def test_only_rows_that_are_due_are_computed() -> None:
    cache = SelectionCache(refresh=3)
    assert visit(cache, [0, 1])[1] == [0, 1]
    assert visit(cache, [1, 2])[1] == [2]
    assert visit(cache, [0, 1])[1] == []
    scores, computed = visit(cache, [0, 1, 2], offset=100.0)
    assert computed == [1]
    assert torch.equal(scores, SCORES[:3] + torch.tensor([0.0, 100.0, 0.0])[:, None])


def test_state_is_taken_over() -> None:
    cache, other = SelectionCache(refresh=2), SelectionCache(refresh=2)
    visit(cache, [7, 3])
    other.load_state_dict(cache.state_dict())
    visit(cache, [9])
    assert visit(other, [3, 9])[1] == [9]
    assert torch.equal(visit(other, [9])[0], SCORES[9:])


def test_other_number_of_slices_is_refused() -> None:
    cache = SelectionCache(refresh=2)
    visit(cache, [1])
    with pytest.raises(ValueError, match=r"source '3d'.*got 5 after 4.*selection_refresh to 1"):
        cache.lookup("3d", torch.tensor([2]), lambda is_stale: torch.zeros(1, 5))


def test_batches_of_other_depths_keep_their_own_scores() -> None:
    cache = SelectionCache(refresh=2)
    deep, flat = torch.rand(2, 6), torch.rand(2, 3)
    for rows, scores in (([0, 1], flat), ([4, 5], deep), ([20, 21], flat + 1)):
        row, width = torch.tensor(rows), scores.shape[1]
        found = cache.lookup("3d", row, scores.__getitem__, width)
        assert torch.equal(found, scores)
    other = SelectionCache(refresh=2)
    other.load_state_dict(cache.state_dict())

    def never(is_stale: Tensor) -> Tensor:
        raise AssertionError("scores were kept")

    for rows, scores in (([5, 4], deep.flip(0)), ([1, 0], flat.flip(0)), ([20, 21], flat + 1)):
        assert torch.equal(other.lookup("3d", torch.tensor(rows), never, scores.shape[1]), scores)
