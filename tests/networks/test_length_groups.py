# SPDX-License-Identifier: Apache-2.0
"""Reports of like length are read together, at the least cost, and embedded as if padded to the longest."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
import torch

from monai_unimedi.networks.nets.length_groups import length_groups
from monai_unimedi.networks.nets.report_encoder import ReportEncoder

LENGTHS = [9, 3, 4, 17, 3, 9, 20, 8, 2]


def price(groups: list[list[int]], lengths: list[int], call_cost: int) -> int:
    return sum(len(group) * max(lengths[i] for i in group) + call_cost for group in groups)


def cheapest(lengths: list[int], call_cost: int) -> int:
    """Every way to cut the sorted lengths."""
    ordered, count = sorted(lengths), len(lengths)
    prices = []
    for number in range(count):
        for cuts in combinations(range(1, count), number):
            edges = [0, *cuts, count]
            groups = [list(range(a, b)) for a, b in pairwise(edges)]
            prices.append(price(groups, ordered, call_cost))
    return min(prices)


@pytest.mark.parametrize("call_cost", [0, 1, 5, 13, 40, 10_000])
def test_no_other_cut_is_cheaper(call_cost: int) -> None:
    groups = length_groups(LENGTHS, call_cost)
    assert sorted(i for group in groups for i in group) == list(range(len(LENGTHS)))
    assert price(groups, LENGTHS, call_cost) == cheapest(LENGTHS, call_cost)


def test_free_calls_pad_nothing_and_dear_ones_make_one_group() -> None:
    assert length_groups(LENGTHS, 0) == [[8], [1, 4], [2], [7], [0, 5], [3], [6]]
    assert len(length_groups(LENGTHS, 10_000)) == 1
    assert length_groups([], 3) == []
    with pytest.raises(ValueError, match="call_cost must be 0 tokens or more, got -1"):
        length_groups(LENGTHS, -1)


def reports() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    mask = (torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]).long()
    return torch.randint(5, 60, mask.shape) * mask, mask


def tower(call_cost: int | None, pooling: str = "mean", attention: str = "sdpa") -> ReportEncoder:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_layers": 3, "num_heads": 2, "max_tokens": 48, "embed_dim": 16}
    return ReportEncoder(vocab_size=60, pooling=pooling, attention=attention, call_cost=call_cost, **sizes).double()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("call_cost", [0, 6, 10_000])
def test_grouped_reports_equal_padded_ones_forward_and_backward(call_cost: int, pooling: str, attention: str) -> None:
    ids, mask = reports()
    weight = torch.randn(len(LENGTHS), 16, dtype=torch.float64)
    found = []
    for cost in (None, call_cost):
        model = tower(cost, pooling, attention)
        embedding = model.projection(model.features(ids, mask))  # forward() ends in float32
        (embedding * weight).sum().backward()
        found.append([embedding.detach(), *(p.grad for p in model.parameters())])
    for padded, grouped in zip(*found, strict=True):
        torch.testing.assert_close(grouped, padded, rtol=1e-10, atol=1e-12)


def test_tower_reads_no_more_tokens_than_the_groups_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (ids, mask), read = tower(0), reports(), []
    plain = model._pool_group

    def counted(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        read.append(input_ids.numel())
        return plain(input_ids, attention_mask)

    monkeypatch.setattr(model, "_pool_group", counted)
    model(ids, mask)
    assert sum(read) == sum(LENGTHS)
    with pytest.raises(ValueError, match="call_cost must be None or 0"):
        tower(-2)
