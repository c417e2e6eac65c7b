# SPDX-License-Identifier: Apache-2.0
"""The box lies round the named point in whatever orientation; edges continue; points outside are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation

from monai_unimedi.transforms import CropAroundd


def volume() -> MetaTensor:
    image = torch.full((1, 20, 24, 16), -800.0)
    image[0, 5, 18, 9] = 100.0
    affine = torch.tensor([[1.5, 0, 0, -10], [0, 1.0, 0, 7], [0, 0, 2.0, -30], [0, 0, 0, 1]], dtype=torch.float64)
    return MetaTensor(image, affine=affine)


def centre() -> np.ndarray:
    """The bright voxel in mm to the left, posterior, superior."""
    ras = volume().affine.numpy() @ [5, 18, 9, 1]
    return ras[:3] * [-1, -1, 1]


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "SPL"])
def test_point_is_the_middle_of_the_box_in_any_orientation(axcodes: str) -> None:
    image = Orientation(axcodes, labels=None)(volume())
    row = CropAroundd("image", (7, 7, 5))({"image": image, "centre": centre()})
    assert row["image"].shape == (1, 7, 7, 5)
    assert row["image"][0, 3, 3, 2] == 100
    there = row["image"].affine.numpy() @ [3, 3, 2, 1]
    np.testing.assert_allclose(there[:3] * [-1, -1, 1], centre())


def test_edge_values_continue_beyond_the_border() -> None:
    row = CropAroundd("image", (15, 15, 15))({"image": volume(), "centre": centre()})
    assert sorted(set(row["image"].flatten().tolist())) == [-800, 100]
    assert (row["image"] == 100).sum() == 1


def test_point_outside_or_absent_is_refused() -> None:
    crop = CropAroundd("image", (3, 3, 3))
    with pytest.raises(ValueError, match="must lie in the volume"):
        crop({"image": volume(), "centre": centre() + 100})
    with pytest.raises(ValueError, match="must have 'centre'"):
        crop({"image": volume()})
