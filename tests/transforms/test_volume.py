# SPDX-License-Identifier: Apache-2.0
"""Resampling and cropping of volumes: geometry, anti-aliasing, masks beside images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_unimedi.transforms.resampling import resample_axis
from monai_unimedi.transforms.volume import CropOrPadBody, CropOrPadBodyd, ResampleVolume, ResampleVolumed

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def volume(array: np.ndarray, spacing: tuple[float, float, float] = (1, 1, 1)) -> MetaTensor:
    affine = LPS @ np.diag([*spacing, 1.0])
    affine[:3, 3] = (100, 80, -50)
    return MetaTensor(torch.as_tensor(array, dtype=torch.float32), affine=torch.as_tensor(affine))


def world(image: MetaTensor, index: tuple[float, ...]) -> np.ndarray:
    return (image.affine.numpy() @ np.asarray([*index, 1.0]))[:3]


def naive_area(line: np.ndarray, new_size: int, ratio: float) -> np.ndarray:
    """Integral of the piecewise constant line under each output voxel, in 1,000 samples a voxel."""
    size, result = len(line), []
    for j in range(new_size):
        centre = (j + 0.5) * ratio - 0.5 + (size - new_size * ratio) / 2
        at = centre + (np.arange(1000) + 0.5) / 1000 * ratio - ratio / 2
        inside = at[(at > -0.5) & (at < size - 0.5)]
        result.append(line[np.floor(inside + 0.5).astype(int)].mean())
    return np.asarray(result)


@pytest.mark.parametrize(("size", "ratio"), [(10, 2.0), (17, 1.7), (30, 3.33), (5, 4.9)])
def test_downsampling_is_the_average_under_the_voxel(size: int, ratio: float) -> None:
    line = np.random.RandomState(0).rand(size).astype(np.float32)
    new_size = max(1, round(size / ratio))
    expected = naive_area(line, new_size, ratio)
    assert np.allclose(resample_axis(line, 0, new_size, ratio), expected, atol=5e-3)


def test_every_axis_is_resampled_alike() -> None:
    array = np.random.RandomState(0).rand(1, 9, 9, 9).astype(np.float32)
    first = resample_axis(array, 1, 4, 2.2)
    for axis in (2, 3):
        other = np.moveaxis(resample_axis(np.moveaxis(array, 1, axis), axis, 4, 2.2), axis, 1)
        assert np.allclose(first, other, atol=1e-6)


def test_right_spacing_returns_the_same_image() -> None:
    image = volume(np.random.rand(1, 6, 5, 4), (3, 3, 10))
    assert ResampleVolume((3, 3.0005, 10))(image) is image


def test_constant_volume_stays_constant() -> None:
    image = ResampleVolume((1.3, 0.4, 2.9))(volume(np.full((1, 12, 9, 7), -300.0)))
    assert torch.allclose(image, torch.tensor(-300.0), atol=1e-3)


def test_checkerboard_becomes_its_mean_instead_of_aliasing() -> None:
    board = np.indices((1, 16, 16, 16)).sum(0) % 2
    assert torch.allclose(ResampleVolume((2, 2, 2))(volume(board)), torch.tensor(0.5))


@pytest.mark.parametrize("spacing", [(2.5, 2.5, 2.5), (0.5, 0.7, 0.9)])
def test_a_ramp_keeps_its_place_in_the_world(spacing: tuple[float, float, float]) -> None:
    image = volume(np.indices((20, 20, 20))[0][None])
    result = ResampleVolume(spacing)(image)
    assert isinstance(result, MetaTensor)
    assert np.allclose(np.linalg.norm(result.affine[:3, :3], axis=0), spacing)
    middle = tuple(n // 2 for n in result.shape[1:])
    voxel = np.linalg.inv(image.affine.numpy()) @ np.asarray([*world(result, middle), 1.0])
    assert float(result[0][middle]) == pytest.approx(voxel[0], abs=0.1)


def test_mask_stays_a_mask_on_the_image_grid() -> None:
    mask = (np.random.RandomState(0).rand(1, 20, 20, 10) > 0.8).astype(np.uint8) * 5
    row = {"image": volume(np.random.rand(1, 20, 20, 10)), "lesion_mask": MetaTensor(torch.as_tensor(mask))}
    row["lesion_mask"].affine = row["image"].affine
    result = ResampleVolumed(["image", "lesion_mask"], (2, 2, 1), ["area", "nearest"])(row)
    assert result["lesion_mask"].dtype == torch.uint8
    assert set(np.unique(result["lesion_mask"])) <= {0, 5}
    assert result["lesion_mask"].shape == result["image"].shape
    assert np.allclose(result["lesion_mask"].affine, result["image"].affine)


@pytest.mark.parametrize(
    ("depth", "of_image", "of_mask"),
    [(101, 1.0, 1.0000001), (101, 1.0000001, 1.0), (1001, 1.99905, 1.9989)],
)
def test_mask_whose_affine_is_rounded_follows_its_image(depth: int, of_image: float, of_mask: float) -> None:
    image, mask = (volume(np.ones((1, 4, 4, depth)), (2, 2, spacing)) for spacing in (of_image, of_mask))
    affine = mask.affine.clone()
    result = ResampleVolumed(["image", "label"], (2, 2, 2), ["area", "nearest"])({"image": image, "label": mask})
    assert result["label"].shape == result["image"].shape == ResampleVolume((2, 2, 2))(image).shape
    assert ResampleVolume((2, 2, 2))(mask).shape != result["image"].shape
    assert torch.equal(mask.affine, affine)


def test_mask_of_another_place_keeps_its_own_affine() -> None:
    image, mask = volume(np.ones((1, 4, 4, 20)), (2, 2, 1)), volume(np.ones((1, 4, 4, 20)), (2, 2, 4))
    result = ResampleVolumed(["image", "label"], (2, 2, 2), ["area", "nearest"])({"image": image, "label": mask})
    assert (result["image"].shape[3], result["label"].shape[3]) == (10, 40)


def test_array_and_dictionary_agree() -> None:
    image = volume(np.random.rand(1, 9, 8, 7))
    assert torch.equal(
        ResampleVolumed("image", (2, 2, 2))({"image": image})["image"], ResampleVolume((2, 2, 2))(image)
    )
    cropped = CropOrPadBodyd("image", (4, 12, 7))({"image": image})["image"]
    assert torch.equal(cropped, CropOrPadBody((4, 12, 7))(image))


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8), (1, 1, 8, 8, 8)])
def test_other_dimensions_raise(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \(C, X, Y, Z\)"):
        ResampleVolume((1, 1, 2))(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"must be \(C, X, Y, Z\)"):
        CropOrPadBody((4, 4, 4))(torch.zeros(shape))


def test_bad_options_raise() -> None:
    with pytest.raises(ValueError, match="three positive lengths"):
        ResampleVolume((1, 0, 1))
    with pytest.raises(ValueError, match="mode must be"):
        ResampleVolume((1, 1, 1), "linear")
    with pytest.raises(ValueError, match="padding must be"):
        CropOrPadBody((4, 4, 4), padding="zeros")


def body_volume() -> MetaTensor:
    """Air with a body off the centre, a lesion in it, and a smaller table beside it."""
    array = np.full((1, 30, 30, 12), -1000.0)
    array[:, 18:28, 4:16, 2:10] = 30
    array[:, 21, 9, 5] = 200
    array[:, 2:4, :, :3] = 100
    return volume(array, (2, 2, 5))


def test_window_lies_round_the_body_and_keeps_the_affine() -> None:
    image = body_volume()
    result = CropOrPadBody((14, 16, 12))(image)
    assert result.shape == (1, 14, 16, 12)
    assert int((result == 30).sum()) == int((image == 30).sum())
    assert int((result == 100).sum()) == 0
    lesion, place = np.argwhere(image[0].numpy() == 200)[0], np.argwhere(np.asarray(result[0]) == 200)[0]
    assert np.allclose(world(image, tuple(lesion)), world(result, tuple(place)))


def test_padding_loses_nothing_and_is_air() -> None:
    image = body_volume()
    result = CropOrPadBody((40, 36, 20))(image)
    assert int((result == -1024).sum()) == 40 * 36 * 20 - image.numel()
    assert float(result.max()) == 200
    for value in (30, 100, 200):
        assert int((result == value).sum()) == int((image == value).sum())


def test_edge_padding_repeats_the_border() -> None:
    image = volume(np.random.rand(1, 4, 4, 3))
    result = CropOrPadBody((8, 8, 3), padding="edge")(image)
    assert torch.equal(torch.as_tensor(result)[:, 0, 0], image.as_tensor()[:, 0, 0])
    assert float(result.min()) == float(image.min())


def test_right_size_and_empty_volume() -> None:
    image = body_volume()
    assert CropOrPadBody((30, 30, 12))(image) is image
    empty = CropOrPadBody((10, 10, 10))(volume(np.full((1, 30, 30, 12), -1000.0)))
    assert empty.shape == (1, 10, 10, 10)


def test_mask_follows_the_window_of_its_image() -> None:
    image = body_volume()
    mask = MetaTensor((image == 200).to(torch.uint8), affine=image.affine)
    result = CropOrPadBodyd(["image", "lesion_mask"], (14, 16, 20))({"image": image, "lesion_mask": mask})
    assert torch.equal(torch.as_tensor(result["image"] == 200), torch.as_tensor(result["lesion_mask"] == 1))
    assert set(np.unique(result["lesion_mask"])) == {0, 1}


def test_mask_on_another_grid_raises() -> None:
    with pytest.raises(ValueError, match="must have the shape of 'image'"):
        CropOrPadBodyd(["image", "lesion_mask"], (4, 4, 4))(
            {"image": torch.zeros(1, 8, 8, 8), "lesion_mask": torch.zeros(1, 8, 8, 7)}
        )
