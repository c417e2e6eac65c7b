# SPDX-License-Identifier: Apache-2.0
"""The smallest component that a prediction keeps, from masks whose components are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Lambdad

from monai_unimedi.data.dataset import SourceDataset
from monai_unimedi.data.lesion_sizes import min_component_voxels
from monai_unimedi.data.masks import MaskClasses

FINDINGS = MaskClasses(["nodule", "effusion"], [0, 1], False)
ORGANS = MaskClasses(["background", "liver", "spleen"], [0, 5, 9], True)


class Masks:
    """A dataset of masks, which counts how many are read."""

    def __init__(self, masks: list[torch.Tensor]) -> None:
        self.read: list[int] = []
        rows: list[dict[str, Any]] = [
            {"id": str(i), "label": mask, "image": mask.float()} for i, mask in enumerate(masks)
        ]
        self.dataset = SourceDataset(rows, [Lambdad("label", self._look)], "2d", cache_keys=("image", "label"))
        self.read.clear()

    def _look(self, mask: torch.Tensor) -> torch.Tensor:
        self.read.append(int(mask.sum()))
        return mask


def squares(*sides: int, value: int = 1) -> torch.Tensor:
    """(1, 40, 40), one square a side, none of which touch."""
    mask, start = torch.zeros(1, 40, 40, dtype=torch.uint8), 0
    for side in sides:
        mask[:, start : start + side, :side] = value
        start += side + 1
    return mask


def kept(share: float, *sizes: int) -> int:
    return int(share * np.percentile(sizes, 5) * len(sizes) / (len(sizes) + 10))


def test_a_share_of_the_fifth_percentile_of_components() -> None:
    sides = [3, 4, 5, 6, 7, 8, 9, 10]
    masks = [squares(*sides[:4]), squares(*sides[4:])]
    wanted = kept(0.5, *np.square(sides))
    assert wanted == int(0.5 * 11.45 * 8 / 18)
    assert min_component_voxels(Masks(masks).dataset, FINDINGS, 0.5) == [wanted, 0]


def test_overlapping_findings_are_measured_apart() -> None:
    masks = [squares(10) | squares(4, value=2)]
    assert min_component_voxels(Masks(masks).dataset, FINDINGS, 1.0) == [kept(1.0, 100), kept(1.0, 16)] == [9, 1]


def test_exclusive_classes_are_numbers_and_the_background_has_no_size() -> None:
    masks = [squares(10, value=5), squares(6, value=9)]
    assert min_component_voxels(Masks(masks).dataset, ORGANS, 0.5) == [0, kept(0.5, 100), kept(0.5, 36)] == [0, 4, 1]


def test_volumes_are_measured_in_voxels() -> None:
    mask = torch.zeros(1, 10, 10, 6, dtype=torch.uint8)
    mask[:, 2:5, 2:5, 1:3] = 1
    assert min_component_voxels(Masks([mask]).dataset, FINDINGS, 1.0) == [kept(1.0, 18), 0] == [1, 0]


def test_share_zero_reads_nothing_and_keeps_everything() -> None:
    masks = Masks([squares(5)] * 3)
    assert min_component_voxels(masks.dataset, FINDINGS, 0.0) == [0, 0]
    assert masks.read == []


def test_few_components_count_less() -> None:
    found = [min_component_voxels(Masks([squares(20)] * number).dataset, FINDINGS, 0.5)[0] for number in (1, 10, 90)]
    assert found == [18, 100, 180]


def test_so_many_masks_are_read_from_the_whole_list_and_stay_cached() -> None:
    masks = Masks([squares(1 + i % 30) for i in range(50)])
    min_component_voxels(masks.dataset, FINDINGS, max_masks=5)
    assert len(masks.read) == 4, "five, of which making the cache has read the first"
    min_component_voxels(masks.dataset, FINDINGS, max_masks=5)
    assert len(masks.read) == 4


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"min_component must be from 0 to 1, got 1\.5"):
        min_component_voxels(Masks([squares(5)]).dataset, FINDINGS, 1.5)
