# SPDX-License-Identifier: Apache-2.0
"""How small the lesions of a training list are: what is smaller in a prediction is a speck."""

from __future__ import annotations

import logging
import sys

import numpy as np
from tqdm import tqdm

from monai_unimedi.data.dataset import SourceDataset
from monai_unimedi.data.masks import MASK, MaskClasses
from monai_unimedi.transforms.mask import MaskToChannels
from monai_unimedi.transforms.small_components import component_sizes

__all__ = ["min_component_voxels"]

logger = logging.getLogger(__name__)
PERCENTILE = 5  # the smallest of all would be a slip of the reader's hand
FEW = 10  # after n components another one is smaller than all of them with probability 1 / (n + 1)


def min_component_voxels(
    dataset: SourceDataset,
    classes: MaskClasses,
    share: float = 0.2,
    max_masks: int = 100,
    show_progress: bool | None = None,
) -> list[int]:
    r"""The smallest connected component of each class that a prediction is to keep.

    :math:`s\, p_5\, n / (n + 10)` with the share s and the fifth percentile of the sizes of the n components in the
    training masks, on the network's grid: few masks say little of how small a lesion can be.

    Args:
        dataset: of the training; rows that are read for it stay in its cache.
        classes: of the network.
        share: 0 keeps everything.
        max_masks: so many, evenly spaced, are looked at.
        show_progress: a bar; by default where standard error is a terminal.

    Returns:
        Voxels, one number a channel, rounded down; 0 for the background and for a class without a voxel.

    Raises:
        ValueError: When ``share`` is not from 0 to 1.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"min_component must be from 0 to 1, got {share}.")
    if share == 0.0:
        return [0] * len(classes.names)
    to_channels = MaskToChannels(classes.values, classes.is_exclusive)
    sizes: list[list[int]] = [[] for _ in classes.names]
    rows = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), max_masks)).astype(int))
    hidden = not (sys.stderr.isatty() if show_progress is None else show_progress)
    for row in tqdm(rows, desc="lesion sizes", unit="mask", disable=hidden):
        for channel, mask in enumerate(to_channels.one_by_one(dataset.steady(int(row))[MASK])):
            if channel >= int(classes.is_exclusive):
                sizes[channel] += component_sizes(mask.numpy())[1].tolist()
    found = [int(share * np.percentile(s, PERCENTILE) * len(s) / (len(s) + FEW)) if s else 0 for s in sizes]
    logger.info("Components of fewer voxels are taken for specks: %s.", dict(zip(classes.names, found)))
    return found
