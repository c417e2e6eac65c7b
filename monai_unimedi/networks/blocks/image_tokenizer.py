# SPDX-License-Identifier: Apache-2.0
"""T_2D and T_3D: patches of X-rays, axial slices and volumes become tokens of one width (method, section 1).

Positions are factorised: one in-plane table shared by all three kinds and resampled to any grid, a depth embedding at
the token's continuous height for slice and volume tokens, and a kind embedding (image, slice, volume).
"""

from typing import List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["ImageTokenizer", "depth_at", "embed_patches", "resample_position"]

IMAGE, SLICE, VOLUME = 0, 1, 2


def resample_position(position: torch.Tensor, grid: List[int]) -> torch.Tensor:
    """Resample an in-plane table (1, C, gx, gy) to ``grid``; the same grid returns the table itself."""
    if position.shape[2] == grid[0] and position.shape[3] == grid[1]:
        return position
    return F.interpolate(position, size=grid, mode="bicubic", align_corners=False, antialias=True)


def depth_at(table: torch.Tensor, height: torch.Tensor) -> torch.Tensor:
    """Depth embedding at continuous relative heights, linear between the rows of the table.

    Args:
        table: (D, C); row i stands for the relative height (i + 0.5) / D.
        height: (...), float in [0, 1], 0 = inferior border, 1 = superior border.

    Returns:
        (..., C).
    """
    at = (height * table.shape[0] - 0.5).clamp(0.0, float(table.shape[0] - 1))
    low = at.floor().long()
    high = (low + 1).clamp(max=table.shape[0] - 1)
    weight = (at - low.to(at.dtype)).unsqueeze(-1).to(table.dtype)
    return table[low] * (1.0 - weight) + table[high] * weight


def embed_patches(image: torch.Tensor, weight: torch.Tensor, bias: Optional[torch.Tensor]) -> torch.Tensor:
    """A convolution whose stride is its kernel, as one matrix product: tokens (B, N, C) in place of a grid.

    The same sums; on a CPU the gradient of the weights takes a fifth to a tenth of the convolution's time at small
    patches and widths (``docs/decisions.md``).

    Args:
        image: (B, channels, X, Y[, Z]); the patch divides it.
        weight: (C, channels, px, py[, pz]), as the convolution's.
        bias: (C).

    Returns:
        (B, N, C), N over x, then y, then z.

    Raises:
        RuntimeError: When the patch does not divide the image, or the weights have other channels.
    """
    cut = [image.shape[0], image.shape[1]]
    place: List[int] = []  # axes that say which patch
    inside: List[int] = []  # axes within it
    for axis in range(2, image.dim()):
        patch = weight.shape[axis]
        cut += [image.shape[axis] // patch, patch]
        place.append(len(cut) - 2)
        inside.append(len(cut) - 1)
    patches = image.reshape(cut).permute([0] + place + [1] + inside)  # noqa: RUF005 - TorchScript
    return F.linear(patches.flatten(1 + len(place)).flatten(1, len(place)), weight.flatten(1), bias)


class ImageTokenizer(nn.Module):
    """Patch, position, depth and kind embeddings for X-rays, axial slices and volumes.

    Every method returns the content and the position apart, so that a mask token can replace the one and keep the
    other. Tokens run over x, then y, then (volumes) z; slice tokens over the slices first.

    Args:
        in_channels: channels of the image.
        patch_size: in-plane patch (x, y) in pixels, shared by T_2D and T_3D.
        patch_depth: patch of T_3D along z, in slices. Open in the paper; 4 gives 8x8x8 tokens of 128x128x32.
        grid_size: in-plane grid (x, y) of the stored position table.
        num_depths: rows of the depth table.
        hidden_size: width C of the tokens.
    """

    def __init__(
        self,
        in_channels: int,
        patch_size: Tuple[int, int],
        patch_depth: int,
        grid_size: Tuple[int, int],
        num_depths: int,
        hidden_size: int,
    ) -> None:
        super().__init__()
        px, py = int(patch_size[0]), int(patch_size[1])
        self.patch_x, self.patch_y, self.patch_z = px, py, int(patch_depth)
        self.image_patch = nn.Conv2d(in_channels, hidden_size, (px, py), (px, py))
        self.volume_patch = nn.Conv3d(in_channels, hidden_size, (px, py, self.patch_z), (px, py, self.patch_z))
        self.position = nn.Parameter(torch.zeros(1, hidden_size, int(grid_size[0]), int(grid_size[1])))
        self.depth = nn.Parameter(torch.zeros(int(num_depths), hidden_size))
        self.kind = nn.Parameter(torch.zeros(3, hidden_size))

    def require_divisible(self, image: torch.Tensor) -> None:
        """Raise when the patches do not divide the image (B, C, X, Y[, Z])."""
        if image.shape[2] % self.patch_x != 0 or image.shape[3] % self.patch_y != 0:
            raise ValueError(
                f"image size must be a multiple of the patch {self.patch_x}x{self.patch_y}, got "
                f"{image.shape[2]}x{image.shape[3]}: resize or pad the images, or set patch_size."
            )

    def grid(self, image: torch.Tensor) -> List[int]:
        """Patches along x and y of an image (B, C, X, Y[, Z])."""
        return [image.shape[2] // self.patch_x, image.shape[3] // self.patch_y]

    def in_plane(self, grid: List[int]) -> torch.Tensor:
        """In-plane positions (1, gx * gy, C) for a grid."""
        return resample_position(self.position, grid).flatten(2).transpose(1, 2)

    def images(self, image: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """X-rays (B, C, X, Y), float in [0, 1], to content (B, N, C) and position (1, N, C)."""
        self.require_divisible(image)
        content = embed_patches(image, self.image_patch.weight, self.image_patch.bias)
        position = self.in_plane(self.grid(image)) + self.kind[0]
        return content, position

    def slices(self, volume: torch.Tensor, indices: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """Axial slices ``indices`` (B, k) of volumes (B, C, X, Y, Z) to content and position (B, k * N, C)."""
        self.require_divisible(volume)
        b, c, nx, ny, nz = volume.shape
        k = indices.shape[1]
        stack = volume.permute(0, 4, 1, 2, 3)  # (B, Z, C, X, Y)
        chosen = stack.gather(1, indices[:, :, None, None, None].expand(-1, -1, c, nx, ny))
        patches = embed_patches(chosen.flatten(0, 1), self.image_patch.weight, self.image_patch.bias)  # (B * k, N, C)
        grid = self.grid(volume)
        content = patches.reshape(b, -1, patches.shape[2])
        height = (indices.to(self.depth.dtype) + 0.5) / float(nz)
        depth = depth_at(self.depth, height)[:, :, None]  # (B, k, 1, C)
        position = self.in_plane(grid)[:, None] + depth + self.kind[1]
        return content, position.reshape(b, k * grid[0] * grid[1], -1)

    def volumes(self, volume: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """Volumes (B, C, X, Y, Z), float in [0, 1], to content (B, N, C) and position (1, N, C)."""
        self.require_divisible(volume)
        if volume.shape[4] % self.patch_z != 0:
            raise ValueError(
                f"volume depth must be a multiple of patch_depth {self.patch_z}, got {volume.shape[4]} slices: "
                "crop or pad the volumes, or set patch_depth."
            )
        content = embed_patches(volume, self.volume_patch.weight, self.volume_patch.bias)
        gz = volume.shape[4] // self.patch_z
        height = (torch.arange(gz, device=volume.device, dtype=self.depth.dtype) + 0.5) / float(gz)
        plane = self.in_plane(self.grid(volume))[:, :, None]  # (1, gx * gy, 1, C)
        position = plane + depth_at(self.depth, height) + self.kind[2]
        return content, position.flatten(1, 2)
