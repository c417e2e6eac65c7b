# SPDX-License-Identifier: Apache-2.0
"""Labels and masks that do not fit stop each downstream bundle's training before its first step, or are listed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from tests.bundles.test_classification import ClassificationBundle, classified  # noqa: F401 - the fixtures
from tests.bundles.test_segmentation import SegmentationBundle, another, causes, segmented  # noqa: F401

Lists = dict[str, Any]
Change = Callable[[Lists, Path], None]


def listed(phantom_dir: str, source: str) -> Lists:
    """The phantoms' datalist with absolute paths and labels by name; nothing else needs to be copied."""
    folder = Path(phantom_dir)
    content = json.loads((folder / f"datalist_{source}.json").read_text())
    content = {key: content[key] for key in ("label_names", "training", "validation", "test") if key in content}
    for section in ("training", "validation", "test"):
        for row in content[section]:
            row |= {key: str(folder / row[key]) for key in ("image", "lesion_mask") if key in row}
    return content


def started(bundle: ClassificationBundle | SegmentationBundle, change: Change, folder: Path, **options: Any) -> None:
    """Trains on a changed copy of the list."""
    content = listed(bundle.phantom["phantom_dir"], bundle.source)
    change(content, folder)
    path = folder / "list.json"
    path.write_text(json.dumps(content))
    bundle.train(datalist=str(path), dataset_dir=str(folder), **{"num_steps": 1, "steps_per_epoch": 1, **options})


def refused(bundle: ClassificationBundle | SegmentationBundle, *args: Any, **options: Any) -> str:
    """All that the error says; nothing may have been trained."""
    with pytest.raises((RuntimeError, ValueError, OSError)) as caught:
        started(bundle, *args, **options)
    assert not (bundle.output_dir / "models").exists()
    assert not (bundle.output_dir / "history.jsonl").exists()
    return causes(caught.value)


def set_label(value: Any, section: str = "training", rows: slice = slice(0, 1)) -> Change:
    def change(content: Lists, folder: Path) -> None:
        for row in content[section][rows]:
            row["label"] = value

    return change


def without_class(section: str) -> Change:
    """The first class is in no label of a list."""

    def change(content: Lists, folder: Path) -> None:
        for row in content[section]:
            row["label"] = [0, *row["label"][1:]]

    return change


def own_fraction(content: Lists, folder: Path) -> None:
    """A list of a tenth that has no positive of the first class."""
    content["training_10"] = [row for row in content["training"] if not row["label"][0]][:4]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (set_label({"fracture": 1}), {}, "unknown class 'fracture'"),
        (set_label("fracture"), {}, "unknown class 'fracture'"),
        (set_label([1, 0]), {}, "one value for each of the 6 classes, got 2"),
        (set_label(6), {}, "a class's index must lie in [0, 6), got 6"),
        (set_label([2, 0, 0, 0, 0, 0]), {}, "the value of 'nodule' must be 1, 0, -1 (uncertain) or null, got 2"),
        (set_label([1, 0, 0, 0, 0, -3], "validation"), {}, "1 labels of list 'validation' do not fit"),
        (without_class("training"), {}, "does not hold for nodule (0 present, 40 absent)"),
        (own_fraction, {"label_fraction": 10}, "at label_fraction 10 this does not hold for nodule (0 present"),
        (set_label(None, rows=slice(None)), {}, "must have rows with labels under training"),
    ],
)
def test_labels_that_do_not_fit_stop_the_classification(
    classified: ClassificationBundle,  # noqa: F811
    tmp_path: Path,
    change: Change,
    options: dict[str, Any],
    message: str,
) -> None:
    bundle = ClassificationBundle(classified.source, tmp_path / "output", Path(classified.phantom["phantom_dir"]))
    assert message in refused(bundle, change, tmp_path, **options)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (without_class("validation"), {}, "validation: no figure is possible for nodule (0 present, 12 absent)"),
        (set_label(None), {}, "training: 1 of 40 rows have no label and are left out"),
        (lambda content, folder: None, {"label_fraction": 1, "batch_size": 2}, "patients with the other joined them"),
    ],
)
def test_what_only_lacks_something_is_listed_and_the_classification_trains(
    classified: ClassificationBundle,  # noqa: F811
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    change: Change,
    options: dict[str, Any],
    message: str,
) -> None:
    bundle = ClassificationBundle(classified.source, tmp_path / "output", Path(classified.phantom["phantom_dir"]))
    with caplog.at_level("WARNING"):
        started(bundle, change, tmp_path, **options)
    assert message in caplog.text
    assert (bundle.output_dir / "models" / "model.pt").is_file()


def set_mask(make: Callable[[np.ndarray], np.ndarray], section: str = "training", rows: slice = slice(0, 1)) -> Change:
    """Masks remade from what is in them, on the same grid."""

    def change(content: Lists, folder: Path) -> None:
        for index, row in enumerate(content[section][rows]):
            row["lesion_mask"] = remade(row["lesion_mask"], make, folder / f"{section}{index}")

    return change


def remade(path: str, make: Callable[[np.ndarray], np.ndarray], target: Path, shift: float = 0.0) -> str:
    if path.endswith(".png"):
        array = make(np.asarray(Image.open(path)))
        suffix = ".tif" if array.dtype.kind == "f" else ".png"
        Image.fromarray(array).save(target.with_suffix(suffix))
        return str(target.with_suffix(suffix))
    image: Any = nibabel.load(path)
    affine = image.affine.copy()
    affine[2, 3] += shift
    nibabel.save(nibabel.Nifti1Image(make(np.asarray(image.dataobj)), affine), target.with_suffix(".nii"))
    return str(target.with_suffix(".nii"))


def moved(content: Lists, folder: Path) -> None:
    row = content["training"][0]
    row["lesion_mask"] = remade(row["lesion_mask"], np.asarray, folder / "moved", shift=30.0)


def no_nodule(array: np.ndarray) -> np.ndarray:
    return array & ~np.uint8(1)


def own_masks(content: Lists, folder: Path) -> None:
    """A list of a tenth whose masks are all empty."""
    set_mask(np.zeros_like, rows=slice(0, 4))(content, folder)
    content["training_10"] = content["training"][:4]


EVERY = slice(None)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (set_mask(lambda a: a | np.uint8(128)), {}, "is no class (known: bits of nodule, consolidation"),
        (set_mask(lambda a: a[:-2]), {}, "the mask is"),
        (
            set_mask(lambda a: a.astype(np.float32) + np.float32(0.5)),
            {},
            "a mask must hold whole numbers, it holds 0.5",
        ),
        (
            set_mask(lambda a: a.astype(np.float32) * np.float32("nan")),
            {},
            "must hold",
        ),
        (set_mask(no_nodule, rows=EVERY), {}, "no training mask holds nodule"),
        (own_masks, {"label_fraction": 10, "batch_size": 2}, "no training mask holds nodule"),
        (set_label("gone.nii", rows=slice(0, 1)), {}, "gone.nii"),
    ],
)
def test_masks_that_do_not_fit_stop_the_segmentation(
    segmented: SegmentationBundle,  # noqa: F811
    tmp_path: Path,
    change: Change,
    options: dict[str, Any],
    message: str,
) -> None:
    said = refused(another(segmented, tmp_path), change, tmp_path, **options)
    assert message in said


def test_mask_with_another_affine_stops_the_segmentation(
    segmented: SegmentationBundle,  # noqa: F811
    tmp_path: Path,
) -> None:
    if segmented.source == "2d":
        pytest.skip("pictures have no affine")
    assert "their affines differ" in refused(another(segmented, tmp_path), moved, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_mask(np.zeros_like), "masks are empty: "),
        (set_mask(lambda a: a.astype(np.float32)), "masks store whole numbers as floats"),
        (set_mask(no_nodule, "validation", EVERY), "no mask of the validation list holds nodule"),
    ],
)
def test_masks_that_only_lack_something_are_listed_and_the_segmentation_trains(
    segmented: SegmentationBundle,  # noqa: F811
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    change: Change,
    message: str,
) -> None:
    bundle = another(segmented, tmp_path)
    with caplog.at_level("WARNING"):
        started(bundle, change, tmp_path)
    assert message in caplog.text
    assert (bundle.output_dir / "models" / "model.pt").is_file()
