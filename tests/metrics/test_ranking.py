# SPDX-License-Identifier: Apache-2.0
"""Rankings: hand-computed values with ties, and the average over all orders of tied candidates."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from monai_unimedi.metrics.ranking import average_precision, expected_hit_rate, expected_precision, expected_rank


def test_hit_rate_by_hand() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    relevant = torch.tensor([[False, False, True, True]])
    assert [expected_hit_rate(scores, relevant, k).item() for k in (1, 2, 3, 9)] == [0.0, 0.0, 1.0, 1.0]


def test_tied_candidates_hit_by_chance() -> None:
    scores = torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.0]])
    relevant = torch.tensor([[False, True, False, False, True]])
    assert [expected_hit_rate(scores, relevant, k).item() for k in (1, 2, 3, 4)] == pytest.approx(
        [0, 1 / 3, 2 / 3, 1]
    )


def test_constant_ranking_gives_the_hypergeometric_chance() -> None:
    relevant = torch.tensor([[True, True, False, False, False, False]])
    assert expected_hit_rate(torch.zeros(1, 6), relevant, 2).item() == pytest.approx(1 - (4 / 6) * (3 / 5))


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_hit_rate_precision_and_rank_are_averages_over_all_orders_of_ties(k: int) -> None:
    rng = np.random.default_rng(k)
    scores, relevant = rng.integers(0, 3, (4, 6)).astype(float), rng.random((4, 6)) < 0.4
    relevant[:, 0] = True
    hits, ranks, shares = np.zeros(4), np.zeros(4), np.zeros(4)
    orders = list(permutations(range(6)))
    for order in orders:
        for q in range(4):
            ranked = sorted(range(6), key=lambda i: (-scores[q, i], order[i]))
            first = next(place for place, i in enumerate(ranked, 1) if relevant[q, i])
            hits[q] += first <= k
            ranks[q] += first
            shares[q] += relevant[q, ranked[:k]].mean()
    arguments = torch.tensor(scores), torch.tensor(relevant)
    assert expected_hit_rate(*arguments, k).numpy() == pytest.approx(hits / len(orders))
    assert expected_rank(*arguments).numpy() == pytest.approx(ranks / len(orders))
    assert expected_precision(*arguments, k).numpy() == pytest.approx(shares / len(orders))


def test_query_without_a_right_answer_does_not_count() -> None:
    relevant = torch.tensor([[False, False], [True, False]])
    assert expected_hit_rate(torch.zeros(2, 2), relevant, 1).isnan().tolist() == [True, False]
    assert expected_rank(torch.zeros(2, 2), relevant).isnan().tolist() == [True, False]


def test_nan_scores_are_an_error() -> None:
    with pytest.raises(ValueError, match="must be finite, got NaN"):
        expected_hit_rate(torch.full((1, 2), torch.nan), torch.ones(1, 2, dtype=torch.bool), 1)


def test_average_precision_by_hand() -> None:
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    relevant = torch.tensor([[True], [False], [True], [False]])
    assert average_precision(scores, relevant).item() == pytest.approx((1 + 2 / 3) / 2)


def test_average_precision_of_a_constant_ranking_is_the_prevalence() -> None:
    relevant = torch.tensor([[True], [False], [False], [False]])
    assert average_precision(torch.zeros(1, 4), relevant).item() == 0.25


def test_average_precision_equals_scikit_learn_with_ties() -> None:
    rng = np.random.default_rng(0)
    scores, relevant = rng.integers(0, 5, (6, 20)).astype(float), rng.random((20, 3)) < 0.4
    result = average_precision(torch.tensor(scores), torch.tensor(relevant))
    for q in range(6):
        for f in range(3):
            assert result[q, f].item() == pytest.approx(average_precision_score(relevant[:, f], scores[q]))


def test_finding_that_no_candidate_shows_is_nan() -> None:
    assert average_precision(torch.rand(2, 3), torch.zeros(3, 1, dtype=torch.bool)).isnan().all()
