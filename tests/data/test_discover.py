# SPDX-License-Identifier: Apache-2.0
"""Which files of a folder are X-rays, which are CTs, and which are neither."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    MediaStorageDirectoryStorage,
    RTDoseStorage,
    SegmentationStorage,
)

from monai_unimedi.data.discover import discover, require_images, source_of
from tests.data.corpora.files import ct_series, ct_slice, nifti, picture, structured_report, xray


def found(folder: Path) -> dict[str, list[str]]:
    return {source: [row["id"] for row in rows] for source, rows in discover(folder).items()}


def without_pixels(path: Path, kind: str, **facts: Any) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(kind), UID("1.2.3")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.PatientID = "P1"
    for key, value in facts.items():
        setattr(data, key, value)
    data.save_as(path)
    return path


@pytest.mark.parametrize("beside", ["._{}", "DICOMDIR", "0-report.dcm", "00.txt 01.txt 02.txt", "000.dcm", "0.bin"])
def test_series_is_one_volume_whatever_lies_beside_its_slices(tmp_path: Path, beside: str) -> None:
    folder = ct_series(tmp_path / "series", 1, 5)
    if beside == "._{}":
        for path in sorted(folder.iterdir()):
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    elif beside == "DICOMDIR":
        without_pixels(folder / beside, MediaStorageDirectoryStorage)
    elif beside == "0-report.dcm":
        structured_report(folder / beside, 1, "Clear.", "Normal.")
    elif beside == "000.dcm":
        (folder / beside).write_bytes(b"broken")
    else:
        for name in beside.split():
            (folder / name).write_bytes(b"\0" * 200)
    assert found(tmp_path) == {"3d": ["series"]}
    assert source_of(folder) == "3d"


def test_series_pictures_and_folders_beside_slices_are_found_too(tmp_path: Path) -> None:
    folder = ct_series(tmp_path / "series", 1, 3)
    ct_series(folder / "second", 2, 3)
    nifti(folder / "other.nii.gz")
    picture(folder / "deeper" / "xray.png")
    picture(folder / "drawn.png")
    assert found(tmp_path) == {
        "2d": ["series/deeper/xray.png", "series/drawn.png"],
        "3d": ["series", "series/other.nii.gz", "series/second"],
    }
    assert found(folder)["3d"] == [".", "other.nii.gz", "second"]


def test_stray_slice_above_folders_of_images_is_named_and_no_volume(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ct_series(tmp_path / "one", 1, 3)
    xray(tmp_path / "two" / "x.dcm", 1)
    xray(tmp_path / "y.dcm", 2)
    ct_slice(tmp_path / "0.dcm", 3, 0)
    assert found(tmp_path) == {"2d": ["two/x.dcm", "y.dcm"], "3d": ["one"]}
    assert f"left out: {tmp_path / '0.dcm'}, one slice" in caplog.text
    alone = ct_slice(tmp_path / "alone" / "0.dcm", 4, 0).parent
    assert found(alone) == {"3d": ["."]}  # its reader says what is wrong


def test_what_was_written_below_the_folder_is_no_input(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "out" / "masks" / "a_seg.png")
    picture(tmp_path / "masks" / "b.png")
    rows = discover(tmp_path, output_dir=f"{tmp_path}/x/../out/masks")["2d"]
    assert [row["id"] for row in rows] == ["a.png", "masks/b.png"]


def test_images_of_the_other_dimension_are_named_with_their_bundles(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(7):
        picture(tmp_path / f"{number}.png")
    message = r"at least one CT to read, found none in 'D'; its X-rays \('0.png', .* and 2 more\) are for .*_2d: give"
    with pytest.raises(ValueError, match=message):
        require_images(discover(tmp_path), "D", "3d")
    require_images(discover(tmp_path), "D", "2d")
    require_images(discover(tmp_path), "D")
    assert "not read" not in caplog.text
    nifti(tmp_path / "ct.nii.gz")
    require_images(discover(tmp_path), "D", "2d")
    assert "not read: CTs ('ct.nii.gz') are for the bundles named _3d" in caplog.text
    with pytest.raises(ValueError, match="at least one image to read, found none in 'D': give"):
        require_images({}, "D")


def test_slices_that_name_no_modality_are_known_by_their_class(tmp_path: Path) -> None:
    ct_series(tmp_path / "series", 1, 3, Modality="")
    assert found(tmp_path) == {"3d": ["series"]}


def test_directory_of_a_disc_is_no_image(tmp_path: Path) -> None:
    ct_series(tmp_path / "DICOM" / "S1", 1, 3)
    without_pixels(tmp_path / "DICOMDIR", MediaStorageDirectoryStorage)
    assert found(tmp_path) == {"3d": ["DICOM/S1"]}
    with pytest.raises(ValueError, match="a DICOM file with an image"):
        source_of(tmp_path / "DICOMDIR")


def test_dicom_objects_without_an_image_are_counted_as_other_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    xray(tmp_path / "a.dcm", 1)
    xray(tmp_path / "b", 2, Modality="", SOPClassUID="1.2.3.4")
    structured_report(tmp_path / "sr.dcm", 1, "Clear.", "Normal.")
    xray(tmp_path / "seg.dcm", 3, Modality="SEG", SOPClassUID=SegmentationStorage)
    xray(tmp_path / "dose.dcm", 4, Modality="RTDOSE", SOPClassUID=RTDoseStorage)
    kind = GrayscaleSoftcopyPresentationStateStorage
    without_pixels(tmp_path / "pr.dcm", kind, SOPClassUID=kind)
    without_pixels(tmp_path / "vendor.dcm", "1.2.3.4", SOPClassUID="1.2.3.4", Modality="OT")
    with caplog.at_level(logging.INFO):
        assert found(tmp_path) == {"2d": ["a.dcm", "b"]}
    assert "2 2d; 5 other files" in caplog.text


def test_broken_dicom_file_is_found_and_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"broken")
    whole = xray(tmp_path / "b.dcm", 1).read_bytes()
    (tmp_path / "b.dcm").write_bytes(whole[:300])
    assert found(tmp_path) == {"2d": ["a.dcm", "b.dcm"]}


def test_existing_path_is_itself_whatever_it_means_as_a_pattern(tmp_path: Path) -> None:
    picture(tmp_path / "scan[1].png")
    picture(tmp_path / "scan1.png")
    rows = discover(images=[str(tmp_path / "scan[1].png"), str(tmp_path / "scan[0-9].png")])["2d"]
    assert [Path(row["image"]).name for row in rows] == ["scan[1].png", "scan1.png"]


def test_a_link_to_a_folder_above_is_not_followed(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "x.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b").symlink_to(tmp_path / "a", target_is_directory=True)
    assert found(tmp_path) == {"2d": ["a/x.png", "b/x.png"]}


def test_patterns_that_overlap_give_a_file_once(tmp_path: Path) -> None:
    for name in ("x.png", "y.png"):
        picture(tmp_path / name)
    rows = discover(images=[str(tmp_path / "*.png"), str(tmp_path / "x.png")])["2d"]
    assert [Path(row["id"]).name for row in rows] == ["x.png", "y.png"]


def test_a_name_in_another_encoding_gets_an_id_that_can_be_written(tmp_path: Path) -> None:
    path = picture(tmp_path / "x.png")
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    try:
        os.rename(path, odd)
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    (row,) = discover(tmp_path)["2d"]
    assert row["id"] == "caf\\udce9.png"
    assert row["image"] == odd
