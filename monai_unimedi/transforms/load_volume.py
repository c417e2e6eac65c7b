# SPDX-License-Identifier: Apache-2.0
"""Reading one CT: NIfTI, NRRD, MHA, MHD or a folder of DICOM slices, with its geometry, or not at all.

MONAI's ``LoadImage`` gives a 4D file, a zero spacing or a series with a gap a place in the batch like any
other, and takes the first of several series. Here the geometry must hold before a voxel is used. Measured on
512 x 512 x 133 int16 voxels (``.nii.gz``): inflating with isa-l takes a quarter of zlib's time, which both
nibabel and ITK spend; so nibabel's header and arithmetic, on bytes that isa-l inflated. Affine and values
equal those of MONAI's readers.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import cast

import itk
import nibabel
import numpy as np
import torch
from isal import igzip
from monai.config import DtypeLike, KeysCollection
from monai.data import ITKReader, MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import SpaceKeys

from monai_unimedi.transforms.dicom_series import read_series

__all__ = ["LoadVolume", "LoadVolumed"]

_NIFTI = (".nii", ".nii.gz")
_ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_UNITS = {1: "metres", 3: "microns"}


class LoadVolume(Transform):
    """Read one CT to (1, X, Y, Z) with its affine (RAS, as MONAI's readers give it).

    HU as the file says: scaling of the file and rescale slope and intercept of DICOM are applied, nothing is
    clipped; undershoot to -3000 stays and is cut by the window later. The metadata of the result hold
    ``filename_or_obj``, ``spatial_shape``, ``original_affine`` and nothing else of the header.

    Args:
        dtype: of the voxels; None keeps the file's (int16 for most CTs: a half of the memory).
    """

    def __init__(self, dtype: DtypeLike = np.float32) -> None:
        self.dtype = None if dtype is None else np.dtype(dtype)

    def __call__(self, path: str | os.PathLike) -> MetaTensor:
        """
        Args:
            path: the file, or the folder of one DICOM series.

        Returns:
            (1, X, Y, Z); not contiguous: the file's order in memory is kept.

        Raises:
            FileNotFoundError: When there is nothing at the path.
            ValueError: When the file is no volume, is broken or cut off, has a fourth axis or several values
                a voxel, or its affine is not finite and invertible; for a folder, see ``read_series``.
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"A CT must be one file or a DICOM folder, found none at {str(path)!r}.")
        array, affine = self._read(path)
        array = _three_dimensional(array, path.name)
        _check_affine(affine, path.name)
        array = _torch_type(array) if self.dtype is None else array.astype(self.dtype, order="K", copy=False)
        tensor = torch.from_numpy(array if array.flags.writeable else array.copy(order="K"))[None]
        meta = {
            "filename_or_obj": str(path),
            "original_channel_dim": 0,
            "spatial_shape": np.asarray(array.shape),
            "original_affine": affine.copy(),
            "space": SpaceKeys.RAS,
        }
        return MetaTensor(tensor, affine=torch.from_numpy(affine), meta=meta)

    def _read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        if path.is_dir():
            array, affine = read_series(path)
            return array, _LPS_TO_RAS @ affine
        name = path.name.lower()
        if name.endswith(_NIFTI):
            return _read_nifti(path)
        if name.endswith(_ITK):
            return _read_itk(path)
        raise ValueError(
            f"A CT must be NIfTI, NRRD, MHA, MHD or a folder of DICOM slices, got {path.name!r}; convert it "
            "first (a single DICOM file is an X-ray here, or one slice)."
        )


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values scaled as the header says, and the affine of the header as it stands: nibabel alone would set a
    spacing of 0 to 1."""
    try:
        raw = path.read_bytes()
        raw = igzip.decompress(raw) if path.name.lower().endswith(".gz") else raw
        kind = _nifti_kind(raw)
        header = kind.header_class(raw[: kind.header_class.sizeof_hdr], check=False)
        affine = _nifti_affine(header, path.name)
        _check_affine(affine, path.name)  # before nibabel reads the header again and mends it
        array = _scaled(cast(nibabel.arrayproxy.ArrayProxy, kind.from_bytes(raw).dataobj))
    except (PermissionError, _RefusedError):
        raise
    except Exception as error:
        raise ValueError(
            f"The NIfTI file {path.name!r} must be whole, it is broken or cut off ({_first_line(error)}); "
            "copy or convert it again."
        ) from error
    if array.dtype.kind not in "iufb":
        raise ValueError(f"A CT must have one number a voxel, {path.name!r} holds {array.dtype}.")
    return array, affine


def _nifti_kind(raw: bytes) -> type[nibabel.Nifti1Image]:
    """The class that reads a file's bytes: the first number of a header is its own size."""
    for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        size = kind.header_class.sizeof_hdr
        if size in (int.from_bytes(raw[:4], "little"), int.from_bytes(raw[:4], "big")):
            return kind
    raise ValueError("no NIfTI header")


def _scaled(values: nibabel.arrayproxy.ArrayProxy) -> np.ndarray:
    """``slope * x + intercept``; in float32 where that is exact, as nibabel does it in float64 otherwise."""
    if values.slope == 1 and values.inter == 0:
        return values.get_unscaled()
    is_exact = values.slope == 1 and float(values.inter).is_integer() and abs(values.inter) < 2**20
    if is_exact and values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
        return values.get_unscaled().astype(np.float32, order="K") + np.float32(values.inter)
    return np.asanyarray(values)


class _RefusedError(ValueError):
    """A sentence that is complete as it is."""


def _nifti_affine(header: nibabel.Nifti1Header, name: str) -> np.ndarray:
    unit = int(header["xyzt_units"]) & 7
    if unit in _UNITS:
        raise _RefusedError(f"Lengths must be in mm, {name!r} says {_UNITS[unit]}; convert it again.")
    try:
        return header.get_best_affine().astype(np.float64)
    except (ValueError, np.linalg.LinAlgError, nibabel.spatialimages.HeaderDataError) as error:
        raise _RefusedError(
            f"The affine of {name!r} must be finite and invertible, it is neither."
        ) from error


def _read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    _check_itk_header(path)
    reader = ITKReader()
    try:
        array, header = reader.get_data(reader.read(str(path)))
    except Exception as error:
        raise ValueError(
            f"{path.name!r} must be whole, its voxels are broken or cut off; copy it again."
        ) from error
    return array, np.asarray(header["affine"], dtype=np.float64)


def _check_itk_header(path: Path) -> None:
    """What ITK says best before it reads: the kind of file, its axes, values a voxel and spacing."""
    try:
        header = itk.ImageIOFactory.CreateImageIO(str(path), itk.CommonEnums.IOFileMode_ReadMode)
        if header is None:
            raise ValueError("no known header")
        header.SetFileName(str(path))
        header.ReadImageInformation()
    except Exception as error:
        raise ValueError(
            f"{path.name!r} must be whole, its header is broken ({_first_line(error)}); copy it again."
        ) from error
    axes = [header.GetDimensions(i) for i in range(header.GetNumberOfDimensions())]
    if len(axes) != 3:
        raise ValueError(f"A CT must have three axes, {path.name!r} has {len(axes)}, of the sizes {axes}.")
    if header.GetNumberOfComponents() != 1:
        raise ValueError(
            f"A CT must have one number a voxel, {path.name!r} holds {header.GetNumberOfComponents()}."
        )
    spacing = [header.GetSpacing(i) for i in range(3)]
    if not (np.isfinite(spacing).all() and min(spacing) > 0):
        raise ValueError(f"The spacing of {path.name!r} must be positive lengths in mm, got {spacing}.")


def _three_dimensional(array: np.ndarray, name: str) -> np.ndarray:
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(
            f"A CT must have three axes, {name!r} has the shape {array.shape}; split or convert it."
        )
    return array


def _check_affine(affine: np.ndarray, name: str) -> None:
    if not np.isfinite(affine).all():
        raise _RefusedError(
            f"The affine of {name!r} must be finite, it holds NaN or infinity; convert it again."
        )
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    volume = abs(np.linalg.det(affine[:3, :3]))
    if spacing.min() <= 0 or volume < 1e-3 * spacing.prod():
        raise _RefusedError(
            f"The affine of {name!r} must be invertible, its spacing is "
            f"{[round(float(s), 4) for s in spacing]} mm and its axes "
            f"{'are parallel' if spacing.min() > 0 else 'have no length'}; convert it again."
        )


def _torch_type(array: np.ndarray) -> np.ndarray:
    """The file's type where torch computes with it and the machine's byte order; the next wider otherwise."""
    wider = {"u2": np.int32, "u4": np.int64, "u8": np.int64, "b1": np.uint8}.get(array.dtype.str[1:])
    return array.astype(wider or array.dtype.newbyteorder("="), order="K", copy=False)


def _first_line(error: Exception) -> str:
    """What an exception says, without the place in a library's source that ITK puts before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line.split("Description:")[-1].strip() for line in lines if "Description" in line] or lines[-1:]
    return (told[0] if told else type(error).__name__).split(" /")[0][:160].rstrip(".")


class LoadVolumed(MapTransform):
    """Dictionary form of ``LoadVolume``."""

    def __init__(
        self,
        keys: KeysCollection = "image",
        dtype: DtypeLike = np.float32,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.load = LoadVolume(dtype)

    def __call__(self, data: Mapping[Hashable, str]) -> dict[Hashable, object]:
        row: dict[Hashable, object] = dict(data)
        for key in self.key_iterator(data):
            row[key] = self.load(data[key])
        return row
