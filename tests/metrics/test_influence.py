# SPDX-License-Identifier: Apache-2.0
"""Influence values: closed forms of a mean, the slow jackknife of an AUROC, and variances beside the bootstrap's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.paired import paired_auroc
from monai_unimedi.metrics import influence
from monai_unimedi.metrics.bootstrap import bootstrap_interval
from monai_unimedi.metrics.influence import influence_values, jackknife_variance, read_influence, write_influence
from monai_unimedi.metrics.zero_shot import auroc_figure


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_of_a_mean_they_are_the_values_less_the_mean() -> None:
    values = random(40)
    figure = bootstrap_interval(values)
    assert figure.influence is not None
    torch.testing.assert_close(figure.influence(), values - values.mean())
    assert jackknife_variance(values - values.mean()) == pytest.approx(float(values.var()) / 40)


def test_of_an_auroc_they_are_those_of_the_slow_loop() -> None:
    scores, label = random(30), (random(30, seed=1) > 0).long()
    without = np.array([roc_auc_score(np.delete(label, i), np.delete(scores, i)) for i in range(30)])
    figure = auroc_figure(scores[None, :, None], label[:, None].double())
    assert figure.influence is not None
    np.testing.assert_allclose(figure.influence(), 29 * (without.mean() - without), atol=1e-12)


def test_a_difference_of_two_models_varies_as_much_as_the_paired_bootstrap_says() -> None:
    label = (random(300, 2, seed=1) > 0).double()
    shared = label + random(300, 2, seed=2)
    one, other = (shared + 0.3 * random(300, 2, seed=seed) for seed in (3, 4))
    gain = paired_auroc(one[None], other[None], label)
    values = [figure.influence() for s in (one, other) if (figure := auroc_figure(s[None], label)).influence]
    half = 1.96 * jackknife_variance(values[0] - values[1]) ** 0.5
    assert half == pytest.approx((gain["high"] - gain["low"]) / 2, rel=0.1)
    apart = 1.96 * sum(map(jackknife_variance, values)) ** 0.5
    assert half < 0.5 * apart  # what is hard for both cancels


def test_many_cases_are_left_out_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = random(25)
    whole = influence_values(lambda weights: weights @ values / weights.sum(1), 25)
    monkeypatch.setattr(influence, "_WEIGHTS_AT_ONCE", 60)
    torch.testing.assert_close(influence_values(lambda weights: weights @ values / weights.sum(1), 25), whole)


def test_a_case_that_cannot_be_left_out_has_none() -> None:
    scores, label = random(6), torch.tensor([1.0, 0, 0, 0, 0, 0])
    figure = auroc_figure(scores[None, :, None], label[:, None])
    assert figure.influence is not None
    assert figure.influence()[0] == 0  # no positive is left
    assert figure.influence().isfinite().all()


def test_one_case_tells_no_variance() -> None:
    assert np.isnan(jackknife_variance(torch.zeros(1)))


def test_they_are_written_by_the_figures_names_and_read_again(tmp_path: Path) -> None:
    values = random(20)
    figures = {"a": {"b": bootstrap_interval(values)}, "old": {"value": 1.0, "low": 0.0, "high": 2.0, "count": 3}}
    write_influence(tmp_path / "deep" / "influence.npz", figures)
    found = read_influence(tmp_path / "deep" / "influence.npz")
    assert list(found) == ["a.b"]
    torch.testing.assert_close(found["a.b"], values - values.mean(), rtol=1e-3, atol=1e-6)
    assert not list(tmp_path.rglob("*.part"))
