# SPDX-License-Identifier: Apache-2.0
"""A window round the body: volumes of one size, or of a few depths, without stretching.

The axis contract of ``method.md`` section 1: the last axis counts axial slices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import Transform
from monai.utils import convert_to_numpy, ensure_tuple_rep
from scipy import ndimage

from monai_unimedi.transforms.affines import affine_of, like

__all__ = ["CropOrPadBody"]

_AIR = -1024.0  # HU


class CropOrPadBody(Transform):
    """Cut or pad a volume round the body to a fixed voxel size, or to the nearest of some depths, never stretching it.

    The body is the largest connected region above ``threshold``. An axis that is too long is cut to the
    window centred on the body; one that is too short is padded, so that nothing is lost; a volume of the
    right size is returned as it is. Without any voxel above the threshold the middle of the volume is the
    centre.

    Args:
        size: voxels along the three axes.
        threshold: HU; fat and soft tissue lie above -500, lung and air below.
        padding: ``constant`` (air, -1024 HU) or ``edge`` (repeat the border: crops round a lesion, where air
            would give the crop's size away).
        depths: slices that a result may have, instead of the third of ``size``: each volume gets the nearest to its
            own, of two equally near the deeper.

    Raises:
        ValueError: When ``padding`` is unknown, or ``depths`` are not distinct positive numbers.
    """

    def __init__(
        self,
        size: Sequence[int],
        threshold: float = -500.0,
        padding: str = "constant",
        depths: Sequence[int] | None = None,
    ) -> None:
        self.size = ensure_tuple_rep(size, 3)
        self.depths = None if depths is None else sorted(int(depth) for depth in depths)
        if depths is not None and (not self.depths or self.depths[0] < 1 or len({*depths}) < len(depths)):
            raise ValueError(f"depths must be distinct positive numbers of slices, got {list(depths or ())}.")
        if padding not in ("constant", "edge"):
            raise ValueError(f"padding must be 'constant' or 'edge', got {padding!r}.")
        self.threshold = threshold
        self.padding = padding

    def size_of(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Voxels that a volume of ``shape`` (X, Y, Z) comes out with."""
        if self.depths is None:
            return tuple(self.size)
        return (*self.size[:2], min(self.depths, key=lambda depth: (abs(depth - shape[2]), -depth)))

    def window_start(self, image: NdarrayOrTensor) -> tuple[int, ...]:
        """First voxel of the window along each axis, negative where padded. ``image``: (1, X, Y, Z) in HU."""
        shape = tuple(image.shape[1:])
        if len(shape) != 3:
            raise ValueError(f"A volume must be (C, X, Y, Z), got shape {tuple(image.shape)}.")
        size = self.size_of(shape)
        if shape == size:
            return (0, 0, 0)
        centre = self._body_centre(convert_to_numpy(image)[0])
        start = [round(c - (s - 1) / 2) for c, s in zip(centre, size)]
        return tuple(int(np.clip(a, min(0, n - s), max(0, n - s))) for a, n, s in zip(start, shape, size))

    def _body_centre(self, volume: np.ndarray) -> list[float]:
        regions, count = ndimage.label(volume > self.threshold)
        if count == 0:
            return [(n - 1) / 2 for n in volume.shape]
        largest = int(np.argmax(np.bincount(regions.ravel())[1:]))
        box = ndimage.find_objects(regions)[largest]
        return [(side.start + side.stop - 1) / 2 for side in box]

    def __call__(
        self, image: NdarrayOrTensor, start: tuple[int, ...] | None = None, is_mask: bool = False
    ) -> NdarrayOrTensor:
        """
        Args:
            image: (C, X, Y, Z) in HU.
            start: the window's first voxel when another image gives it (a mask follows its image).
            is_mask: pad with 0 whatever ``padding`` says.

        Returns:
            (C, *size), affine shifted.
        """
        start = self.window_start(image) if start is None else start
        shape = tuple(image.shape[1:])
        size = self.size_of(shape)
        if shape == size:
            return image
        cut = [slice(max(a, 0), min(a + s, n)) for a, n, s in zip(start, shape, size)]
        pad = [(max(-a, 0), max(a + s - n, 0)) for a, n, s in zip(start, shape, size)]
        array = convert_to_numpy(image)[(slice(None), cut[0], cut[1], cut[2])]
        if self.padding == "edge" and not is_mask:
            array = np.pad(array, [(0, 0), *pad], mode="edge")
        else:
            array = np.pad(array, [(0, 0), *pad], constant_values=0 if is_mask else _AIR)
        return self._shifted(array, image, start)

    def restore(self, image: NdarrayOrTensor, start: Sequence[int], shape: Sequence[int]) -> NdarrayOrTensor:
        """A prediction (C, *size) back on the grid of ``shape``; 0 where the window did not reach."""
        size = self.size_of(shape)
        inside = [slice(max(-a, 0), min(n - a, s)) for a, n, s in zip(start, shape, size)]
        pad = [(max(a, 0), max(n - a - s, 0)) for a, n, s in zip(start, shape, size)]
        array = convert_to_numpy(image)[(slice(None), inside[0], inside[1], inside[2])]
        return self._shifted(np.pad(array, [(0, 0), *pad]), image, [-a for a in start])

    def _shifted(self, array: np.ndarray, image: NdarrayOrTensor, start: Sequence[int]) -> NdarrayOrTensor:
        affine = affine_of(image)
        affine[:3, 3] += affine[:3, :3] @ np.asarray(start, dtype=np.float64)
        return like(np.ascontiguousarray(array), image, affine)
