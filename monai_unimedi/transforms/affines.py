# SPDX-License-Identifier: Apache-2.0
"""Voxel-to-world matrices of images that may or may not carry one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor

__all__ = ["NEAR_VOXELS", "affine_of", "corners_apart", "like"]

NEAR_VOXELS = 0.1
"""How far the corners of a mask and its image may lie apart on what counts as one grid: writers round affines."""


def affine_of(image: NdarrayOrTensor) -> np.ndarray:
    """Voxel-to-world matrix (4, 4) of a MetaTensor in mm; identity (1 mm voxels) for anything else."""
    if not isinstance(image, MetaTensor):
        return np.eye(4)
    return image.affine.numpy().astype(np.float64)


def corners_apart(one: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Largest distance of the corners of two grids (affines, (4, 4)) of one shape (X, Y, Z), in voxels of the smallest
    spacing of ``other``."""
    corners = np.array([[x, y, z, 1] for x in (0, shape[0] - 1) for y in (0, shape[1] - 1) for z in (0, shape[2] - 1)])
    distance = np.linalg.norm((corners @ (one - other).T)[:, :3], axis=1).max()
    return float(distance / np.linalg.norm(other[:3, :3], axis=0).min())


def like(array: np.ndarray, image: NdarrayOrTensor, affine: np.ndarray) -> NdarrayOrTensor:
    """``array`` as the type of ``image``, with its metadata and the new affine."""
    if isinstance(image, MetaTensor):
        meta = {key: value for key, value in image.meta.items() if key != "affine"}
        return MetaTensor(
            torch.from_numpy(array),
            affine=torch.from_numpy(affine),
            meta=meta,
            applied_operations=image.applied_operations,
        )
    return torch.from_numpy(array) if isinstance(image, torch.Tensor) else array
