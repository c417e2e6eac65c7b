# SPDX-License-Identifier: Apache-2.0
"""What a shard stores comes back within half a step, and a chain that shards cannot stand for is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import Identityd

from monai_unimedi.data.shard_steps import conversion_steps, dequantise, quantise, remaining_steps

CT = {"source": "3d", "spacing": [4.0, 4.0, 8.0], "ct_size": [16, 16, 8], "ct_padding": "constant"}


@pytest.mark.parametrize(
    ("recipe", "low", "high", "step"),
    [
        ({"dtype": "uint8"}, 0.0, 1.0, 1 / 255),
        ({"dtype": "int16"}, -3000.0, 3000.0, 1.0),
        ({"dtype": "uint8", "hu_range": [-1150.0, 350.0]}, -1150.0, 350.0, 1500 / 255),
    ],
)
def test_values_come_back_within_half_a_step(recipe: dict, low: float, high: float, step: float) -> None:
    image = torch.empty(1, 5, 6, 7).uniform_(low, high, generator=torch.Generator().manual_seed(0))
    stored = quantise(image, recipe)
    assert stored.dtype == np.dtype(recipe["dtype"])
    assert stored.shape == (5, 6, 7)
    assert float((dequantise(stored, recipe) - image[0]).abs().max()) <= step / 2 * (1 + 1e-4)


def test_ends_of_a_window_are_exact_and_several_channels_refused() -> None:
    recipe = {"dtype": "uint8", "hu_range": [-1150.0, 350.0]}
    assert dequantise(np.array([[0, 255]], np.uint8), recipe).tolist() == [[-1150.0, 350.0]]
    assert quantise(torch.tensor([[[-5000.0, 5000.0]]]), recipe).tolist() == [[0, 255]]
    with pytest.raises(ValueError, match="one channel, got 3"):
        quantise(torch.zeros(3, 2, 2, 2), recipe)


def test_only_what_follows_geometry_remains_and_foreign_steps_are_refused() -> None:
    steps, last = conversion_steps(CT), Identityd("image")
    assert remaining_steps([*steps, last], CT)[-1] is last
    assert len(remaining_steps([*steps, last], CT)) == 2
    with pytest.raises(ValueError, match="no other transform may stand before it, got Identityd"):
        remaining_steps([steps[0], last, *steps[1:]], CT)
