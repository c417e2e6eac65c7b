# SPDX-License-Identifier: Apache-2.0
"""FLARE (2021, 2022 and their like): segmentation of abdominal organs in CT, with many unlabelled cases.

Folders are found by their names: ``images`` with ``labels``, ``imagesTr`` with ``labelsTr``, ``TrainingImg``
with ``TrainingMask``. Validation cases with masks are the test list, all without masks are ``unlabelled``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from monai_unimedi.data.corpora.items import Found, Item, LabelNames, find_file, list_files
from monai_unimedi.data.corpora.pairs import mask_names, masked_volumes

__all__ = ["AMOUNTS", "items"]

AMOUNTS = {"validation": 0.1, "test": 0.2}
MASKS = {
    "images": "labels",
    "imagesTr": "labelsTr",
    "imagesVa": "labelsVa",
    "imagesTs": "labelsTs",
    "TrainingImg": "TrainingMask",
    "ValidationImg": "ValidationMask",
}
FOUR = ["background", "liver", "kidney", "spleen", "pancreas"]  # FLARE 2021
THIRTEEN = [  # FLARE 2022 and 2023, which adds the tumour
    *("background", "liver", "right kidney", "spleen", "pancreas", "aorta", "inferior vena cava"),
    *("right adrenal gland", "left adrenal gland", "gallbladder", "esophagus", "stomach", "duodenum"),
    *("left kidney", "tumor"),
]


def items(root: Path, options: argparse.Namespace) -> Iterator[Item]:
    """One row a case, id folder/name, label the mask's path where there is one."""
    folders = sorted({path.parent for path in list_files(root) if path.name.endswith((".nii.gz", ".nii"))})
    folders = [folder for folder in folders if folder.name not in MASKS.values()]
    if not folders:
        raise ValueError(f"FLARE's scans (.nii.gz) must lie below --root, found none in {str(root)!r}.")
    file = find_file(root, ["dataset.json", "*/dataset.json"])
    organs = FOUR if any(folder.name == "TrainingImg" for folder in folders) else THIRTEEN
    yield LabelNames("3d", mask_names(file, organs))
    for folder in folders:
        labels = folder.parent / MASKS[folder.name] if folder.name in MASKS else None
        has_masks = labels is not None and labels.is_dir()
        within = folder.relative_to(root).as_posix()
        is_judged = any(
            word in within for word in ("Validation", "Tuning", "imagesVa", "Testing", "imagesTs")
        )
        section = "unlabelled" if not has_masks else "test" if is_judged else "training"
        for item in masked_volumes(folder, labels if has_masks else None, section, f"{within}/"):
            if isinstance(item, Found):  # a case in two folders is one patient
                item.row["patient"] = item.row["id"].rsplit("/", 1)[-1]
            yield item
