# SPDX-License-Identifier: Apache-2.0
"""Figures of a classification against scikit-learn and by hand; unknown labels and classes of one value."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from monai_unimedi.metrics.classification import (
    MeanAuroc,
    roc_curves,
    summarize_classification,
    weighted_average_precision,
)


def cases(num: int = 40, classes: int = 3) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    label = (torch.rand(num, classes, generator=generator) > 0.6).float()
    pred = (label * 0.3 + torch.rand(num, classes, generator=generator) * 0.7).round(decimals=1)  # with ties
    return [{"pred": p, "label": y} for p, y in zip(pred, label)]


def stacked(found: list[dict[str, torch.Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    return torch.stack([c["label"] for c in found]).numpy(), torch.stack([c["pred"] for c in found]).numpy()


def test_average_precision_equals_scikit_learn_weighted_and_with_ties() -> None:
    label, pred = stacked(cases())
    weights = torch.randint(0, 4, (5, 40), generator=torch.Generator().manual_seed(1)).double()
    found = weighted_average_precision(torch.tensor(pred[:, 0]).double(), torch.tensor(label[:, 0]), weights)
    expected = [average_precision_score(label[:, 0], pred[:, 0], sample_weight=w) for w in weights.numpy()]
    np.testing.assert_allclose(found, expected)


def test_figures_equal_scikit_learn_and_have_intervals_round_them() -> None:
    found = cases()
    figures = summarize_classification(found, ["a", "b", "c"])
    label, pred = stacked(found)
    for index, name in enumerate("abc"):
        y, p = label[:, index], pred[:, index]
        own = {key: figure["value"] for key, figure in figures["by_class"][name].items()}
        assert own["auroc"] == pytest.approx(roc_auc_score(y, p))
        assert own["average_precision"] == pytest.approx(average_precision_score(y, p))
        assert own["accuracy"] == pytest.approx(((p >= 0.5) == y).mean())
        assert own["sensitivity"] == pytest.approx((p[y == 1] >= 0.5).mean())
        assert own["specificity"] == pytest.approx((p[y == 0] < 0.5).mean())
    mean = figures["classification"]["auroc"]
    assert mean["value"] == pytest.approx(roc_auc_score(label, pred, average="macro"))
    assert mean["low"] < mean["value"] < mean["high"]
    assert mean["count"] == 40


def test_unknown_labels_do_not_count() -> None:
    found = cases()
    known = summarize_classification(found[:30], ["a", "b", "c"])["by_class"]["b"]
    for case in found[30:]:
        case["label"] = torch.full_like(case["label"], torch.nan)
    masked = summarize_classification(found, ["a", "b", "c"])
    assert {k: f["value"] for k, f in masked["by_class"]["b"].items()} == {k: f["value"] for k, f in known.items()}
    assert masked["by_class"]["b"]["auroc"]["count"] == 30


def test_class_of_one_value_is_listed_and_left_out_of_the_mean() -> None:
    found = cases()
    for case in found:
        case["label"] = case["label"] * torch.tensor([1.0, 1.0, 0.0])
    figures = summarize_classification(found, ["a", "b", "c"])
    assert "c" not in figures["by_class"]
    assert "by_class.c.auroc: the cases have one value only" in figures["not_available"]
    values = [figures["by_class"][name]["auroc"]["value"] for name in "ab"]
    assert figures["classification"]["auroc"]["value"] == pytest.approx(np.mean(values))
    assert set(roc_curves(found, ["a", "b", "c"])) == {"a", "b"}


def test_exclusive_classes_are_decided_by_the_largest_probability() -> None:
    rows = [([0.4, 0.35, 0.25], 0), ([0.2, 0.5, 0.3], 1), ([0.45, 0.3, 0.25], 1), ([0.1, 0.2, 0.7], 2)]
    found = [
        {"pred": torch.tensor(p), "label": torch.nn.functional.one_hot(torch.tensor(y), 3).float()}
        for p, y in rows
    ]
    figures = summarize_classification(found, ["a", "b", "c"], is_exclusive=True)
    assert figures["classification"]["accuracy"]["value"] == 0.75
    assert figures["by_class"]["b"]["sensitivity"]["value"] == 0.5
    assert figures["counts"]["a"] == {"present": 1, "absent": 3, "found": 2}


def test_validation_metric_is_the_mean_over_classes_and_rests_between_epochs() -> None:
    found, metric = cases(), MeanAuroc()
    for start in (0, 20):
        part = found[start : start + 20]
        metric([c["pred"] for c in part], [c["label"] for c in part])
    label, pred = stacked(found)
    assert float(metric.aggregate()) == pytest.approx(roc_auc_score(label, pred, average="macro"))
    metric.reset()
    with pytest.raises(ValueError, match="at least one batch"):
        metric.aggregate()


def test_curve_goes_from_corner_to_corner() -> None:
    points = roc_curves(cases(400), ["a", "b", "c"])["a"]
    assert points[0] == (0, 0)
    assert points[-1] == (1, 1)
    assert points == sorted(points)
