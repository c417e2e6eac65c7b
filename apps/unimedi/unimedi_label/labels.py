# SPDX-License-Identifier: Apache-2.0
"""Submitted labels as masks to learn from: read, numbers as the network's classes, on the grid of the image.

A viewer's file may have other numbers than ours (its segments in its order), another grid (DICOM SEG keeps the slices
that hold something), or be broken; the first two are put right, the last is refused when it is submitted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK
import torch
from monai.data import MetaTensor
from monai.transforms import ResampleToMatch
from PIL import Image

from monai_unimedi.transforms.load_volume import LoadVolume
from monai_unimedi.transforms.load_xray import LoadXray

from . import RESEARCH_USE

__all__ = [
    "LABEL_FILES",
    "check_names",
    "class_numbers",
    "classes_on_grid",
    "mask_for_training",
    "present_numbers",
    "read_label",
    "segment_names",
]

logger = logging.getLogger(__name__)
LABEL_FILES = (".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha", ".png")
MAX_NUMBER = 255
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_label(path: Path) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """A label's numbers (X, Y, Z) uint8, its voxel-to-world matrix (4, 4) in RAS, and the names that it holds.

    Raises:
        ValueError: When it cannot be read, is no picture or volume, or holds numbers that are not 0 to 255.
    """
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise ValueError("The label cannot be read: send NRRD, NIfTI, MHA or PNG, whole.") from error
    size = image.GetDimension()
    if image.GetNumberOfComponentsPerPixel() != 1 or size not in (2, 3):
        raise ValueError(
            "A label must have one number a voxel, this one has layers or colours: in 3D Slicer switch off "
            '"allow overlapping segments" in the settings of MONAI Label.'
        )
    array = SimpleITK.GetArrayFromImage(image).T
    if not np.isfinite(array).all() or (array != np.round(array)).any() or array.min() < 0 or array.max() > MAX_NUMBER:
        raise ValueError(f"A label must hold whole numbers from 0 to {MAX_NUMBER}, it holds others.")
    matrix = np.eye(4)
    matrix[:size, :size] = np.asarray(image.GetDirection()).reshape(size, size) @ np.diag(image.GetSpacing())
    matrix[:size, 3] = image.GetOrigin()
    return array.reshape((*array.shape, 1)[:3]).astype(np.uint8), _LPS_TO_RAS @ matrix, _own_names(image)


def _own_names(image: Any) -> dict[int, str]:
    """Names of the segments in the header of a ``.seg.nrrd``."""
    names = {}
    for key in image.GetMetaDataKeys():
        if key.startswith("Segment") and key.endswith("_Name"):
            number = image.GetMetaData(key.replace("_Name", "_LabelValue")) if _has(image, key) else "0"
            names[int(number)] = image.GetMetaData(key)
    return names


def _has(image: Any, key: str) -> bool:
    return bool(image.HasMetaDataKey(key.replace("_Name", "_LabelValue")))


def present_numbers(path: Path) -> list[int]:
    """The numbers of a label, without 0, in order."""
    return [int(number) for number in np.unique(read_label(path)[0]) if number]


def check_names(path: Path, info: Mapping[str, Any]) -> None:
    """Reads a label, and what it calls its numbers.

    Raises:
        ValueError: When it cannot be read, or the names can be read in two ways.
    """
    numbers, _, own = read_label(path)
    class_numbers(info, own, [], [int(number) for number in np.unique(numbers) if number])


def segment_names(sent: Sequence[Mapping[str, Any]], present: Sequence[int]) -> dict[int, str]:
    """What a viewer calls the numbers of its label.

    3D Slicer numbers the segments of a label 1, 2, ... in their order, without those that it leaves out, and sends as
    ``idx`` their places among all; others send as ``idx`` the numbers themselves. Which it is, the numbers tell.

    Args:
        sent: ``{"name", "idx"}`` each.
        present: numbers in the label.

    Raises:
        ValueError: When both readings fit and give other names.
    """
    order = sorted(sent, key=lambda one: int(one.get("idx") or one.get("id") or one.get("labelID") or 0))
    by_place = {number: str(one["name"]) for number, one in enumerate(order, start=1)}
    by_idx = {int(one["idx"]): str(one["name"]) for one in order if one.get("idx")}
    fits_place, fits_idx = (set(present) <= names.keys() for names in (by_place, by_idx))
    if fits_place and fits_idx and any(by_place[number] != by_idx[number] for number in present):
        number = next(number for number in present if by_place[number] != by_idx[number])
        raise ValueError(
            f"{number} in the label is {by_idx[number]} by the idx that was sent and {by_place[number]} by the place "
            "among the segments: send idx 1, 2, ... for all segments, the empty ones too, or a .seg.nrrd with names."
        )
    is_beyond = bool(present) and max(present) > len(order)
    return by_idx if is_beyond or (fits_idx and not fits_place) else by_place


def class_numbers(
    info: Mapping[str, Any], own: Mapping[int, str], classes: Sequence[str], present: Sequence[int] = ()
) -> dict[int, int]:
    """Which number of a label's file is which class, counted from 1.

    The file's own names go first, then those that the viewer sent with it (``label_info``), then those that a model of
    ours gave (``params.label_names``), then the order of the classes.

    Args:
        info: of the label in the datastore.
        own: names in the file.
        classes: names of the network's classes, without the background.
        present: numbers in the file.
    """
    place = {_plain(name): number for number, name in enumerate(classes, start=1)}
    sent = info.get("label_info")
    given = info.get("params", {}).get("label_names") if isinstance(info.get("params"), Mapping) else None
    if own:
        names = dict(own)
    elif isinstance(sent, list) and sent and all(isinstance(one, Mapping) and one.get("name") for one in sent):
        names = segment_names(sent, present)
    elif isinstance(given, list) and given:
        names = {number: str(name) for number, name in enumerate(given, start=1)}
    else:
        return {number: number for number in place.values()}
    return {number: place[_plain(name)] for number, name in names.items() if _plain(name) in place}


def _plain(name: str) -> str:
    return name.removesuffix(f"({RESEARCH_USE})").strip().lower().replace("_", " ")


def classes_on_grid(
    image: Path, label: Path, info: Mapping[str, Any], classes: Sequence[str]
) -> tuple[np.ndarray, bool]:
    """A label's classes on the grid of the image.

    Args:
        image: the file that the network reads.
        label: what was submitted or guessed for it.
        info: of the label in the datastore.
        classes: names of the network's classes, without the background.

    Returns:
        (X, Y[, Z]) uint8: 0, or the place of a class, from 1; and whether anything is drawn in the label's file.

    Raises:
        ValueError: When the label is broken, or holds numbers that are no class.
    """
    numbers, affine, own = read_label(label)
    present = [int(number) for number in np.unique(numbers) if number]
    meaning = class_numbers(info, own, classes, present)
    unknown = sorted(set(present) - meaning.keys())
    if unknown:
        raise ValueError(
            f"The numbers {unknown} of the label are no class of this model ({', '.join(classes)}): rename the "
            "segments, or start the app with --conf labels."
        )
    table = np.zeros(MAX_NUMBER + 1, dtype=np.uint8)
    for number, place in meaning.items():
        table[number] = place
    return _on_grid(table[numbers], affine, image), bool(present)


def mask_for_training(
    image: Path, label: Path, info: Mapping[str, Any], classes: Sequence[str], is_exclusive: bool, target: Path
) -> list[int]:
    """Writes a mask as the bundle's training reads it, on the grid of the image.

    Args:
        image, label, info, classes: as in :func:`classes_on_grid`.
        is_exclusive: numbers of the classes, or bit i for class i.
        target: the mask, without suffix.

    Returns:
        The classes (from 1) that are in it.

    Raises:
        ValueError: When the label is broken, lies beside the image, or holds numbers that are no class.
    """
    places, is_drawn = classes_on_grid(image, label, info, classes)
    present = [int(place) for place in np.unique(places) if place]
    if is_drawn and not present:
        raise ValueError("The label lies beside the image: it was drawn on another one.")
    target.parent.mkdir(parents=True, exist_ok=True)
    bits = np.asarray([0, *(1 << bit for bit in range(len(classes)))], dtype=np.uint8)
    _write(places if is_exclusive else bits[places], image, target)
    return present


def _on_grid(numbers: np.ndarray, affine: np.ndarray, image: Path) -> np.ndarray:
    """(X, Y[, Z]) on the image's grid; 0 where the label's has no voxel."""
    if not image.name.lower().endswith((".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")) and not image.is_dir():
        shape = tuple(LoadXray()(image, whole=True).shape[1:])
        if numbers.shape != (*shape, 1):
            raise ValueError(f"A label must have the {shape[0]} x {shape[1]} pixels of its X-ray, got {numbers.shape}.")
        return numbers[:, :, 0]
    volume = LoadVolume(None)(image)
    grid = np.asarray(volume.affine, dtype=np.float64)
    if numbers.shape == tuple(volume.shape[1:]) and np.allclose(affine, grid, atol=1e-3):
        return numbers
    mask = MetaTensor(torch.from_numpy(numbers[None].astype(np.float32)), affine=torch.from_numpy(affine))
    moved = ResampleToMatch(mode="nearest", padding_mode="zeros", dtype=np.float64)(mask, volume)
    return np.asarray(moved)[0].round().astype(np.uint8)


def _write(mask: np.ndarray, image: Path, target: Path) -> None:
    if mask.ndim == 2:
        Image.fromarray(np.ascontiguousarray(mask.T)).save(target.with_name(target.name + ".png"))
        return
    affine = np.asarray(LoadVolume(None)(image).affine, dtype=np.float64)
    nibabel.save(nibabel.Nifti1Image(mask, affine), target.with_name(target.name + ".nii.gz"))
