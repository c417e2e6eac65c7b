# SPDX-License-Identifier: Apache-2.0
"""How near first guesses came to what was submitted for them.

MONAI Label's own score multiplies the numbers of two files: a label of class 6 against itself has 6.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.tasks.scoring import ScoringMethod

from .images import dimension_of, own_file
from .labels import classes_on_grid
from .segmentation import SegmentationTask

__all__ = ["GuessDice", "mean_dice"]

logger = logging.getLogger(__name__)


def mean_dice(places: np.ndarray, others: np.ndarray) -> float | None:
    """Mean of the Dice of each class that either of two label maps of one shape has; None where neither has any."""
    found = [place for place in np.union1d(places, others) if place]
    pairs = [(places == place, others == place) for place in found]
    scores = [2 * int((a & b).sum()) / (int(a.sum()) + int(b.sum())) for a, b in pairs]
    return float(np.mean(scores)) if scores else None


class GuessDice(ScoringMethod):
    """Mean Dice over the classes of the label tagged ``y_pred`` (the guess) against ``y`` (the submitted), by case.

    Args:
        models: by dimension.
    """

    def __init__(self, models: Mapping[int, SegmentationTask]) -> None:
        super().__init__("Mean Dice over classes of the first guess against the submitted label (0 to 1)")
        self.models = dict(models)

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, float]:
        tags = [request.get("y") or DefaultLabelTag.FINAL, request.get("y_pred") or DefaultLabelTag.ORIGINAL]
        result: dict[str, float] = {}
        for case in datastore.list_images():
            ids = [datastore.get_label_by_image_id(case, tag) for tag in tags]
            if not all(ids):
                continue
            try:
                image = own_file(Path(datastore.get_image_uri(case)))
                classes = self.models[dimension_of(image)].weights.classes().names
                labels = [(Path(datastore.get_label_uri(i, tag)), tag) for i, tag in zip(ids, tags)]
                both = [
                    classes_on_grid(image, path, datastore.get_label_info(case, tag), classes)[0]
                    for path, tag in labels
                ]
                dice = mean_dice(*both)
            except (ValueError, OSError) as error:
                logger.warning("%s has no Dice: %s", case, error)
                continue
            if dice is not None:
                result[case] = round(dice, 4)
                datastore.update_image_info(case, {"dice": result[case]})
        return result
