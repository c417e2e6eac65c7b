# SPDX-License-Identifier: Apache-2.0
"""Geometry of CT volumes: one spacing per run, then cropped or padded round the body, never stretched.

The axis contract of ``method.md`` section 1: after ``Orientationd("LPS")`` the axes run to the patient's
left, to posterior and to superior; the last one counts axial slices. A whole CT chain in a bundle reads::

    LoadVolumed -> CheckImaged(spatial_dims=3) -> Orientationd("LPS") -> ResampleVolumed
    -> CropOrPadBodyd -> ScaleIntensityRanged(-1150, 350, 0, 1, clip) -> CheckImaged(patch_size, min_slices)

with ``lesion_mask`` beside ``image`` in the spatial steps, in mode ``nearest``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import InvertibleTransform, MapTransform, Transform
from monai.utils import TraceKeys, ensure_tuple_rep

from monai_unimedi.transforms.affines import NEAR_VOXELS, affine_of, corners_apart, like
from monai_unimedi.transforms.crop_body import CropOrPadBody
from monai_unimedi.transforms.resampling import resample_axis, sample_centres

__all__ = ["CropOrPadBody", "CropOrPadBodyd", "ResampleVolume", "ResampleVolumed"]

_SPACING_TOLERANCE = 1e-3  # mm


class ResampleVolume(Transform):
    """Resample a volume to a spacing, anti-aliased, with the centre of its field of view kept.

    The image itself is returned when its spacing is right within 0.001 mm.

    Args:
        spacing: mm per voxel along the three axes.
        mode: ``area`` (exact average when downsampling, linear when upsampling) or ``nearest`` (masks).
    """

    def __init__(self, spacing: Sequence[float], mode: str = "area") -> None:
        self.spacing = ensure_tuple_rep(spacing, 3)
        if min(self.spacing) <= 0:
            raise ValueError(f"spacing must be three positive lengths in mm, got {spacing}.")
        if mode not in ("area", "nearest"):
            raise ValueError(f"mode must be 'area' or 'nearest', got {mode!r}.")
        self.mode = mode

    def __call__(
        self, image: NdarrayOrTensor, mode: str | None = None, affine: np.ndarray | None = None
    ) -> NdarrayOrTensor:
        """
        Args:
            image: (C, X, Y, Z).
            mode: in place of the transform's own.
            affine: (4, 4), mm, which the spacing is read from; the image's own where None.

        Returns:
            (C, X', Y', Z') on the new spacing, affine included.

        Raises:
            ValueError: When the image is not three-dimensional, or the affine is singular.
        """
        if image.ndim != 4:
            raise ValueError(f"A volume must be (C, X, Y, Z), got shape {tuple(image.shape)}.")
        affine = affine_of(image) if affine is None else affine
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if not (np.isfinite(affine).all() and spacing.min() > 0):
            raise ValueError(f"The affine must give three positive spacings in mm, got {spacing.tolist()}.")
        if np.abs(spacing - self.spacing).max() < _SPACING_TOLERANCE:
            return image
        return self._resample(image, affine, np.asarray(self.spacing) / spacing, mode or self.mode)

    def _resample(self, image: NdarrayOrTensor, affine: np.ndarray, ratio: np.ndarray, mode: str) -> NdarrayOrTensor:
        array = image.numpy(force=True) if isinstance(image, torch.Tensor) else image  # in its memory order
        step = np.eye(4)
        for axis in np.argsort(-ratio, kind="stable"):  # the axis that shrinks most goes first
            r = ratio[axis]
            size = array.shape[axis + 1]
            if self._is_kept(axis, r):
                continue
            new_size = max(1, round(size / r))
            array = resample_axis(array, axis + 1, new_size, float(r), mode)
            step[axis, axis], step[axis, 3] = r, sample_centres(size, new_size, r)[0]
        return like(array, image, affine @ step)

    def _is_kept(self, axis: int, ratio: float) -> bool:
        """Whether an axis has its spacing already; ``ratio`` is new spacing to old."""
        return bool(abs(ratio - 1) * self.spacing[axis] / ratio < _SPACING_TOLERANCE)

    def restore(
        self, image: NdarrayOrTensor, size: Sequence[int], affine: np.ndarray, mode: str = "area"
    ) -> NdarrayOrTensor:
        """Back to the grid that a volume had before.

        Args:
            image: (C, X', Y', Z') on this transform's grid: a prediction.
            size: voxels before.
            affine: (4, 4) before, mm.
            mode: ``area`` (linear where the grid becomes finer) or ``nearest``.

        Returns:
            (C, *size).
        """
        ratio = np.asarray(self.spacing) / np.linalg.norm(affine[:3, :3], axis=0)
        array = image.numpy(force=True) if isinstance(image, torch.Tensor) else image
        for axis in np.argsort(ratio, kind="stable"):  # the axis that grows least goes first
            if array.shape[axis + 1] != size[axis] or not self._is_kept(axis, ratio[axis]):
                array = resample_axis(array, axis + 1, int(size[axis]), float(1 / ratio[axis]), mode)
        return like(array, image, affine)


class ResampleVolumed(MapTransform, InvertibleTransform):
    """Dictionary form of ``ResampleVolume``; ``Invertd`` brings predictions back to the grid before.

    A mask whose affine a writer rounded, so that its corners lie within 0.1 voxels of the image's, follows the image's:
    of 101 slices at 1 mm twice as wide ones are 50, at 1.0000001 mm 51.

    Args:
        keys: the image first; others of its shape and place follow its affine.
        mode: one for all ``keys`` or one a key: ``["area", "nearest"]`` for ``["image", "lesion_mask"]``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spacing: Sequence[float],
        mode: Sequence[str] | str = "area",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mode = ensure_tuple_rep(mode, len(self.keys))
        self.resample = ResampleVolume(spacing)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        row = dict(data)
        grid: tuple[tuple[int, ...], np.ndarray] | None = None
        for key, mode in self.key_iterator(row, self.mode):
            shape, affine = tuple(row[key].shape[1:]), affine_of(row[key])
            if grid is not None and shape == grid[0] and corners_apart(affine, grid[1], shape) <= NEAR_VOXELS:
                affine = grid[1]
            grid = grid or (shape, affine)
            row[key] = self.resample(row[key], mode, affine)
            info = {"affine": affine, "mode": mode}
            row[key] = self.push_transform(row[key], orig_size=shape, extra_info=info)
        return row

    def inverse(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        row = dict(data)
        for key in self.key_iterator(row):
            past = self.pop_transform(row[key])
            size, info = [int(n) for n in past[TraceKeys.ORIG_SIZE]], past[TraceKeys.EXTRA_INFO]
            affine = np.asarray(info["affine"], dtype=np.float64).reshape(4, 4)
            row[key] = self.resample.restore(row[key], size, affine, info["mode"])
        return row


class CropOrPadBodyd(MapTransform, InvertibleTransform):
    """Dictionary form of ``CropOrPadBody``; every key follows the window found on ``source_key``; ``Invertd``
    gives predictions back their place, with 0 beyond the window.

    Args:
        source_key: the CT in HU; all other keys are masks on its grid and are padded with 0.
        depths: as in ``CropOrPadBody``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: Sequence[int],
        threshold: float = -500.0,
        padding: str = "constant",
        source_key: str = "image",
        allow_missing_keys: bool = False,
        depths: Sequence[int] | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.source_key = source_key
        self.crop = CropOrPadBody(size, threshold, padding, depths)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        row = dict(data)
        shape = tuple(row[self.source_key].shape[1:])
        start = self.crop.window_start(row[self.source_key])
        for key in self.key_iterator(row):
            if tuple(row[key].shape[1:]) != shape:
                raise ValueError(
                    f"{key!r} must have the shape of {self.source_key!r}, {shape}, got {tuple(row[key].shape[1:])}."
                )
            row[key] = self.crop(row[key], start, is_mask=key != self.source_key)
            info = {"start": np.asarray(start)}
            row[key] = self.push_transform(row[key], orig_size=shape, extra_info=info)
        return row

    def inverse(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        row = dict(data)
        for key in self.key_iterator(row):
            past = self.pop_transform(row[key])
            start = [int(a) for a in past[TraceKeys.EXTRA_INFO]["start"]]
            row[key] = self.crop.restore(row[key], start, [int(n) for n in past[TraceKeys.ORIG_SIZE]])
        return row
