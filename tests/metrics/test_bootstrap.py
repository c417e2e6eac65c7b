# SPDX-License-Identifier: Apache-2.0
"""Bootstrap intervals: closed-form points, agreement with slow loops and with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from monai_unimedi.metrics import bootstrap
from monai_unimedi.metrics.bootstrap import (
    bootstrap_interval,
    bootstrap_statistic,
    weighted_auroc,
    weighted_mean,
)


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert bootstrap_interval(torch.full((7,), 0.25)) == {
        "value": 0.25,
        "low": 0.25,
        "high": 0.25,
        "count": 7,
    }


def test_interval_of_a_mean_matches_the_normal_approximation() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(0))
    figure = bootstrap_interval(values, num_resamples=4000)
    half_width = 1.96 * float(values.std()) / 20
    assert figure["value"] == pytest.approx(float(values.mean()), abs=1e-6)
    assert figure["low"] == pytest.approx(figure["value"] - half_width, abs=0.012)
    assert figure["high"] == pytest.approx(figure["value"] + half_width, abs=0.012)


def test_nan_cases_do_not_count() -> None:
    nan = float("nan")
    assert bootstrap_interval(torch.tensor([1.0, nan, 1.0]))["count"] == 2
    columns = torch.tensor([[1.0, nan], [0.0, nan], [nan, 1.0], [nan, nan]])
    figure = bootstrap_interval(columns)
    assert figure["count"] == 3
    assert figure["value"] == pytest.approx(0.75)  # the mean of 1/2 and 1: columns weigh the same


def test_interval_follows_the_seed() -> None:
    values = torch.rand(50, generator=torch.Generator().manual_seed(0))
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1)["low"] != bootstrap_interval(values, seed=2)["low"]


def test_no_case_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one case, got none"):
        bootstrap_interval(torch.tensor([float("nan")]))
    with pytest.raises(ValueError, match="must be defined on the whole set"):
        bootstrap_statistic(lambda weights: weights.sum(dim=1) * torch.nan, 3)


def test_weighted_mean_equals_repeating_the_cases() -> None:
    values = torch.tensor([[0.2, 0.4], [0.6, float("nan")], [0.1, 0.3]])
    repeated = values[[0, 0, 2, 1, 1, 1]]
    assert weighted_mean(values, torch.tensor([[2.0, 3.0, 1.0]])).item() == pytest.approx(
        repeated.nanmean(dim=0).mean().item()
    )


def test_auroc_by_hand_with_ties() -> None:
    # positives 0.9, 0.5; negatives 0.5, 0.1: pairs won 1, 1, 1/2, 1
    scores = torch.tensor([[0.9], [0.5], [0.5], [0.1]])
    label = torch.tensor([[1], [1], [0], [0]])
    assert weighted_auroc(scores, label, torch.ones(1, 4)).item() == pytest.approx(3.5 / 4)


def test_constant_scores_give_half() -> None:
    assert (
        weighted_auroc(torch.zeros(5, 1), torch.tensor([[1], [0], [0], [1], [0]]), torch.ones(1, 5)).item()
        == 0.5
    )


def test_auroc_without_positives_is_nan() -> None:
    assert weighted_auroc(torch.rand(4, 1), torch.zeros(4, 1), torch.ones(1, 4)).isnan().all()


def test_weighted_auroc_equals_scikit_learn_on_repeated_cases() -> None:
    rng = np.random.default_rng(0)
    scores, label = rng.integers(0, 6, (60, 3)) / 3.0, rng.integers(0, 2, (60, 3))
    weights = rng.integers(0, 4, (5, 60))
    result = weighted_auroc(
        torch.tensor(scores), torch.tensor(label), torch.tensor(weights, dtype=torch.float64)
    )
    for r, weight in enumerate(weights):
        rows = np.repeat(np.arange(60), weight)
        for f in range(3):
            assert result[r, f].item() == pytest.approx(roc_auc_score(label[rows, f], scores[rows, f]))


def test_bootstrap_statistic_equals_a_loop_over_resamples() -> None:
    generator = torch.Generator().manual_seed(3)
    scores, label = torch.rand(30, 1, generator=generator).double(), torch.arange(30)[:, None] % 2
    figure = bootstrap_statistic(
        lambda w: weighted_auroc(scores, label, w)[:, 0], 30, num_resamples=200, seed=5
    )
    draws = torch.randint(30, (200, 30), generator=torch.Generator().manual_seed(5)).numpy()
    loop = [roc_auc_score(label[rows, 0], scores[rows, 0]) for rows in draws]
    assert [figure["low"], figure["high"]] == pytest.approx(list(np.quantile(loop, [0.025, 0.975])))


@pytest.mark.parametrize("at_once", [1, 90, 1000, 10**6])
def test_blocks_of_resamples_give_what_all_at_once_give(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    generator = torch.Generator().manual_seed(3)
    scores, label = torch.rand(30, 1, generator=generator).double(), torch.arange(30)[:, None] % 2
    drawn = torch.randint(30, (200, 30), generator=torch.Generator().manual_seed(5))
    weights = torch.stack([rows.bincount(minlength=30) for rows in drawn]).double()
    seen = []

    def statistic(given: torch.Tensor) -> torch.Tensor:
        seen.append(given)
        return weighted_auroc(scores, label, given)[:, 0]

    monkeypatch.setattr(bootstrap, "_WEIGHTS_AT_ONCE", at_once)
    draws = bootstrap.bootstrap_draws(statistic, 30, num_resamples=200, seed=5)
    assert torch.equal(torch.cat(seen), weights)
    assert max(block.numel() for block in seen) <= max(at_once, 30)
    assert torch.equal(draws, weighted_auroc(scores, label, weights)[:, 0])
