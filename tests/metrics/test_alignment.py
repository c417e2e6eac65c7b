# SPDX-License-Identifier: Apache-2.0
"""Shared space: slow loops, the shuffled control, and spaces that are mixed or apart by construction."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn.functional import normalize

from monai_unimedi.metrics.alignment import (
    class_silhouette,
    cross_dimension_precision,
    modality_gap,
    modality_probe_accuracy,
    modality_silhouette,
)
from monai_unimedi.metrics.bootstrap import bootstrap_interval


def cases(num_cases: int, seed: int, shift: float = 0.0) -> tuple[Tensor, Tensor]:
    """Embeddings of which the first three coordinates carry the label, and the label."""
    generator = torch.Generator().manual_seed(seed)
    label = (torch.rand(num_cases, 3, generator=generator) < 0.4).long()
    noise = torch.randn(num_cases, 8, generator=generator)
    noise[:, :3] += 2 * label
    noise[:, 7] += shift
    return normalize(noise, dim=1), label


def test_precision_equals_slow_loops() -> None:
    (query, query_label), (pool, pool_label) = cases(9, 0), cases(14, 1)
    rows = [q for q in range(9) if query_label[q].any()]
    result = cross_dimension_precision(query, query_label, pool, pool_label)
    for row, q in enumerate(rows):
        scores = (query[q].double() @ pool.double().T).numpy()
        for f in range(3):
            expected = average_precision_score(pool_label[:, f].numpy(), scores)
            assert result["control"][row, f].item() == pytest.approx(expected)
            value = result["map"][row, f]
            assert value.isnan() if not query_label[q, f] else value.item() == pytest.approx(expected)


def test_control_is_the_average_over_shuffles_of_the_queries() -> None:
    (query, query_label), (pool, pool_label) = cases(30, 0), cases(40, 1)
    keep = query_label.any(dim=1)
    query, query_label = query[keep], query_label[keep]
    control = bootstrap_interval(cross_dimension_precision(query, query_label, pool, pool_label)["control"])
    generator = torch.Generator().manual_seed(0)
    shuffled = [
        bootstrap_interval(
            cross_dimension_precision(
                query[torch.randperm(len(query), generator=generator)], query_label, pool, pool_label
            )["map"],
            num_resamples=1,
        )["value"]
        for _ in range(300)
    ]
    assert control["value"] == pytest.approx(sum(shuffled) / 300, abs=0.005)


def test_informative_embeddings_beat_the_control_and_collapsed_ones_equal_it() -> None:
    (query, query_label), (pool, pool_label) = cases(60, 0), cases(80, 1)
    figures = {
        name: bootstrap_interval(values)["value"]
        for name, values in cross_dimension_precision(query, query_label, pool, pool_label).items()
    }
    assert figures["map"] > figures["control"] + 0.1
    collapsed = cross_dimension_precision(torch.ones(60, 8), query_label, torch.ones(80, 8), pool_label)
    prevalence = pool_label.double().mean(dim=0).mean().item()
    assert bootstrap_interval(collapsed["map"])["value"] == pytest.approx(prevalence)
    assert bootstrap_interval(collapsed["control"])["value"] == pytest.approx(prevalence)


def test_finding_absent_from_queries_or_pool_does_not_count() -> None:
    (query, query_label), (pool, pool_label) = cases(20, 0), cases(20, 1)
    query_label[:, 1] = 0
    pool_label[:, 2] = 0
    for values in cross_dimension_precision(query, query_label, pool, pool_label).values():
        assert (~values.isnan()).any(dim=0).tolist() == [True, False, False]


def test_gap_by_hand() -> None:
    axes = torch.eye(2)
    assert modality_gap({"2d": axes[:1].expand(3, 2), "3d": axes[1:].expand(5, 2)})["value"] == pytest.approx(
        2**0.5
    )
    figure = modality_gap({"2d": axes, "3d": axes})
    assert figure["value"] == pytest.approx(0)
    assert figure["count"] == 4


def test_probe_and_silhouette_tell_mixed_from_separate_modalities() -> None:
    mixed = {"2d": cases(60, 0)[0], "3d": cases(90, 1)[0]}
    apart = {"2d": cases(60, 0, shift=-8)[0], "3d": cases(90, 1, shift=8)[0]}
    assert modality_probe_accuracy(mixed)["value"] == pytest.approx(0.5, abs=0.12)
    assert modality_probe_accuracy(apart)["value"] > 0.98
    assert modality_probe_accuracy(mixed)["count"] == 150
    assert modality_silhouette(mixed).mean() < 0.1
    assert modality_silhouette(apart).mean() > 0.8


def test_class_silhouette_counts_cases_with_one_finding_only() -> None:
    axes = torch.eye(3)
    embedding = {"2d": axes[[0, 0, 1, 2]], "3d": axes[[1, 1, 0, 2]]}
    label = {
        "2d": torch.tensor([[1, 0], [1, 0], [0, 1], [1, 1]]),
        "3d": torch.tensor([[0, 1], [0, 1], [1, 0], [0, 0]]),
    }
    assert class_silhouette(embedding, label).tolist() == pytest.approx([1] * 6)
    one_class = {source: torch.zeros(4, 2) for source in embedding}
    assert class_silhouette(embedding, one_class).numel() == 0


def test_unknown_candidates_are_in_no_pool_and_unknown_cases_in_no_class() -> None:
    (query, query_label), (pool, pool_label) = cases(9, 0), cases(40, 1)
    pool_label = pool_label.float()
    pool_label[::3, 0] = torch.nan
    is_known = ~pool_label[:, 0].isnan()
    found = cross_dimension_precision(query, query_label, pool, pool_label)["control"][:, :1]
    expected = cross_dimension_precision(query, query_label, pool[is_known], pool_label[is_known])["control"][:, :1]
    assert torch.allclose(found, expected) and not found.isnan().any()
    whole = cross_dimension_precision(query, query_label, pool, pool_label.nan_to_num(0.0))["control"][:, 1:]
    assert torch.equal(cross_dimension_precision(query, query_label, pool, pool_label)["control"][:, 1:], whole)
    single = torch.tensor([[1.0, 0], [0, 1], [1, torch.nan], [0, 1]])
    embedding = {"2d": torch.eye(4)[:2], "3d": torch.eye(4)[2:]}
    assert class_silhouette(embedding, {"2d": single[:2], "3d": single[2:]}).numel() == 3
