# SPDX-License-Identifier: Apache-2.0
"""X-rays: read without half-reading, to grey in [0, 1], to one square size with the aspect kept.

The axis contract of ``method.md`` section 1: (1, X, Y) = (columns, rows) of the PA display, X to the
patient's left. A whole X-ray chain in a bundle reads::

    LoadXrayd -> XrayToGrayd -> CheckImaged(spatial_dims=2) -> ScaleXrayd -> CheckImaged(patch_size)

A DICOM file's VOI LUT or window is applied by ``LoadXrayd`` and its ends are black and white here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, Transform
from monai.utils import TraceKeys, convert_to_dst_type, convert_to_numpy, ensure_tuple_rep

from monai_unimedi.transforms.resampling import resample_axis

__all__ = ["ScaleXray", "ScaleXrayd", "XrayToGray", "XrayToGrayd"]

_LUMA = np.asarray([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R 601, as PIL's convert("L")
_MAX_PERCENTILE_PIXELS = 65536


def _meta(image: NdarrayOrTensor, *names: str) -> object:
    """First metadata entry of a MetaTensor under one of ``names``; PydicomReader's form is unwrapped."""
    meta = image.meta if isinstance(image, MetaTensor) else {}
    value = next((meta[name] for name in names if name in meta), None)
    if isinstance(value, Mapping) and "Value" in value:
        value = value["Value"][0]
    return value


class XrayToGray(Transform):
    r"""One grey channel in [0, 1] from 1, 2, 3 or 4 channels; MONOCHROME1 is inverted so that bone is bright.

    .. math:: y = \mathrm{clip}\left(\frac{x - low}{high - low}, 0, 1\right)

    Colour becomes luma, alpha is dropped. ``low`` and ``high`` are ``levels``, or else the ends of a DICOM
    file's VOI LUT or window, or else the file's range where it has one by itself (8-bit pictures: 0 and 255),
    or else robust percentiles (16-bit PNG, DICOM of more than 8 bits without a window, arrays that come
    without metadata).

    Args:
        levels: grey levels that become 0 and 1, for all images alike; in the units that ``LoadXray`` gives,
            so with ``voi="ignore"`` for DICOM.
        percentiles: the two percentiles, in percent, when neither ``levels`` nor the file gives the range.
    """

    def __init__(self, levels: Sequence[float] | None = None, percentiles: Sequence[float] = (0.5, 99.5)) -> None:
        if levels is not None and not levels[0] < levels[1]:
            raise ValueError(f"levels must be (low, high) with low < high, got {tuple(levels)}.")
        if not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise ValueError(f"percentiles must be (low, high) within 0 and 100, got {tuple(percentiles)}.")
        self.levels = None if levels is None else (float(levels[0]), float(levels[1]))
        self.percentiles = (float(percentiles[0]), float(percentiles[1]))

    def __call__(self, image: NdarrayOrTensor) -> NdarrayOrTensor:
        """
        Args:
            image: (C, X, Y), C of 1 to 4; a trailing axis of size 1 (a one-slice volume) is dropped.

        Returns:
            (1, X, Y) float32 in [0, 1]; a constant image becomes 0 everywhere.

        Raises:
            ValueError: When the image is not two-dimensional or has more than four channels.
        """
        array = convert_to_numpy(image, dtype=np.float32)
        while array.ndim > 3 and array.shape[-1] == 1:
            array = array[..., 0]
        if array.ndim != 3 or not 1 <= array.shape[0] <= 4:
            raise ValueError(f"An X-ray must be (C, X, Y) with 1 to 4 channels, got shape {tuple(image.shape)}.")
        grey = np.tensordot(_LUMA, array[:3], axes=1) if array.shape[0] >= 3 else array[0]
        low, high = self._range(grey, image)
        inverted = _meta(image, "photometric", "00280004", "0028|0004", "PhotometricInterpretation")
        if isinstance(inverted, str) and inverted.strip() == "MONOCHROME1":
            grey, low, high = -grey, -high, -low
        scaled = (grey - low) / (high - low) if high > low else np.zeros_like(grey)
        return convert_to_dst_type(np.clip(scaled, 0, 1)[None], image, dtype=torch.float32)[0]

    def _range(self, grey: np.ndarray, image: NdarrayOrTensor) -> tuple[float, float]:
        if self.levels is not None:
            return self.levels
        known = image.meta.get("levels") if isinstance(image, MetaTensor) else None
        if known is not None:
            return float(known[0]), float(known[1])
        is_8_bit = _meta(image, "mode") in ("L", "LA", "RGB", "RGBA") or _meta(image, "bits_stored") == 8
        if is_8_bit:
            return 0.0, 255.0
        step = max(1, int(np.sqrt(grey.size / _MAX_PERCENTILE_PIXELS)))
        low, high = np.percentile(grey[::step, ::step], self.percentiles)
        return (float(low), float(high)) if high > low else (float(grey.min()), float(grey.max()))


class ScaleXray(Transform):
    """Resize to ``(size, size)`` with the aspect kept, anti-aliased by exact area average.

    An image of that size is returned as it is.

    Args:
        size: pixels of the square.
        fit: ``pad`` (the longest side becomes ``size``, the rest is padded with 0 on both sides) or ``crop``
            (the shortest side becomes ``size``, the rest is cut from both sides).
        mode: ``area`` (average when downsampling, linear when upsampling) or ``nearest`` (masks).
    """

    def __init__(self, size: int, fit: str = "pad", mode: str = "area") -> None:
        if fit not in ("pad", "crop"):
            raise ValueError(f"fit must be 'pad' or 'crop', got {fit!r}.")
        if mode not in ("area", "nearest"):
            raise ValueError(f"mode must be 'area' or 'nearest', got {mode!r}.")
        self.size = int(size)
        self.fit = fit
        self.mode = mode

    def __call__(self, image: NdarrayOrTensor, mode: str | None = None) -> NdarrayOrTensor:
        """
        Args:
            image: (C, X, Y).

        Returns:
            (C, size, size), type as given.

        Raises:
            ValueError: When the image is not two-dimensional.
        """
        if image.ndim != 3:
            raise ValueError(f"An X-ray must be (C, X, Y), got shape {tuple(image.shape)}.")
        if tuple(image.shape[1:]) == (self.size, self.size):
            return image
        sides = _extent(image)
        ratio = (max(sides) if self.fit == "pad" else min(sides)) / self.size
        array = convert_to_numpy(image)
        for axis, side in enumerate(sides, start=1):
            new_size = max(1, round(side / ratio))
            array = resample_axis(array, axis, new_size, ratio, mode or self.mode, extent=side)
            array = self._to_size(array, axis)
        return convert_to_dst_type(np.ascontiguousarray(array), image)[0]

    def _to_size(self, array: np.ndarray, axis: int) -> np.ndarray:
        """Centre ``axis`` in ``size`` voxels: cut what is over, pad what is missing with 0."""
        excess = array.shape[axis] - self.size
        if excess > 0:
            return np.take(array, np.arange(excess // 2, excess // 2 + self.size), axis)
        missing = (-excess // 2, -excess - (-excess // 2))
        return np.pad(array, [missing if a == axis else (0, 0) for a in range(array.ndim)])

    def restore(self, image: NdarrayOrTensor, shape: Sequence[int], mode: str | None = None) -> NdarrayOrTensor:
        """A prediction (C, size, size) back on the grid of an image of ``shape`` (columns, rows); what ``crop``
        cut off becomes 0."""
        if tuple(shape) == (self.size, self.size):
            return image
        ratio = (max(shape) if self.fit == "pad" else min(shape)) / self.size
        array = convert_to_numpy(image)
        for axis, side in enumerate(shape, start=1):
            array = self._from_size(array, axis, max(1, round(side / ratio)))
            array = resample_axis(array, axis, int(side), 1 / ratio, mode or self.mode)
        return convert_to_dst_type(np.ascontiguousarray(array), image)[0]

    def _from_size(self, array: np.ndarray, axis: int, new_size: int) -> np.ndarray:
        """What ``_to_size`` did, undone."""
        excess = new_size - self.size
        if excess > 0:
            before = excess // 2
            sides = [(before, excess - before) if a == axis else (0, 0) for a in range(array.ndim)]
            return np.pad(array, sides)
        return np.take(array, np.arange(-excess // 2, -excess // 2 + new_size), axis)


def _extent(image: NdarrayOrTensor) -> tuple[float, float]:
    """Sides in pixels; where ``LoadXray`` decoded a JPEG at a scale, its last column or row may be a part."""
    width, height = (float(side) for side in image.shape[1:])
    known = image.meta.get("extent") if isinstance(image, MetaTensor) else None
    if known is None or not (0 <= width - known[0] < 1 and 0 <= height - known[1] < 1):
        return width, height
    return float(known[0]), float(known[1])


class XrayToGrayd(MapTransform):
    """Dictionary form of ``XrayToGray``."""

    def __init__(
        self,
        keys: KeysCollection = "image",
        levels: Sequence[float] | None = None,
        percentiles: Sequence[float] = (0.5, 99.5),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.to_gray = XrayToGray(levels, percentiles)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        row = dict(data)
        for key in self.key_iterator(row):
            row[key] = self.to_gray(row[key])
        return row


class ScaleXrayd(MapTransform, InvertibleTransform):
    """Dictionary form of ``ScaleXray``; all keys must lie on one grid; ``Invertd`` brings predictions back to it.

    Args:
        mode: one for all ``keys`` or one a key: ``["area", "nearest"]`` for ``["image", "lesion_mask"]``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: int,
        fit: str = "pad",
        mode: Sequence[str] | str = "area",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mode = ensure_tuple_rep(mode, len(self.keys))
        self.scale = ScaleXray(size, fit)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        row = dict(data)
        shapes = {tuple(row[key].shape[1:]) for key in self.key_iterator(row)}
        if len(shapes) > 1:
            raise ValueError(f"{self.keys} must lie on one grid, got the shapes {sorted(shapes)}.")
        for key, mode in self.key_iterator(row, self.mode):
            shape = tuple(row[key].shape[1:])
            row[key] = self.scale(row[key], mode)
            row[key] = self.push_transform(row[key], orig_size=shape, extra_info={"mode": mode})
        return row

    def inverse(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        row = dict(data)
        for key in self.key_iterator(row):
            past = self.pop_transform(row[key])
            shape, mode = [int(n) for n in past[TraceKeys.ORIG_SIZE]], past[TraceKeys.EXTRA_INFO]["mode"]
            row[key] = self.scale.restore(row[key], shape, mode)
        return row
