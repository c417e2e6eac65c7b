# SPDX-License-Identifier: Apache-2.0
"""Numbers and bits to channels and back."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from monai_unimedi.transforms import (
    MaskNumbersd,
    MaskToChannels,
    MaskToChannelsd,
    RandForegroundCropd,
    ScoresToMask,
    ScoresToMaskd,
)


def test_bits_become_channels_that_may_overlap_and_come_back() -> None:
    mask = torch.tensor([[[0, 1, 2, 3, 5]]])
    channels = MaskToChannels([0, 1, 2], is_exclusive=False)(mask)
    assert channels[:, 0].tolist() == [[0, 1, 0, 1, 1], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]
    assert ScoresToMask([0, 1, 2], is_exclusive=False)(channels).tolist() == mask.tolist()


def test_numbers_become_one_channel_each_and_come_back() -> None:
    mask = torch.tensor([[[0, 255, 7, 0]]])
    channels = MaskToChannels([0, 7, 255], is_exclusive=True)(mask)
    assert channels.sum(0).tolist() == [[1, 1, 1, 1]]
    back = ScoresToMask([0, 7, 255], is_exclusive=True)(channels)
    assert back.tolist() == mask.tolist()
    assert back.dtype == torch.uint8
    assert ScoresToMask([0, 300], is_exclusive=True)(channels[:2]).dtype == torch.int32


@pytest.mark.parametrize("is_exclusive", [True, False])
def test_masks_and_scores_are_converted_on_their_own_device(is_exclusive: bool) -> None:
    mask = MetaTensor(torch.zeros(1, 4, 3, dtype=torch.uint8, device="meta"))
    channels = MaskToChannels([0, 1], is_exclusive)(mask)
    assert (channels.device.type, channels.shape) == ("meta", (2, 4, 3))
    assert ScoresToMask([0, 1], is_exclusive)(channels).device.type == "meta"


def test_dictionary_form_agrees_and_keeps_the_affine() -> None:
    affine = torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0], dtype=torch.float64))
    mask = MetaTensor(torch.randint(0, 4, (1, 3, 3, 3)).float(), affine=affine)
    row = MaskToChannelsd("label", [0, 1], False)(MaskNumbersd("label")({"label": mask}))
    assert torch.equal(row["label"].as_tensor(), MaskToChannels([0, 1], False)(mask.as_tensor().int()))
    found = ScoresToMaskd("label", [0, 1], False)(row)["label"]
    assert torch.equal(found.affine, affine)
    assert torch.equal(found.as_tensor().float(), mask.as_tensor())


def test_wrong_channels_raise() -> None:
    with pytest.raises(ValueError, match=r"must be \(1, X, Y\)"):
        MaskToChannels([0], False)(torch.zeros(2, 3, 3))
    with pytest.raises(ValueError, match="must have 2 channels"):
        ScoresToMask([0, 1], False)(torch.zeros(3, 3, 3))


def test_window_holds_the_lesion_replays_under_its_seed_and_pads_small_images() -> None:
    image, label = torch.rand(1, 40, 30, 20), torch.zeros(1, 40, 30, 20)
    label[0, 33, 4, 17] = 2
    crop = RandForegroundCropd(["image", "label"], (16, 16, 24), foreground=1.0)
    crop.set_random_state(3)
    first = [crop({"image": image, "label": label}) for _ in range(5)]
    assert all(row["image"].shape == row["label"].shape == (1, 16, 16, 24) for row in first)
    assert all(row["label"].max() == 2 for row in first)
    assert len({float(row["image"].sum()) for row in first}) > 1
    assert all((row["image"][..., 20:] == 0).all() for row in first)
    crop.set_random_state(3)
    again = [crop({"image": image, "label": label}) for _ in range(5)]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(first, again))
    whole = RandForegroundCropd(["image"], (40, 30, 20))({"image": image, "label": label})
    assert torch.equal(whole["image"], image)
