# SPDX-License-Identifier: Apache-2.0
"""From what MONAI Label hands a task to the file that the network reads, and back to its grid."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK

from monai_unimedi.data.discover import source_of
from monai_unimedi.transforms.load_volume import LoadVolume
from monai_unimedi.transforms.load_xray import LoadXray

__all__ = ["check_image", "dimension_of", "image_file", "own_file", "picture_grid", "picture_size"]

KINDS = {2: "an X-ray", 3: "a CT"}
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def dimension_of(path: str | os.PathLike) -> int:
    """2 for an X-ray, 3 for a CT.

    Raises:
        ValueError: When it is no image.
    """
    return 2 if source_of(own_file(Path(path))) == "2d" else 3


def image_file(path: str | os.PathLike, dimension: int) -> Path:
    """The file to read.

    Raises:
        ValueError: When it is missing or of the other dimension.
    """
    file = own_file(Path(path))
    found = 2 if source_of(file) == "2d" else 3
    if found != dimension:
        raise ValueError(
            f"This model takes {KINDS[dimension]}, the image is {KINDS[found]}: choose the model "
            f"{'segmentation' if found == 3 else 'segmentation_xray'}."
        )
    return file


def check_image(path: Path) -> None:
    """Reads an image.

    Raises:
        ValueError: When it cannot be read.
    """
    read = LoadXray() if source_of(path) == "2d" else LoadVolume(None)
    try:
        read(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"The image cannot be read: {str(error).replace(path.name, 'it')}") from error


def own_file(path: Path) -> Path:
    """The X-ray in DICOM behind a series that a DICOMweb datastore turned into NIfTI, which has lost its window and
    photometric interpretation; the path itself for all others."""
    folder = path.with_name(path.name.removesuffix(".nii.gz"))
    if not path.name.endswith(".nii.gz") or not folder.is_dir():
        return path
    files = sorted(folder.glob("*.dcm"))
    is_flat = len(files) == 1 and nibabel.load(path).shape[2:] in ((), (1,))
    return files[0] if is_flat else path


def picture_grid(path: str | os.PathLike) -> np.ndarray:
    """Voxel-to-world matrix (4, 4), RAS, mm, of an X-ray as viewers place it: as one slice, by what ITK reads."""
    reader = _header(path)
    size = reader.GetDimension()
    matrix = np.eye(4)
    turn = np.asarray(reader.GetDirection()).reshape(size, size) @ np.diag(reader.GetSpacing())
    matrix[:size, :size], matrix[:size, 3] = turn, reader.GetOrigin()
    return _LPS_TO_RAS @ matrix


def picture_size(path: str | os.PathLike) -> tuple[int, int]:
    """Columns and rows of an X-ray's file, of which a reader may decode a part of the resolution."""
    columns, rows = _header(path).GetSize()[:2]
    return int(columns), int(rows)


def _header(path: str | os.PathLike) -> SimpleITK.ImageFileReader:
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(os.fspath(path))
    reader.ReadImageInformation()
    return reader
