# SPDX-License-Identifier: Apache-2.0
"""One image of a datalist: does it open, and is it what it should be? Facts leave this module, no pixels."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, cast
from unicodedata import normalize

import nibabel
import numpy as np
from monai.utils import convert_to_numpy
from PIL import Image
from pydicom.dataset import Dataset

from monai_unimedi.data.check_values import contrast_faults, hounsfield_faults, is_constant
from monai_unimedi.data.ct_slice import looks_like_ct_slice
from monai_unimedi.data.dicom_xray import PURPOSE_TAGS, is_for_processing, turned_orientation
from monai_unimedi.data.discover import PICTURES, VOLUMES
from monai_unimedi.data.perceptual_hash import perceptual_hash
from monai_unimedi.transforms.dicom_pixels import read_dicom
from monai_unimedi.transforms.load_volume import LoadVolume
from monai_unimedi.transforms.load_xray import LoadXray
from monai_unimedi.transforms.xray import XrayToGray

__all__ = ["ImageFacts", "inspect_image", "kind_of", "shown_planes"]

ImageFacts = dict[str, Any]
"""``kind`` ("2d" or "3d"), ``faults`` (severity, check, message), and of an image that opened ``shape``,
``channels``, ``photometric``, ``spacing``, ``orientation``, ``exact`` and ``near`` (hashes)."""
Fault = tuple[str, str, str]
_LOOKED_AT = 256  # pixels: JPEGs are decoded at a scale that leaves twice that
_SMALLEST = 64
_LONGEST = 3.0
_SLICED = ("CT", "MR", "PT")
_COLOURED = 12.0  # mean difference of the channels, in grey levels: above, it is no toned X-ray
_SPACING = (0.1, 25.0)  # mm
_TURNED = 30.0  # degrees from the axes


def kind_of(path: str) -> str:
    """``3d`` for a folder or a volume's ending, else ``2d``; nothing is opened."""
    return "3d" if os.path.isdir(path) or path.lower().endswith(VOLUMES) else "2d"


def inspect_image(path: str) -> ImageFacts:
    """Reads one image whole.

    Args:
        path: file or DICOM folder.

    Returns:
        Facts; an image that cannot be read has exactly one fault, of severity ``error``.
    """
    kind = kind_of(path)
    try:
        _require_readable(path)
        return _volume(path) if kind == "3d" else _xray(path)
    except MemoryError:
        return {"kind": kind, "faults": [("error", "opens", "The image must fit into memory, it does not.")]}
    except Exception as error:
        message = " ".join(str(error).split()) or type(error).__name__
        return {"kind": kind, "faults": [("error", "opens", message)]}


def _require_readable(path: str) -> None:
    """The reasons that lie in the file system, apart from those in the file."""
    name = os.path.basename(path)
    if os.path.islink(path) and not os.path.exists(path):
        raise ValueError(f"The link {name!r} must lead to an image, it leads nowhere or to itself.")
    if not os.path.exists(path):
        raise ValueError(_missing(path))
    needed = os.R_OK | (os.X_OK if os.path.isdir(path) else 0)
    if not os.access(path, needed, effective_ids=os.access in os.supports_effective_ids):
        raise ValueError(f"{name!r} must be readable for this user, it is not; change its permissions.")
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        raise ValueError(f"{name!r} must hold an image, it is empty; copy it again.")


def _missing(path: str) -> str:
    """No such file; where only the spelling of an accent or upper case differs, that is said."""
    folder, name = os.path.split(path)
    here = os.listdir(folder) if os.path.isdir(folder) else []
    alike = [n for n in here if normalize("NFC", n).casefold() == normalize("NFC", name).casefold()]
    hint = (
        "one of that name is spelt with other Unicode signs or capitals: rename it or the row"
        if alike
        else "is --dataset_dir right?"
    )
    return f"There must be an image at the row's path, found none; {hint}"


def _xray(path: str) -> ImageFacts:
    is_picture = path.lower().endswith(PICTURES)
    facts, faults = ({}, []) if is_picture else _dicom_header(path)
    if any(severity == "error" for severity, *_ in faults):
        return facts | {"faults": faults}
    image = LoadXray(target_size=_LOOKED_AT)(path)
    if is_picture:
        facts, faults = _picture_header(path)
    stored = image.numpy()
    if not np.isfinite(stored).all():
        raise ValueError("The image must hold finite values, got NaN or infinity; convert the file again.")
    if is_constant(stored):
        raise ValueError("The image must not be constant, every pixel has one value.")
    grey = convert_to_numpy(XrayToGray()(image))[0]
    facts.setdefault("channels", stored.shape[0])
    facts.setdefault("shape", grey.shape)
    return facts | {
        "faults": faults + _shape_faults(facts["shape"]) + _grey_faults(grey),
        "exact": _digest(grey),
        "near": perceptual_hash(grey),
    }


def _picture_header(path: str) -> tuple[ImageFacts, list[Fault]]:
    with Image.open(path) as picture:
        facts: ImageFacts = {
            "kind": "2d",
            "shape": picture.size,
            "channels": len(picture.getbands()),
            "photometric": f"{picture.format} {picture.mode}",
        }
        faults: list[Fault] = []
        turned = picture.getexif().get(0x0112, 1)
        if turned not in (0, 1):
            message = (
                f"The picture must lie as it is stored, its EXIF orientation is {turned}: viewers turn it; "
                "save it turned, without the tag."
            )
            faults.append(("warning", "orientation", message))
        if picture.mode not in ("L", "1", "I", "I;16", "F", "LA"):
            faults += _colour_faults(picture)
    return facts, faults


def _colour_faults(picture: Image.Image) -> list[Fault]:
    small = picture
    small.draft("RGB", (_LOOKED_AT, _LOOKED_AT))
    small = small.convert("RGBA")
    small.thumbnail((_LOOKED_AT, _LOOKED_AT))
    levels = np.asarray(small, dtype=np.float32)
    spread = float((levels[..., :3].max(-1) - levels[..., :3].min(-1)).mean())
    faults: list[Fault] = []
    if spread > _COLOURED:
        message = (
            f"An X-ray must be grey, its channels differ by {spread:.0f} of 255 levels on average (a "
            "photograph, an overlay?); it is read as luma."
        )
        faults.append(("warning", "colour", message))
    if levels[..., 3].min() < 255:
        message = "The picture must be opaque, parts of it are transparent; what lies beneath is read."
        faults.append(("warning", "transparency", message))
    return faults


def _dicom_header(path: str) -> tuple[ImageFacts, list[Fault]]:
    if Path(path).suffix.lower() != ".dcm" and not _begins_as_dicom(path):
        return {"kind": "2d"}, []
    tags = ("Modality", "PhotometricInterpretation", "SamplesPerPixel", "Rows", "Columns", "NumberOfFrames")
    header = read_dicom(path, (*tags, *PURPOSE_TAGS), pixels=False)
    facts: ImageFacts = {"kind": "2d", "photometric": f"DICOM {header.get('PhotometricInterpretation')}"}
    facts["channels"] = int(header.get("SamplesPerPixel") or 1)
    modality = str(header.get("Modality", ""))
    if modality in _SLICED:
        message = (
            f"A DICOM X-ray must be CR, DX or the like, this is one {modality} slice; name the folder of its "
            "series in the 3d datalist instead."
        )
        return facts, [("error", "CT slice", message)]
    faults = _purpose_faults(header)
    if facts["channels"] > 1:
        message = "An X-ray must be grey, this DICOM file is in colour; it is read as luma."
        faults.append(("warning", "colour", message))
    return facts, faults


def _purpose_faults(header: Dataset) -> list[Fault]:
    faults: list[Fault] = []
    if is_for_processing(header):
        message = (
            "A DICOM X-ray must be for viewing, this is the detector's raw image (FOR PROCESSING), often a "
            "negative; take the one FOR PRESENTATION."
        )
        faults.append(("warning", "raw image", message))
    if turned := turned_orientation(header):
        message = (
            f"The rows of a frontal X-ray must run to the patient's left and its columns to the feet (L\\F), its "
            f"PatientOrientation is {turned}: it is read as stored, sides do not fit its report; turn the pixels."
        )
        faults.append(("warning", "orientation", message))
    return faults


def _begins_as_dicom(path: str) -> bool:
    with open(path, "rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _shape_faults(shape: tuple[int, int]) -> list[Fault]:
    if min(shape) < _SMALLEST:
        message = f"An X-ray should have {_SMALLEST} pixels a side at least, got {shape[0]} x {shape[1]}."
        return [("warning", "size", message)]
    if max(shape) > _LONGEST * min(shape):
        message = f"An X-ray is no strip, got {shape[0]} x {shape[1]} pixels."
        return [("warning", "size", message)]
    return []


def _grey_faults(grey: np.ndarray) -> list[Fault]:
    faults = contrast_faults(grey)
    if min(grey.shape) >= 32 and looks_like_ct_slice(grey):
        message = "The picture looks like a slice of a CT; leave it out of the X-rays if it is one."
        faults.append(("warning", "CT slice", message))
    return faults


def _volume(path: str) -> ImageFacts:
    image = LoadVolume(dtype=None)(path)
    voxels = image[0].numpy()
    low, high = voxels.min(), voxels.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("The image must hold finite values, got NaN or infinity; convert the file again.")
    if low == high:
        raise ValueError(f"The image must not be constant, every voxel is {float(low):g}.")
    affine = image.affine.numpy()
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return {
        "kind": "3d",
        "shape": voxels.shape,
        "channels": 1,
        "spacing": tuple(round(float(s), 3) for s in spacing),
        "orientation": "".join(nibabel.aff2axcodes(affine)),
        "range": (float(low), float(high)),
        "faults": _geometry_faults(path, affine, spacing) + hounsfield_faults(voxels),
        "exact": _digest(voxels.transpose(2, 1, 0)),
        "near": perceptual_hash(np.clip(_projection(voxels, affine), -1000, 1000)),
    }


def _projection(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The volume seen from in front, mean along the axis nearest to anterior."""
    axis = int(np.abs(affine[1, :3] / np.linalg.norm(affine[:3, :3], axis=0)).argmax())
    return voxels.mean(axis=axis, dtype=np.float32)


def _geometry_faults(path: str, affine: np.ndarray, spacing: np.ndarray) -> list[Fault]:
    faults: list[Fault] = []
    if spacing.min() < _SPACING[0] or spacing.max() > _SPACING[1]:
        got = " x ".join(f"{s:g}" for s in spacing.round(4))
        message = f"The spacing of a CT lies within {_SPACING[0]} and {_SPACING[1]} mm, got {got}; is it in mm?"
        faults.append(("warning", "spacing", message))
    turned = np.degrees(np.arccos(np.clip(np.abs(affine[:3, :3] / spacing).max(axis=0).min(), 0, 1)))
    if turned > _TURNED:
        message = f"The axes should lie along the body's, they are turned by {turned:.0f} degrees."
        faults.append(("warning", "orientation", message))
    if path.lower().endswith((".nii", ".nii.gz")):
        faults += _nifti_faults(cast(nibabel.nifti1.Nifti1Header, nibabel.load(path).header))
    return faults


def _nifti_faults(header: nibabel.Nifti1Header) -> list[Fault]:
    codes = int(header["qform_code"]), int(header["sform_code"])
    if codes == (0, 0):
        message = "The NIfTI file should say how it lies (qform or sform), it says nothing: sides are a guess."
        return [("warning", "orientation", message)]
    if min(codes) > 0 and np.abs(header.get_qform() - header.get_sform())[:3, :3].max() > 0.05:
        message = (
            "The two affines of the NIfTI file must agree, its qform and sform differ; the sform is used, "
            "other programs take the qform."
        )
        return [("warning", "orientation", message)]
    return []


def _digest(array: np.ndarray) -> bytes:
    """Of the values and their shape; two files of the same pixels agree."""
    whole = np.ascontiguousarray(array)
    return hashlib.blake2b(whole.data, digest_size=16, person=str(whole.shape).encode()[:16]).digest()


def shown_planes(path: str) -> np.ndarray | None:
    """One picture (X, Y) in [0, 1] for a page: the X-ray, or the middle axial slice in a lung window.

    None where the image cannot be read.
    """
    try:
        if kind_of(path) == "2d":
            return convert_to_numpy(XrayToGray()(LoadXray(target_size=_LOOKED_AT)(path)))[0]
        voxels = LoadVolume(dtype=None)(path)[0].numpy()
    except Exception:
        return None
    plane = voxels[:, :, voxels.shape[2] // 2].astype(np.float32)
    return np.clip((plane + 1150) / 1500, 0, 1)
