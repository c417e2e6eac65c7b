# SPDX-License-Identifier: Apache-2.0
"""X-ray localization: pointing game, its baselines and the overlap, by hand."""

from __future__ import annotations

import pytest
import torch

from monai_unimedi.metrics.lesion_mask import finding_mask, lesion_patches, lesion_slices
from monai_unimedi.metrics.localization import centre_prior, matched_iou, pointing_game, target_patches


def test_bits_of_the_mask_are_findings() -> None:
    mask = torch.tensor([[[0, 1], [2, 3]]], dtype=torch.uint8)
    assert finding_mask(mask).tolist() == [[[False, True], [True, True]]]
    assert finding_mask(mask, 0).tolist() == [[[False, True], [False, True]]]
    assert finding_mask(mask, 1).tolist() == [[[False, False], [True, True]]]
    assert lesion_slices(mask[..., None].expand(1, 2, 2, 3), 2).tolist() == [[False] * 3]


def test_one_voxel_makes_a_lesion_patch() -> None:
    is_lesion = torch.zeros(1, 6, 4, dtype=torch.bool)
    is_lesion[0, 5, 0] = True
    assert lesion_patches(is_lesion, (3, 2))[0].tolist() == [[False, False], [False, False], [True, False]]


def test_pointing_game_by_hand_with_ties() -> None:
    mask = torch.zeros(4, 4, 4, dtype=torch.uint8)
    mask[:3, 0, 0] = 1
    target = target_patches(mask, (2, 2))
    attention = torch.tensor([[[9, 1], [1, 1]], [[1, 9], [1, 1]], [[5, 5], [1, 1]], [[9, 1], [1, 1]]]).float()
    values = pointing_game(attention, target)
    assert values[:3].tolist() == pytest.approx([1, 0, 0.5])
    assert values[3].isnan()
    assert pointing_game(torch.ones(4, 2, 2), target)[0].item() == pytest.approx(1 / 4)  # the random pointer


def test_centre_prior_points_at_the_middle() -> None:
    assert centre_prior((5, 3)).flatten().argmax() == 7
    middle = centre_prior((4, 4))
    assert (middle == middle.max()).sum() == 4
    assert middle.sum().item() == pytest.approx(1)
    assert torch.equal(middle, middle.flip(0).transpose(0, 1))


def test_matched_iou_by_hand() -> None:
    target = torch.tensor([[True, True, False, False], [True, False, False, False], [False] * 4])
    attention = torch.tensor([[9.0, 1, 5, 0], [9, 1, 5, 0], [9, 1, 5, 0]])
    values = matched_iou(attention, target)
    assert values[:2].tolist() == pytest.approx([1 / 3, 1])
    assert values[2].isnan()
