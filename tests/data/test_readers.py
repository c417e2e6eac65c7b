# SPDX-License-Identifier: Apache-2.0
"""Every supported format is read to the axis contract; real files where they are at hand."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Orientationd

from monai_unimedi.transforms import (
    CheckImaged,
    CropOrPadBodyd,
    LoadVolumed,
    LoadXray,
    ResampleVolumed,
    ScaleXray,
    XrayToGray,
)

VOLUMES = {
    "elastix_lung/3DCT_lung.mha": (1.366, 1.366, 2.5),
    "cip_chest/ct-64.nrrd": (4.172, 4.172, 3.987),
    "totalseg/example_ct.nii.gz": (3.0, 3.0, 3.0),
    "lung_tumour_ct/lambin_pat3.nii.gz": (0.977, 0.977, 3.0),
    "lidc_nodule_voi/LIDC-IDRI-0001_R_1.nii.gz": (0.703, 0.703, 2.5),
}


def load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def same_side(repository: Path) -> ModuleType:
    return load(repository / "tests" / "acceptance" / "same_side.py", "same_side")


def test_same_lesion_lies_on_the_same_side_in_every_form(same_side: ModuleType, tmp_path: Path) -> None:
    assert len(same_side.check_all(tmp_path)) == 21


def test_dicom_folder_gives_the_same_volume_in_hu_in_both_directions(
    same_side: ModuleType, tmp_path: Path
) -> None:
    chain = Compose(
        [LoadVolumed("image"), Orientationd("image", "LPS", labels=None)]
    )
    for name, feet_first in (("up", True), ("down", False)):
        folder = same_side.write_dicom_folder(tmp_path / name, feet_first)
        image = chain({"image": str(folder)})["image"]
        assert np.array_equal(image[0].numpy(), same_side.ct_body())
        assert np.allclose(np.diag(image.affine), (-4, -4, 8, 1))


def test_monochrome1_equals_monochrome2(same_side: ModuleType, tmp_path: Path) -> None:
    paths = same_side.write_xrays(tmp_path)
    one, two = (torch.as_tensor(XrayToGray()(LoadXray()(paths[f"dicom MONOCHROME{i}"]))) for i in (1, 2))
    assert torch.equal(one, two)
    assert one.shape == (1, 90, 100)


def test_only_what_grey_values_need_is_kept_of_a_dicom_header(same_side: ModuleType, tmp_path: Path) -> None:
    image = LoadXray()(same_side.write_xrays(tmp_path)["dicom MONOCHROME1"])
    expected = {"filename_or_obj", "original_channel_dim", "photometric", "bits_stored"}
    assert set(image.meta) - {"affine", "space"} == expected


def test_dicom_with_several_frames_raises(same_side: ModuleType, tmp_path: Path) -> None:
    data = same_side.dicom(np.zeros((8, 4), np.uint16), same_side.CTImageStorage, NumberOfFrames=2, Rows=4)
    data.save_as(tmp_path / "two.dcm", enforce_file_format=True)
    with pytest.raises(ValueError, match="must have one frame"):
        LoadXray()(tmp_path / "two.dcm")


def grey(path: Path) -> torch.Tensor:
    image = torch.as_tensor(XrayToGray()(LoadXray()(path)))
    assert 0 <= float(image.min()) < float(image.max()) <= 1
    return image


def test_real_dicom_follows_its_photometric_tag(real_data: Path) -> None:
    """The two files hold the same stored values under two tags, so that one is the other's negative."""
    folder = real_data / "cxr_format_tests"
    two = grey(folder / "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm")
    one = grey(folder / "Fake_MONOHR1.dcm")
    assert one.shape == (1, 1024, 1024)
    assert torch.allclose(one, 1 - two, atol=1e-6)


def test_real_jpeg_2000_of_15_bits_and_png_are_read(real_data: Path) -> None:
    pytest.importorskip("openjpeg", reason="JPEG 2000 needs pylibjpeg-openjpeg")
    folder = real_data / "cxr_format_tests"
    assert grey(folder / "RG1_J2KI.dcm").shape == (1, 1841, 1955)
    assert grey(folder / "00000001_000.png").shape == (1, 512, 512)


def test_real_pictures_of_all_kinds_become_one_square(real_data: Path) -> None:
    with (real_data / "covid_cxr" / "manifest.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    smallest = sorted(rows, key=lambda row: int(row["width"]) * int(row["height"]))
    chosen = {row["pil_mode"]: row for row in reversed(smallest)}
    assert {"L", "RGB"} <= set(chosen)
    for row in chosen.values():
        image = grey(real_data / "covid_cxr" / row["path"])
        assert image.shape == (1, int(row["width"]), int(row["height"]))
        assert torch.as_tensor(ScaleXray(72)(image)).shape == (1, 72, 72)


@pytest.mark.parametrize("path", VOLUMES)
def test_real_volumes_become_lps_of_one_size_and_spacing(real_data: Path, path: str) -> None:
    load_lps = [LoadVolumed("image"), CheckImaged("image", 3)]
    row = Compose([*load_lps, Orientationd("image", "LPS", labels=None)])({"image": str(real_data / path)})
    image = row["image"]
    assert isinstance(image, MetaTensor)
    signs = np.sign(np.diag(image.affine))
    assert signs.tolist() == [-1, -1, 1, 1]
    assert np.allclose(np.abs(np.diag(image.affine))[:3], VOLUMES[path], atol=1e-3)
    row = Compose(
        [ResampleVolumed("image", (3, 3, 10)), CropOrPadBodyd("image", (64, 64, 16), padding="edge")]
    )(row)
    assert row["image"].shape == (1, 64, 64, 16)
    assert np.allclose(np.diag(row["image"].affine), (-3, -3, 10, 1))
    assert torch.isfinite(row["image"]).all()
