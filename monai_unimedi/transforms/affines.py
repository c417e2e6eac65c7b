# SPDX-License-Identifier: Apache-2.0
"""Voxel-to-world matrices of images that may or may not carry one."""

from __future__ import annotations

import numpy as np
import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor

__all__ = ["affine_of", "like"]


def affine_of(image: NdarrayOrTensor) -> np.ndarray:
    """Voxel-to-world matrix (4, 4) of a MetaTensor in mm; identity (1 mm voxels) for anything else."""
    if not isinstance(image, MetaTensor):
        return np.eye(4)
    return image.affine.numpy().astype(np.float64)


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
