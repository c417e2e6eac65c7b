# SPDX-License-Identifier: Apache-2.0
"""Patches by one matrix product: a convolution's tokens and gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from monai_unimedi.networks.blocks.image_tokenizer import embed_patches


@pytest.mark.parametrize(
    ("size", "patch", "channels"), [((12, 8), (3, 4), 1), ((6, 6), (2, 2), 3), ((6, 8, 4), (3, 2, 4), 2)]
)
def test_patches_are_those_of_a_strided_convolution(
    size: tuple[int, ...], patch: tuple[int, ...], channels: int
) -> None:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)

    values = random(2, channels, *size), random(5, channels, *patch), random(5)
    convolution = F.conv2d if len(size) == 2 else F.conv3d
    expected = convolution(*values, stride=patch).flatten(2).transpose(1, 2)
    tokens = embed_patches(*values)
    torch.testing.assert_close(tokens, expected)
    to_tokens = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(tokens, values, to_tokens), torch.autograd.grad(expected, values, to_tokens)
    )


def test_other_channels_are_no_further_patches() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        embed_patches(torch.rand(1, 3, 4, 4), torch.rand(5, 1, 2, 2), None)


def test_no_image_gives_no_tokens() -> None:
    assert embed_patches(torch.rand(0, 1, 4, 4), torch.rand(5, 1, 2, 2), None).shape == (0, 4, 5)
