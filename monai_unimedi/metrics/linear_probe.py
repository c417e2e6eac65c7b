# SPDX-License-Identifier: Apache-2.0
"""Linear probe: logistic regression per finding on frozen features, with 1, 10 or 100 % of the labels.

Features are standardised with mean and deviation of the whole training set, which needs no label. Always to
be read beside the untrained network's row: at 100 % of the labels even that one does well.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["draw_labelled", "linear_probe_scores"]

NUM_DRAWS = {1: 5, 10: 3, 100: 1}


def draw_labelled(label: Tensor, percent: float, seed: int) -> np.ndarray:
    """Training rows whose labels are shown.

    The first `percent` of a random order; where a finding has only one class among them, the next row of the
    order with the other class joins them.

    Args:
        label: (M, F), 1 = present, NaN = not known.
        percent: share of the rows, in (0, 100].
        seed: of the order.

    Returns:
        Row indices. Findings that never vary in the whole set are not looked at.
    """
    order = np.random.default_rng(seed).permutation(len(label))
    chosen = list(order[: max(1, round(len(label) * percent / 100))])
    for column in label.numpy().T:
        for is_wanted in (column > 0, column <= 0):
            if is_wanted.any() and not is_wanted[chosen].any():
                chosen.append(next(row for row in order if is_wanted[row]))
    return np.array(chosen)


def linear_probe_scores(
    training_feature: Tensor,
    training_label: Tensor,
    test_feature: Tensor,
    percent: int,
    num_draws: int | None = None,
    inverse_penalty: float = 0.1,
    seed: int = 0,
) -> Tensor:
    """Scores of the test images after probes on random parts of the training labels.

    Args:
        training_feature: (M, C), frozen features.
        training_label: (M, F), 1 = present, NaN = not known: such a case does not teach that finding.
        test_feature: (N, C).
        percent: share of the training labels that is shown.
        num_draws: how many parts are drawn; 5 for 1 %, 3 for 10 %, 1 otherwise where not given.
        inverse_penalty: scikit-learn's C, fixed: choosing it would need labels that a 1 % setting does not
            have.
        seed: of the first draw; the next ones follow.

    Returns:
        (D, N, F) float64 logits of D draws; NaN for a finding with one class only in the training set.
    """
    mean, deviation = training_feature.double().mean(dim=0), training_feature.double().std(dim=0)
    deviation = torch.where(deviation > 1e-6, deviation, 1.0)  # a constant feature stays as it is
    train, test = ((x.double() - mean) / deviation for x in (training_feature, test_feature))
    draws = NUM_DRAWS.get(percent, 1) if num_draws is None else num_draws
    scores = []
    for draw in range(draws):
        rows = draw_labelled(training_label, percent, seed + draw)
        scores.append(_fit_and_score(train[rows], training_label[rows], test, inverse_penalty))
    return torch.stack(scores)


def _fit_and_score(train: Tensor, label: Tensor, test: Tensor, inverse_penalty: float) -> Tensor:
    from sklearn.linear_model import LogisticRegression

    scores = torch.full((len(test), label.shape[1]), torch.nan, dtype=torch.float64)
    for index in range(label.shape[1]):
        is_known = ~label[:, index].isnan()
        present = (label[is_known, index] > 0).numpy()
        if present.any() and not present.all():
            probe = LogisticRegression(C=inverse_penalty, max_iter=1000).fit(train[is_known].numpy(), present)
            scores[:, index] = torch.from_numpy(probe.decision_function(test.numpy()))
    return scores
