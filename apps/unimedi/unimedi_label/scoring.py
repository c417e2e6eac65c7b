# SPDX-License-Identifier: Apache-2.0
"""Scores of cases, kept in the datastore: how unsure a model is, how unlike the labelled ones a case is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.scoring import ScoringMethod

from .cases import Cases
from .devices import chosen_device, turn_on
from .images import dimension_of, own_file
from .segmentation import SegmentationTask

__all__ = ["Novelty", "UncertaintyScore", "mean_entropy"]

FOREGROUND = 0.05  # a voxel that may be of a class


def mean_entropy(probabilities: np.ndarray, is_exclusive: bool) -> float:
    """Mean entropy in bits, 0 to 1, over the voxels that may be of a class; 0 where there are none.

    Args:
        probabilities: (classes, X, Y[, Z]); the background first where the classes exclude each other.
        is_exclusive: whether they do.
    """
    p = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    is_open = (p[int(is_exclusive) :] > FOREGROUND).any(0)
    if not is_open.any():
        return 0.0
    if is_exclusive:
        entropy = -(p * np.log(p)).sum(0) / np.log(len(p))
    else:
        entropy = (-(p * np.log2(p)) - (1 - p) * np.log2(1 - p)).max(0)
    return float(entropy[is_open].mean())


class UncertaintyScore(ScoringMethod):
    """Scores cases by the model of their dimension; a score holds until the weights change.

    Args:
        models: by dimension.
    """

    def __init__(self, models: Mapping[int, SegmentationTask]) -> None:
        super().__init__("How unsure the model of the image's dimension is (mean entropy, 0 to 1)")
        self.models = dict(models)

    def score(self, datastore: Any, case: str, may_compute: bool = True) -> tuple[float | None, bool]:
        """The score of a case, None where it has none; and whether it was computed now."""
        known = datastore.get_image_info(case).get("uncertainty") or {}
        if known.get("weights") in map(_sign, self.models.values()):
            return known.get("score"), False
        if not may_compute:
            return None, False
        try:
            path = own_file(Path(datastore.get_image_uri(case)))
            task = self.models[dimension_of(path)]
        except (ValueError, OSError, KeyError):
            return None, False
        sign = _sign(task)
        value = self._compute(task, path)
        datastore.update_image_info(case, {"uncertainty": {"score": value, "weights": sign}})
        return value, True

    def _compute(self, task: SegmentationTask, path: Path) -> float | None:
        device = chosen_device()
        try:
            with turn_on(device):
                model = task.model(device)
                found = np.asarray(model.probabilities(path)["pred"])
        except (ValueError, OSError, RuntimeError):
            return None
        return round(mean_entropy(found, model.is_exclusive), 4)

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
        return {case: self.score(datastore, case)[0] for case in datastore.list_images()}


def _sign(task: SegmentationTask) -> str:
    """Of the weights; no two models have the same."""
    return str(task.weights.file.stat().st_mtime_ns)


class Novelty(ScoringMethod):
    """Distance of each case's embedding to the nearest labelled case: 1 minus their similarity."""

    def __init__(self, cases: Cases) -> None:
        super().__init__("How unlike the labelled cases a case is, by its embedding (0 to 2)")
        self.cases = cases

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
        found = self.cases.embeddings()
        labelled = [found[case] for case in datastore.get_labeled_images() if case in found]
        result = {}
        for case, vector in found.items():
            near = max((float(vector @ other) for other in labelled), default=None)
            result[case] = None if near is None else round(1 - near, 4)
            datastore.update_image_info(case, {"novelty": result[case]})
        return result
