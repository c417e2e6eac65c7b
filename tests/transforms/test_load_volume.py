# SPDX-License-Identifier: Apache-2.0
"""CTs are read as MONAI reads them where they are sound, and refused with a sentence where they are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from monai.transforms import LoadImage
from pydicom.uid import RLELossless

from monai_unimedi.transforms.load_volume import LoadVolume, LoadVolumed
from tests.data.broken_inputs import BROKEN, a_series, body, nifti, series

REFUSED = [
    "missing slices",
    "two series",
    "tilted gantry",
    "shifted slices",
    "uneven spacing",
    "mixed sizes",
    "duplicated uid",
    "localizer",
    "no positions",
    "truncated slice",
    "slice behind a dead link",
    "folder without dicom",
    "nan affine",
    "zero spacing",
    "singular affine",
    "four axes",
    "damaged gzip",
    "truncated gzip",
    "truncated mha",
    "nrrd without its data",
]


@pytest.mark.parametrize("name", REFUSED)
def test_broken_volume_is_refused_with_its_reason(tmp_path: Path, name: str) -> None:
    row = BROKEN[name].make(tmp_path, name)
    with pytest.raises(ValueError, match=BROKEN[name].reason):
        LoadVolume()(tmp_path / row["image"])


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize("kind", ["i2", "i4", "f4", "scaled", "shifted", "big endian", "nifti 2"])
def test_nifti_equals_monai_in_values_and_affine(tmp_path: Path, ending: str, kind: str) -> None:
    affine = np.array([[0.1, -2, 0, 7], [-2.1, 0, 0.3, 5], [0, 0.2, 5, 9], [0, 0, 0, 1]])
    maker = nibabel.Nifti2Image if kind == "nifti 2" else nibabel.Nifti1Image
    volume = body(kind).astype(kind if kind in ("i4", "f4") else "i2")
    image = maker(volume, affine)
    if kind == "big endian":
        image = nibabel.Nifti1Image(volume, affine, nibabel.Nifti1Header(endianness=">"))
    if kind in ("scaled", "shifted"):
        image.header.set_slope_inter(0.37 if kind == "scaled" else 1, -1024)
    path = tmp_path / f"a.{ending}"
    nibabel.save(image, path)
    expected, found = LoadImage(reader="NibabelReader", ensure_channel_first=True)(path), LoadVolume()(path)
    assert torch.equal(torch.as_tensor(found), torch.as_tensor(expected))
    assert torch.equal(found.affine, expected.affine)


def test_dicom_series_equals_monai_and_keeps_int16(tmp_path: Path) -> None:
    folder = tmp_path / series(tmp_path, "ct")["image"]
    expected, found = LoadImage(ensure_channel_first=True)(folder), LoadVolume(dtype=None)(folder)
    assert found.dtype == torch.int16
    assert np.array_equal(found.numpy(), expected.numpy())
    assert np.array_equal(found[0].numpy(), body("ct"))
    assert torch.allclose(found.affine, expected.affine)


def rescaled_by_slice(slices: list[pydicom.Dataset]) -> None:
    """Each slice stored with an offset of its own, as unsigned numbers."""
    for number, data in enumerate(slices):
        stored = (data.pixel_array.astype(np.int32) + 2000 + number).astype(np.uint16)
        data.PixelData, data.PixelRepresentation = stored.tobytes(), 0
        data.RescaleIntercept = -2000 - number


def halved(slices: list[pydicom.Dataset]) -> None:
    for data in slices:
        data.PixelData = (data.pixel_array // 2).astype(np.int16).tobytes()
        data.RescaleSlope = 2


def twelve_bits_signed(slices: list[pydicom.Dataset]) -> None:
    for data in slices:
        data.BitsStored, data.HighBit = 12, 11


def run_length_coded(slices: list[pydicom.Dataset]) -> None:
    for data in slices:
        data.compress(RLELossless, generate_instance_uid=False)


@pytest.mark.parametrize("change", [rescaled_by_slice, halved, twelve_bits_signed, run_length_coded])
def test_hu_are_the_same_however_they_are_stored(
    tmp_path: Path, change: Callable[[list[pydicom.Dataset]], Any]
) -> None:
    a_series(change)(tmp_path, "ct")
    expected = body("ct") // 2 * 2 if change is halved else body("ct")
    assert np.array_equal(LoadVolume()(tmp_path / "ct")[0].numpy(), expected)


def test_order_of_files_does_not_count_and_other_files_are_passed_over(tmp_path: Path) -> None:
    series(tmp_path, "ct", lambda slices: [slices[i * 5 % len(slices)] for i in range(len(slices))])
    (tmp_path / "ct" / "notes.txt").write_text("scanned on a Monday")
    (tmp_path / "ct" / "deeper").mkdir()
    assert np.array_equal(LoadVolume()(tmp_path / "ct")[0].numpy(), body("ct"))


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_even_enough(tmp_path: Path) -> None:
    def rounded(slices: list[pydicom.Dataset]) -> None:
        for number, data in enumerate(slices):
            data.PixelSpacing = [0.2, 0.2]
            data.ImagePositionPatient = [-40.0, -36.0 + 0.1 * (number % 3 == 1), round(1.25 * number, 1)]

    a_series(rounded)(tmp_path, "ct")
    assert float(LoadVolume()(tmp_path / "ct").affine[2, 2]) == pytest.approx(1.25, abs=0.01)


def test_undershoot_is_kept(tmp_path: Path) -> None:
    nifti(tmp_path, "ct", np.where(body("ct") > -1000, body("ct"), -3024))
    assert float(LoadVolume()(tmp_path / "ct.nii.gz").min()) == -3024


def test_header_text_does_not_reach_the_metadata(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(body("ct"), np.diag([2.0, 2, 5, 1]))
    image.header["descrip"] = b"DOE JANE"
    nibabel.save(image, tmp_path / "a.nii")
    assert "DOE" not in str(LoadVolume()(tmp_path / "a.nii").meta)


def test_file_of_another_kind_and_missing_file_raise(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(ValueError, match="A CT must be NIfTI"):
        LoadVolume()(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match="found none"):
        LoadVolume()(tmp_path / "b.nii")


def test_lengths_in_metres_raise(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(body("ct"), np.diag([0.002, 0.002, 0.005, 1]))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(ValueError, match="must be in mm"):
        LoadVolume()(tmp_path / "a.nii")


def test_dictionary_form_agrees_and_casts_masks(tmp_path: Path) -> None:
    nifti(tmp_path, "mask", (body("mask") > 0).astype(np.uint8))
    path = str(tmp_path / "mask.nii.gz")
    row = LoadVolumed(["lesion_mask", "other"], "uint8", allow_missing_keys=True)({"lesion_mask": path})
    assert isinstance(row["lesion_mask"], torch.Tensor) and row["lesion_mask"].dtype == torch.uint8
    assert np.array_equal(row["lesion_mask"], LoadVolume()(path))
