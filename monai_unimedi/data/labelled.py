# SPDX-License-Identifier: Apache-2.0
"""Rows with labels for classification, read and checked before training starts.

A row's ``label`` is, for the classes that the datalist names under ``label_names``, a list in their order or an
index; or, with or without those names, a mapping of class to value, the name of the one class, or where there is only
one class its value. A value is 1, 0, -1 (uncertain) or null (not known). Whatever the form, rows come out with
``label`` as float32 (F,) in the order of the asked classes: 1, 0, NaN where it is not to be learnt from or judged.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_unimedi.data.datalist import check_datalist, label_names, load_datalist, section_names
from monai_unimedi.data.label_fraction import draw_fraction, read_percent
from monai_unimedi.data.label_values import POLICIES, read_each_label
from monai_unimedi.data.patient_split import read_splits, warn_of_shared_patients

__all__ = ["class_weights", "label_groups", "load_labelled_rows"]

logger = logging.getLogger(__name__)
Row = dict[str, Any]
KEPT = ("id", "patient", "image", "path", "shard_row", "shard_digest")
SPLITS = ("training", "validation", "test")


def load_labelled_rows(
    path: str | os.PathLike,
    sections: Sequence[str],
    class_names: Sequence[str],
    is_exclusive: bool = False,
    uncertain: str | Mapping[str, str] = "ignore",
    blank: str = "ignore",
    base_dir: str | os.PathLike | None = None,
    prefix: str = "",
    validation_fraction: float = 0.1,
    label_fraction: float = 100,
    seed: int = 0,
) -> dict[str, list[Row]]:
    """Rows by section, each with ``id``, ``patient``, ``image`` and ``label`` (F,), and ``centre`` where it has one.

    Args:
        path: the datalist.
        sections: of ``training``, ``validation`` and ``test``. Without a validation list patients of the training
            list are split off; without a test list, or labels in it, the validation rows are judged, as in
            pre-training. Lists that are not needed for these are not looked at, but for their patients.
        class_names: the F classes to learn, some or all of the datalist's.
        is_exclusive: whether each image has exactly one of them.
        uncertain: what -1 becomes: ``ignore``, ``ones`` or ``zeros``; or such a word for each class, others being
            ignored.
        blank: what null becomes: ``ignore`` or ``zeros``.
        base_dir: folder that relative paths start from; the list's own where None.
        prefix: of the lists' names, such as ``candidates_``.
        validation_fraction: share of the patients split off.
        label_fraction: percent of the training list to learn from. The list's own ``training_1`` and ``training_10``
            are taken where ``prepare`` wrote them, else patients are drawn, smaller fractions within larger ones.
            Where a drawn fraction has a class in one value only, the next patients with the other join it, and a
            warning says so. Validation and test stay whole.
        seed: of split and fraction.

    Raises:
        ValueError: When a section is empty, a class is unknown, a label cannot be read, or the training rows have a
            class in one value only.
    """
    known, percent = section_names(path), read_percent(label_fraction)
    names = _known_classes(path, class_names)
    _check_policy(uncertain, blank, class_names)
    policy = {name: uncertain if isinstance(uncertain, str) else uncertain.get(name, "ignore") for name in class_names}

    def read(section: str) -> list[Row]:
        rows = check_datalist(load_datalist(path, section, base_dir), section, ("id", "image"), ("image",))
        return _labelled(rows, section, names, class_names, is_exclusive, policy, blank)

    lists = [name for name in SPLITS if prefix + name in known]
    found = read_splits(sections, lists, lambda name: read(prefix + name), validation_fraction, seed)
    missing = [name for name in sections if not found.get(name)]
    if missing:
        raise ValueError(
            f"Datalist {str(path)!r} must have rows with labels under {', '.join(prefix + name for name in missing)}, "
            f"its lists are {', '.join(known) or 'none'}."
        )
    warn_of_shared_patients([path], [prefix + name for name in lists], ("label",))
    if "training" in sections:
        own = f"{prefix}training_{percent:g}"
        given = read(own) if own in known and percent < 100 else None
        found["training"] = draw_fraction(found["training"], given, percent, seed, _wanted(class_names), _known)
        if not found["training"]:
            raise ValueError(
                f"The list {own} of datalist {str(path)!r} must have rows with labels that are in the training list, "
                "and not split off for validation, it has none."
            )
    for section in sections:
        _check_classes(found[section], section, class_names, percent)
    return {section: found[section] for section in sections}


def class_weights(rows: Sequence[Row], is_exclusive: bool, limit: float = 10.0) -> Tensor:
    """Weights that even out how often classes are seen, (F,) float32 within [1 / limit, limit].

    Args:
        rows: the training rows.
        is_exclusive: then class weights of the cross-entropy, mean 1 over the rows; else weights of the positive
            label, negatives per positive.
        limit: rare classes weigh at most this much.
    """
    label = torch.as_tensor(np.stack([row["label"] for row in rows]))
    present, absent = (label == 1).sum(0).float(), (label == 0).sum(0).float()
    weights = (present + absent) / (present * len(present)) if is_exclusive else absent / present
    return weights.clamp(1 / limit, limit)


def label_groups(rows: Sequence[Row], is_exclusive: bool) -> list[int]:
    """The class of each row, for batches that see every class alike.

    Raises:
        ValueError: When rows may have several classes at once, or a label is not known.
    """
    label = np.stack([row["label"] for row in rows])
    if not is_exclusive and label.shape[1] > 1:
        raise ValueError(
            f"balanced_batches needs one class or classes that exclude each other, got {label.shape[1]} that may "
            "occur together: leave it out, --balanced true weighs them in the loss."
        )
    if np.isnan(label).any():
        unknown = int(np.isnan(label).any(1).sum())
        raise ValueError(
            f"balanced_batches needs rows whose label is known, {unknown} of {len(label)} are not: give "
            "--uncertain ones or zeros for -1, --blank zeros for null."
        )
    return label.argmax(1).tolist() if is_exclusive else label[:, 0].astype(int).tolist()


def _check_policy(uncertain: str | Mapping[str, str], blank: str, class_names: Sequence[str]) -> None:
    of_classes = {} if isinstance(uncertain, str) else uncertain
    unknown = [name for name in of_classes if name not in class_names]
    if unknown:
        raise ValueError(
            f"uncertain must name classes among {', '.join(class_names)}, got {', '.join(map(repr, unknown))}."
        )
    words = [("uncertain", word) for word in of_classes.values() or [uncertain]] + [("blank", blank)]
    for option, word in words:
        if word not in POLICIES:
            raise ValueError(f"{option} must be one of {', '.join(POLICIES)}, got {word!r}.")


def _known_classes(path: str | os.PathLike, class_names: Sequence[str]) -> list[str]:
    """The datalist's own names; empty where it has none."""
    if isinstance(class_names, str):
        raise ValueError(
            f"class_names must be a list, got {class_names!r}: quote each name, as in --class_names \"['a','b']\"."
        )
    names = label_names(path)
    unknown = [name for name in class_names if names and name not in names]
    if unknown or not class_names or len(set(class_names)) < len(class_names):
        raise ValueError(
            f"class_names must be different classes of datalist {str(path)!r}, which names "
            f"{', '.join(map(repr, names)) or 'none'}, got {', '.join(map(repr, unknown or class_names)) or 'none'}: "
            "give --class_names with some of them."
        )
    return names


def _labelled(
    rows: Sequence[Row],
    section: str,
    names: Sequence[str],
    class_names: Sequence[str],
    is_exclusive: bool,
    policy: Mapping[str, str],
    blank: str,
) -> list[Row]:
    """Rows with what training needs; all labels that cannot be read in one message."""
    labels = read_each_label(rows, f"list {section!r}", names, class_names, is_exclusive, policy, blank)
    kept = [
        {**{key: row[key] for key in KEPT if key in row}, **_centre(row), "label": label}
        for row, label in zip(rows, labels)
        if label is not None
    ]
    without = len(rows) - len(kept)
    if without:
        logger.warning("%s: %d of %d rows have no label and are left out.", section, without, len(rows))
    return kept


def _centre(row: Row) -> Row:
    return {"centre": np.asarray(row["centre"], np.float32)} if "centre" in row else {}


def _wanted(class_names: Sequence[str]) -> dict[Hashable, str]:
    """Each class present in some row and absent in another."""
    return {(index, value): name for index, name in enumerate(class_names) for value in (1, 0)}


def _known(row: Row) -> list[Hashable]:
    return [(index, int(value)) for index, value in enumerate(row["label"]) if value in (0, 1)]


def _check_classes(rows: Sequence[Row], section: str, class_names: Sequence[str], percent: float) -> None:
    """Stops where a class cannot be learnt; warns where it cannot be judged."""
    label = np.stack([row["label"] for row in rows])
    lacking = [
        f"{name} ({int((label[:, i] == 1).sum())} present, {int((label[:, i] == 0).sum())} absent)"
        for i, name in enumerate(class_names)
        if not ((label[:, i] == 1).any() and (label[:, i] == 0).any())
    ]
    if lacking and section == "training":
        at = f" at label_fraction {percent:g}" if percent < 100 else ""
        raise ValueError(
            f"Each class must be present in some training rows and absent in others, of {len(rows)} rows{at} this "
            f"does not hold for {', '.join(lacking)}: leave these out of --class_names, give more rows"
            f"{' or a larger --label_fraction' if at else ''}."
        )
    if lacking:
        logger.warning("%s: no figure is possible for %s.", section, ", ".join(lacking))
