# SPDX-License-Identifier: Apache-2.0
"""Acceptance: the same lesion on the same side, whatever the dimension, file format and stored orientation.

A body with one lesion on the patient's right, upper side (in the CT also posterior) is written as X-ray (PNG,
JPEG, DICOM in both photometric interpretations) and as CT (NIfTI, MHA and NRRD in several orientations, DICOM
folders in both directions of travel), read by the transforms of the bundle and augmented. In every one the
lesion must lie at low X; in the CTs at high Y and Z, in the X-rays at low Y.

    python tests/acceptance/same_side.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import itk
import nibabel
import numpy as np
import pydicom
import torch
from monai.transforms import Compose, Orientationd, ScaleIntensityRanged
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from PIL import Image
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from monai_unimedi.transforms import (
    CheckImaged,
    CropOrPadBodyd,
    LoadVolumed,
    LoadXrayd,
    RandChestAugmentd,
    ResampleVolumed,
    ScaleXrayd,
    XrayToGrayd,
)

SPACING = (4.0, 4.0, 8.0)  # mm along left, posterior, superior
ORIENTATIONS = ("RAS", "LPS", "LAS", "RPI", "PSL")
XRAY = Compose(
    [
        LoadXrayd("image"),
        XrayToGrayd("image"),
        CheckImaged("image", 2),
        ScaleXrayd("image", 48),
        RandChestAugmentd(),
    ]
)
CT = Compose(
    [
        LoadVolumed("image"),
        CheckImaged("image", 3),
        Orientationd("image", "LPS", labels=None),
        ResampleVolumed("image", (8.0, 8.0, 16.0)),
        CropOrPadBodyd("image", (24, 24, 12)),
        ScaleIntensityRanged("image", -1150, 350, 0, 1, clip=True),
        RandChestAugmentd(),
    ]
)


def ct_body() -> np.ndarray:
    """HU, axes to left, posterior and superior: (40, 36, 20), lesion at low, high, high index."""
    volume = np.full((40, 36, 20), -1000, dtype=np.int16)
    volume[4:36, 4:32] = 40
    volume[7:33, 8:28] = -800
    volume[9:15, 20:26, 13:17] = 300
    return volume


def xray_body() -> np.ndarray:
    """Grey levels 0 to 255, rows by columns of the PA display: (100, 90), lesion upper left on the screen."""
    picture = np.full((100, 90), 10, dtype=np.uint8)
    picture[8:92, 8:82] = 120
    picture[15:80, 12:40] = picture[15:80, 50:78] = 60
    picture[20:32, 18:30] = 250
    return picture


def dicom(array: np.ndarray, sop_class: str, **tags: object) -> pydicom.Dataset:
    """A DICOM object holding one uint16 or int16 frame, rows by columns."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(sop_class), generate_uid()
    data = pydicom.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = array.shape
    data.SamplesPerPixel, data.BitsAllocated, data.PhotometricInterpretation = 1, 16, "MONOCHROME2"
    data.PixelRepresentation = int(array.dtype == np.int16)
    for name, value in {"BitsStored": 16, "HighBit": 15, **tags}.items():
        setattr(data, name, value)
    data.PixelData = array.tobytes()
    return data


def write_xrays(folder: Path) -> dict[str, Path]:
    """X-ray files by name."""
    picture = xray_body()
    paths = {name: folder / f"xray.{name}" for name in ("png", "jpg", "bmp")}
    for path in paths.values():
        Image.fromarray(picture).save(path)
    wide = picture.astype(np.uint16) * 16
    for name, array in (("MONOCHROME2", wide), ("MONOCHROME1", 4095 - wide)):
        paths[f"dicom {name}"] = path = folder / f"{name}.dcm"
        data = dicom(array, DigitalXRayImageStorageForPresentation, BitsStored=12, HighBit=11)
        data.PhotometricInterpretation, data.Modality = name, "DX"
        data.save_as(path, enforce_file_format=True)
    return paths


def write_dicom_folder(folder: Path, feet_first: bool) -> Path:
    """The CT as one file a slice, stored with an offset of 1024; instance numbers go up or down the body."""
    folder.mkdir()
    volume = ct_body() + 1024
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    count = volume.shape[2]
    for z in range(count):
        data = dicom(
            np.ascontiguousarray(volume[:, :, z].T), CTImageStorage, Modality="CT",
            SeriesInstanceUID=series, StudyInstanceUID=study, FrameOfReferenceUID=frame,
            InstanceNumber=z + 1 if feet_first else count - z, ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[-80.0, -70.0, 100.0 + SPACING[2] * z], PixelSpacing=list(SPACING[:2]),
            SliceThickness=SPACING[2], RescaleSlope=1, RescaleIntercept=-1024,
        )  # fmt: skip
        data.save_as(folder / f"{(z * 7) % count:03d}.dcm", enforce_file_format=True)
    return folder


def write_cts(folder: Path) -> dict[str, Path]:
    """CT files and folders by name."""
    image = nibabel.Nifti1Image(ct_body(), np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0]))
    paths = {}
    for codes in ORIENTATIONS:
        turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
        for ending in ("nii", "nii.gz"):
            paths[f"{ending} {codes}"] = path = folder / f"{codes}.{ending}"
            nibabel.save(image.as_reoriented(turn), path)
    for name, flip in (("LPS", 1), ("RPS", -1)):
        volume = itk.image_from_array(np.ascontiguousarray(ct_body()[::flip].transpose(2, 1, 0)))
        volume.SetSpacing(SPACING)
        volume.SetDirection(itk.matrix_from_array(np.diag([float(flip), 1.0, 1.0])))
        for ending in ("mha", "nrrd"):
            paths[f"{ending} {name}"] = path = folder / f"{name}.{ending}"
            itk.imwrite(volume, str(path))
    for name, feet_first in (("feet first", True), ("head first", False)):
        paths[f"dicom folder, {name}"] = write_dicom_folder(folder / name, feet_first)
    return paths


def lesion_centre(image: torch.Tensor) -> list[float]:
    """Centre of the brightest voxels as shares of the size along each axis."""
    places = torch.nonzero(image[0] > 0.88 * image.max()).float()
    return [(float(c) + 0.5) / n for c, n in zip(places.mean(0), image.shape[1:])]


def check_all(folder: Path) -> list[str]:
    """Reads every form a few times; returns the names of all that were looked at.

    Raises:
        AssertionError: When a lesion lies elsewhere; the message names the form and the place.
    """
    forms: list[tuple[str, Compose, Path, tuple[int, ...]]] = []
    forms += [(name, XRAY, path, (-1, -1)) for name, path in write_xrays(folder).items()]
    forms += [(name, CT, path, (-1, 1, 1)) for name, path in write_cts(folder).items()]
    for name, chain, path, sides in forms:
        for seed in range(4):
            chain.set_random_state(seed=seed)
            centre = lesion_centre(torch.as_tensor(chain({"image": str(path)})["image"]))
            is_right = all((c - 0.5) * side > 0.05 for c, side in zip(centre, sides))
            if len(centre) != len(sides) or not is_right:
                raise AssertionError(f"{name}: the lesion must lie towards {sides}, it lies at {centre}")
    return [name for name, *_ in forms]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        found = check_all(Path(name))
    for form in found:
        print(form)
    print(f"same side: {len(found)} of {len(found)} forms of one right-sided lesion lie at low X")
