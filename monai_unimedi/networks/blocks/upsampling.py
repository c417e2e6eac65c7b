# SPDX-License-Identifier: Apache-2.0
"""From a transformer's token grid back to pixels: SETR's progressive upsampling (2D) and UNETR's decoder (3D).

Both are U-shaped. A patch of (12, 12, 8) voxels is undone in stages of small factors, here (3, 3, 2), (2, 2, 2) and
(2, 2, 2); at every stage but the last the decoder sees tokens of an earlier layer, at the last the image itself.
"""

from typing import List, Sequence, Tuple

import torch
import torch.nn.functional as F
from monai.networks.blocks import UnetOutBlock, UnetrBasicBlock, UnetrPrUpBlock, UnetrUpBlock
from monai.networks.blocks.convolutions import Convolution
from torch import nn

__all__ = ["ProgressiveUpsampling", "UnetrDecoder", "upsampling_factors"]


def upsampling_factors(patch_size: Sequence[int]) -> List[Tuple[int, ...]]:
    """Factors of the stages from tokens to voxels, coarse to fine; along each axis they multiply to the patch.

    Each axis is cut into its prime factors, larger ones first. An axis with fewer factors than another is done early
    and keeps 1 from then on: of 16 x 16 x 4 the depth is fine after two of four stages, the others are (2, 2, 1).

    Args:
        patch_size: voxels of a patch along each axis.

    Returns:
        One tuple a stage, as long as ``patch_size``; at least one stage.

    Raises:
        ValueError: When a side is smaller than 1, or the whole patch is one voxel.
    """
    if min(patch_size) < 1 or max(patch_size) < 2:
        raise ValueError(f"patch_size must be positive and more than one voxel, got {tuple(patch_size)}.")
    factors = [_primes(int(side)) for side in patch_size]
    count = max(len(found) for found in factors)
    padded = [found + [1] * (count - len(found)) for found in factors]
    return [tuple(stage) for stage in zip(*padded)]


def _primes(number: int) -> List[int]:
    """Prime factors, largest first."""
    found: List[int] = []
    divisor = 2
    while number > 1:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return found[::-1]


class UnetrDecoder(nn.Module):
    """UNETR's decoder on any patch (Hatamizadeh et al., WACV 2022), put together from MONAI's blocks.

    MONAI's ``UNETR`` itself knows patches of 16 voxels a side only.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the result.
        hidden_size: width of the tokens.
        patch_size: voxels of a patch (x, y, z).
        feature_size: channels at the image's resolution, doubled with every stage towards the tokens.
        norm_name: normalisation of MONAI's blocks.
        res_block: residual blocks, as MONAI's UNETR has them.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden_size: int,
        patch_size: Sequence[int],
        feature_size: int = 16,
        norm_name: str = "instance",
        res_block: bool = True,
    ) -> None:
        super().__init__()
        stages = upsampling_factors(patch_size)
        self.num_states = len(stages)  # token grids that ``forward`` reads
        dims = len(patch_size)
        widths = [feature_size * 2**level for level in range(len(stages))]  # at the level after each stage, fine first
        self.image_block = UnetrBasicBlock(dims, in_channels, widths[0], 3, 1, norm_name, res_block)
        self.skips = nn.ModuleList()
        self.ups = nn.ModuleList()
        channels = hidden_size
        for index, factors in enumerate(stages):
            width = widths[len(stages) - 1 - index]
            if index < len(stages) - 1:
                self.skips.append(_lifting(dims, hidden_size, width, stages[: index + 1], norm_name))
            self.ups.append(UnetrUpBlock(dims, channels, width, 3, factors, norm_name, res_block))
            channels = width
        self.out = UnetOutBlock(dims, channels, out_channels)

    def forward(self, image: torch.Tensor, states: List[torch.Tensor]) -> torch.Tensor:
        """
        Args:
            image: (B, C, *size), float.
            states: token grids (B, hidden, *grid): of the skip layers from deep to shallow, after the last layer's.

        Returns:
            (B, out_channels, *size), float, logits.
        """
        x = states[0]
        beside: List[torch.Tensor] = []
        for index, skip in enumerate(self.skips):
            beside.append(skip(states[index + 1]))
        beside.append(self.image_block(image))
        for index, up in enumerate(self.ups):
            x = up(x, beside[index])
        return self.out(x)


def _lifting(
    dims: int, hidden_size: int, width: int, factors: Sequence[Tuple[int, ...]], norm_name: str
) -> nn.Sequential:
    """Tokens to a finer grid: one transposed convolution a stage."""
    widths = [hidden_size] + [width] * len(factors)
    return nn.Sequential(
        *(
            UnetrPrUpBlock(dims, before, after, 0, 3, 1, factor, norm_name)
            for before, after, factor in zip(widths, widths[1:], factors)
        )
    )


class ProgressiveUpsampling(nn.Module):
    """SETR-PUP's decoder (Zheng et al., CVPR 2021) with skip features: convolve, enlarge, stage by stage.

    SETR enlarges bilinearly and sees the last layer's tokens alone; here each stage but the last adds the tokens of an
    earlier layer, and the last one features of the image: a patch is several times a small finding's size.

    Args:
        in_channels, out_channels, hidden_size, patch_size, feature_size, norm_name: as in :class:`UnetrDecoder`.
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
        stages = upsampling_factors(patch_size)
        self.num_states = len(stages)  # token grids that ``forward`` reads
        dims = len(patch_size)
        self.factors: List[List[int]] = [list(stage) for stage in stages]
        self.mode = "trilinear" if dims == 3 else "bilinear"
        widths = [feature_size * 2**level for level in range(len(stages))][::-1]  # coarse to fine
        self.image_block = _convolution(dims, in_channels, widths[-1], norm_name)
        self.reduce = nn.ModuleList()  # before a stage enlarges
        self.skips = nn.ModuleList()
        self.refine = nn.ModuleList()  # after it
        channels = hidden_size
        for index, width in enumerate(widths):
            self.reduce.append(_convolution(dims, channels, width, norm_name))
            if index < len(widths) - 1:
                self.skips.append(Convolution(dims, hidden_size, width, kernel_size=1, conv_only=True))
            self.refine.append(_convolution(dims, 2 * width, width, norm_name))
            channels = width
        self.out = UnetOutBlock(dims, channels, out_channels)

    def forward(self, image: torch.Tensor, states: List[torch.Tensor]) -> torch.Tensor:
        """Arguments and result as :meth:`UnetrDecoder.forward`."""
        beside: List[torch.Tensor] = []
        for index, skip in enumerate(self.skips):
            beside.append(skip(states[index + 1]))
        x = states[0]
        last = len(self.factors) - 1
        for index, (reduce, refine) in enumerate(zip(self.reduce, self.refine)):
            x = reduce(x)
            size = [side * factor for side, factor in zip(x.shape[2:], self.factors[index])]
            x = F.interpolate(x, size=size, mode=self.mode, align_corners=False)
            if index == last:
                x = torch.cat([x, self.image_block(image)], 1)
            else:
                skip_features = F.interpolate(beside[index], size=size, mode=self.mode, align_corners=False)
                x = torch.cat([x, skip_features], 1)
            x = refine(x)
        return self.out(x)


def _convolution(dims: int, in_channels: int, out_channels: int, norm_name: str) -> Convolution:
    return Convolution(dims, in_channels, out_channels, kernel_size=3, act="GELU", norm=norm_name, adn_ordering="NA")
