# SPDX-License-Identifier: Apache-2.0
"""Calibration: by hand, against loops, and what moves it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from monai_unimedi.metrics import bootstrap
from monai_unimedi.metrics.calibration import brier_figure, calibration_error, calibration_figure


def drawn(num_cases: int, sharpness: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (2, N, 3) and labels that follow them exactly with sharpness 1."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_cases, 3, generator=generator)
    label = (torch.rand(num_cases, 3, generator=generator) < logits.sigmoid()).long()
    return sharpness * torch.stack([logits, logits]), label


def test_error_by_hand() -> None:
    probability, label = torch.tensor([0.05, 0.08, 0.31, 0.39, 1.0]), torch.tensor([0, 1, 0, 1, 1])
    ones = torch.ones(1, 5, dtype=torch.float64)
    expected = (abs(0.05 + 0.08 - 1) + abs(0.31 + 0.39 - 1) + 0) / 5
    assert calibration_error(probability, label, ones).item() == pytest.approx(expected)
    assert calibration_error(probability, label, ones, num_bins=1).item() == pytest.approx(abs(1.83 - 3) / 5)


def test_weights_are_repeated_cases() -> None:
    generator = torch.Generator().manual_seed(0)
    probability, label = torch.rand(30, generator=generator), torch.randint(0, 2, (30,), generator=generator)
    times = torch.randint(0, 3, (30,), generator=generator)
    repeated = calibration_error(
        probability.repeat_interleave(times), label.repeat_interleave(times), torch.ones(1, int(times.sum())).double()
    )
    assert calibration_error(probability, label, times[None].double()).item() == pytest.approx(repeated.item())


def test_right_probabilities_have_the_smallest_error_and_score() -> None:
    found = {}
    for sharpness in (0.2, 1.0, 5.0):
        case = drawn(2000, sharpness)
        found[sharpness] = (calibration_figure(*case)["value"], brier_figure(*case)["value"])
    assert found[1.0][0] < 0.04
    for other in (0.2, 5.0):
        assert found[other][0] > 0.08
        assert found[other][1] > found[1.0][1]


def test_interval_lies_round_the_value_though_resamples_are_biased() -> None:
    logits, label = drawn(200, 1.0)
    figure = calibration_figure(logits, label)
    below, above = figure["value"] - figure["low"], figure["high"] - figure["value"]
    assert figure["low"] >= 0 and 0.6 < below / above < 1.6
    assert figure["count"] == 200


def test_interval_does_not_depend_on_the_blocks_of_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    case = drawn(60, 1.0)
    whole = calibration_figure(*case)
    monkeypatch.setattr(bootstrap, "_WEIGHTS_AT_ONCE", 60 * 7)
    assert calibration_figure(*case) == pytest.approx(whole)


def test_brier_score_is_the_mean_square() -> None:
    logits, label = drawn(50, 1.0)
    expected = (logits.double().sigmoid() - label).square().mean().item()
    figure = brier_figure(logits, label)
    assert figure["value"] == pytest.approx(expected)
    assert figure["low"] < expected < figure["high"]


def test_unknown_labels_do_not_count() -> None:
    logits, label = drawn(80, 1.0)
    logits, label = logits[..., :1], label[:, :1].float()
    label[::4] = torch.nan
    is_known = ~label[:, 0].isnan()
    for figure in (calibration_figure, brier_figure):
        found, expected = figure(logits, label), figure(logits[:, is_known], label[is_known])
        assert found["value"] == pytest.approx(expected["value"])
        assert found["count"] == expected["count"] == 60
        assert found["low"] < found["value"] < found["high"]


def test_finding_that_is_never_known_is_left_out() -> None:
    logits, label = drawn(80, 1.0)
    label = label.float()
    label[:, 1] = torch.nan
    for figure in (calibration_figure, brier_figure):
        expected = figure(logits[..., [0, 2]], label[:, [0, 2]])
        assert figure(logits, label)["value"] == pytest.approx(expected["value"])
