# SPDX-License-Identifier: Apache-2.0
"""A U-Net of MONAI's blocks whose bottom is the transformer's token grid."""

from typing import List, Sequence

import torch
from monai.networks.blocks import ResidualUnit, UnetOutBlock
from monai.networks.blocks.convolutions import Convolution
from torch import nn

from monai_unimedi.networks.blocks.upsampling import upsampling_factors

__all__ = ["HybridDecoder"]


class HybridDecoder(nn.Module):
    """MONAI's ``UNet`` over the image, joined to the tokens of the last layer where its grid is theirs.

    UNETR's and SETR's decoders see the image only at its own resolution, in a few wide and dear convolutions; the
    stages between know what the tokens say of a whole patch. Here strided convolutions bring the image down to the
    token grid, stage by stage, and their features are the skips on the way up, as in a U-Net; at the image's own
    resolution there are only ``out_channels`` channels.
    Convolutional features beside a transformer's: TransUNet (Chen et al., 2021), where they precede it.

    Args:
        in_channels, out_channels, hidden_size, patch_size, norm_name: as in :class:`UnetrDecoder`.
        feature_size: channels after the first stage down, doubled with every further one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden_size: int,
        patch_size: Sequence[int],
        feature_size: int = 16,
        norm_name: str = "instance",
    ) -> None:
        super().__init__()
        self.num_states = 1  # token grids that ``forward`` reads
        up_factors, dims = upsampling_factors(patch_size), len(patch_size)
        widths = [feature_size * 2**level for level in range(len(up_factors))]  # fine to coarse, below the image's
        self.down = nn.ModuleList()
        channels = in_channels
        for factors, width in zip(up_factors[::-1], widths):
            shrink = _resizing(dims, channels, width, factors, norm_name)
            self.down.append(nn.Sequential(shrink, ResidualUnit(dims, width, width, subunits=1, norm=norm_name)))
            channels = width
        self.join = ResidualUnit(dims, channels + hidden_size, 2 * channels, norm=norm_name)
        channels *= 2
        self.up = nn.ModuleList()
        self.refine = nn.ModuleList()
        for factors, width in zip(up_factors, widths[-2::-1]):
            self.up.append(_resizing(dims, channels, width, factors, norm_name, is_transposed=True))
            self.refine.append(ResidualUnit(dims, 2 * width, width, subunits=1, norm=norm_name))
            channels = width
        self.last_up = _resizing(dims, channels, out_channels, up_factors[-1], norm_name, is_transposed=True)
        self.last = ResidualUnit(dims, out_channels, out_channels, subunits=1, norm=norm_name, last_conv_only=True)
        self.out = UnetOutBlock(dims, out_channels, out_channels)

    def forward(self, image: torch.Tensor, states: List[torch.Tensor]) -> torch.Tensor:
        """
        Args:
            image: (B, C, *size), float.
            states: token grids (B, hidden, *grid); the first, the last layer's, is read.

        Returns:
            (B, out_channels, *size), float, logits.
        """
        x = image
        beside: List[torch.Tensor] = []  # coarse to fine
        for down in self.down:
            x = down(x)
            beside.insert(0, x)
        x = self.join(torch.cat([x, states[0]], 1))
        for index, (up, refine) in enumerate(zip(self.up, self.refine)):
            x = refine(torch.cat([up(x), beside[index + 1]], 1))
        return self.out(self.last(self.last_up(x)))


def _resizing(
    dims: int, in_channels: int, out_channels: int, factors: Sequence[int], norm_name: str, is_transposed: bool = False
) -> Convolution:
    """A strided convolution whose windows lie centred on the blocks of pixels that they stand for, as patches do, and
    leave none out: 3 wide for factors 1 and 2 (half a pixel off for 2), else as wide as the factor."""
    kernel = [max(3, factor) for factor in factors]
    padding = [(width - factor + 1) // 2 for width, factor in zip(kernel, factors)]
    missing = [factor - width + 2 * pad for factor, width, pad in zip(factors, kernel, padding)]
    return Convolution(
        dims, in_channels, out_channels, factors, kernel, norm=norm_name, is_transposed=is_transposed,
        padding=padding, output_padding=missing if is_transposed else None,
    )  # fmt: skip
