# SPDX-License-Identifier: Apache-2.0
"""One cheap random transform for X-rays and CTs: shift, scale, intensity. No flips: reports name sides.

All numbers are drawn in ``randomize`` from ``self.R`` and applied in ``__call__``. Axes stay parallel, so
that the geometry is one linear interpolation per axis instead of a full grid sample.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, RandomizableTransform
from monai.utils import convert_to_tensor, ensure_tuple_rep

__all__ = ["RandChestAugment", "RandChestAugmentd"]


@dataclass(frozen=True)
class _Draw:
    """What one sample gets: zoom, shift per axis (share of the size), gain, offset, gamma, noise."""

    zoom: float
    shift: tuple[float, ...]
    gain: float
    offset: float
    gamma: float
    noise: float
    noise_seed: int


class RandChestAugment(RandomizableTransform):
    r"""Shift and scale within a few percent, then :math:`y = \mathrm{clip}(g x^\gamma + b + \epsilon, 0, 1)`.

    Beyond the border the edge continues. *Open* in the paper; the defaults are those of the demo.

    Args:
        prob: probability that anything happens.
        scale: largest relative change of size, the same along all in-plane axes.
        shift: largest in-plane shift, as a share of the size.
        shift_z: the same along the slices of a volume; 0 leaves slice indices where the masks have them.
        gain: largest relative change of contrast.
        offset: largest change of brightness, in units of the [0, 1] range.
        gamma: largest absolute log of the exponent.
        noise: largest standard deviation of Gaussian noise, in units of the [0, 1] range.
        noise_prob: probability of noise.
    """

    def __init__(
        self,
        prob: float = 1.0,
        scale: float = 0.05,
        shift: float = 0.04,
        shift_z: float = 0.0,
        gain: float = 0.1,
        offset: float = 0.05,
        gamma: float = 0.15,
        noise: float = 0.02,
        noise_prob: float = 0.5,
    ) -> None:
        super().__init__(prob)
        for name, value in {"scale": scale, "shift": shift, "shift_z": shift_z, "gain": gain}.items():
            if not 0 <= value < 0.5:
                raise ValueError(f"{name} must lie in [0, 0.5), got {value}.")
        self.scale, self.shift, self.shift_z = scale, shift, shift_z
        self.gain, self.offset, self.gamma = gain, offset, gamma
        self.noise, self.noise_prob = noise, noise_prob
        self._draw = _Draw(1.0, (0.0, 0.0, 0.0), 1.0, 0.0, 1.0, 0.0, 0)

    def randomize(self, data: object = None) -> None:
        super().randomize(None)
        u = self.R.uniform(-1.0, 1.0, 9).tolist()
        self._draw = _Draw(
            zoom=1 + self.scale * u[0],
            shift=(self.shift * u[1], self.shift * u[2], self.shift_z * u[3]),
            gain=1 + self.gain * u[4],
            offset=self.offset * u[5],
            gamma=2.718281828 ** (self.gamma * u[6]),
            noise=self.noise * abs(u[7]) if abs(u[8]) < self.noise_prob else 0.0,
            noise_seed=int(self.R.randint(2**31 - 1)),
        )

    def __call__(self, image: torch.Tensor, randomize: bool = True, mode: str = "linear") -> torch.Tensor:
        """
        Args:
            image: (C, X, Y) or (C, X, Y, Z), float in [0, 1] (``linear``) or a label mask (``nearest``).
            randomize: draw anew, or apply the last draw again (a mask after its image).
            mode: ``linear`` changes geometry and intensity, ``nearest`` the geometry only.

        Returns:
            A plain tensor, shape and type as given; in [0, 1] for ``linear``.

        Raises:
            ValueError: When the image is neither (C, X, Y) nor (C, X, Y, Z).
        """
        if image.ndim not in (3, 4):
            raise ValueError(f"image must be (C, X, Y) or (C, X, Y, Z), got shape {tuple(image.shape)}.")
        if randomize:
            self.randomize()
        image = convert_to_tensor(image, track_meta=False)
        if not self._do_transform:
            return image
        moved = self._move(image, mode)
        return self._tint(moved) if mode == "linear" else moved

    def _move(self, image: torch.Tensor, mode: str) -> torch.Tensor:
        for axis in range(1, image.ndim):
            zoom = self._draw.zoom if axis < 3 else 1.0
            shift = self._draw.shift[axis - 1]
            if zoom == 1.0 and shift == 0.0:
                continue
            size = image.shape[axis]
            centre = (size - 1) / 2
            at = (torch.arange(size, dtype=torch.float32) - centre) / zoom + centre - shift * size
            image = _sample_axis(image, axis, at.clamp(0, size - 1), mode)
        return image

    def _tint(self, image: torch.Tensor) -> torch.Tensor:
        draw = self._draw
        image = image.clamp(0, 1).pow(draw.gamma) if draw.gamma != 1.0 else image.clone()
        image.mul_(draw.gain).add_(draw.offset)
        if draw.noise > 0:
            generator = torch.Generator().manual_seed(draw.noise_seed)
            image.add_(torch.randn(image.shape, generator=generator, dtype=image.dtype), alpha=draw.noise)
        return image.clamp_(0, 1)


def _sample_axis(image: torch.Tensor, axis: int, at: torch.Tensor, mode: str) -> torch.Tensor:
    """Values of ``image`` at the positions ``at`` (voxels, within the image) along ``axis``."""
    if mode == "nearest":
        return image.index_select(axis, at.round().long())
    low = at.long().clamp_(max=image.shape[axis] - 2) if image.shape[axis] > 1 else at.long()
    high = (low + 1).clamp_(max=image.shape[axis] - 1)
    weight = (at - low).reshape(-1, *[1] * (image.ndim - axis - 1)).to(image.dtype)
    return torch.lerp(image.index_select(axis, low), image.index_select(axis, high), weight)


class RandChestAugmentd(Randomizable, MapTransform):
    """Dictionary form of ``RandChestAugment``; all ``keys`` share one draw.

    Args:
        keys: images, and masks on their grid.
        mode: one for all ``keys`` or one a key: ``["linear", "nearest"]`` for ``["image", "lesion_mask"]``.
        **options: those of ``RandChestAugment``.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        mode: Sequence[str] | str = "linear",
        allow_missing_keys: bool = False,
        **options: float,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.mode = ensure_tuple_rep(mode, len(self.keys))
        self.augment = RandChestAugment(**options)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        row = dict(data)
        self.augment.R = self.R
        self.augment.randomize()
        for key, mode in self.key_iterator(row, self.mode):
            row[key] = self.augment(row[key], randomize=False, mode=mode)
        return row
