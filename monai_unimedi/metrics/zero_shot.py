# SPDX-License-Identifier: Apache-2.0
"""Zero-shot recognition of findings from prompts, in both polarities.

`auroc` scores sim(present) - sim(absent); `auroc_positive` ranks by the positive prompt alone and
`auroc_negative` by the negative prompt alone (its similarity with the sign turned, so that 1 is best for all
three).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from monai_unimedi.metrics.bootstrap import Figure, bootstrap_statistic, known_cases, weighted_auroc

__all__ = ["auroc_figure", "negation_gap", "zero_shot_scores"]


def zero_shot_scores(
    image_embedding: Tensor, prompt_embedding: Mapping[str, Mapping[str, Tensor]], label_names: Sequence[str]
) -> dict[str, Tensor]:
    """Scores of every image for every finding, larger = more likely present.

    Args:
        image_embedding: (N, E), L2-normalised.
        prompt_embedding: by finding, ``positive`` and ``negative``, each (E,), L2-normalised.
        label_names: the findings, in the order of the columns.

    Returns:
        ``auroc``, ``auroc_positive``, ``auroc_negative``, named for the figure each leads to, each (N, F)
        float64.

    Raises:
        ValueError: When a finding has no prompt.
    """
    missing = [name for name in label_names if name not in prompt_embedding]
    if missing:
        raise ValueError(
            f"Every finding must have prompts, got none for {missing}: add them to the prompt file."
        )
    image = image_embedding.double()
    positive, negative = (
        image @ torch.stack([prompt_embedding[name][polarity].double() for name in label_names]).T
        for polarity in ("positive", "negative")
    )
    return {"auroc": positive - negative, "auroc_positive": positive, "auroc_negative": -negative}


def auroc_figure(scores: Tensor, label: Tensor, num_resamples: int = 1000, seed: int = 0) -> Figure:
    """Mean AUROC over findings with its interval over cases.

    Args:
        scores: (N, F), or (D, N, F) for D repetitions whose AUROCs are averaged.
        label: (N, F), 1 = present, NaN = not known. Findings with one class only are left out.
        num_resamples: see `bootstrap_statistic`.
        seed: see `bootstrap_statistic`.

    Returns:
        See `bootstrap_statistic`.

    Raises:
        ValueError: When no finding has both classes.
    """
    repetitions = scores if scores.ndim == 3 else scores[None]

    def statistic(weights: Tensor) -> Tensor:
        return torch.stack([weighted_auroc(one, label, weights) for one in repetitions]).nanmean(dim=(0, 2))

    return bootstrap_statistic(statistic, len(label), num_resamples, seed, known_cases(label))


def negation_gap(scores: Mapping[str, Tensor], label: Tensor, num_resamples: int = 1000, seed: int = 0) -> Figure:
    """What "no nodule" tells less than "nodule": `auroc_positive` minus `auroc_negative`, paired by case.

    Args:
        scores: of `zero_shot_scores`.
        label: (N, F), 1 = present, NaN = not known. Findings with one class only are left out.
        num_resamples: see `bootstrap_statistic`.
        seed: see `bootstrap_statistic`.

    Returns:
        See `bootstrap_statistic`; 0 where both polarities rank alike, near 0.5 where negations are not understood.
    """

    def statistic(weights: Tensor) -> Tensor:
        positive, negative = (
            weighted_auroc(scores[f"auroc_{polarity}"], label, weights) for polarity in ("positive", "negative")
        )
        return (positive - negative).nanmean(dim=1)

    return bootstrap_statistic(statistic, len(label), num_resamples, seed, known_cases(label))
