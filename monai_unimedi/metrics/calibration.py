# SPDX-License-Identifier: Apache-2.0
r"""Whether the probabilities that a probe gives can be taken at their word.

The expected calibration error of a finding, over ten bins $B_b$ of equal width of the probability p,

$$ \mathrm{ECE} = \sum_b \Big| \sum_{i \in B_b} w_i (p_i - y_i) \Big| \Big/ \sum_i w_i, $$

and the Brier score, the mean of $(p - y)^2$: lower is better for both. The Brier score also falls where findings are
told apart better, the calibration error does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from monai_unimedi.metrics.bootstrap import (
    Figure,
    bootstrap_draws,
    bootstrap_statistic,
    known_cases,
    percentile_figure,
    weighted_mean,
)

__all__ = ["brier_figure", "calibration_error", "calibration_figure"]

NUM_BINS = 10


def calibration_error(probability: Tensor, label: Tensor, weights: Tensor, num_bins: int = NUM_BINS) -> Tensor:
    """Expected calibration error of one finding, for many case weightings at once.

    Args:
        probability: (N,) in [0, 1].
        label: (N,), 1 = present, NaN = not known: such a case does not count.
        weights: (R, N), non-negative.
        num_bins: of equal width.

    Returns:
        (R,) in [0, 1]; NaN where no case counts.
    """
    bins = (probability * num_bins).long().clamp(max=num_bins - 1)
    excess = torch.zeros(len(probability), num_bins, dtype=torch.float64)
    excess[torch.arange(len(bins)), bins] = (probability.double() - _present(label)).nan_to_num(0.0)
    weights = weights * ~label.isnan()
    return (weights @ excess).abs().sum(dim=1) / weights.sum(dim=1)


def calibration_figure(logits: Tensor, label: Tensor, num_resamples: int = 1000, seed: int = 0) -> Figure:
    """Mean calibration error over draws and findings.

    Few cases in a bin raise the error by chance, in a resample once more: its interval has the spread of the resamples,
    laid round the value.

    Args:
        logits: (D, N, F) of D draws.
        label: (N, F), 1 = present, NaN = not known.
        num_resamples: see `bootstrap_statistic`.
        seed: see `bootstrap_statistic`.

    Returns:
        See `bootstrap_statistic`.
    """
    probability = logits.double().sigmoid()

    def error(weights: Tensor) -> Tensor:
        columns = [(p, label[:, index]) for draw in probability for index, p in enumerate(draw.unbind(dim=1))]
        return torch.stack([calibration_error(*column, weights) for column in columns]).nanmean(dim=0)

    value = float(error(torch.ones(1, len(label), dtype=torch.float64))[0])
    draws = bootstrap_draws(error, len(label), num_resamples, seed)
    return percentile_figure(value, (draws - draws.nanmean() + value).clamp(min=0), known_cases(label))


def brier_figure(logits: Tensor, label: Tensor, num_resamples: int = 1000, seed: int = 0) -> Figure:
    """Mean Brier score over draws and findings; arguments as those of `calibration_figure`."""
    squared = (logits.double().sigmoid() - _present(label)).square().mean(dim=0)
    return bootstrap_statistic(
        lambda weights: weighted_mean(squared, weights), len(label), num_resamples, seed, known_cases(label)
    )


def _present(label: Tensor) -> Tensor:
    """1 where present, 0 where absent, NaN where not known; float64."""
    return torch.where(label.isnan(), torch.nan, (label > 0).double())
