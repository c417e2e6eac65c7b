# SPDX-License-Identifier: Apache-2.0
"""Masks that do not fit, found before training starts: one error that lists them all, or listed warnings."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import pydicom
from PIL import Image
from tqdm import tqdm

from monai_unimedi.data.discover import PICTURES
from monai_unimedi.data.masks import MASK, MaskClasses, mask_classes
from monai_unimedi.transforms.affines import NEAR_VOXELS, corners_apart
from monai_unimedi.transforms.load_volume import LoadVolume
from monai_unimedi.transforms.load_xray import LoadXray

__all__ = ["check_masks"]

logger = logging.getLogger(__name__)
_LISTED = 10

Row = Mapping[str, Any]


class Mask(NamedTuple):
    """What was found in one file: ``shape`` is None where it cannot be read, ``affine`` in X-rays."""

    shape: tuple[int, ...] | None
    affine: np.ndarray | None
    channels: set[int]
    complaints: list[str]
    is_float: bool


def check_masks(
    rows: Mapping[str, Sequence[Row]],
    classes: MaskClasses,
    spatial_dims: int,
    datalist: str | os.PathLike | None = None,
    show_progress: bool | None = None,
) -> list[str]:
    """Reads every mask beside its image's header.

    Args:
        rows: by section, from `load_masked_rows`; a row in two sections is read once.
        classes: of the network.
        spatial_dims: 2 or 3.
        datalist: whose names must be the network's; not compared where None.
        show_progress: a bar; by default where standard error is a terminal.

    Returns:
        Warnings, logged too: empty masks, masks stored as floats, classes absent from a list that is judged.

    Raises:
        ValueError: When a mask has another shape or affine than its image, holds a number that is no class, is not
            whole or not finite, or cannot be read, or a class is in no training mask; lists all of them.
    """
    if datalist is not None:
        _check_names(mask_classes(datalist), classes)
    problems: list[str] = []
    empty: list[str] = []
    floats: list[str] = []
    seen: dict[str, Mask] = {}
    fitted: set[tuple[str, str]] = set()
    counted = {section: np.zeros(len(classes.names), dtype=int) for section in rows}
    hidden = not (sys.stderr.isatty() if show_progress is None else show_progress)
    every = [(section, row) for section, found in rows.items() for row in found]
    for section, row in tqdm(every, desc="masks", unit="mask", disable=hidden):
        path, image = str(row[MASK]), str(row["image"])
        complaints: list[str] = []
        if path not in seen:
            seen[path] = mask = _look(path, classes, spatial_dims)
            complaints += mask.complaints
            floats += [str(row["id"])] * (mask.is_float and not complaints)
            empty += [str(row["id"])] * (not mask.channels and not complaints)
        if (path, image) not in fitted:
            fitted.add((path, image))
            complaints += _misfits(seen[path], image, spatial_dims)
        problems += [f"{row['id']}: {text}" for text in complaints]
        counted[section][sorted(seen[path].channels)] += 1
    absent = {section: _absent(count, classes) for section, count in counted.items()}
    if absent.get("training"):
        problems.append(
            f"no training mask holds {', '.join(absent['training'])}: take the class out of the datalist's names, or "
            "use a list or a label fraction that has it"
        )
    if problems:
        raise ValueError(f"{len(problems)} masks or classes must be put right first: {_listed(problems, '; ')}.")
    return _warn(empty, floats, {name: names for name, names in absent.items() if name != "training"}, len(seen))


def _check_names(found: MaskClasses, classes: MaskClasses) -> None:
    """The datalist's classes are the network's, or the options to give are named."""
    own = (list(classes.names), list(classes.values), bool(classes.is_exclusive))
    if own != (found.names, found.values, found.is_exclusive):
        options = f"--class_names {json.dumps(json.dumps(found.names))} --class_values '{found.values}'"
        raise ValueError(
            f"The classes must be those of the datalist, {', '.join(found.names)}, got {', '.join(classes.names)}: "
            f"give {options} --exclusive {str(found.is_exclusive).lower()}."
        )


def _warn(empty: list[str], floats: list[str], absent: Mapping[str, list[str]], count: int) -> list[str]:
    warnings = []
    if empty:
        warnings.append(f"{len(empty)} of {count} masks are empty: {_listed(empty)}")
    if floats:
        warnings.append(f"{len(floats)} of {count} masks store whole numbers as floats: {_listed(floats)}")
    warnings += [
        f"no mask of the {section} list holds {', '.join(names)}: there will be no figure for it"
        for section, names in absent.items()
        if names
    ]
    for text in warnings:
        logger.warning("%s.", text)
    return warnings


def _absent(count: np.ndarray, classes: MaskClasses) -> list[str]:
    first = int(classes.is_exclusive)
    return [name for name, number in zip(classes.names[first:], count[first:]) if not number]


def _look(path: str, classes: MaskClasses, spatial_dims: int) -> Mask:
    """A mask by itself."""
    try:
        array, affine = _read(path, spatial_dims)
    except Exception as error:
        return Mask(None, None, set(), [f"cannot be read ({error})"], False)
    complaints: list[str] = []
    is_float = array.dtype.kind == "f"
    values = np.unique(array)
    if is_float and not (np.isfinite(values).all() and (values == np.round(values)).all()):
        odd = next(v for v in values if not np.isfinite(v) or v != round(v))
        return Mask(array.shape, affine, set(), [f"a mask must hold whole numbers, it holds {odd:g}"], is_float)
    found, unknown = _channels([int(v) for v in values], classes)
    if unknown:
        known = "bits of " + ", ".join(classes.names) if not classes.is_exclusive else f"{classes.values}"
        complaints.append(
            f"the value {unknown[0]} is no class (known: {known}; other values, such as 255, are named by "
            '"labels": {"0": "background", "255": ...} and the key \'label\')'
        )
    return Mask(array.shape, affine, found, complaints, is_float)


def _misfits(mask: Mask, image: str, spatial_dims: int) -> list[str]:
    """What is wrong between a mask and an image."""
    if mask.shape is None:
        return []
    try:
        shape, affine = _geometry(image, spatial_dims)
    except Exception as error:
        return [f"its image cannot be read ({error})"]
    if len(shape) != spatial_dims:
        return [f"the image must have {spatial_dims} axes, it is {_sizes(shape)}"]
    if mask.shape != shape:
        return [f"the mask is {_sizes(mask.shape)}, the image {_sizes(shape)}"]
    if mask.affine is None or affine is None:
        return []
    apart = corners_apart(mask.affine, affine, shape)
    return [f"mask and image lie up to {apart:.3g} voxels apart: their affines differ"] * (apart > NEAR_VOXELS)


def _channels(values: Iterable[int], classes: MaskClasses) -> tuple[set[int], list[int]]:
    """Channels beside the background that the values stand for, and values that stand for none."""
    if classes.is_exclusive:
        places = {value: index for index, value in enumerate(classes.values)}
        unknown = [value for value in values if value not in places]
        return {places[value] for value in values if places.get(value, 0) > 0}, unknown
    limit = 1 << len(classes.names)
    unknown = [value for value in values if not 0 <= value < limit]
    known = [value for value in values if 0 <= value < limit]
    return {bit for bit in classes.values if any(value >> bit & 1 for value in known)}, unknown


def _read(path: str, spatial_dims: int) -> tuple[np.ndarray, np.ndarray | None]:
    """A mask (X, Y[, Z]) in the file's type, and its affine in 3D."""
    if spatial_dims == 3:
        mask = LoadVolume(dtype=None)(path)
        return mask.numpy()[0], mask.affine.numpy()
    picture = LoadXray(voi="ignore")(path)
    if picture.shape[0] != 1:
        raise ValueError(f"a mask must have one channel, got {picture.shape[0]}; save it as an 8-bit grey picture")
    is_float = picture.meta.get("mode") == "F"
    return picture.numpy()[0].astype(np.float32 if is_float else np.int32), None


def _geometry(path: str, spatial_dims: int) -> tuple[tuple[int, ...], np.ndarray | None]:
    """Shape (X, Y[, Z]) and affine of an image; of NIfTI, pictures and DICOM X-rays from the header alone."""
    name = path.lower()
    if spatial_dims == 3 and name.endswith((".nii", ".nii.gz")):
        header: Any = nibabel.load(path)
        shape = header.shape[:3] if all(side == 1 for side in header.shape[3:]) else header.shape
        return tuple(shape), header.affine
    if spatial_dims == 3:
        volume = LoadVolume(dtype=None)(path)
        return tuple(volume.shape[1:]), volume.affine.numpy()
    if Path(name).suffix in PICTURES:
        with Image.open(path) as image:
            return image.size, None
    tags = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
    return (int(tags.Columns), int(tags.Rows)), None


def _sizes(shape: Sequence[int]) -> str:
    return " x ".join(str(side) for side in shape)


def _listed(names: Sequence[str], between: str = ", ") -> str:
    more = f"{between}and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return between.join(names[:_LISTED]) + more
