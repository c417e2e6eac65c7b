# SPDX-License-Identifier: Apache-2.0
"""The paired difference: its value by hand, its interval narrower than that of unpaired arms, absent cases out."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.paired import paired_auroc, paired_mean, paired_pooled_dice


def test_value_is_the_mean_over_seeds_of_the_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    label = (torch.rand(60, 2, generator=generator) > 0.5).int()
    one, other = (torch.rand(3, 60, 2, generator=generator) + 0.4 * label for _ in range(2))
    figure = paired_auroc(one, other, label)
    values = [roc_auc_score(label, a) - roc_auc_score(label, b) for a, b in zip(one, other)]
    assert figure["value"] == pytest.approx(sum(values) / 3)
    assert figure["low"] < figure["value"] < figure["high"]
    assert figure["count"] == 60


def test_equal_starts_have_no_difference_and_a_clear_one_is_above_zero() -> None:
    label = (torch.arange(80)[:, None] % 2 == 0).int()
    chance = torch.rand(2, 80, 1, generator=torch.Generator().manual_seed(1))
    same = paired_auroc(chance, chance, label)
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)
    assert paired_auroc(chance + label, chance, label)["low"] > 0.2


def test_mean_leaves_out_cases_without_the_class_and_pairs_the_rest() -> None:
    dice = torch.tensor([[0.5, torch.nan], [0.7, 0.2], [torch.nan, 0.4]]).expand(2, 3, 2)
    figure = paired_mean(dice + 0.1, dice)
    assert figure["value"] == pytest.approx(0.1)
    assert figure["low"] == pytest.approx(0.1)
    assert figure["high"] == pytest.approx(0.1)


def test_pooled_dice_is_of_all_voxels_and_counts_false_alarms() -> None:
    sizes = torch.tensor([[[[20.0, 40.0]], [[0.0, 10.0]]]])  # one seed, two cases, one class
    without = torch.tensor([[[[20.0, 40.0]], [[0.0, 0.0]]]])
    figure = paired_pooled_dice(without, sizes)
    assert figure["value"] == pytest.approx(20 / 40 - 20 / 50)
    assert figure["count"] == 2
