# SPDX-License-Identifier: Apache-2.0
"""Bad images stop with the row's place in the message."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_unimedi.transforms.checks import CheckImage, CheckImaged, RowError, row_location


def test_good_images_pass_unchanged() -> None:
    for image in (torch.rand(1, 8, 8), torch.rand(1, 8, 8, 4)):
        assert CheckImage()(image) is image
        row = {"image": image}
        assert CheckImaged("image")(row)["image"] is image


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("shape", [(1, 6, 6), (1, 6, 6, 6)])
def test_nan_and_infinity_raise(value: float, shape: tuple[int, ...]) -> None:
    image = torch.rand(shape)
    image.view(-1)[7] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        CheckImage()(image)


def test_constant_image_raises() -> None:
    with pytest.raises(ValueError, match="constant, every one of its voxels is 3"):
        CheckImage()(np.full((1, 4, 4), 3.0))


def test_wrong_dimension_raises() -> None:
    with pytest.raises(ValueError, match="list holds 2-dimensional images"):
        CheckImage(spatial_dims=2)(torch.rand(1, 4, 4, 4))
    with pytest.raises(ValueError, match="list holds 3-dimensional images"):
        CheckImage(spatial_dims=3)(torch.rand(1, 4, 4))


def test_too_few_slices_raise() -> None:
    with pytest.raises(ValueError, match=r"at least 4 slices \(k are selected\), got 3"):
        CheckImage(min_slices=4)(torch.rand(1, 4, 4, 3))


def test_patch_that_does_not_divide_raises() -> None:
    assert CheckImage(patch_size=(4, 4))(torch.rand(1, 8, 12)).shape == (1, 8, 12)
    with pytest.raises(ValueError, match=r"patch \(4, 4, 3\) must divide the image, got \(8, 8, 4\)"):
        CheckImage(patch_size=(4, 4, 3))(torch.rand(1, 8, 8, 4))
    with pytest.raises(ValueError, match="must have equal lengths"):
        CheckImage(patch_size=(4, 4))(torch.rand(1, 8, 8, 4))


def test_message_names_row_id_key_and_path() -> None:
    image = MetaTensor(torch.zeros(1, 4, 4), meta={"filename_or_obj": "ct/7.nii"})
    row = {"image": image, "id": "ct-7", "row": 7, "source": "3d"}
    place = "source '3d', row 7, id 'ct-7', key 'image', path 'ct/7.nii'"
    assert row_location(row, "image") == place
    with pytest.raises(RowError, match=place):
        CheckImaged("image")(row)
