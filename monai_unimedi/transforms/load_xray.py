# SPDX-License-Identifier: Apache-2.0
"""Reading one X-ray file: PNG, JPEG, BMP, TIFF or single-frame DICOM, and nothing by guess.

MONAI's ``LoadImage`` tries reader after reader, so that a truncated picture is half-read by the most lenient
one; its ``PydicomReader`` turns every header field (and the pixels) into JSON, which costs ten times the
reading, and it keeps either no photometric interpretation or all of a patient's header. Here one reader is
chosen by the file, and of a header only what the grey values need is kept.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from PIL import Image, UnidentifiedImageError
from pydicom.misc import is_dicom

from monai_unimedi.transforms.dicom_pixels import modality_values, read_dicom, stored_values, voi_values

__all__ = ["LoadXray", "LoadXrayd", "plain_channels", "scaled_jpeg"]

_PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
_PLAIN_MODES = {"L", "LA", "RGB", "RGBA", "I", "I;16", "F"}
_PHOTOMETRIC = 262  # TIFF tag; 0: white is zero
_OVERSAMPLING = 2  # decoded pixels per pixel of the target: below it, the JPEG's own blocks would show


def plain_channels(image: Image.Image) -> Image.Image:
    """A PIL image whose numbers are grey or colour levels: palettes become RGB, bilevel L, CMYK RGB.

    Raises:
        ValueError: When the file holds several pictures.
    """
    frames = int(getattr(image, "n_frames", 1))
    if frames > 1:
        raise ValueError(f"An X-ray file must hold one picture, got {frames} frames; split it.")
    image.load()  # a truncated file raises here
    if image.mode in _PLAIN_MODES:
        return image
    if image.mode.startswith("I;16"):
        return image.convert("I")
    return image.convert("L" if image.mode == "1" else "RGB")


def _white_is_zero(image: Image.Image) -> bool:
    """Whether a TIFF's lowest value is white, of the depths that PIL leaves as they are; it turns 8 bits itself."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    return tags.get(_PHOTOMETRIC) == 0 and (image.mode in ("I", "F") or image.mode.startswith("I;16"))


def scaled_jpeg(image: Image.Image, target_size: int, fit: str = "pad") -> tuple[float, float] | None:
    """Lets the JPEG decoder leave out the high frequencies of each 8 x 8 block, before decoding.

    The decoded side is at least twice the target, so that the area average that follows decides about
    anti-aliasing; colour is decoded to luma. Other formats and small pictures stay as they are.

    Returns:
        Columns and rows that the picture will cover, of which the last may be a part; None where it stays.

    Args:
        image: opened, not loaded.
        target_size: pixels that ``ScaleXray`` will make of the longest (``pad``) or shortest (``crop``) side.
        fit: as in ``ScaleXray``.
    """
    side = max(image.size) if fit == "pad" else min(image.size)
    scale = side // (_OVERSAMPLING * target_size)
    if image.format == "JPEG" and scale > 1:
        found = image.draft("L", (image.width // scale, image.height // scale))
        return None if found is None else (float(found[1][2]), float(found[1][3]))
    return None


class LoadXray(Transform):
    """Read one X-ray file to (C, X, Y) = (channels, columns, rows), as they are stored: neither an EXIF turn nor a
    DICOM file's ``PatientOrientation`` is applied, so that masks and predictions lie on the file's own grid;
    ``check`` names files that are stored turned.

    The metadata of the result hold ``filename_or_obj``, PIL's ``mode`` or DICOM's ``photometric`` (``MONOCHROME1``
    also of a TIFF of more than 8 bits whose white is zero), and ``bits_stored`` or ``levels`` (black and white),
    ``extent`` (columns and rows, the last of which may be a part) of a scaled JPEG, and nothing else of the header.
    DICOM rescale slope and intercept are applied; JPEG, lossless JPEG, JPEG-LS and JPEG 2000 need the decoders of
    the ``[dicom]`` extra.

    Args:
        voi: ``header`` applies a DICOM file's VOI LUT, or where it has none its first window, and nothing
            where it has neither; ``ignore`` applies nothing. DICOM holds both to be equal alternatives; the
            LUT goes first because a device that writes one means it, while the window beside it is often a
            straight line through it. ``header`` is the default because it is what the reader of the report
            saw and what the PNG and JPEG corpora were made from; robust percentiles of the stored values
            would give collimator borders and direct exposure a large part of the grey scale.
        target_size: what ``ScaleXray`` will make of the image, in pixels: large JPEGs are then decoded at a
            half, a quarter or an eighth of their size, never under twice the target. All of the file is still
            read, and a truncated one still raises. None decodes all pixels.
        fit: as in the ``ScaleXray`` that follows; of use with ``target_size`` only.
    """

    def __init__(self, voi: str = "header", target_size: int | None = None, fit: str = "pad") -> None:
        if voi not in ("header", "ignore"):
            raise ValueError(f"voi must be 'header' or 'ignore', got {voi!r}.")
        if fit not in ("pad", "crop"):
            raise ValueError(f"fit must be 'pad' or 'crop', got {fit!r}.")
        if target_size is not None and target_size < 1:
            raise ValueError(f"target_size must be a positive number of pixels, got {target_size}.")
        self.voi = voi
        self.target_size = target_size
        self.fit = fit

    def __call__(self, path: str | os.PathLike, whole: bool = False) -> MetaTensor:
        """
        Args:
            path: the file.
            whole: decode all pixels whatever ``target_size`` says (a mask lies beside the image).

        Returns:
            (C, X, Y) float32, C of 1 to 4, in the file's own units; [0, 1] after a DICOM window.

        Raises:
            FileNotFoundError: When the file does not exist.
            ValueError: When it is no picture and no DICOM file, has several frames, holds NaN, or is broken.
            OSError: When a picture is truncated.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"An X-ray must be one file, found none at {str(path)!r}.")
        is_picture = path.suffix.lower() in _PICTURES
        array, meta = self._picture(path, whole) if is_picture else self._dicom(path)
        tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
        return MetaTensor(tensor, meta={"filename_or_obj": str(path), "original_channel_dim": 0, **meta})

    def _picture(self, path: Path, whole: bool) -> tuple[np.ndarray, dict[str, object]]:
        try:
            with Image.open(path) as image:
                scaled = None if whole or self.target_size is None else self.target_size
                extent = None if scaled is None else scaled_jpeg(image, scaled, self.fit)
                plain = plain_channels(image)
                array, mode = np.asarray(plain), plain.mode
                is_inverted = _white_is_zero(image)
        except UnidentifiedImageError:
            raise ValueError(f"{path.name!r} must hold a picture, it does not; copy it again.") from None
        except (OSError, SyntaxError, struct.error) as error:  # the last two: PIL, of a broken PNG
            if isinstance(error, PermissionError):
                raise
            raise OSError(f"{path.name!r} must be whole, it is broken or truncated; copy it again.") from error
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError("The image must hold finite values, got NaN or infinity; convert the file again.")
        meta: dict[str, object] = {"mode": mode} | ({} if extent is None else {"extent": extent})
        meta |= {"photometric": "MONOCHROME1"} if is_inverted else {}
        return (array.T[None] if array.ndim == 2 else array.transpose(2, 1, 0)), meta

    def _dicom(self, path: Path) -> tuple[np.ndarray, dict[str, object]]:
        if not is_dicom(path) and path.suffix.lower() != ".dcm":
            raise ValueError(f"An X-ray must be PNG, JPEG, BMP, TIFF or DICOM, got {path.name!r}; convert it first.")
        header = read_dicom(path)
        stored = stored_values(header, path.name)
        is_color = int(header.get("SamplesPerPixel", 1)) > 1
        if stored.ndim - is_color != 2:
            raise ValueError(f"A DICOM X-ray must have one frame, got an array of shape {stored.shape}.")
        array = modality_values(stored, header)
        meta: dict[str, object] = {"photometric": str(header.PhotometricInterpretation)}
        levels = None
        if array.ndim == 2 and self.voi == "header":
            array, levels = voi_values(array, header)
        if levels is not None:
            meta["levels"] = levels
            _check_window(array)
        elif array is stored:  # neither rescaled nor looked up: the bits give the range
            meta["bits_stored"] = int(header.BitsStored)
        return (array.T[None] if array.ndim == 2 else array.transpose(2, 1, 0)), meta


def _check_window(array: np.ndarray) -> None:
    if array.min() == array.max():
        raise ValueError(
            "The DICOM window or VOI LUT must lie over the image's values, it leaves one grey level; read "
            "with voi='ignore'."
        )


class LoadXrayd(MapTransform):
    """Dictionary form of ``LoadXray``. Where several of the keys are there (a mask beside the image), all
    pixels of each are decoded, so that they lie on one grid."""

    def __init__(
        self,
        keys: KeysCollection = "image",
        voi: str = "header",
        target_size: int | None = None,
        fit: str = "pad",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.load = LoadXray(voi, target_size, fit)

    def __call__(self, data: Mapping[Hashable, str]) -> dict[Hashable, Any]:
        row: dict[Hashable, Any] = dict(data)
        present = list(self.key_iterator(data))
        for key in present:
            row[key] = self.load(data[key], whole=len(present) > 1)
        return row
