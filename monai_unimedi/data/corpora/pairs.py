# SPDX-License-Identifier: Apache-2.0
"""Volumes with masks in two folders beside each other, as the segmentation challenges hand them out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from monai_unimedi.data.corpora.items import Found, Item, LeftOut

__all__ = ["case_name", "mask_names", "masked_volumes"]

_VOLUME = re.compile(r"\.nii(\.gz)?$")


def case_name(path: Path) -> str:
    """``amos_0001`` of ``amos_0001.nii.gz`` and ``FLARE22_Tr_0001`` of ``FLARE22_Tr_0001_0000.nii.gz``."""
    return re.sub(r"_0000$", "", _VOLUME.sub("", path.name))


def mask_names(dataset: Path | None, default: Sequence[str]) -> dict[str, str]:
    """Names by value of the masks: those of a ``dataset.json`` in the Decathlon's form (value: name) or in
    nnU-Net's (name: value), else the default's in their order."""
    content: dict[str, Any] = json.loads(dataset.read_text("utf-8")) if dataset and dataset.is_file() else {}
    names = content.get("labels") or dict(enumerate(default))
    if all(isinstance(value, int) for value in names.values()):
        names = {value: name for name, value in names.items()}
    return {str(value): str(name) for value, name in names.items()}


def masked_volumes(
    images: Path, labels: Path | None, section: str, prefix: str = "", rename: tuple[str, str] = ("", "")
) -> Iterator[Item]:
    """A row for each volume, with the mask of the same case under ``label``.

    Args:
        images: folder of the volumes; those that begin with a dot are no images (macOS leaves them in
            archives).
        labels: folder of the masks; None for a list without. A volume without its mask is left out.
        section: the list.
        prefix: of ids.
        rename: what stands for what in the masks' names: ``("img", "label")``.
    """
    masks = {case_name(path): path for path in _volumes(labels)} if labels else {}
    for path in _volumes(images):
        name = case_name(path)
        mask = masks.pop(name.replace(*rename) if rename[0] else name, None)
        row = {"id": prefix + name, "image": str(path), "patient": prefix + name}
        if labels and mask is None:
            yield LeftOut(prefix + name, "the mask file is missing")
        else:
            yield Found(row | ({"label": str(mask)} if mask else {}), "3d", section)
    for name in masks:
        yield LeftOut(prefix + name, "the image of the mask is missing")


def _volumes(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _VOLUME.search(path.name) and path.name[0] != ".")
