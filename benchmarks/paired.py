# SPDX-License-Identifier: Apache-2.0
"""What pre-training is worth: the difference of two starts, paired over seeds and cases, with its 95 % interval.

Both starts are judged on the same cases; a resample draws seeds and cases, the same for both starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from monai_unimedi.metrics.bootstrap import Figure, weighted_auroc

__all__ = ["interval", "paired_auroc", "paired_mean", "paired_pooled_dice"]

RESAMPLES = 2000


def paired_auroc(one: Tensor, other: Tensor, label: Tensor, seed: int = 0) -> Figure:
    """Difference of the mean AUROC over classes.

    Args:
        one: (S, N, F), scores of S seeds.
        other: the same of the other start.
        label: (N, F), 1 = present. Classes of one value are left out.
        seed: of the draws.

    Returns:
        ``value``, ``low``, ``high``, ``count`` (cases).
    """

    def difference(index: int, weights: Tensor) -> Tensor:
        values = [weighted_auroc(start[index].double(), label, weights).nanmean(1) for start in (one, other)]
        return values[0] - values[1]

    return _paired(difference, len(one), len(label), seed)


def paired_mean(one: Tensor, other: Tensor, seed: int = 0) -> Figure:
    """Difference of a per-case value's mean over classes of the means over cases, such as Dice over the positives.

    Args:
        one: (S, N, F); NaN where a case does not count in a class, the same cases for both starts.
        other: the same of the other start.
        seed: of the draws.

    Returns:
        ``value``, ``low``, ``high``, ``count`` (cases).
    """
    gain = one.double() - other.double()

    def difference(index: int, weights: Tensor) -> Tensor:
        counted = (~gain[index].isnan()).double()
        return (weights @ gain[index].nan_to_num(0.0) / (weights @ counted)).nanmean(1)

    return _paired(difference, len(one), one.shape[1], seed)


def paired_pooled_dice(one: Tensor, other: Tensor, seed: int = 0) -> Figure:
    """Difference of the mean over classes of Dice over all voxels of all cases.

    Args:
        one: (S, N, F, 2), twice the overlap, and the voxels of both masks together.
        other: the same of the other start.
        seed: of the draws.

    Returns:
        ``value``, ``low``, ``high``, ``count`` (cases).
    """

    def difference(index: int, weights: Tensor) -> Tensor:
        sums = [torch.einsum("rn,nfc->rfc", weights, start[index].double()) for start in (one, other)]
        values = [(found[..., 0] / found[..., 1]).nanmean(1) for found in sums]
        return values[0] - values[1]

    return _paired(difference, len(one), one.shape[1], seed)


def interval(figure: Mapping[str, float]) -> str:
    """``+0.123 (0.100 to 0.140)``, with signs."""
    return f"{figure['value']:+.3f} ({figure['low']:+.3f} to {figure['high']:+.3f})"


def _paired(difference: Callable[[int, Tensor], Tensor], num_seeds: int, num_cases: int, seed: int) -> Figure:
    """`difference` gives (R,) for one seed's runs and case weights (R, N)."""
    generator = torch.Generator().manual_seed(seed)

    def draw(size: int) -> Tensor:
        drawn = torch.randint(size, (RESAMPLES, size), generator=generator)
        return torch.zeros(RESAMPLES, size, dtype=torch.float64).scatter_add_(
            1, drawn, torch.ones(RESAMPLES, size, dtype=torch.float64)
        )

    weights, shares = draw(num_cases), draw(num_seeds) / num_seeds
    whole = torch.ones(1, num_cases, dtype=torch.float64)
    value = torch.stack([difference(index, whole) for index in range(num_seeds)]).mean()
    draws = (torch.stack([difference(index, weights) for index in range(num_seeds)], 1) * shares).sum(1)
    low, high = torch.quantile(draws[~draws.isnan()], torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Figure(value=float(value), low=low, high=high, count=num_cases)
