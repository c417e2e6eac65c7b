# SPDX-License-Identifier: Apache-2.0
"""Specks leave the scores, lesions stay, and inverting to a finer grid brings nothing back."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_unimedi.transforms import SuppressSmallComponents, SuppressSmallComponentsd
from monai_unimedi.transforms.small_components import component_sizes


def slow_components(mask: np.ndarray) -> list[set[tuple[int, ...]]]:
    """By growing from each voxel; neighbours differ by at most 1 along every axis."""
    left = {tuple(int(i) for i in place) for place in np.argwhere(mask)}
    found = []
    while left:
        grown, front = set(), [left.pop()]
        while front:
            voxel = front.pop()
            grown.add(voxel)
            for step in product((-1, 0, 1), repeat=mask.ndim):
                near = tuple(a + b for a, b in zip(voxel, step))
                if near in left:
                    left.remove(near)
                    front.append(near)
        found.append(grown)
    return found


@pytest.mark.parametrize("shape", [(12, 9), (7, 6, 5)])
@pytest.mark.parametrize("min_voxels", [2, 4, 9])
def test_what_stays_is_what_growing_from_each_voxel_finds(shape: tuple[int, ...], min_voxels: int) -> None:
    torch.manual_seed(0)
    scores = torch.rand(3, *shape) ** 2
    kept = SuppressSmallComponents(min_voxels, is_exclusive=False)(scores)
    for before, after in zip(scores, kept):
        wanted = torch.zeros(shape, dtype=torch.bool)
        for component in slow_components((before > 0.5).numpy()):
            for voxel in component if len(component) >= min_voxels else ():
                wanted[voxel] = True
        assert torch.equal(after > 0.5, wanted)
        stays = wanted | (before <= 0.5)
        assert torch.equal(after[stays], before[stays])
        assert (after[~stays] == 0).all()


def test_corners_connect_and_sizes_are_counted() -> None:
    components, sizes = component_sizes(np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=bool))
    assert sorted(sizes.tolist()) == [1, 1, 2]
    assert components[0, 0] == components[1, 1] != 0
    assert component_sizes(np.zeros((3, 3), dtype=bool))[1].tolist() == []


def test_each_channel_has_its_own_size() -> None:
    scores = torch.zeros(2, 8, 8)
    scores[:, 2:4, 2:4] = 0.9
    kept = SuppressSmallComponents([4, 5], is_exclusive=False)(scores)
    assert torch.equal(kept[0], scores[0])
    assert kept[1].max() == 0


def test_small_parts_of_exclusive_classes_become_background() -> None:
    logits = torch.zeros(3, 10, 10)
    logits[0] = 2.0
    logits[1, 1:5, 1:5] = 5.0  # 16 pixels, one of them within
    logits[2, 2, 2] = 7.0
    logits[2, 8, 8] = 7.0
    scores = logits.softmax(0)
    kept = SuppressSmallComponents([0, 10, 2], is_exclusive=True)(scores)
    assert torch.allclose(kept.sum(0), torch.ones(10, 10))
    numbers = kept.argmax(0)
    assert (numbers == 2).sum() == 0
    assert numbers[2, 2] == numbers[8, 8] == 0
    assert (numbers == 1).sum() == 15
    huge = SuppressSmallComponents([1000, 0, 0], is_exclusive=True)(scores)
    assert torch.equal(huge.argmax(0), scores.argmax(0)), "the background is no lesion"


def test_interpolation_brings_nothing_back() -> None:
    torch.manual_seed(1)
    scores = torch.rand(1, 16, 16)
    kept = SuppressSmallComponents(1000, is_exclusive=False)(scores)
    fine = torch.nn.functional.interpolate(kept[None], scale_factor=3.7, mode="bilinear")
    assert fine.max() <= 0.5


def test_nothing_is_done_or_copied_where_all_may_stay() -> None:
    scores = torch.rand(2, 4, 4)
    for everything in (0, 1, [0, 1], None):
        assert SuppressSmallComponents(everything, is_exclusive=False)(scores) is scores


def test_input_and_meta_data_stay_as_they_are() -> None:
    scores = MetaTensor(torch.full((1, 3, 3, 3), 0.9), affine=2 * torch.eye(4))
    given = {"pred": scores, "id": "a"}
    found = SuppressSmallComponentsd("pred", 28, is_exclusive=False)(given)
    assert found["pred"].max() == 0
    assert torch.equal(found["pred"].affine, scores.affine)
    assert scores.min() > 0
    assert found["id"] == "a"


def test_other_numbers_of_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one number or one a channel, got \[1, 2\] for 3 channels"):
        SuppressSmallComponents([1, 2], is_exclusive=False)(torch.rand(3, 4, 4))
