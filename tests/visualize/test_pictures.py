# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from monai_unimedi.visualize.pictures import MAX_PIXELS, Pictures


def embedded(style: str, layer: str) -> Image.Image:
    data = re.search(rf"\.{layer}\{{background-image:url\(data:image/\w+;base64,([^)]*)\)", style)
    assert data
    return Image.open(io.BytesIO(base64.b64decode(data.group(1))))


def picture_of(image: torch.Tensor, **more: torch.Tensor) -> tuple[Pictures, str]:
    source = "2d" if image.ndim == 2 else "3d"
    pictures = Pictures(
        {
            source: {"id": ["a"], "image": image[None, None]}
            | {key: value[None] for key, value in more.items()}
        },
        ["nodule"],
    )
    return pictures, pictures(source, 0)["name"]


def test_patients_right_is_on_the_viewers_left() -> None:
    image = torch.zeros(6, 4)
    image[0, 3] = 1  # X = 0: the patient's right; Y = 3: the lowest row
    pictures, _ = picture_of(image)
    shown = np.asarray(embedded(pictures.style(), "image"))
    assert shown.shape == (4, 6)
    assert shown[3, 0] == 255
    assert shown.sum() == 255


def test_slices_follow_one_another_down_the_strip() -> None:
    image = torch.zeros(6, 4, 3)
    image[1, 2, 2] = 1
    pictures, _ = picture_of(image)
    shown = np.asarray(embedded(pictures.style(), "image"))
    assert shown.shape == (12, 6)
    assert shown[2 * 4 + 2, 1] == 255


def test_outline_lies_on_the_lesion_of_its_slice() -> None:
    lesion = torch.zeros(6, 4, 3, dtype=torch.uint8)
    lesion[1:3, 1:3, 2] = 1
    pictures, name = picture_of(torch.zeros(6, 4, 3), lesion_mask=lesion)
    (outline,) = pictures.outlines()
    assert outline["name"] == f"o{name}-2"
    assert outline["slice"] == 2
    assert [bit for bit, _ in outline["paths"]] == [0]


def test_large_volume_is_made_smaller() -> None:
    pictures, _ = picture_of(torch.rand(300, 300, 20))
    shown = embedded(pictures.style(), "image")
    assert shown.width <= 256
    assert shown.width * shown.height <= MAX_PIXELS


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -3.0])
def test_odd_values_are_shown_as_black_or_white(value: float) -> None:
    pictures, _ = picture_of(torch.full((4, 4), value))
    assert np.asarray(embedded(pictures.style(), "image")).max() in (0, 255)


def test_attention_is_transparent_where_it_is_not_above_the_mean() -> None:
    attention = torch.full((3, 2), 0.1)
    attention[0, 1] = 0.5
    pictures, _ = picture_of(torch.zeros(48, 32), attention=attention)
    shown = np.asarray(embedded(pictures.style(), "attention").convert("RGBA"))
    assert shown.shape == (32, 48, 4)
    assert shown[0, -1, 3] == 0
    assert shown[-1, 0, 3] == 255
