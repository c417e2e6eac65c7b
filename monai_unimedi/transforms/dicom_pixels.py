# SPDX-License-Identifier: Apache-2.0
"""Grey values of a DICOM object: decoded, rescaled, and windowed as its header asks for.

The order is that of DICOM PS3.3 C.11: stored values, then the modality transform (LUT or slope and
intercept), then the VOI transform (LUT or window). The inversion of MONOCHROME1 comes last and is
``XrayToGray``'s. Errors name what is wrong and never a header's text: these are patients.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, get_decoder, pixel_array

__all__ = ["modality_values", "read_dicom", "stored_values", "voi_values"]

_REMEDY = "pip install 'monai-unimedi[dicom]' brings the decoders"


def read_dicom(path: str | os.PathLike, tags: Sequence[str] | None = None, pixels: bool = True) -> Dataset:
    """One DICOM file.

    Args:
        path: the file.
        tags: keywords to keep of its header; all where None.
        pixels: read the pixel data too.

    Raises:
        ValueError: When it is no DICOM file, or its header is cut off.
    """
    name = Path(path).name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values that break a rule of notation, of tags not used here
            return pydicom.dcmread(
                path, specific_tags=None if tags is None else [*tags], stop_before_pixels=not pixels
            )
    except pydicom.errors.InvalidDicomError:
        raise ValueError(f"A DICOM file must begin with a DICOM header, {name!r} does not.") from None
    except (EOFError, ValueError, KeyError, NotImplementedError, AttributeError, TypeError) as error:
        raise ValueError(
            f"The DICOM file {name!r} must be whole, its header is broken or cut off."
        ) from error


def stored_values(header: Dataset, name: str) -> np.ndarray:
    """Decoded pixels (rows, columns[, 3]) or (frames, rows, columns[, 3]); colour as RGB.

    Args:
        header: from `read_dicom`.
        name: the file's name, for messages.

    Raises:
        ValueError: When the pixel data are missing, cut off, in another form than the header says, or need a
            decoder that is not installed.
    """
    syntax = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    if syntax is None:
        raise ValueError(
            f"The DICOM file {name!r} must name its transfer syntax, it has none; export it again."
        )
    if "PixelData" not in header:
        raise ValueError(
            f"The DICOM file {name!r} must hold pixel data, it has none or is cut off before them."
        )
    _require_decoder(syntax, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pixel_array(header)
    except Exception as error:
        raise ValueError(
            f"The pixel data of {name!r} must be whole and in the form that its header says ({syntax.name}, "
            f"{header.get('Rows')} x {header.get('Columns')}, {header.get('BitsAllocated')} bits), they "
            f"could not be decoded: the file is cut off or its transfer syntax is wrong; export it again."
        ) from error


def _require_decoder(syntax: pydicom.uid.UID, name: str) -> None:
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise ValueError(
            f"The transfer syntax of {name!r} must be one of images, got {syntax.name}."
        ) from None
    if not decoder.is_available:
        raise ValueError(f"{name!r} is compressed as {syntax.name}, for which no decoder is here: {_REMEDY}.")


def modality_values(array: np.ndarray, header: Dataset) -> np.ndarray:
    """Stored values to the modality's units (HU in CT): palette, LUT, or float32 slope and intercept; the
    array itself where the header asks for nothing.

    Raises:
        ValueError: When slope or intercept is no finite number, or the slope is 0.
    """
    if header.get("PhotometricInterpretation") == "PALETTE COLOR":
        return apply_color_lut(array, header)
    if header.get("ModalityLUTSequence"):
        return apply_modality_lut(array, header)
    slope, intercept = _number(header, "RescaleSlope", 1.0), _number(header, "RescaleIntercept", 0.0)
    if slope is None or intercept is None or not np.isfinite([slope, intercept]).all() or slope == 0:
        raise ValueError(f"Rescale slope and intercept must be finite and not 0, got {slope}, {intercept}.")
    if slope == 1 and intercept == 0:
        return array
    return array * np.float32(slope) + np.float32(intercept)


def voi_values(array: np.ndarray, header: Dataset) -> tuple[np.ndarray, tuple[float, float] | None]:
    """The VOI LUT where there is one, else the first window where there is one, else nothing.

    Args:
        array: from `modality_values`.
        header: of the same file.

    Returns:
        The values, and the levels that mean black and white (before MONOCHROME1 is inverted); None for levels
        where the header has neither LUT nor window.

    Raises:
        ValueError: When a LUT is broken or a window has no width.
    """
    if header.get("VOILUTSequence"):
        return _looked_up(array, header)
    center, width = (_number(header, name, None) for name in ("WindowCenter", "WindowWidth"))
    if center is None or width is None:
        return array, None
    return _windowed(array, center, width, str(header.get("VOILUTFunction") or "LINEAR")), (0.0, 1.0)


def _looked_up(array: np.ndarray, header: Dataset) -> tuple[np.ndarray, tuple[float, float]]:
    try:
        values = apply_voi(np.rint(array).astype(np.int32), header)
        ends = apply_voi(np.array([-(2**31), 2**31 - 1], np.int64), header)
        table = header.VOILUTSequence[0].LUTData
    except (ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        raise ValueError("The VOI LUT must be whole, it is broken; read with voi='ignore'.") from error
    known = np.asarray(table if isinstance(table, MultiValue | list) else ends)
    return values, (float(min(known.min(), ends.min())), float(max(known.max(), ends.max())))


def _windowed(array: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """DICOM PS3.3 C.11.2.1.2 and .3, to [0, 1], float32."""
    if not width >= (1 if function == "LINEAR" else 1e-6):
        raise ValueError(f"The window must have a width of 1 or more, got {width:g}; read with voi='ignore'.")
    x = array.astype(np.float32)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (x - center) / width, -80, 80)))
    if function == "LINEAR_EXACT":
        return np.clip((x - center) / width + 0.5, 0, 1)
    return np.clip((x - (center - 0.5)) / max(width - 1, 1e-6) + 0.5, 0, 1)


def _number(header: Dataset, name: str, default: float | None) -> float | None:
    """First value of a number's tag; the default where it is missing or empty."""
    value = header.get(name)
    value = value[0] if isinstance(value, MultiValue | list) and len(value) else value
    if value is None or value == "" or isinstance(value, MultiValue | list):
        return default
    return float(value)
