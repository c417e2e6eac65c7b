# SPDX-License-Identifier: Apache-2.0
"""The mean attention of X-rays: that of the validation's images by its weights, however they come in batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ignite.engine import Engine

from monai_unimedi.handlers import XrayMeanAttention
from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder

XRAYS = torch.rand(7, 1, 48, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def tower() -> UniMediImageEncoder:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "mlp_dim": 64, "num_layers": 2, "num_heads": 4, "embed_dim": 16}
    return UniMediImageEncoder(patch_size=(12, 12), grid_size=(4, 4), debiased=True, **sizes).eval()


def measured(tower: UniMediImageEncoder, batches: list[Any], **options: Any) -> torch.Tensor:
    """The tower's mean after a validation over these batches."""
    validator = Engine(lambda engine, batch: None)
    XrayMeanAttention(tower, **options).attach(validator)
    validator.run(batches)
    return tower.xray_mean.clone()


def mean_of(tower: UniMediImageEncoder, images: torch.Tensor) -> torch.Tensor:
    """(4, 4), 1 = even, of one image after the other."""
    with torch.no_grad():
        return torch.stack([tower.xray_attention(image[None])[0] * 16 for image in images]).mean(0)


def test_the_mean_is_over_all_xrays_of_the_validation(tower: UniMediImageEncoder) -> None:
    expected = mean_of(tower, XRAYS).repeat_interleave(4, 0).repeat_interleave(4, 1)
    volume = torch.rand(2, 1, 48, 48, 8)
    batches = [{"2d": {"image": XRAYS[:4]}, "3d": {"image": volume}}, {"3d": {"image": volume}}]
    found = measured(tower, [*batches, {"2d": {"image": XRAYS[4:]}}])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(measured(tower, [{"2d": {"image": list(XRAYS)}}]), expected)


def test_a_second_validation_forgets_the_first(tower: UniMediImageEncoder) -> None:
    measured(tower, [{"2d": {"image": XRAYS[:3]}}])
    found = measured(tower, [{"2d": {"image": XRAYS[3:]}}])
    torch.testing.assert_close(found[::4, ::4], mean_of(tower, XRAYS[3:]))


def test_the_first_images_are_enough(tower: UniMediImageEncoder) -> None:
    found = measured(tower, [{"2d": {"image": part}} for part in XRAYS.split(3)], max_images=5)
    torch.testing.assert_close(found[::4, ::4], mean_of(tower, XRAYS[:5]))


def test_without_xrays_the_mean_stays(tower: UniMediImageEncoder) -> None:
    tower.xray_mean.fill_(0.5)
    assert measured(tower, [{"3d": {"image": torch.rand(2, 1, 48, 48, 8)}}]).eq(0.5).all()
