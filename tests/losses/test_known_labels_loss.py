# SPDX-License-Identifier: Apache-2.0
"""The loss equals its formula in loops; unknown labels have no part in value or gradient."""

from __future__ import annotations

import math

import pytest
import torch

from monai_unimedi.losses import KnownLabelsLoss


@pytest.mark.parametrize("weight", [None, [2.0, 0.5, 1.0]])
def test_equals_the_formula_over_known_labels(weight: list[float] | None) -> None:
    torch.manual_seed(0)
    pred = torch.randn(6, 3)
    label = (torch.rand(6, 3) > 0.5).float()
    label[1, 2] = label[4, 0] = torch.nan
    total, count = 0.0, 0
    for row in range(6):
        for column in range(3):
            y = float(label[row, column])
            if not math.isnan(y):
                p = 1 / (1 + math.exp(-float(pred[row, column])))
                w = 1.0 if weight is None else weight[column]
                total -= w * math.log(p) if y else math.log(1 - p)
                count += 1
    loss = KnownLabelsLoss(None if weight is None else torch.tensor(weight))
    assert float(loss(pred, label)) == pytest.approx(total / count, rel=1e-5)


def test_unknown_labels_give_no_gradient_and_a_batch_of_them_zero() -> None:
    pred = torch.randn(2, 2, requires_grad=True)
    loss = KnownLabelsLoss()(pred, torch.tensor([[1.0, torch.nan], [torch.nan, torch.nan]]))
    loss.backward()
    assert (pred.grad != 0).tolist() == [[True, False], [False, False]]
    assert KnownLabelsLoss()(pred, torch.full((2, 2), torch.nan)) == 0
