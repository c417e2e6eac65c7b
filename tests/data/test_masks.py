# SPDX-License-Identifier: Apache-2.0
"""Masks that do not fit stop before training with one error, or are listed as warnings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from monai_unimedi.data.check_masks import check_masks
from monai_unimedi.data.datalist import datalist_digest
from monai_unimedi.data.masks import MaskClasses, load_masked_rows, mask_classes
from tests.data.corpora.files import xray

SHAPE = (6, 5, 4)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
ORGANS = MaskClasses(["background", "lung", "heart"], [0, 1, 2], True)


def volume(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> str:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path.name


def good() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:3, 1:3], mask[4] = 1, 2
    return mask


@pytest.fixture
def masked(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Writes a datalist of three volumes, one of which has the given mask."""

    def write(mask: np.ndarray, affine: np.ndarray = AFFINE) -> dict[str, Any]:
        image = np.random.default_rng(0).integers(-1000, 400, SHAPE).astype(np.int16)
        rows = []
        for index, (array, matrix) in enumerate([(good(), AFFINE), (mask, affine), (good(), AFFINE)]):
            names = {"image": volume(tmp_path / f"ct{index}.nii.gz", image)}
            rows.append(names | {"id": f"ct{index}", "label": volume(tmp_path / f"m{index}.nii.gz", array, matrix)})
        labels = {"0": "background", "1": "lung", "2": "heart"}
        path = tmp_path / "list.json"
        path.write_text(json.dumps({"labels": labels, "training": rows[:2], "validation": rows[2:]}))
        return load_masked_rows(path, ["training", "validation"])

    return write


def shifted() -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 3] = 1.0
    return affine


def with_value(value: float, kind: Any) -> np.ndarray:
    mask = good().astype(kind)
    mask[0, 0, 0] = value
    return mask


@pytest.mark.parametrize(
    ("mask", "affine", "message"),
    [
        (good()[:-1], AFFINE, r"ct1: the mask is 5 x 5 x 4, the image 6 x 5 x 4"),
        (good(), shifted(), r"ct1: mask and image lie up to 0.5 voxels apart"),
        (with_value(7, np.uint8), AFFINE, r"ct1: the value 7 is no class \(known: \[0, 1, 2\]"),
        (with_value(-1, np.int16), AFFINE, r"ct1: the value -1 is no class"),
        (with_value(0.4, np.float32), AFFINE, r"ct1: a mask must hold whole numbers, it holds 0.4"),
        (with_value(np.nan, np.float32), AFFINE, r"ct1: a mask must hold whole numbers, it holds nan"),
    ],
)
def test_mask_that_does_not_fit_is_refused_with_its_row(
    masked: Callable[..., Any], mask: np.ndarray, affine: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_masks(masked(mask, affine), ORGANS, 3)


def test_every_problem_is_in_one_error(masked: Callable[..., Any]) -> None:
    rows = masked(with_value(7, np.uint8)[:-1])
    with pytest.raises(ValueError, match=r"2 masks or classes must be put right") as caught:
        check_masks(rows, ORGANS, 3)
    assert "the mask is 5 x 5 x 4" in str(caught.value)
    assert "the value 7" in str(caught.value)


def test_empty_and_float_masks_are_listed(masked: Callable[..., Any]) -> None:
    assert check_masks(masked(good()), ORGANS, 3) == []
    assert check_masks(masked(np.zeros(SHAPE, np.uint8)), ORGANS, 3) == ["1 of 3 masks are empty: ct1"]
    warnings = check_masks(masked(good().astype(np.float32)), ORGANS, 3)
    assert warnings == ["1 of 3 masks store whole numbers as floats: ct1"]


def test_affine_rounded_by_a_writer_passes(masked: Callable[..., Any]) -> None:
    assert check_masks(masked(good(), AFFINE + 1e-4), ORGANS, 3) == []


def test_class_absent_from_training_stops_and_from_validation_warns(masked: Callable[..., Any]) -> None:
    rows = masked(good())
    wider = MaskClasses([*ORGANS.names, "liver"], [0, 1, 2, 3], True)
    with pytest.raises(ValueError, match="no training mask holds liver"):
        check_masks(rows, wider, 3)
    only_lung = {"training": rows["training"], "validation": [dict(rows["validation"][0])]}
    path = Path(only_lung["validation"][0]["label"])
    volume(path.with_name("lung.nii.gz"), (good() == 1).astype(np.uint8))
    only_lung["validation"][0]["label"] = str(path.with_name("lung.nii.gz"))
    assert check_masks(only_lung, ORGANS, 3) == [
        "no mask of the validation list holds heart: there will be no figure for it"
    ]


def test_mask_of_several_rows_is_compared_with_each_image(masked: Callable[..., Any], tmp_path: Path) -> None:
    rows = masked(good())
    for row, (shape, affine) in zip(rows["training"], [((6, 5, 3), AFFINE), (SHAPE, shifted())]):
        volume(Path(row["image"]), np.ones(shape, np.int16), affine)
        row["label"] = rows["validation"][0]["label"]
    message = r"2 masks or classes .*ct0: the mask is 6 x 5 x 4, the image 6 x 5 x 3; ct1: mask and image lie"
    with pytest.raises(ValueError, match=message):
        check_masks(rows, ORGANS, 3)


def test_image_with_a_time_axis_is_refused_and_one_that_cannot_be_read(masked: Callable[..., Any]) -> None:
    rows = masked(good())
    volume(Path(rows["training"][0]["image"]), np.ones((*SHAPE, 2), np.int16))
    Path(rows["training"][1]["image"]).write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"ct0: the image must have 3 axes, it is 6 x 5 x 4 x 2; ct1: its image"):
        check_masks(rows, ORGANS, 3)


def test_other_classes_than_the_network_has_name_the_options(masked: Callable[..., Any], tmp_path: Path) -> None:
    rows = masked(good())
    with pytest.raises(ValueError, match=r"--class_values '\[0, 1, 2\]' --exclusive true\."):
        check_masks(rows, MaskClasses(["lesion"], [0], False), 3, tmp_path / "list.json")
    assert mask_classes(tmp_path / "list.json") == ORGANS


def test_xray_bits_beyond_the_names_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 9), 90, np.uint8)).save(tmp_path / "x.png")
    for name, value in (("good", 1), ("white", 255)):
        mask = np.zeros((8, 9), np.uint8)
        mask[2:4, 2:4] = value
        Image.fromarray(mask).save(tmp_path / f"{name}.png")

    def rows(name: str) -> dict[str, Any]:
        row = {"id": "x", "image": "x.png", "lesion_mask": f"{name}.png"}
        (tmp_path / "l.json").write_text(
            json.dumps({"label_names": ["opacity"], "training": [row], "validation": [row]})
        )
        return load_masked_rows(tmp_path / "l.json", ["training", "validation"])

    classes = MaskClasses(["opacity"], [0], False)
    assert mask_classes_of(tmp_path, rows) == classes
    assert check_masks(rows("good"), classes, 2) == []
    with pytest.raises(ValueError, match=r'x: the value 255 is no class.*"255"'):
        check_masks(rows("white"), classes, 2)


def mask_classes_of(folder: Path, rows: Callable[[str], Any]) -> MaskClasses:
    rows("good")
    return mask_classes(folder / "l.json")


def test_fractions_are_by_patient_nested_and_leave_validation_whole(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 90, np.uint8)).save(tmp_path / "x.png")
    row = {"image": "x.png", "lesion_mask": "x.png"}
    training = [row | {"id": str(i), "patient": str(i // 2)} for i in range(40)]
    content = {"label_names": ["a"], "training": training, "validation": training[:4]}
    (tmp_path / "l.json").write_text(json.dumps(content))

    def ids(percent: float, section: str = "training") -> list[str]:
        found = load_masked_rows(tmp_path / "l.json", ["training", "validation"], label_fraction=percent)
        return [row["id"] for row in found[section]]

    assert (len(ids(100)), len(ids(10)), len(ids(1))) == (40, 4, 2)
    assert set(ids(1)) <= set(ids(10)) <= set(ids(50))
    assert ids(1, "validation") == ids(100, "validation")
    with pytest.raises(ValueError, match="label_fraction"):
        ids(0)
    content["training_10"] = training[6:8]
    (tmp_path / "l.json").write_text(json.dumps(content))
    assert ids(10) == ["6", "7"]


@pytest.mark.parametrize("ending", ["png", "dcm"])
def test_fraction_draws_further_patients_until_every_class_is_there(
    tmp_path: Path, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    for value in (1, 2):
        Image.fromarray(np.full((4, 4), value, np.uint8)).save(tmp_path / f"{value}.png")
        mask = pydicom.dcmread(xray(tmp_path / f"{value}.dcm", value))
        mask.PixelData = np.full((mask.Rows, mask.Columns), value, np.uint16).tobytes()
        mask.save_as(tmp_path / f"{value}.dcm")
    training = [{"image": "1.png", "lesion_mask": f"{1 + (i == 33)}.{ending}", "id": str(i)} for i in range(40)]
    content = {"label_names": ["a", "b", "nowhere"], "training": training, "validation": training[:4]}
    (tmp_path / "l.json").write_text(json.dumps(content))
    for seed in range(3):
        rows = load_masked_rows(tmp_path / "l.json", ["training"], label_fraction=2.5, seed=seed)["training"]
        assert "33" in {row["id"] for row in rows}
        assert len(rows) <= 2
    assert "one value only of b" in caplog.text


def test_list_without_masks_or_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "l.json").write_text(json.dumps({"label_names": ["a"], "training": [{"image": "x.png"}]}))
    with pytest.raises(ValueError, match="must have masks, no row has one"):
        mask_classes(tmp_path / "l.json")
    (tmp_path / "l.json").write_text(json.dumps({"training": [{"image": "x.png", "label": "m.png"}]}))
    with pytest.raises(ValueError, match="must name its masks' numbers"):
        mask_classes(tmp_path / "l.json")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"-1": "ignore", "0": "background", "1": "lung"}, "by numbers from 0"),
        ({"0": "background", "1": "lung", "2": "lung"}, "once in labels, got again 'lung'"),
    ],
)
def test_numbers_below_the_background_and_names_given_twice_are_refused(
    tmp_path: Path, labels: dict[str, str], message: str
) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"labels": labels, "training": [{"image": "a.nii", "label": "b.nii"}]}))
    with pytest.raises(ValueError, match=message):
        mask_classes(path)


def test_patients_of_two_lists_are_warned_of(
    masked: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    masked(good())
    path = tmp_path / "list.json"
    content = json.loads(path.read_text())
    content["validation"][0]["patient"] = content["training"][1]["patient"] = "Smith"
    path.write_text(json.dumps(content))
    assert not caplog.text
    load_masked_rows(path, ["training", "validation"])
    assert "training and validation have patients or images in common (1)" in caplog.text


def test_judging_the_validation_rows_is_said(masked: Callable[..., Any], tmp_path: Path, caplog: Any) -> None:
    masked(good())
    load_masked_rows(tmp_path / "list.json", ["training", "validation"])
    assert not caplog.text
    load_masked_rows(tmp_path / "list.json", ["test"])
    assert "No test list: the validation rows" in caplog.text


def test_only_the_lists_that_are_needed_are_looked_at(masked: Callable[..., Any], tmp_path: Path) -> None:
    masked(good())
    content = json.loads((tmp_path / "list.json").read_text())
    gone = [{"id": "g", "image": "gone.nii.gz", "label": "gone_too.nii.gz"}]

    def load(sections: list[str], **lists: Any) -> dict[str, Any]:
        (tmp_path / "list.json").write_text(json.dumps(content | lists))
        return load_masked_rows(tmp_path / "list.json", sections)

    assert len(load(["test"], training=gone, validation=gone, test=content["validation"])["test"]) == 1
    assert len(load(["test"], training=gone)["test"]) == 1
    assert len(load(["training", "validation"], test=gone)["training"]) == 2
    with pytest.raises(ValueError, match=r"gone\.nii\.gz"):
        load(["test"], validation=gone)


@pytest.mark.parametrize("form", [str, lambda image: {"image": image}])
def test_test_rows_without_masks_are_left_out_and_counted(
    masked: Callable[..., Any], tmp_path: Path, form: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    masked(good())
    content = json.loads((tmp_path / "list.json").read_text())
    official = [form("imagesTs/a.nii.gz"), form("./imagesTs/b.nii.gz")]

    def load(sections: list[str], **lists: Any) -> dict[str, Any]:
        (tmp_path / "list.json").write_text(json.dumps(content | lists))
        return load_masked_rows(tmp_path / "list.json", sections)

    assert len(load(["training", "validation"], test=official)["training"]) == 2
    assert mask_classes(tmp_path / "list.json") == ORGANS
    assert not caplog.text
    some = load(["test"], test=[*official, *content["validation"]])["test"]
    assert [row["id"] for row in some] == ["ct2"]
    assert "test: 2 of 3 rows have no mask and are left out." in caplog.text
    caplog.clear()
    assert [row["id"] for row in load(["test"], test=official)["test"]] == ["ct2"]
    assert "test: 2 of 2 rows have no mask" in caplog.text
    assert "No row of the test list can be judged: the validation rows" in caplog.text
    with pytest.raises(ValueError, match=r"row 0, id 'imagesTs/a\.nii\.gz': the key 'label' is missing"):
        load(["training", "validation"], validation=official)


def test_digest_stays_where_the_folder_of_masks_moves() -> None:
    one, other = ([{"id": "a", "image": f"{folder}/a.nii", "label": f"{folder}/m.nii"}] for folder in ("x", "../y"))
    assert datalist_digest(one) == datalist_digest(other)
    assert datalist_digest(one) != datalist_digest([{**one[0], "label": "x/n.nii"}])
