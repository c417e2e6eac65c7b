# SPDX-License-Identifier: Apache-2.0
"""Predictions back on the files' grid, read by another reader (SimpleITK): same voxels, same place."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd
from PIL import Image
from scipy.spatial.transform import Rotation

from monai_unimedi.data.save_mask import MaskWriter
from monai_unimedi.transforms import CropOrPadBodyd, LoadVolumed, LoadXrayd, ResampleVolumed, ScaleXrayd

SHAPE = (44, 40, 24)
TURN = Rotation.from_euler("xyz", [9, 17, 14], degrees=True).as_matrix()


def _affine(matrix: np.ndarray) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = (11.0, -7.0, 30.0)
    return affine


AFFINES = {
    "RAS": _affine(np.diag([1.5, 1.5, 3.0])),
    "LPS": _affine(np.diag([-1.5, -1.5, 3.0])),
    "sagittal": _affine(np.array([[0, 0, 2.0], [1.5, 0, 0], [0, -1.5, 0]])),
    "oblique": _affine(TURN @ np.diag([1.2, 1.4, 2.5])),
    "anisotropic": _affine(np.diag([0.7, 0.7, 5.0])),
    "left-handed": _affine(TURN @ np.diag([-1.2, 1.4, 2.5])),
}


def ball() -> np.ndarray:
    """A ball of soft tissue in air, off the middle."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
    return np.where(((grid - (17, 22, 10)) / (9, 8, 6)) ** 2 @ np.ones(3) < 1, 100, -1000).astype(np.int16)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("crops", [False, True])
def test_saved_mask_lies_on_its_image_in_another_reader(tmp_path: Path, name: str, extension: str, crops: bool) -> None:
    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(ball(), AFFINES[name]), path)
    steps = [LoadVolumed("image"), Orientationd("image", "LPS", labels=None), ResampleVolumed("image", (1.1, 1.1, 2.0))]
    steps += [CropOrPadBodyd("image", (40, 96, 40))] if crops else []
    chain = Compose(steps)
    row = chain({"image": str(path), "id": "ct.nii.gz"})
    row["pred"] = MetaTensor((row["image"] > -450).float().as_tensor())
    row = Invertd("pred", chain, orig_keys="image", nearest_interp=False)(row)
    row["pred"] = (row["pred"] > 0.5).to(torch.uint8)
    writer = MaskWriter(tmp_path / "out", ["ball"], [0], False, extension)
    rows = writer(row)
    image = SimpleITK.ReadImage(str(path))
    mask = SimpleITK.ReadImage(str(tmp_path / "out" / rows[0]["file"]))
    assert mask.GetSize() == image.GetSize()
    np.testing.assert_allclose(mask.GetSpacing(), image.GetSpacing(), rtol=1e-5)
    np.testing.assert_allclose(mask.GetOrigin(), image.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(mask.GetDirection(), image.GetDirection(), atol=1e-5)
    truth = SimpleITK.GetArrayFromImage(image) > -450
    assert dice(SimpleITK.GetArrayFromImage(mask) > 0, truth) > 0.9
    voxel = abs(np.linalg.det(AFFINES[name][:3, :3])) / 1000
    assert rows[0]["volume_ml"] == pytest.approx(rows[0]["voxels"] * voxel, abs=1e-3)


@pytest.mark.parametrize("shape", [(90, 60), (60, 90), (64, 64), (20, 33)])
@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_xray_mask_has_the_pixels_of_the_picture(tmp_path: Path, shape: tuple[int, int], fit: str) -> None:
    picture = np.zeros(shape[::-1], np.uint8)  # rows, columns
    picture[shape[1] // 3 : shape[1] // 2 + 3, shape[0] // 3 : shape[0] // 2 + 5] = 200
    Image.fromarray(picture).save(tmp_path / "x.png")
    chain = Compose([LoadXrayd("image"), ScaleXrayd("image", 64, fit)])
    row = chain({"image": str(tmp_path / "x.png"), "id": "x.png"})
    row["pred"] = MetaTensor((row["image"] > 100).float().as_tensor())
    row = Invertd("pred", chain, orig_keys="image", nearest_interp=False)(row)
    row["pred"] = (row["pred"] > 0.5).to(torch.uint8)
    rows = MaskWriter(tmp_path / "out", ["box"], [0], False)(row)
    mask = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out" / rows[0]["file"])))
    assert rows[0]["file"] == "masks/x_seg.png"
    assert mask.shape == picture.shape
    assert dice(mask > 0, picture > 100) > 0.85
    assert rows[0]["volume_ml"] is None


def test_prediction_on_the_file_grid_already_comes_back_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii"
    nibabel.save(nibabel.Nifti1Image(ball(), AFFINES["LPS"]), path)
    chain = Compose([LoadVolumed("image"), ResampleVolumed("image", (1.5, 1.5, 3.0))])
    row = chain({"image": str(path)})
    row["pred"] = MetaTensor(row["image"].as_tensor().clone())
    back = Invertd("pred", chain, orig_keys="image")(row)["pred"]
    assert torch.equal(back.as_tensor(), torch.from_numpy(ball())[None].float())
    np.testing.assert_allclose(back.affine.numpy(), AFFINES["LPS"])


def test_nearest_inversion_keeps_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii"
    nibabel.save(nibabel.Nifti1Image(ball(), AFFINES["RAS"]), path)
    chain = Compose([LoadVolumed("image"), ResampleVolumed("image", (2.0, 2.0, 4.0))])
    row = chain({"image": str(path)})
    row["pred"] = MetaTensor((row["image"] > -450).float().as_tensor() * 7)
    back = Invertd("pred", chain, orig_keys="image", nearest_interp=True)(row)["pred"]
    assert set(back.unique().tolist()) == {0.0, 7.0}
