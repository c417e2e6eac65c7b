# SPDX-License-Identifier: Apache-2.0
"""Reading a NIfTI volume in its own integers: unpacked once, straight into the array, by Intel's igzip.

MONAI's readers unpack with zlib, copy, and turn the volume into float32 before anything has been made smaller:
most of the time and of the memory of a conversion. Header and affine are nibabel's; the values and the
geometry are those of ``LoadImage``.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from isal import igzip
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import LoadImage, MapTransform
from nibabel import Nifti1Header, Nifti2Header

__all__ = ["LoadCTd", "read_nifti"]

_NIFTI2_BYTES = 540
_TENSOR_TYPES = {"uint16": "int32", "uint32": "int64", "float64": "float32", "float16": "float32"}


def read_nifti(path: str | os.PathLike) -> MetaTensor:
    """A NIfTI-1 or NIfTI-2 file, ``.nii`` or ``.nii.gz``.

    Args:
        path: the file.

    Returns:
        (1, X, Y, Z), in the file's integers where it has no scaling, else float32; affine to RAS in mm.

    Raises:
        ValueError: When it is not one three-dimensional volume.
        EOFError: When it is truncated.
        OSError: When it is no gzip file, or its checksum is wrong.
    """
    path = Path(path)
    with igzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        header = _header(file)
        shape = tuple(int(n) for n in header.get_data_shape())
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) != 3 or header.get_data_dtype().fields:
            raise ValueError(f"A CT must be one grey volume (X, Y, Z), got shape {shape}: split it first.")
        array = _voxels(file, header, shape)
    meta = {"filename_or_obj": str(path), "original_channel_dim": "no_channel"}
    affine = torch.from_numpy(np.asarray(header.get_best_affine(), dtype=np.float64))
    return MetaTensor(torch.from_numpy(_scaled(array, header))[None], affine=affine, meta=meta)


def _header(file: IO[bytes]) -> Any:
    first = file.read(4)
    file.seek(0)
    is_second = _NIFTI2_BYTES in (int.from_bytes(first, "little"), int.from_bytes(first, "big"))
    return (Nifti2Header if is_second else Nifti1Header).from_fileobj(file)


def _voxels(file: IO[bytes], header: Any, shape: tuple[int, ...]) -> np.ndarray:
    file.read(max(0, int(header.get_data_offset()) - file.tell()))
    flat = np.empty(int(np.prod(shape)), header.get_data_dtype())
    view, done = memoryview(flat.view(np.uint8)), 0
    while done < len(view):
        count = file.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError(f"A volume of shape {shape} must have {len(view)} bytes, the file has {done}.")
        done += count
    file.read(1)  # the end of the stream, where its checksum is compared
    return flat.reshape(shape, order="F")


def _scaled(array: np.ndarray, header: Any) -> np.ndarray:
    slope, intercept = header.get_slope_inter()
    if slope is not None and (slope, intercept) != (1.0, 0.0):
        return (array * np.float64(slope) + np.float64(intercept)).astype(np.float32)
    wanted = _TENSOR_TYPES.get(array.dtype.name, array.dtype.name)
    return array if array.dtype == np.dtype(wanted) else array.astype(wanted)


class LoadCTd(MapTransform):
    """Reads CT volumes: NIfTI by `read_nifti`, everything else by MONAI's ``LoadImage``."""

    def __init__(self, keys: KeysCollection = "image", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.load_other = LoadImage(ensure_channel_first=True, dtype=None)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        row = dict(data)
        for key in self.key_iterator(row):
            name = str(row[key])
            is_nifti = name.lower().endswith((".nii", ".nii.gz"))
            row[key] = read_nifti(name) if is_nifti else self.load_other(name)
        return row
