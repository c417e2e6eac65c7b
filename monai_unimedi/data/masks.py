# SPDX-License-Identifier: Apache-2.0
"""Rows with masks: which classes a datalist's masks hold, and every mask looked at before training starts.

Two forms, as ``prepare`` writes them. ``lesion_mask`` holds bits: bit i for finding i of the list
``label_names``, findings may overlap. ``label`` holds a mask's path with one number a voxel, which the mapping
``labels`` names (``{"0": "background", "1": "spleen", ...}``): classes exclude each other.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from monai_unimedi.data.datalist import (
    check_datalist,
    check_different,
    label_names,
    load_datalist,
    read_datalist,
    section_names,
)
from monai_unimedi.data.discover import VOLUMES
from monai_unimedi.data.label_fraction import draw_fraction, read_percent
from monai_unimedi.data.patient_split import read_splits, warn_of_shared_patients
from monai_unimedi.transforms.load_volume import LoadVolume
from monai_unimedi.transforms.load_xray import LoadXray

__all__ = ["MaskClasses", "load_masked_rows", "mask_classes"]

logger = logging.getLogger(__name__)

Row = dict[str, Any]
MASK = "label"  # MONAI's name of the key, whatever the datalist calls it
MAX_BITS = 8


class MaskClasses(NamedTuple):
    """What the channels of a segmentation are.

    ``names``: of the channels; ``values``: the number that stands for each in a file, or, where ``is_exclusive``
    is false, the bit; exclusive classes begin with the background.
    """

    names: list[str]
    values: list[int]
    is_exclusive: bool

    @property
    def shown(self) -> list[str]:
        """Names of the channels that figures are given for: all but the background."""
        return self.names[1:] if self.is_exclusive else self.names


def mask_classes(path: str | os.PathLike) -> MaskClasses:
    """The classes of a datalist's masks.

    Raises:
        ValueError: When the datalist names no classes, has no masks, or has a finding too many for eight bits.
    """
    if _mask_key(path) == MASK:
        return _numbered(read_datalist(path).get("labels"), path)
    names = label_names(path)
    if not 1 <= len(names) <= MAX_BITS:
        raise ValueError(
            f"Datalist {str(path)!r} must name 1 to {MAX_BITS} findings in label_names for the bits of its "
            f"lesion_mask, got {len(names)}; more classes need masks with one number each under 'label'."
        )
    return MaskClasses(names, list(range(len(names))), False)


def _mask_key(path: str | os.PathLike) -> str:
    """The key under which all lists have their masks."""
    content = read_datalist(path)
    rows = [row for section in section_names(path) if section != "unlabelled" for row in content[section]]
    rows = [row for row in rows if isinstance(row, Mapping)]
    if any(isinstance(row.get(MASK), str) for row in rows):
        return MASK
    if any(row.get("lesion_mask") for row in rows):
        return "lesion_mask"
    raise ValueError(
        f"Datalist {str(path)!r} must have masks, no row has one: give each row 'label' (a mask with one number "
        "a class) or 'lesion_mask' (bit i for finding i of label_names)."
    )


def _numbered(labels: Any, path: str | os.PathLike) -> MaskClasses:
    remedy = '"labels": {"0": "background", "1": "spleen", ...}'
    try:
        names = {int(value): str(name) for value, name in dict(labels).items()}
    except (TypeError, ValueError):
        raise ValueError(f"Datalist {str(path)!r} must name its masks' numbers: {remedy}.") from None
    if 0 not in names or len(names) < 2 or min(names) < 0:
        raise ValueError(
            f"Datalist {str(path)!r} must name the background (0) and at least one class, by numbers from 0, got "
            f"{names}: {remedy}."
        )
    check_different(names.values(), "labels", path)
    values = sorted(names)
    return MaskClasses([names[value] for value in values], values, True)


def load_masked_rows(
    path: str | os.PathLike,
    sections: Sequence[str],
    base_dir: str | os.PathLike | None = None,
    validation_fraction: float = 0.1,
    label_fraction: float = 100,
    seed: int = 0,
) -> dict[str, list[Row]]:
    """Rows with a mask by section, each mask under ``label``.

    Args:
        path: the datalist.
        sections: of ``training``, ``validation`` and ``test``. Without a validation list patients of the training
            list are split off; without a test list, or masks in it, the validation rows are judged, as in
            pre-training. Lists that are not needed for these are not looked at, but for their patients. Test rows
            without a mask are left out, with a warning.
        base_dir: folder that relative paths start from; the list's own where None.
        validation_fraction: share of the patients split off.
        label_fraction: percent of the training list to learn from. The list's own ``training_1`` and
            ``training_10`` are taken where ``prepare`` wrote them, else patients are drawn, smaller fractions
            within larger ones, and the next patients with a class that no drawn mask holds join them; validation and
            test stay whole.
        seed: of split and fraction.

    Raises:
        ValueError: When a section is empty, or a row lacks a file, or, of training or validation, its mask.
    """
    known = section_names(path)
    lists = [name for name in ("training", "validation", "test") if name in known]
    found = read_splits(sections, lists, lambda name: _rows(path, name, base_dir), validation_fraction, seed)
    if "training" in sections and "training" in found:
        found["training"] = _fraction(path, found["training"], label_fraction, base_dir, seed)
    missing = [name for name in sections if not found.get(name)]
    if missing:
        raise ValueError(
            f"Datalist {str(path)!r} must have rows with masks under {', '.join(missing)}, its lists are "
            f"{', '.join(known) or 'none'}."
        )
    warn_of_shared_patients([path], lists, (_mask_key(path),))
    return {name: found[name] for name in sections}


def _fraction(
    path: str | os.PathLike, rows: list[Row], percent: float, base_dir: str | os.PathLike | None, seed: int
) -> list[Row]:
    percent = read_percent(percent)
    name = f"training_{percent:g}"
    own = percent < 100 and name in section_names(path)
    classes = mask_classes(path)
    names = dict(zip(classes.values, classes.names))
    wanted: dict[Hashable, str] = {value: names[value] for value in names if value or not classes.is_exclusive}

    def facts_of(row: Row) -> set[int]:
        numbers = _numbers(row[MASK])
        return numbers if classes.is_exclusive else {bit for bit in names if any(n >> bit & 1 for n in numbers)}

    given = _rows(path, name, base_dir) if own else None
    return draw_fraction(rows, given, percent, seed, wanted, facts_of)


def _numbers(path: str) -> set[int]:
    """Whole numbers in a mask; none of one that cannot be read, which `check_masks` complains of."""
    is_volume = os.path.isdir(path) or path.lower().endswith(VOLUMES)
    read = LoadVolume(dtype=None) if is_volume else LoadXray(voi="ignore")
    try:
        return {int(value) for value in np.unique(np.asarray(read(path)))}
    except Exception:  # whatever a broken file raises
        return set()


def _rows(path: str | os.PathLike, section: str, base_dir: str | os.PathLike | None) -> list[Row]:
    key = _mask_key(path)
    rows = load_datalist(path, section, base_dir, path_keys=("image", key))
    masked = [row for row in rows if row.get(key) is not None] if section == "test" else rows
    if len(masked) < len(rows):
        logger.warning("test: %d of %d rows have no mask and are left out.", len(rows) - len(masked), len(rows))
    if not masked:
        return []
    checked = check_datalist(masked, section, keys=("id", "image", key), path_keys=("image", key))
    kept = ("id", "patient", "image")
    return [{name: row[name] for name in kept} | {MASK: row[key], "source": Path(path).stem} for row in checked]
