# SPDX-License-Identifier: Apache-2.0
"""The usual attention of X-rays: over the validation's images by its weights, however they come in batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ignite.engine import Engine

from monai_unimedi.handlers import XrayUsualAttention
from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder

XRAYS = torch.rand(7, 1, 48, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def tower() -> UniMediImageEncoder:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "mlp_dim": 64, "num_layers": 2, "num_heads": 4, "embed_dim": 16}
    return UniMediImageEncoder(patch_size=(12, 12), grid_size=(4, 4), debiased=True, **sizes).eval()


def measured(tower: UniMediImageEncoder, batches: list[Any], **options: Any) -> torch.Tensor:
    """The tower's usual attention after a validation over these batches."""
    validator = Engine(lambda engine, batch: None)
    XrayUsualAttention(tower, **options).attach(validator)
    validator.run(batches)
    return tower.xray_usual.clone()


def usual_of(tower: UniMediImageEncoder, images: torch.Tensor) -> torch.Tensor:
    """(4, 4), 1 = even: between the two of the sorted values of a place where a quarter of them lies below."""
    with torch.no_grad():
        values = torch.stack([tower.xray_attention(image[None])[0] * 16 for image in images]).sort(0).values
    below = (len(images) - 1) // 4
    return values[below].lerp(values[below + 1], (len(images) - 1) / 4 - below)


def test_the_quartile_is_over_all_xrays_of_the_validation(tower: UniMediImageEncoder) -> None:
    expected = usual_of(tower, XRAYS).repeat_interleave(4, 0).repeat_interleave(4, 1)
    volume = torch.rand(2, 1, 48, 48, 8)
    batches = [{"2d": {"image": XRAYS[:4]}, "3d": {"image": volume}}, {"3d": {"image": volume}}]
    found = measured(tower, [*batches, {"2d": {"image": XRAYS[4:]}}])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(measured(tower, [{"2d": {"image": list(XRAYS)}}]), expected)


def test_a_second_validation_forgets_the_first(tower: UniMediImageEncoder) -> None:
    measured(tower, [{"2d": {"image": XRAYS[:3]}}])
    found = measured(tower, [{"2d": {"image": XRAYS[3:]}}])
    torch.testing.assert_close(found[::4, ::4], usual_of(tower, XRAYS[3:]))


def test_the_first_images_are_enough(tower: UniMediImageEncoder) -> None:
    found = measured(tower, [{"2d": {"image": part}} for part in XRAYS.split(3)], max_images=5)
    torch.testing.assert_close(found[::4, ::4], usual_of(tower, XRAYS[:5]))


def test_without_xrays_the_usual_stays(tower: UniMediImageEncoder) -> None:
    tower.xray_usual.fill_(0.5)
    assert measured(tower, [{"3d": {"image": torch.rand(2, 1, 48, 48, 8)}}]).eq(0.5).all()
