# SPDX-License-Identifier: Apache-2.0
"""The one random image transform: small, replayable, in place for masks, never a flip."""

from __future__ import annotations

import pytest
import torch

from monai_unimedi.transforms.augment import RandChestAugment, RandChestAugmentd

OFF = {"scale": 0.0, "shift": 0.0, "gain": 0.0, "offset": 0.0, "gamma": 0.0, "noise": 0.0}
SHAPES = [(1, 24, 20), (1, 24, 20, 8)]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_change_allowed_is_identity(shape: tuple[int, ...]) -> None:
    image = torch.rand(shape)
    assert torch.equal(RandChestAugment(**OFF)(image), image)
    assert torch.equal(RandChestAugment(prob=0.0)(image), image)


@pytest.mark.parametrize("shape", SHAPES)
def test_replays_under_a_seed_and_differs_between_seeds(shape: tuple[int, ...]) -> None:
    image, augment = torch.rand(shape), RandChestAugment(noise_prob=1.0)
    first, second, third = (augment.set_random_state(seed=s) and augment(image) for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


@pytest.mark.parametrize("shape", SHAPES)
def test_stays_in_the_unit_range_and_leaves_its_input_alone(shape: tuple[int, ...]) -> None:
    image = torch.rand(shape)
    before = image.clone()
    result = RandChestAugment(gain=0.4, offset=0.4, noise=0.4, noise_prob=1.0)(image)
    assert result.shape == image.shape
    assert result.dtype == torch.float32
    assert 0 <= float(result.min()) <= float(result.max()) <= 1
    assert torch.equal(image, before)


def test_global_generators_are_not_touched() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    RandChestAugment(noise_prob=1.0)(torch.rand(1, 4, 4, generator=torch.Generator()))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_left_stays_left(shape: tuple[int, ...]) -> None:
    image = torch.zeros(shape)
    image[:, :8] = 1
    augment = RandChestAugment()
    for seed in range(30):
        augment.set_random_state(seed=seed)
        result = augment(image)
        assert float(result[:, :10].mean()) > float(result[:, 14:].mean()) + 0.3


def test_shift_is_a_share_of_the_size() -> None:
    image = torch.zeros(1, 50, 50)
    image[0, 25, 25] = 1
    augment = RandChestAugment(**{**OFF, "shift": 0.1})
    moved = []
    for seed in range(40):
        augment.set_random_state(seed=seed)
        result = augment(image)[0]
        moved.append((torch.arange(50.0) * result.sum(1)).sum() / result.sum() - 25)
    assert max(abs(float(m)) for m in moved) <= 5.01
    assert max(float(m) for m in moved) > 3
    assert min(float(m) for m in moved) < -3


def test_slices_stay_where_they_are_by_default() -> None:
    image = torch.zeros(1, 12, 12, 8)
    image[..., 3] = 1
    result = RandChestAugment(**{**OFF, "scale": 0.1, "shift": 0.1})(image)
    assert torch.equal(result, image)
    moved = RandChestAugment(**OFF, shift_z=0.3)(image)
    assert not torch.equal(moved, image)


def test_mask_moves_with_its_image() -> None:
    image = torch.zeros(1, 40, 40)
    image[:, 10:22, 12:26] = 1
    row = {"image": image, "lesion_mask": image.to(torch.uint8)}
    augment = RandChestAugmentd(
        ["image", "lesion_mask"], ["linear", "nearest"], **{**OFF, "scale": 0.2, "shift": 0.2}
    )
    result = augment(row)
    assert result["lesion_mask"].dtype == torch.uint8
    assert float((result["image"].round() == result["lesion_mask"]).float().mean()) > 0.97
    assert not torch.equal(result["lesion_mask"], row["lesion_mask"])


def test_array_and_dictionary_agree() -> None:
    image = torch.rand(1, 16, 16)
    array, dictionary = RandChestAugment(), RandChestAugmentd("image")
    array.set_random_state(seed=3)
    dictionary.set_random_state(seed=3)
    for _ in range(5):
        assert torch.equal(dictionary({"image": image})["image"], array(image))


def test_documented_errors() -> None:
    with pytest.raises(ValueError, match=r"shift must lie in \[0, 0.5\)"):
        RandChestAugment(shift=0.5)
    with pytest.raises(ValueError, match=r"image must be \(C, X, Y\)"):
        RandChestAugment()(torch.rand(4, 4))
