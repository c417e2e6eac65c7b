# SPDX-License-Identifier: Apache-2.0
"""Figures of a classification, each with its 95 % bootstrap interval over cases; unknown labels (NaN) do not count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.metrics import Cumulative
from torch import Tensor

from monai_unimedi.metrics.bootstrap import Figure, bootstrap_statistic, known_cases, weighted_auroc

__all__ = ["MeanAuroc", "roc_curves", "summarize_classification", "weighted_average_precision"]

Statistic = Callable[[Tensor, Tensor, Tensor], Tensor]  # score (N,), label (N,), weights (R, N) to (R,)
MAX_POINTS = 100


class MeanAuroc(Cumulative):
    """Mean over classes of the AUROC over known labels, for a training's validation: MONAI's ``ROCAUCMetric`` takes
    no unknown labels and no class of one value.

    Works in `monai.handlers.IgniteMetricHandler` with decollated ``pred`` and ``label``.
    """

    def __call__(self, y_pred: Sequence[Tensor], y: Sequence[Tensor]) -> None:
        """
        Args:
            y_pred: scores (F,) of each case.
            y: labels (F,) of each case, 1, 0 or NaN.
        """
        self.extend(*(torch.stack([torch.as_tensor(one) for one in rows]).float().cpu() for rows in (y_pred, y)))

    def aggregate(self) -> Tensor:
        """A scalar; 0 where no class has both values."""
        buffers = self.get_buffer()
        if buffers is None:
            raise ValueError("MeanAuroc must see at least one batch before it is read, got none.")
        score, label = buffers
        weights = torch.ones(1, len(label), dtype=torch.float64)
        return _by_class(_auroc, score, label, weights).nanmean().nan_to_num(0.0)


def weighted_average_precision(score: Tensor, label: Tensor, weights: Tensor) -> Tensor:
    """Average precision for many case weightings at once, scikit-learn's definition with weights.

    Args:
        score: (N,), larger = more likely present.
        label: (N,), 1 = present.
        weights: (R, N), non-negative.

    Returns:
        (R,) in [0, 1]; NaN without a present case.
    """
    ranked, order = score.sort(descending=True)
    _, size = torch.unique_consecutive(ranked, return_counts=True)
    last = (torch.cumsum(size, 0) - 1).repeat_interleave(size)  # where each case's run of equal scores ends
    present = weights[:, order] * (label[order] > 0)
    precision = present.cumsum(1)[:, last] / weights[:, order].cumsum(1)[:, last]
    return (present * precision.nan_to_num(0.0)).sum(1) / present.sum(1)


def _auroc(score: Tensor, label: Tensor, weights: Tensor) -> Tensor:
    return weighted_auroc(score[:, None], label[:, None], weights)[:, 0]


def _share(wanted: int) -> Statistic:
    """Weighted share of right decisions (score > 0) among the cases of one value."""

    def statistic(score: Tensor, label: Tensor, weights: Tensor) -> Tensor:
        counted = weights * (label == wanted)
        return (counted * ((score > 0) == (wanted == 1))).sum(1) / counted.sum(1)

    return statistic


def _accuracy(score: Tensor, label: Tensor, weights: Tensor) -> Tensor:
    return (weights * ((score > 0) == (label > 0))).sum(1) / weights.sum(1)


RANKING: dict[str, Statistic] = {"auroc": _auroc, "average_precision": weighted_average_precision}
DECISION: dict[str, Statistic] = {"accuracy": _accuracy, "sensitivity": _share(1), "specificity": _share(0)}


def _by_class(statistic: Statistic, score: Tensor, label: Tensor, weights: Tensor) -> Tensor:
    """(R, F), each class over its known labels; NaN where a class has one value only."""
    columns = []
    for index in range(label.shape[1]):
        is_known = ~label[:, index].isnan()
        own = label[is_known, index]
        if (own == 1).any() and (own == 0).any():
            columns.append(statistic(score[is_known, index].double(), own, weights[:, is_known]))
        else:
            columns.append(torch.full((len(weights),), torch.nan, dtype=torch.float64))
    return torch.stack(columns, 1)


def summarize_classification(
    cases: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    is_exclusive: bool = False,
    threshold: float = 0.5,
    seed: int = 0,
) -> dict[str, Any]:
    """All figures.

    Args:
        cases: each with ``pred`` (F,), probabilities, and ``label`` (F,).
        class_names: of the F classes.
        is_exclusive: then the class of the largest probability is the decision, and ``accuracy`` is the share of
            cases decided right; else each class is decided by the threshold, and figures are means over classes.
        threshold: probability from which a class counts as found.
        seed: of the resamples.

    Returns:
        ``classification`` (means over classes), ``by_class`` (the same of each), ``counts``, ``not_available``.
    """
    pred, label = (torch.stack([torch.as_tensor(case[key]) for case in cases]).double() for key in ("pred", "label"))
    decided = _decided(pred, is_exclusive, threshold)
    result: dict[str, Any] = {"classification": {}, "by_class": {name: {} for name in class_names}}
    missing: list[str] = []
    for name, statistic in {**RANKING, **DECISION}.items():
        score = pred if name in RANKING else decided
        mean = _figure(statistic, score, label, seed)
        if mean is not None:
            result["classification"][name] = mean
        for index, own in enumerate(class_names):
            figure = _figure(statistic, score[:, index : index + 1], label[:, index : index + 1], seed)
            if figure is None:
                missing.append(f"by_class.{own}.{name}: the cases have one value only")
            else:
                result["by_class"][own][name] = figure
    if is_exclusive:
        is_right = (pred.argmax(1) == label.argmax(1)).double()
        whole = bootstrap_statistic(lambda weights: weights @ is_right / weights.sum(1), len(label), seed=seed)
        result["classification"]["accuracy"] = whole
    result["counts"] = {
        name: {
            "present": int((label[:, index] == 1).sum()),
            "absent": int((label[:, index] == 0).sum()),
            "found": int((decided[:, index] > 0).sum()),
        }
        for index, name in enumerate(class_names)
    }
    result["by_class"] = {name: figures for name, figures in result["by_class"].items() if figures}
    return result | ({"not_available": missing} if missing else {})


def _decided(pred: Tensor, is_exclusive: bool, threshold: float) -> Tensor:
    """(N, F), 1 for a class that is found, -1 for one that is not."""
    if is_exclusive:
        return torch.nn.functional.one_hot(pred.argmax(1), pred.shape[1]).double() * 2 - 1
    return (pred >= threshold).double() * 2 - 1


def _figure(statistic: Statistic, score: Tensor, label: Tensor, seed: int) -> Figure | None:
    """Mean over classes, resampled by case; None where no class has both values."""
    ones = torch.ones(1, len(label), dtype=torch.float64)
    if _by_class(statistic, score, label, ones).isnan().all():
        return None
    return bootstrap_statistic(
        lambda weights: _by_class(statistic, score, label, weights).nanmean(1),
        len(label),
        seed=seed,
        count=known_cases(label),
    )


def roc_curves(cases: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """Points (false positive rate, true positive rate) of each class with both values, at most a hundred."""
    from sklearn.metrics import roc_curve

    curves = {}
    for index, name in enumerate(class_names):
        pairs = [(float(case["label"][index]), float(case["pred"][index])) for case in cases]
        known = [(label, score) for label, score in pairs if label == label]
        if {label for label, _ in known} == {0.0, 1.0}:
            false, true, _ = roc_curve(*zip(*known))
            step = max(1, len(false) // MAX_POINTS)
            points = list(zip(false.tolist(), true.tolist()))
            curves[name] = [*points[::step], points[-1]]
    return curves
