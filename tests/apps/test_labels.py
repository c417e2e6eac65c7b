# SPDX-License-Identifier: Apache-2.0
"""Submitted labels become masks: cropped ones whole, a viewer's numbers ours, broken ones refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image

CLASSES = ["nodule", "pleural_effusion"]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "image.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((10, 12, 14), np.int16), np.diag([-2.0, -3.0, 4.0, 1.0])), path)
    return path


def label_of(path: Path, numbers: np.ndarray, affine: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(numbers, affine), path)
    return path


def test_cropped_label_comes_back_whole(volume: Path, tmp_path: Path) -> None:
    from unimedi_label.labels import mask_for_training

    whole = np.zeros((10, 12, 14), np.uint8)
    whole[2:5, 3:9, 4:7] = 1
    whole[6:8, 3:9, 5:9] = 2
    affine = nibabel.load(volume).affine
    cropped = affine.copy()
    cropped[:3, 3] = (affine @ [0, 0, 4, 1])[:3]
    label = label_of(tmp_path / "label.nii.gz", whole[:, :, 4:9], cropped)
    present = mask_for_training(volume, label, {}, CLASSES, True, tmp_path / "mask")
    assert present == [1, 2]
    assert (np.asarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj) == whole).all()


def test_overlapping_classes_become_bits(volume: Path, tmp_path: Path) -> None:
    from unimedi_label.labels import mask_for_training

    numbers = np.zeros((10, 12, 14), np.uint8)
    numbers[2, 2, 2], numbers[3, 3, 3] = 1, 2
    label = label_of(tmp_path / "label.nii.gz", numbers, nibabel.load(volume).affine)
    mask_for_training(volume, label, {}, CLASSES, False, tmp_path / "mask")
    found = np.asarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj)
    assert (found[2, 2, 2], found[3, 3, 3]) == (1, 2)
    numbers[3, 3, 3] = 3
    label_of(label, numbers, nibabel.load(volume).affine)
    with pytest.raises(ValueError, match="no class of this model"):
        mask_for_training(volume, label, {}, CLASSES, False, tmp_path / "mask")


@pytest.mark.parametrize(
    ("info", "own", "expected"),
    [
        ({}, {}, {1: 1, 2: 2}),
        ({"label_info": [{"name": "Pleural effusion (research use)"}, {"name": "nodule"}]}, {}, {1: 2, 2: 1}),
        ({"label_info": [{"name": "nodule", "idx": 2}, {"name": "pleural_effusion", "idx": 3}]}, {}, {1: 1, 2: 2}),
        ({"label_info": [{"name": "other", "idx": 1}, {"name": "nodule", "idx": 2}]}, {}, {2: 1}),
        ({"params": {"label_names": ["pleural_effusion", "nodule"]}}, {}, {1: 2, 2: 1}),
        ({"label_info": [{"name": "nodule", "idx": 1}]}, {7: "pleural effusion"}, {7: 2}),
    ],
    ids=["none", "viewer's order", "background left out", "unknown name", "a model's", "the file's own"],
)  # fmt: skip
def test_numbers_are_read_by_name(info: Any, own: Any, expected: Any) -> None:
    from unimedi_label.labels import class_numbers

    assert class_numbers(info, own, CLASSES) == expected


def test_numbers_beyond_the_names_are_read_by_idx() -> None:
    from unimedi_label.labels import class_numbers

    info = {"label_info": [{"name": "nodule", "idx": 2}, {"name": "pleural_effusion", "idx": 7}]}
    assert class_numbers(info, {}, CLASSES, [7]) == {2: 1, 7: 2}


@pytest.mark.parametrize(
    ("indices", "present", "expected"),
    [
        ((2, 3), [2, 3], {2: "a", 3: "b"}),
        ((2, 3), [1, 2], {1: "a", 2: "b"}),
        ((2, 3), [3], {2: "a", 3: "b"}),
        ((1, 2), [2], {1: "a", 2: "b"}),
        ((1, 3), [1], {1: "a", 2: "b"}),
    ],
    ids=["idx are the numbers", "places among more", "only the last is drawn", "both alike", "alike where it matters"],
)
def test_segments_are_named_by_idx_or_by_place(indices: Any, present: list[int], expected: Any) -> None:
    from unimedi_label.labels import segment_names

    assert segment_names([{"name": n, "idx": i} for n, i in zip("ab", indices)], present) == expected


def test_names_that_can_be_read_in_two_ways_are_refused(tmp_path: Path) -> None:
    from unimedi_label.labels import check_names

    label = label_of(tmp_path / "label.nii.gz", np.full((3, 3, 3), 2, np.uint8), np.eye(4))
    info = {"label_info": [{"name": "consolidation", "idx": 2}, {"name": "ground_glass", "idx": 3}]}
    with pytest.raises(ValueError, match=r"is consolidation by the idx .* and ground_glass by the place"):
        check_names(label, info)


def test_names_in_a_seg_nrrd_are_read(volume: Path, tmp_path: Path) -> None:
    from unimedi_label.labels import read_label

    image = SimpleITK.GetImageFromArray(np.full((14, 12, 10), 5, np.uint8))
    image.SetMetaData("Segment0_Name", "nodule (research use)")
    image.SetMetaData("Segment0_LabelValue", "5")
    SimpleITK.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    assert read_label(tmp_path / "a.seg.nrrd")[2] == {5: "nodule (research use)"}


def test_label_beside_its_image_is_refused(volume: Path, tmp_path: Path) -> None:
    from unimedi_label.labels import mask_for_training

    affine = nibabel.load(volume).affine.copy()
    affine[:3, 3] += 1000
    label = label_of(tmp_path / "label.nii.gz", np.ones((10, 12, 14), np.uint8), affine)
    with pytest.raises(ValueError, match="beside the image"):
        mask_for_training(volume, label, {}, CLASSES, True, tmp_path / "mask")


@pytest.mark.parametrize("values", [-1, 300, 0.5])
def test_numbers_that_are_no_labels_are_refused(tmp_path: Path, values: float) -> None:
    from unimedi_label.labels import read_label

    label = label_of(tmp_path / "label.nii.gz", np.full((3, 3, 3), values, np.float32), np.eye(4))
    with pytest.raises(ValueError, match="whole numbers"):
        read_label(label)


def test_layers_are_refused(tmp_path: Path) -> None:
    from unimedi_label.labels import read_label

    image = SimpleITK.GetImageFromArray(np.zeros((4, 4, 4, 2), np.uint8), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "a.nrrd"))
    with pytest.raises(ValueError, match="overlapping segments"):
        read_label(tmp_path / "a.nrrd")


def test_xray_label_keeps_columns_and_rows(tmp_path: Path) -> None:
    from unimedi_label.labels import mask_for_training

    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "image.png")
    numbers = np.zeros((1, 20, 30), np.uint8)
    numbers[0, 4:8, 20:28] = 1
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(numbers), str(tmp_path / "label.nrrd"))
    mask_for_training(tmp_path / "image.png", tmp_path / "label.nrrd", {}, CLASSES, True, tmp_path / "mask")
    assert (np.asarray(Image.open(tmp_path / "mask.png")) == numbers[0]).all()


def test_dicom_seg_names_segments_by_their_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label with the numbers 2 and 5 only."""
    from monailabel.datastore import dicom

    seen: list[dict[str, Any]] = []
    write = dicom.nifti_to_dicom_seg.__wrapped__
    written = pydicom.Dataset()
    written.file_meta = pydicom.dataset.FileMetaDataset()
    written.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    written.SOPClassUID = written.file_meta.MediaStorageSOPClassUID = pydicom.uid.SegmentationStorage
    written.SOPInstanceUID = written.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    written.save_as(tmp_path / "a.dcm", enforce_file_format=True)

    def convert(label: str, folder: str, template: dict[str, Any]) -> str:
        seen.append(template)
        return str(tmp_path / "a.dcm")

    monkeypatch.setitem(write.__globals__, "itk_image_to_dicom_seg", convert)
    numbers = np.zeros((4, 4, 4), np.uint8)
    numbers[0], numbers[1] = 2, 5
    label = label_of(tmp_path / "label.nii.gz", numbers, np.eye(4))
    info = [{"name": name, "idx": place} for place, name in enumerate("abcdef", start=1)]
    dicom.nifti_to_dicom_seg(str(tmp_path), str(label), info)
    (segments,) = seen[0]["segmentAttributes"]
    assert "research use" in seen[0]["SeriesDescription"]
    assert [(one["labelID"], one["SegmentLabel"]) for one in segments] == [(2, "b"), (5, "e")]
    label_of(label, np.zeros((4, 4, 4), np.uint8), np.eye(4))
    with pytest.raises(ValueError, match="without a segment"):
        dicom.nifti_to_dicom_seg(str(tmp_path), str(label), info)
