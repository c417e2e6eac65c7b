# SPDX-License-Identifier: Apache-2.0
r"""What each case does to a figure: its empirical influence values, by the jackknife.

$$ d_i = (n - 1)\,(\bar T - T_{(i)}), \qquad \widehat{\mathrm{var}}(T) = \frac{1}{n (n - 1)} \sum_i d_i^2, $$

$T_{(i)}$ being the figure without case i and $\bar T$ the mean of those (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 11). Of a mean, $d_i$ is the case's value minus the mean. Two models that were judged on the
same cases are compared by the difference of their influence values, case by case: what is hard for both cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_unimedi.metrics.table import named_figures

__all__ = ["influence_values", "jackknife_variance", "read_influence", "write_influence"]

_WEIGHTS_AT_ONCE = 1 << 22  # of a block of left-out cases: 34 MB


def influence_values(statistic: Callable[[Tensor], Tensor], num_cases: int) -> Tensor:
    """Of a statistic of weighted cases.

    Args:
        statistic: from case weights (R, N) float64 to R values, as in `bootstrap_statistic`.
        num_cases: N.

    Returns:
        (N,) float64; 0 for a case without which the statistic is undefined.
    """
    rows = max(1, _WEIGHTS_AT_ONCE // num_cases)
    left_out = torch.cat([statistic(_without(first, rows, num_cases)) for first in range(0, num_cases, rows)])
    return ((num_cases - 1) * (left_out.nanmean() - left_out)).nan_to_num(0.0)


def jackknife_variance(influence: Tensor) -> float:
    """Variance over cases of the figure with these influence values (N,); of a difference or a mean of figures of the
    same cases, give the difference or mean of theirs."""
    count = len(influence)
    return float(influence.double().square().sum() / (count * (count - 1))) if count > 1 else float("nan")


def write_influence(path: str | Path, figures: Mapping[str, Any]) -> None:
    """Writes the influence values of all figures, in half precision.

    Args:
        path: an ``.npz`` file, (N,) by dotted name of the figure.
        figures: from `summarize`; a figure that has no influence values, such as a calibration error, is left out.
    """
    known = {name: getattr(figure, "influence", None) for name, figure in named_figures(figures)}
    values = {name: of_cases().to(torch.float16).numpy() for name, of_cases in known.items() if of_cases is not None}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    part = Path(path).with_name(f"{Path(path).name}.part")
    with part.open("wb") as file:
        np.savez_compressed(file, **values)
    part.replace(path)


def read_influence(path: str | Path) -> dict[str, Tensor]:
    """Influence values (N,) float64 by dotted name of the figure."""
    with np.load(path, allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]).double() for name in file.files}


def _without(first: int, rows: int, num_cases: int) -> Tensor:
    """Weights (R, N), each row without one of the cases from `first` on."""
    cases = torch.arange(first, min(first + rows, num_cases))
    weights = torch.ones(len(cases), num_cases, dtype=torch.float64)
    weights[torch.arange(len(cases)), cases] = 0.0
    return weights
