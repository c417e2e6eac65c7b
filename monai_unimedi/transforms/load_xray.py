# SPDX-License-Identifier: Apache-2.0
"""Reading one X-ray file: PNG, JPEG, BMP, TIFF or single-frame DICOM, and nothing by guess.

MONAI's ``LoadImage`` tries reader after reader, so that a truncated picture is half-read by the most lenient
one; its ``PydicomReader`` turns every header field (and the pixels) into JSON, which costs ten times the
reading, and it keeps either no photometric interpretation or all of a patient's header. Here one reader is
chosen by the file, and of a header only what the grey values need is kept.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, PILReader
from monai.transforms import MapTransform, Transform
from monai.utils import optional_import

__all__ = ["LoadXray", "LoadXrayd", "plain_channels"]

pydicom, _ = optional_import("pydicom")
_PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
_PLAIN_MODES = {"L", "LA", "RGB", "RGBA", "I", "I;16", "F"}


def plain_channels(image):  # type: ignore[no-untyped-def]  # PIL is an optional import
    """A PIL image whose numbers are grey or colour levels: palettes become RGB, bilevel L, CMYK RGB."""
    image.load()  # a truncated file raises here
    if image.mode in _PLAIN_MODES:
        return image
    if image.mode.startswith("I;16"):
        return image.convert("I")
    return image.convert("L" if image.mode == "1" else "RGB")


class LoadXray(Transform):
    """Read one X-ray file to (C, X, Y) = (channels, columns, rows).

    The metadata of the result hold ``filename_or_obj``, PIL's ``mode`` or DICOM's ``photometric`` and
    ``bits_stored``, and nothing else of the header. DICOM rescale slope and intercept are applied; JPEG and
    JPEG 2000 need the decoders of the ``[dicom]`` extra.
    """

    def __init__(self) -> None:
        self.pictures = PILReader(converter=plain_channels)

    def __call__(self, path: str | os.PathLike) -> MetaTensor:
        """
        Args:
            path: the file.

        Returns:
            (C, X, Y) float32, C of 1 to 4, in the file's own units.

        Raises:
            FileNotFoundError: When the file does not exist.
            ValueError: When it is no picture and no DICOM file, or has several frames.
            OSError: When it is truncated.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"An X-ray must be one file, found none at {str(path)!r}.")
        array, meta = self._picture(path) if path.suffix.lower() in _PICTURES else self._dicom(path)
        tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
        return MetaTensor(tensor, meta={"filename_or_obj": str(path), "original_channel_dim": 0, **meta})

    def _picture(self, path: Path) -> tuple[np.ndarray, dict[str, object]]:
        array, header = self.pictures.get_data(self.pictures.read(path))
        return (array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)), {"mode": header["mode"]}

    def _dicom(self, path: Path) -> tuple[np.ndarray, dict[str, object]]:
        if not pydicom.misc.is_dicom(path) and path.suffix.lower() != ".dcm":
            raise ValueError(
                f"An X-ray must be PNG, JPEG, BMP, TIFF or DICOM, got {path.name!r}; convert it first."
            )
        header = pydicom.dcmread(path)
        photometric = str(header.PhotometricInterpretation)
        array = header.pixel_array
        if photometric == "PALETTE COLOR":
            array = pydicom.pixels.apply_color_lut(array, header)
        else:
            array = pydicom.pixels.apply_modality_lut(array, header)
        if array.ndim - (int(header.SamplesPerPixel) > 1 or photometric == "PALETTE COLOR") != 2:
            raise ValueError(f"A DICOM X-ray must have one frame, got an array of shape {array.shape}.")
        array = array.T[None] if array.ndim == 2 else array.transpose(2, 1, 0)
        is_rescaled = (
            "RescaleSlope" in header or "ModalityLUTSequence" in header or photometric == "PALETTE COLOR"
        )
        return array, {"photometric": photometric} | (
            {} if is_rescaled else {"bits_stored": int(header.BitsStored)}
        )


class LoadXrayd(MapTransform):
    """Dictionary form of ``LoadXray``."""

    def __init__(self, keys: KeysCollection = "image", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.load = LoadXray()

    def __call__(self, data: Mapping[Hashable, str]) -> dict[Hashable, object]:
        row: dict[Hashable, object] = dict(data)
        for key in self.key_iterator(data):
            row[key] = self.load(data[key])
        return row
