# SPDX-License-Identifier: Apache-2.0
"""A box of a CT round a point that the datalist names, such as a candidate of LUNA16."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple_rep

__all__ = ["CropAroundd"]

TO_RAS = np.array([-1.0, -1.0, 1.0])


class CropAroundd(MapTransform):
    """Cuts volumes (C, X, Y, Z) to one size round a point; beyond the border the edge values continue.

    Padding with one value would tell how near the border the point lies.

    Args:
        size: voxels along the three axes.
        centre_key: of the point in the row: (3,), mm, to the left, posterior and superior, as ITK has it.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: Sequence[int],
        centre_key: str = "centre",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.size = ensure_tuple_rep(size, 3)
        self.centre_key = centre_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Raises:
            ValueError: When the row has no such point, or it lies outside of the volume.
        """
        row = dict(data)
        if row.get(self.centre_key) is None:
            raise ValueError(
                f"the row must have {self.centre_key!r} [x, y, z] in mm (left, posterior, superior), got none"
            )
        for key in self.key_iterator(row):
            row[key] = self._crop(row[key], np.asarray(row[self.centre_key], dtype=np.float64))
        return row

    def _crop(self, image: MetaTensor, centre: np.ndarray) -> MetaTensor:
        affine = image.affine.numpy().astype(np.float64)
        voxel = (np.linalg.inv(affine) @ [*(centre * TO_RAS), 1.0])[:3]
        shape = np.asarray(image.shape[1:])
        if (voxel < -0.5).any() or (voxel > shape - 0.5).any():
            raise ValueError(
                f"{self.centre_key!r} must lie in the volume of {shape.tolist()} voxels, got voxel "
                f"{voxel.round(1).tolist()}: is it in mm, left, posterior, superior?"
            )
        start = np.round(voxel - (np.asarray(self.size) - 1) / 2).astype(int)
        places = [np.clip(np.arange(a, a + n), 0, side - 1) for a, n, side in zip(start, self.size, shape)]
        array = image.as_tensor().numpy(force=True)[np.ix_(np.arange(image.shape[0]), *places)]
        affine[:3, 3] += affine[:3, :3] @ start
        meta = {name: value for name, value in image.meta.items() if name != "affine"}
        return MetaTensor(torch.from_numpy(array), affine=torch.from_numpy(affine), meta=meta)
