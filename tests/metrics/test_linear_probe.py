# SPDX-License-Identifier: Apache-2.0
"""Linear probe: both classes in every draw, invariances, informative against random features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from monai_unimedi.metrics.linear_probe import draw_labelled, linear_probe_scores
from monai_unimedi.metrics.zero_shot import auroc_figure


def features(num_cases: int, seed: int, strength: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = (torch.rand(num_cases, 3, generator=generator) < 0.3).long()
    noise = torch.randn(num_cases, 16, generator=generator)
    noise[:, :3] += strength * label
    return noise, label


def test_every_finding_has_both_classes_among_the_labelled() -> None:
    label = torch.zeros(500, 3, dtype=torch.long)
    label[7, 0] = 1
    label[:499, 1] = 1
    rows = draw_labelled(label, 1, seed=0)
    assert 7 in rows
    assert 499 in rows
    assert len(set(rows.tolist())) == len(rows)
    assert 5 <= len(rows) <= 7


def test_labelled_rows_follow_percentage_and_seed() -> None:
    label = features(300, 0, 1.0)[1]
    assert len(draw_labelled(label, 10, seed=0)) == 30
    assert sorted(draw_labelled(label, 100, seed=0)) == list(range(300))
    assert np.array_equal(draw_labelled(label, 10, seed=1), draw_labelled(label, 10, seed=1))
    assert not np.array_equal(draw_labelled(label, 10, seed=1), draw_labelled(label, 10, seed=2))


def test_more_labels_help_and_random_features_do_not() -> None:
    train, test = features(1000, 0, 2.0), features(300, 1, 2.0)
    figures = [auroc_figure(linear_probe_scores(*train, test[0], p), test[1])["value"] for p in (1, 10, 100)]
    assert figures[0] < figures[1] < figures[2]
    assert figures[2] > 0.9
    noise = auroc_figure(
        linear_probe_scores(torch.rand(1000, 16), train[1], torch.rand(300, 16), 100), test[1]
    )
    assert noise["value"] == pytest.approx(0.5, abs=0.1)


def test_scale_of_features_does_not_matter() -> None:
    (train, label), (test, _) = features(100, 0, 1.0), features(20, 1, 1.0)
    scores = linear_probe_scores(train, label, test, 100)
    scaled = linear_probe_scores(1000 * train - 5, label, 1000 * test - 5, 100)
    assert torch.allclose(scores, scaled, atol=1e-3)


def test_one_class_finding_is_nan_and_a_constant_feature_is_harmless() -> None:
    (train, label), (test, _) = features(100, 0, 1.0), features(20, 1, 1.0)
    label[:, 1] = 0
    train[:, 5] = 3.0
    scores = linear_probe_scores(train, label, test, 10, num_draws=2)
    assert scores.shape == (2, 20, 3)
    assert scores.isnan().all(dim=1).tolist() == [[False, True, False]] * 2
    assert scores[..., [0, 2]].abs().max() < 100


def test_draws_show_different_labels_and_follow_the_seed() -> None:
    (train, label), (test, _) = features(300, 0, 1.0), features(20, 1, 1.0)
    scores = linear_probe_scores(train, label, test, 10, num_draws=2)
    assert not torch.equal(scores[0], scores[1])
    assert torch.equal(scores, linear_probe_scores(train, label, test, 10, num_draws=2))


def test_unknown_labels_teach_nothing() -> None:
    (train, label), (test, _) = features(100, 0, 1.0), features(20, 1, 1.0)
    label = label.float()
    label[:40, 0] = torch.nan
    mean, deviation = train.double().mean(0), train.double().std(0)
    known, judged = ((x.double() - mean) / deviation for x in (train[40:], test))
    probe = LogisticRegression(C=0.1, max_iter=1000).fit(known.numpy(), label[40:, 0].numpy() > 0)
    scores = linear_probe_scores(train, label, test, 100)
    assert scores[0, :, 0].numpy() == pytest.approx(probe.decision_function(judged.numpy()), abs=1e-3)
    assert torch.equal(scores[..., 1:], linear_probe_scores(train, label.nan_to_num(0.0), test, 100)[..., 1:])


def test_row_that_joins_the_labelled_is_known_to_have_the_other_class() -> None:
    label = torch.full((500, 1), torch.nan)
    label[7], label[9] = 0, 1
    assert {7, 9} <= set(draw_labelled(label, 1, seed=0).tolist())
