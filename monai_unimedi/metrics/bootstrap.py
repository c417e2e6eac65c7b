# SPDX-License-Identifier: Apache-2.0
"""95 % intervals by resampling cases, without a Python loop over the resamples.

A resample is a row of case weights: how often each case was drawn. Every statistic is written once for
weighted cases, so one matrix product stands for a thousand resamples (a block of them where there are many cases);
weights of one give the value itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from monai_unimedi.metrics.influence import influence_values

__all__ = [
    "Figure",
    "bootstrap_draws",
    "bootstrap_interval",
    "bootstrap_statistic",
    "known_cases",
    "percentile_figure",
    "weighted_auroc",
    "weighted_mean",
]

_WEIGHTS_AT_ONCE = 1 << 22  # of a block of resamples: 34 MB, of which a statistic makes up to eight copies


class Figure(dict[str, float | int]):
    """``value``, ``low``, ``high`` and ``count``; and, where it can be told, a function that gives the influence of
    each of the cases (N,)."""

    influence: Callable[[], Tensor] | None = None


def bootstrap_interval(values: Tensor, num_resamples: int = 1000, seed: int = 0) -> Figure:
    """Mean of per-case values with its 95 % percentile interval over cases.

    Args:
        values: (N,), one value a case; or (N, F), of which the mean over the F columns' means is taken.
            NaN means that the case does not count (in that column).
        num_resamples: how many times the N cases are drawn with replacement.
        seed: of the draws.

    Returns:
        ``value``, ``low``, ``high`` and ``count``, the number of cases that count.

    Raises:
        ValueError: When no case counts.
    """
    values = values.double().reshape(len(values), -1)
    values = values[~values.isnan().all(dim=1)]
    return bootstrap_statistic(
        lambda weights: weighted_mean(values, weights), len(values), num_resamples, seed
    )


def bootstrap_statistic(
    statistic: Callable[[Tensor], Tensor],
    num_cases: int,
    num_resamples: int = 1000,
    seed: int = 0,
    count: int | None = None,
) -> Figure:
    """A statistic of weighted cases with its 95 % percentile interval over cases.

    Args:
        statistic: from case weights (R, N) float64 to R values, each of its own row. Resamples on which it is
            undefined (NaN, such as an AUROC without positives) are left out of the interval.
        num_cases: N, all cases that are drawn from.
        num_resamples: R, how many times the N cases are drawn with replacement.
        seed: of the draws.
        count: reported as the number of cases; N where not given.

    Returns:
        ``value``, ``low``, ``high``, ``count``.

    Raises:
        ValueError: When there is no case, or the statistic is undefined on all of them.
    """
    draws = bootstrap_draws(statistic, num_cases, num_resamples, seed)
    value = float(statistic(torch.ones(1, num_cases, dtype=torch.float64))[0])
    figure = percentile_figure(value, draws, num_cases if count is None else count)
    figure.influence = partial(influence_values, statistic, num_cases)
    return figure


def bootstrap_draws(
    statistic: Callable[[Tensor], Tensor], num_cases: int, num_resamples: int = 1000, seed: int = 0
) -> Tensor:
    """A statistic on every resample, a few hundred megabytes of weights at a time; arguments as those of
    `bootstrap_statistic`.

    Returns:
        (R,), NaN where it is undefined.
    """
    if num_cases < 1:
        raise ValueError("A figure must have at least one case, got none: leave this figure out.")
    generator = torch.Generator().manual_seed(seed)
    rows = max(1, _WEIGHTS_AT_ONCE // num_cases)
    counts = [min(rows, num_resamples - first) for first in range(0, num_resamples, rows)]
    return torch.cat([statistic(_draw_weights(num_cases, count, generator)) for count in counts])


def percentile_figure(value: float, draws: Tensor, count: int) -> Figure:
    """A value with the 95 % percentile interval of its resamples (R,), those that are NaN left out."""
    if value != value:
        raise ValueError(f"The statistic must be defined on the whole set, got NaN for {count} cases.")
    low, high = torch.quantile(
        draws[~draws.isnan()], torch.tensor([0.025, 0.975], dtype=draws.dtype)
    ).tolist()
    return Figure(value=value, low=low, high=high, count=count)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over columns of each column's weighted mean over cases, NaN left out.

    Args:
        values: (N,) or (N, F), NaN where a case does not count.
        weights: (R, N).

    Returns:
        (R,), NaN where nothing counts.
    """
    values = values.to(weights.dtype).reshape(len(values), -1)
    counted = (~values.isnan()).to(weights.dtype)
    return (weights @ values.nan_to_num(0.0) / (weights @ counted)).nanmean(dim=1)


def weighted_auroc(scores: Tensor, label: Tensor, weights: Tensor) -> Tensor:
    r"""Area under the ROC curve of each finding, for many case weightings at once.

    $$ \frac{\sum_{i: y_i=1} \sum_{j: y_j=0} w_i w_j ([s_i > s_j] + \tfrac12 [s_i = s_j])}
            {\sum_{i: y_i=1} w_i \sum_{j: y_j=0} w_j} $$

    scikit-learn's ``roc_auc_score`` gives the same numbers, one weighting a call: a thousand resamples of
    every finding would take minutes.

    Args:
        scores: (N, F), larger = more likely present.
        label: (N, F), 1 = present, NaN = not known: such a case does not count for that finding.
        weights: (R, N), non-negative.

    Returns:
        (R, F) in [0, 1]; NaN where a finding has no present or no absent case with weight.
    """
    return torch.stack([_one_auroc(scores[:, i], label[:, i], weights) for i in range(scores.shape[1])], dim=1)


def known_cases(label: Tensor) -> int:
    """Cases (N, F) of which anything is known: not all NaN."""
    return int((~label.isnan()).any(dim=1).sum())


def _one_auroc(scores: Tensor, label: Tensor, weights: Tensor) -> Tensor:
    is_present, weights = label > 0, weights * ~label.isnan()
    order = torch.argsort(scores)
    _, size = torch.unique_consecutive(scores[order], return_counts=True)
    end = torch.cumsum(size, 0).repeat_interleave(size)  # of the run of equal scores that each case is in
    start = end - size.repeat_interleave(size)
    present = weights[:, order] * is_present[order]
    absent = weights[:, order] - present
    below = torch.nn.functional.pad(absent.cumsum(dim=1), (1, 0))
    won = (present * (below[:, start] + below[:, end]) / 2).sum(dim=1)
    return won / (present.sum(dim=1) * absent.sum(dim=1))


def _draw_weights(num_cases: int, num_resamples: int, generator: torch.Generator) -> Tensor:
    drawn = torch.randint(num_cases, (num_resamples, num_cases), generator=generator)
    weights = torch.zeros(num_resamples, num_cases, dtype=torch.float64)
    return weights.scatter_add_(1, drawn, torch.ones_like(weights))
