# SPDX-License-Identifier: Apache-2.0
"""Figures of predicted masks, case by case and summed up, on the grid of the files.

An image-averaged Dice that gives 1 to a correctly empty image is dominated by images without a finding, so three
are kept apart: over the positives (the class is there in truth; blind to false alarms elsewhere), over all, and pooled
(of all voxels of all images at once: false alarms count by their size, large findings more than small ones).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.meandice import compute_dice
from torch import Tensor

from monai_unimedi.metrics.bootstrap import Figure, bootstrap_interval, bootstrap_statistic

__all__ = ["MaskFigures", "summarize_segmentation", "write_cases"]

Case = Mapping[str, Any]


class MaskFigures:
    """Figures of one case; call it with a decollated output of an evaluator.

    Args:
        to_channels: whose ``one_by_one`` takes a mask of numbers or bits (1, X, Y[, Z]) to C masks (X, Y[, Z]), bool;
            as ``MaskToChannels``.
        has_background: whether channel 0 is the background, which gets no figures.
        pred_key: the predicted mask.
        label_key: the true mask on the same grid; its affine, or else 1 (pixels), gives the spacing in mm.
        percentile: of the Hausdorff distance.
    """

    def __init__(
        self,
        to_channels: Any,
        has_background: bool,
        pred_key: str = "pred",
        label_key: str = "label",
        percentile: float = 95.0,
    ) -> None:
        self.to_channels = to_channels
        self.first = int(has_background)
        self.pred_key, self.label_key = pred_key, label_key
        self.percentile = percentile

    def __call__(self, case: Case) -> dict[str, Any]:
        """``id`` and, by class, tensors (F,): ``dice`` (NaN where the class is absent in truth), ``dice_all`` (1
        where it is absent in both), ``hd95`` (mm, of pictures pixels; NaN unless present in both), ``voxels`` and
        ``predicted_voxels``.

        Raises:
            ValueError: When prediction and truth differ in shape.
        """
        pred, label = (torch.as_tensor(case[key]).as_subclass(Tensor).cpu() for key in (self.pred_key, self.label_key))
        if pred.shape != label.shape:
            raise ValueError(
                f"Case {case.get('id')!r}: prediction and mask must have one shape, got {tuple(pred.shape[1:])} and "
                f"{tuple(label.shape[1:])}."
            )
        spacing = _spacing(case[self.label_key], pred.ndim - 1)
        pairs = islice(zip(self.to_channels.one_by_one(pred), self.to_channels.one_by_one(label)), self.first, None)
        figures = [self._figures(*pair, spacing) for pair in pairs]
        return {
            "id": str(case.get("id", "")),
            "patient": str(case.get("patient", case.get("id", ""))),
            **{key: torch.stack([one[key] for one in figures]).double() for key in figures[0]},
        }

    def _figures(self, pred: Tensor, label: Tensor, spacing: Sequence[float]) -> dict[str, Tensor]:
        """Of one class, masks (X, Y[, Z]) bool."""
        return {
            "dice": compute_dice(pred[None, None], label[None, None], ignore_empty=True)[0, 0],
            "dice_all": compute_dice(pred[None, None], label[None, None], ignore_empty=False)[0, 0],
            "hd95": self._distance(pred, label, spacing),
            "voxels": label.sum(),
            "predicted_voxels": pred.sum(),
        }

    def _distance(self, pred: Tensor, label: Tensor, spacing: Sequence[float]) -> Tensor:
        if not (pred.any() and label.any()):
            return torch.tensor(float("nan"), dtype=torch.float64)
        pred, label = _common_box(pred, label)
        found = compute_hausdorff_distance(
            pred[None, None], label[None, None], True, percentile=self.percentile, spacing=list(spacing)
        )
        return found.double().reshape(())


def _common_box(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Both masks cut to the box round them, one voxel wider: distances stay, a large CT takes a moment."""
    either, axes = one | other, range(one.ndim)
    places = [torch.nonzero(either.amax([a for a in axes if a != axis])) for axis in axes]
    box = tuple(slice(max(int(place[0]) - 1, 0), int(place[-1]) + 2) for place in places)
    return one[box], other[box]


def _spacing(mask: Any, spatial_dims: int) -> list[float]:
    """mm along each axis in 3D; of pictures 1, so that distances are in pixels."""
    affine = getattr(mask, "affine", None)
    if affine is None or spatial_dims == 2:
        return [1.0] * spatial_dims
    return [float(length) for length in np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)[:spatial_dims]]


def summarize_segmentation(
    cases: Sequence[Case], names: Sequence[str], unit: str = "mm", seed: int = 0
) -> dict[str, Any]:
    """Figures with 95 % bootstrap intervals over cases.

    Args:
        cases: from `MaskFigures`.
        names: of the F classes.
        unit: of the distances: ``mm``, or ``file_pixels`` for X-rays: pixels of the stored file, of whatever size.
        seed: of the resamples.

    Returns:
        ``segmentation`` (means over classes), ``by_class`` (the same and counts), ``not_available`` (sentences).
    """
    columns = {
        "dice_positives": _stack(cases, "dice"),
        "dice_all": _stack(cases, "dice_all"),
        f"hd95_{unit}": _stack(cases, "hd95"),
    }
    missing: list[str] = []
    overall = {name: _figure(values, seed) for name, values in columns.items()}
    overall["dice_pooled"] = _pooled(cases, slice(None), seed)
    by_class: dict[str, Any] = {}
    for index, name in enumerate(names):
        figures = {key: _figure(values[:, index : index + 1], seed) for key, values in columns.items()}
        figures["dice_pooled"] = _pooled(cases, slice(index, index + 1), seed)
        by_class[name] = {key: figure for key, figure in figures.items() if figure is not None}
        missing += [f"by_class.{name}.{key}: no case has it" for key, figure in figures.items() if figure is None]
    present, found = _stack(cases, "voxels") > 0, _stack(cases, "predicted_voxels") > 0
    counts = {
        name: {
            "cases": int(len(cases)),
            "positives": int(present[:, index].sum()),
            "missed": int((present & ~found)[:, index].sum()),
            "false_alarms": int((found & ~present)[:, index].sum()),
        }
        for index, name in enumerate(names)
    }
    missing += [f"segmentation.{name}: no case has it" for name, figure in overall.items() if figure is None]
    kept = {name: figure for name, figure in overall.items() if figure is not None}
    result: dict[str, Any] = {"segmentation": kept, "by_class": by_class, "counts": counts}
    return result | ({"not_available": missing} if missing else {})


def write_cases(cases: Sequence[Case], path: str | Path, names: Sequence[str], unit: str = "mm") -> None:
    """Figures case by case, one line a case and class; empty where a figure does not exist.

    Args:
        cases: from `MaskFigures`.
        path: the CSV file, with the columns ``id``, ``patient``, ``class``, ``dice`` (over the positives),
            ``dice_all``, ``hd95_mm`` or ``hd95_file_pixels``, ``voxels`` and ``predicted_voxels``.
        names: of the F classes.
        unit: of the distances.
    """
    keys = ["dice", "dice_all", "hd95", "voxels", "predicted_voxels"]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "patient", "class", *(f"hd95_{unit}" if key == "hd95" else key for key in keys)])
        for case in cases:
            for index, name in enumerate(names):
                figures = [_number(float(case[key][index])) for key in keys]
                writer.writerow([case["id"], case["patient"], name, *figures])


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


def _stack(cases: Sequence[Case], key: str) -> Tensor:
    return torch.stack([case[key] for case in cases])


def _pooled(cases: Sequence[Case], columns: slice, seed: int) -> Figure | None:
    """Twice the overlap of all cases over both masks' size; mean over the classes that have a voxel anywhere."""
    both = (_stack(cases, "voxels") + _stack(cases, "predicted_voxels"))[:, columns]
    overlap = _stack(cases, "dice")[:, columns].nan_to_num(0.0) * both
    if not both.any():
        return None
    return bootstrap_statistic(
        lambda weights: ((weights @ overlap) / (weights @ both)).nanmean(1), len(cases), seed=seed
    )


def _figure(values: Tensor, seed: int) -> Figure | None:
    return None if values.isnan().all() else bootstrap_interval(values, seed=seed)
