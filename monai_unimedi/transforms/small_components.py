# SPDX-License-Identifier: Apache-2.0
"""Specks in a predicted mask: connected components smaller than any lesion of the training."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import convert_to_dst_type, convert_to_tensor
from scipy import ndimage

__all__ = ["SuppressSmallComponents", "SuppressSmallComponentsd", "component_sizes"]


def component_sizes(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Connected components of a mask (X, Y[, Z]), bool; voxels that touch by a corner are connected.

    Returns:
        The component of each voxel (X, Y[, Z]), 0 outside, and the voxels of each component (N,), int64, from the
        first.
    """
    components, _ = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return components, np.bincount(components.ravel())[1:]


class SuppressSmallComponents(Transform):
    """Takes from a network's probabilities what would become specks in the mask.

    MONAI's ``RemoveSmallObjects`` knows one size for all classes, needs scikit-image, and works on finished masks;
    here the scores change, on the network's own grid, before they are inverted to the image's. Interpolation between
    scores that are not above the threshold gives none that is; of exclusive classes, whose largest score decides, it
    may bring back a thin edge.

    Args:
        min_voxels: the smallest component that stays, one number a channel or one for all; 0 or None keeps all.
        is_exclusive: channels exclude each other, the first is the background, which takes over the score; else the
            score of a small component becomes 0.
        threshold: of scores that do not exclude each other.
    """

    def __init__(self, min_voxels: float | Sequence[float] | None, is_exclusive: bool, threshold: float = 0.5) -> None:
        self.min_voxels = list(min_voxels) if isinstance(min_voxels, Sequence) else [min_voxels or 0]
        self.is_exclusive = is_exclusive
        self.threshold = threshold

    def __call__(self, scores: NdarrayOrTensor) -> NdarrayOrTensor:
        """scores: (C, X, Y[, Z]), float, probabilities. Returns the same, changed where components are small.

        Raises:
            ValueError: When there are neither one nor C numbers in ``min_voxels``.
        """
        wanted = self.min_voxels * (len(scores) if len(self.min_voxels) == 1 else 1)
        if len(wanted) != len(scores):
            raise ValueError(
                f"min_voxels must be one number or one a channel, got {wanted} for {len(scores)} channels."
            )
        channels = [channel for channel in range(int(self.is_exclusive), len(wanted)) if wanted[channel] > 1]
        if not channels:
            return scores
        found = convert_to_tensor(scores, track_meta=False).clone()
        largest = found.argmax(0) if self.is_exclusive else None
        for channel in channels:
            mask = found[channel] > self.threshold if largest is None else largest == channel
            components, sizes = component_sizes(mask.cpu().numpy())
            is_small = np.concatenate([[False], sizes < wanted[channel]])[components]
            if is_small.any():
                small = torch.from_numpy(is_small).to(found.device)
                if self.is_exclusive:
                    found[0][small] += found[channel][small]
                found[channel][small] = 0.0
        return convert_to_dst_type(found, scores)[0]


class SuppressSmallComponentsd(MapTransform):
    """Dictionary form of ``SuppressSmallComponents``."""

    def __init__(
        self,
        keys: KeysCollection,
        min_voxels: float | Sequence[float] | None,
        is_exclusive: bool,
        threshold: float = 0.5,
    ) -> None:
        super().__init__(keys)
        self.suppress = SuppressSmallComponents(min_voxels, is_exclusive, threshold)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        row = dict(data)
        for key in self.key_iterator(row):
            row[key] = self.suppress(row[key])
        return row
