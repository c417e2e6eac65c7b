# SPDX-License-Identifier: Apache-2.0
"""Mask files: names that do not collide, the table, DICOM SEG on its series' grid."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
import torch
from monai.data import MetaTensor
from PIL import Image

from monai_unimedi.data.save_mask import MaskWriter
from monai_unimedi.transforms import LoadVolumed, LoadXray
from tests.data.broken_inputs import series


def xray_case(name: str) -> dict[str, Any]:
    pred = torch.zeros(1, 6, 4, dtype=torch.uint8)
    pred[0, 1:3, 1] = 3
    image = MetaTensor(torch.zeros(1, 6, 4), meta={"filename_or_obj": f"/data/{name}"})
    return {"id": name, "pred": pred, "image": image}


def test_table_and_labels_say_what_the_files_hold(tmp_path: Path) -> None:
    writer = MaskWriter(tmp_path, ["nodule", "effusion"], [0, 1], False)
    writer.start([])
    writer.finish([writer(xray_case("deeper/a.png")), writer(xray_case("deeper/a.jpg")), writer(xray_case("../b.png"))])
    with (tmp_path / "segments.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows[::2]] == [
        "masks/deeper/a_seg.png", "masks/deeper/a.jpg_seg.png", "masks/b_seg.png",
    ]  # fmt: skip
    assert {row["voxels"] for row in rows} == {"2"}
    assert len(json.loads((tmp_path / "segments.json").read_text())) == 6
    labels = json.loads((tmp_path / "labels.json").read_text())
    assert labels == {"meaning": "bit", "labels": {"0": "nodule", "1": "effusion"}}
    assert all((tmp_path / row["file"]).is_file() for row in rows)
    assert not list(tmp_path.rglob(".part*"))


def test_no_mask_takes_the_place_of_another(tmp_path: Path) -> None:
    writer = MaskWriter(tmp_path, ["nodule"], [0], False)
    names = ["../a.png", "../../a.png", "a.png", "./a.png", "../a.png"]
    files = [writer(xray_case(name))[0]["file"] for name in names]
    assert files == [
        "masks/a_seg.png", "masks/a.png_seg.png", "masks/a.png_2_seg.png", "masks/a.png_3_seg.png", "masks/a_seg.png",
    ]  # fmt: skip


def test_number_above_255_of_an_x_ray_is_a_png_of_16_bits(tmp_path: Path) -> None:
    row = {**xray_case("a.png"), "pred": torch.zeros(1, 6, 4, dtype=torch.int32)}
    row["pred"][0, 1:3, 1] = 40000
    (found,) = MaskWriter(tmp_path, ["background", "lung"], [0, 40000], True)(row)
    assert found["voxels"] == 2
    assert np.array_equal(np.asarray(Image.open(tmp_path / found["file"])).T, row["pred"][0].numpy())
    mask = LoadXray(voi="ignore")(tmp_path / found["file"])
    assert np.array_equal(mask.numpy(), row["pred"].numpy())


def test_number_that_no_png_holds_is_refused_before_the_first_x_ray(tmp_path: Path) -> None:
    writer = MaskWriter(tmp_path / "out", ["background", "lung"], [0, 70000], True)
    with pytest.raises(ValueError, match="must be 65535 at most, got 70000"):
        writer.start([{"image": "/a/x.nii.gz"}, {"image": "/a/x.dcm"}])
    writer.start([{"image": "/a/x.nii.gz"}, {"image": str(tmp_path)}])


def test_unknown_extension_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.nii\.gz, \.nii, \.nrrd, \.dcm"):
        MaskWriter(tmp_path, ["a"], [0], False, ".mat")


def with_frame(slices: list[pydicom.Dataset]) -> None:
    for data in slices:
        data.FrameOfReferenceUID = "1.2.3"


@pytest.mark.parametrize("is_exclusive", [True, False])
def test_dicom_seg_holds_each_class_on_the_slice_it_was_found_on(tmp_path: Path, is_exclusive: bool) -> None:
    pytest.importorskip("highdicom")
    path = tmp_path / series(tmp_path, "ct", with_frame)["image"]
    image: Any = LoadVolumed("image")({"image": str(path)})["image"]
    mask = torch.zeros(image.shape, dtype=torch.uint8)
    mask[0, 3:9, 4:7, 5] = 1
    mask[0, 20:22, 30:33, 8] = 2
    names, values = (["background", "a", "b"], [0, 1, 2]) if is_exclusive else (["a", "b"], [0, 1])
    writer = MaskWriter(tmp_path / "out", names, values, is_exclusive, ".dcm")
    rows = writer({"id": "ct", "pred": MetaTensor(mask, affine=image.affine), "image": image})
    assert [row["voxels"] for row in rows] == [18, 6]
    found = pydicom.dcmread(tmp_path / "out" / rows[0]["file"])
    assert found.Modality == "SEG"
    assert [segment.SegmentLabel for segment in found.SegmentSequence] == ["a", "b"]
    frames = {}
    for frame, pixels in zip(found.PerFrameFunctionalGroupsSequence, found.pixel_array):
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        place = np.array([*map(float, frame.PlanePositionSequence[0].ImagePositionPatient), 1.0])
        slice_index = round((np.linalg.inv(np.diag([-1, -1, 1, 1]) @ image.affine.numpy()) @ place)[2])
        if pixels.any():
            frames[number] = (slice_index, pixels)
    assert {number: index for number, (index, _) in frames.items()} == {1: 5, 2: 8}
    np.testing.assert_array_equal(frames[1][1].T, mask[0, :, :, 5].numpy() == 1)
    np.testing.assert_array_equal(frames[2][1].T, mask[0, :, :, 8].numpy() == 2)


def test_dicom_seg_keeps_names_of_every_script_and_the_patients(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")

    def named(slices: list[pydicom.Dataset]) -> None:
        with_frame(slices)
        for data in slices:
            data.SpecificCharacterSet, data.PatientName = "ISO_IR 100", "Müller^Jörg"

    path = tmp_path / series(tmp_path, "ct", named)["image"]
    image: Any = LoadVolumed("image")({"image": str(path)})["image"]
    mask = torch.ones(image.shape, dtype=torch.uint8)
    names = ["groß (日本)", "a"]
    writer = MaskWriter(tmp_path / "out", names, [0, 1], False, ".dcm")
    row, _ = writer({"id": "ct", "pred": MetaTensor(mask, affine=image.affine), "image": image})
    found = pydicom.dcmread(tmp_path / "out" / row["file"])
    assert [segment.SegmentLabel for segment in found.SegmentSequence] == names
    assert str(found.PatientName) == "Müller^Jörg"


def test_dicom_seg_of_one_class_is_a_volume_on_the_series_grid_for_simpleitk(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    path = tmp_path / series(tmp_path, "ct", with_frame)["image"]
    image: Any = LoadVolumed("image")({"image": str(path)})["image"]
    mask = torch.zeros(image.shape, dtype=torch.uint8)
    mask[0, 3:9, 4:7, 5] = 1
    writer = MaskWriter(tmp_path / "out", ["a"], [0], False, ".dcm")
    (row,) = writer({"id": "ct", "pred": MetaTensor(mask, affine=image.affine), "image": image})
    found = SimpleITK.ReadImage(str(tmp_path / "out" / row["file"]))
    assert found.GetSize() == tuple(image.shape[1:])
    voxels = np.argwhere(SimpleITK.GetArrayFromImage(found).T)
    places = {tuple(np.round(found.TransformIndexToPhysicalPoint(v.tolist()), 3)) for v in voxels}
    to_lps = np.diag([-1, -1, 1, 1]) @ image.affine.numpy()
    true = {tuple(np.round((to_lps @ [*v, 1])[:3], 3)) for v in np.argwhere(mask[0].numpy())}
    assert places == true


def test_dicom_seg_takes_the_tilt_and_the_spacing_that_the_reader_takes(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")

    def nearly_straight(slices: list[pydicom.Dataset]) -> None:
        with_frame(slices)
        for number, data in enumerate(slices):
            height = 5.0 * number + 0.4 * (number == 5)
            data.PixelSpacing = [0.5, 0.5]
            data.ImagePositionPatient = [-40.0, -36.0 + 0.003 * height, height]

    path = tmp_path / series(tmp_path, "ct", nearly_straight)["image"]
    image: Any = LoadVolumed("image")({"image": str(path)})["image"]
    mask = torch.zeros(image.shape, dtype=torch.uint8)
    mask[0, 3:9, 4:7, 11] = 1
    writer = MaskWriter(tmp_path / "out", ["a"], [0], False, ".dcm")
    (row,) = writer({"id": "ct", "pred": MetaTensor(mask, affine=image.affine), "image": image})
    found = pydicom.dcmread(tmp_path / "out" / row["file"])
    (frame,) = np.flatnonzero(found.pixel_array.any((1, 2)))
    position = found.PerFrameFunctionalGroupsSequence[frame].PlanePositionSequence[0].ImagePositionPatient
    assert [float(number) for number in position] == pytest.approx([-40.0, -35.835, 55.0])


def test_dicom_seg_of_another_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    case = {
        "id": "ct.nii",
        "pred": MetaTensor(torch.zeros(1, 4, 4, 4, dtype=torch.uint8), affine=torch.eye(4)),
        "image": MetaTensor(torch.zeros(1, 4, 4, 4), meta={"filename_or_obj": str(tmp_path / "ct.nii")}),
    }
    writer = MaskWriter(tmp_path, ["a"], [0], False, ".dcm")
    with pytest.raises(ValueError, match="folder of DICOM slices"):
        writer(case)
    with pytest.raises(ValueError, match=r"folder of DICOM slices, /a/x\.nii, /a/y\.nii are none"):
        writer.start([{"image": "/a/x.nii"}, {"image": str(tmp_path)}, {"image": "/a/y.nii"}])
