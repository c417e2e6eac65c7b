# SPDX-License-Identifier: Apache-2.0
"""Acceptance: a predicted mask laid over its image in SimpleITK's reading sits on the anatomy.

    python tests/acceptance/mask_orientation.py

``inference.json`` of the segmentation bundles runs with a network that finds what is bright (tissue above -400 HU,
X-rays above mid grey), in place of the trained one; windows, resampling and their inversion are the bundle's. For
each mask: size, spacing, origin and direction are the image's as SimpleITK reads both, and the Dice of the mask,
resampled by SimpleITK's physical space, with SimpleITK's own thresholding of the image is at least 0.95, and higher
than that of the same mask turned about any of its axes.

Phantoms that lie LPS, RAS, oblique and anisotropic, as NIfTI, NRRD and DICOM series, predicted as NIfTI, NRRD and,
beside a series, DICOM SEG; then real CTs (NIfTI, MHA, NRRD) and X-rays (DICOM, PNG) from ``../shared/data`` or the
folder that ``UNIMEDI_REAL_DATA`` names. The last line holds the counts and the lowest Dice.
"""

from __future__ import annotations

import csv
import itertools
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK
import torch
from _bundle import OUTPUT, REPOSITORY
from monai.bundle import ConfigWorkflow

sys.path.insert(0, str(REPOSITORY))
from monai_unimedi.data.phantom import ensure_phantom
from tests.acceptance._threshold import Threshold
from tests.data.corpora.files import ct_slice

FOLDER = OUTPUT / "mask_orientation"
REAL = Path(os.environ.get("UNIMEDI_REAL_DATA") or REPOSITORY.parent / "shared" / "data")
HU, HU_RANGE, GREY, LOWEST = -400.0, (-1150, 350), 0.5, 0.95
CTS = (
    "thorax_organs/cxr.nii.gz",
    "tcia_lung_ct/4DLung_113_HM10395_40pct.nii.gz",
    "elastix_lung/3DCT_lung.mha",
    "cip_chest/ct-64.nrrd",
)
TURNED = (*itertools.combinations(range(3), 1), *itertools.combinations(range(3), 2), (0, 1, 2))
Case = tuple[str, float, float]


def predict(bundle: str, images: list[Path], output: Path, **changes: Any) -> list[Path]:
    """Paths of the masks, in the order of the images."""
    root = REPOSITORY / "bundles" / bundle
    value = GREY if bundle.endswith("2d") else (HU - HU_RANGE[0]) / (HU_RANGE[1] - HU_RANGE[0])
    models = FOLDER / f"models_{bundle}"
    models.mkdir(parents=True, exist_ok=True)
    torch.save(Threshold(value).state_dict(), models / "model.pt")
    network = {"_target_": "tests.acceptance._threshold.Threshold", "value": value}
    given = {"network_def": network, "class_names": ["bright"], "class_values": [0], "out_channels": 1, "device": "cpu"}
    given |= {"images": [str(path) for path in images], "output_dir": str(output), "model_dir": str(models)}
    workflow = ConfigWorkflow(
        str(root / "configs" / "inference.json"), workflow_type="infer", logging_file=False, bundle_root=str(root),
        amp=False, **given, **changes,
    )  # fmt: skip
    workflow.initialize()
    workflow.run()
    with (output / "segments.csv").open(newline="") as file:
        return [output / row["file"] for row in csv.DictReader(file)]


def read(path: Path) -> SimpleITK.Image:
    """A file or a series as SimpleITK has it."""
    if not path.is_dir():
        return SimpleITK.ReadImage(str(path))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
    return reader.Execute()


def judge(name: str, image_path: Path, mask_path: Path) -> Case:
    """The mask's name, its Dice, and the highest of the mask turned.

    Raises:
        SystemExit: When the grids differ.
    """
    image, mask = read(image_path), read(mask_path)
    if mask_path.suffix == ".dcm":
        mask = from_the_same_end(mask, image)
    for what in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        given, found = (np.asarray(getattr(each, what)()) for each in (image, mask))
        if given.shape != found.shape or not np.allclose(given, found, atol=1e-3):
            raise SystemExit(f"mask orientation: {name}: {what} of the mask is {found}, of the image {given}")
    bright = SimpleITK.GetArrayFromImage(image) > HU
    laid = SimpleITK.Resample(mask, image, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0)
    array = SimpleITK.GetArrayFromImage(laid) > 0
    turned = max(dice(np.flip(array, axes), bright) for axes in TURNED)
    return name, dice(array, bright), turned


def from_the_same_end(mask: SimpleITK.Image, image: SimpleITK.Image) -> SimpleITK.Image:
    """A SEG begins at whichever end highdicom sorts first: its slices in the image's order, places unchanged."""
    same = np.allclose(mask.GetDirection(), image.GetDirection(), atol=1e-3)
    return mask if same else SimpleITK.Flip(mask, [False, False, True], False)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / max(1, one.sum() + other.sum()))


def phantom_cts() -> dict[str, Path]:
    """One phantom on four grids, in three formats."""
    lists = ensure_phantom(FOLDER / "phantom", num_training=0, num_validation=1, num_test=1)
    found = sorted(path for path in (lists["3d"].parent / "3d" / "test").iterdir() if "mask" not in path.name)
    phantom = SimpleITK.Cast(SimpleITK.ReadImage(str(found[0])), SimpleITK.sitkInt16)
    volumes = {"LPS": SimpleITK.DICOMOrient(phantom, "LPS"), "RAS": SimpleITK.DICOMOrient(phantom, "RAS")}
    volumes["oblique"] = SimpleITK.Image(volumes["LPS"])
    rotation = SimpleITK.Euler3DTransform((0.0, 0.0, 0.0), 0.25, -0.15, 0.4)
    volumes["oblique"].SetDirection(rotation.GetMatrix())
    volumes["oblique"].SetOrigin((-41.5, 17.0, -303.25))
    volumes["anisotropic"] = SimpleITK.DICOMOrient(phantom, "PIR")
    volumes["anisotropic"].SetSpacing((9.5, 21.0, 6.0))
    paths = {}
    for kind, volume in volumes.items():
        for suffix in (".nii.gz", ".nrrd"):
            paths[f"{kind}{suffix}"] = FOLDER / "cts" / f"{kind}{suffix}"
            paths[f"{kind}{suffix}"].parent.mkdir(parents=True, exist_ok=True)
            SimpleITK.WriteImage(volume, str(paths[f"{kind}{suffix}"]))
        paths[f"{kind} DICOM"] = write_series(volume, FOLDER / "cts" / f"{kind}_series", len(paths))
    return paths


def write_series(volume: SimpleITK.Image, folder: Path, number: int) -> Path:
    """Slices along the volume's last axis, as a scanner writes them: the frame is right-handed."""
    matrix = np.asarray(volume.GetDirection()).reshape(3, 3)
    if np.linalg.det(matrix) < 0:
        volume = SimpleITK.Flip(volume, [False, False, True])
        matrix = np.asarray(volume.GetDirection()).reshape(3, 3)
    spacing, pixels = volume.GetSpacing(), SimpleITK.GetArrayFromImage(volume)
    for index, rows in enumerate(pixels):
        corner = volume.TransformIndexToPhysicalPoint((0, 0, index))
        ct_slice(
            folder / f"{index:03d}.dcm", number, index, rows + 1024,
            ImagePositionPatient=[round(v, 6) for v in corner], PixelSpacing=[spacing[1], spacing[0]],
            ImageOrientationPatient=[round(v, 9) for v in (*matrix[:, 0], *matrix[:, 1])],
            SliceThickness=spacing[2], FrameOfReferenceUID=f"1.2.3.{number}",
        )  # fmt: skip
    return folder


def judge_cts(paths: dict[str, Path], spacing: list[float], extensions: tuple[str, ...]) -> list[Case]:
    """Each CT with a mask of each kind."""
    cases: list[Case] = []
    for extension in extensions:
        chosen = {name: path for name, path in paths.items() if extension != ".dcm" or path.is_dir()}
        output = FOLDER / f"masks{extension}_{len(chosen)}_{spacing[0]:g}"
        masks = predict(
            "segmentation_3d", list(chosen.values()), output, extension=extension, spacing=spacing,
            sw_batch_size=16, overlap=0.25,
        )  # fmt: skip
        cases += [judge(f"{n} to {extension}", p, mask) for (n, p), mask in zip(chosen.items(), masks, strict=True)]
    return cases


def judge_xrays(paths: list[Path]) -> list[Case]:
    """X-rays: SimpleITK's picture scaled to [0, 1] as the file displays, and the PNG mask on it."""
    masks = predict("segmentation_2d", paths, FOLDER / "xrays", xray_size=512)
    cases = []
    for path, mask_path in zip(paths, masks, strict=True):
        bright, mask = shown(path) > GREY, SimpleITK.GetArrayFromImage(read(mask_path)) > 0
        if bright.shape != mask.shape:
            raise SystemExit(f"mask orientation: {path.name}: the mask is {mask.shape}, the picture {bright.shape}")
        turned = max(dice(np.flip(mask, axes), bright) for axes in ((0,), (1,), (0, 1)))
        cases.append((path.name, dice(mask, bright), turned))
    return cases


def shown(path: Path) -> np.ndarray:
    """(rows, columns) in [0, 1] by the file's window, turned over for MONOCHROME1, as SimpleITK turns its pixels."""
    image = read(path)
    image = SimpleITK.VectorIndexSelectionCast(image, 0) if image.GetNumberOfComponentsPerPixel() > 1 else image
    array = np.squeeze(SimpleITK.GetArrayFromImage(image)).astype(float)
    if path.suffix != ".dcm":
        return array / 255
    header = pydicom.dcmread(path, stop_before_pixels=True)
    low, high = np.percentile(array, [0.5, 99.5]) if header.BitsStored > 8 else (0, 255)
    if "WindowCenter" in header:
        centre, width = (float(np.ravel(header[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
        if header.PhotometricInterpretation == "MONOCHROME1":
            centre = 2**header.BitsStored - 1 - centre
        low, high = centre - width / 2, centre + width / 2
    return np.clip((array - low) / (high - low), 0, 1)


def main() -> int:
    """Judges all; returns 0 where each mask sits on its image."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    cases = judge_cts(phantom_cts(), [8.0, 8.0, 10.0], (".nii.gz", ".nrrd", ".dcm"))
    real = {name: REAL / name for name in CTS}
    if not all(path.exists() for path in real.values()):
        raise SystemExit(f"mask orientation: no real CTs at {REAL}: set UNIMEDI_REAL_DATA to the folder with them")
    cases += judge_cts(real, [2.0, 2.0, 2.5], (".nii.gz", ".nrrd"))
    folder = REAL / "cxr_format_tests"
    cases += judge_xrays(sorted([*folder.glob("*.dcm"), *folder.glob("*.png")]))
    for name, found, turned in cases:
        print(f"{found:.3f} (turned at most {turned:.3f}) {name}")
    wrong = [name for name, found, turned in cases if found < LOWEST or found <= turned]
    lowest = min(found for _, found, _ in cases)
    print(
        f"mask orientation: {len(cases) - len(wrong)} of {len(cases)} masks sit on their image, lowest Dice "
        f"{lowest:.3f} (at least {LOWEST}) {'; '.join(wrong)}".rstrip()
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
