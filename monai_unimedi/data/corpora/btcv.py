# SPDX-License-Identifier: Apache-2.0
"""BTCV, beyond the cranial vault: segmentation of 13 abdominal organs.

The 30 labelled scans in the split that is common: 0035 to 0040 are judged (validation and test alike have no
other), the other 24 are for training. The 20 scans without labels are the list ``unlabelled``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from monai_unimedi.data.corpora.items import Found, Item, LabelNames, first_folder
from monai_unimedi.data.corpora.pairs import masked_volumes

__all__ = ["AMOUNTS", "items"]

AMOUNTS: dict[str, float] = {}
JUDGED = {f"img{number:04d}" for number in range(35, 41)}
ORGANS = [
    *("background", "spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver"),
    *("stomach", "aorta", "inferior vena cava", "portal vein and splenic vein", "pancreas"),
    *("right adrenal gland", "left adrenal gland"),
]
TRAINING = ("img", "Training/img", "RawData/Training/img", "Abdomen/RawData/Training/img", "imagesTr")
TESTING = {"img": "Testing/img", "imagesTr": "imagesTs"}


def items(root: Path, options: argparse.Namespace) -> Iterator[Item]:
    """One row a scan, id its file, label the mask's path."""
    images = first_folder(root, TRAINING, "BTCV's scans")
    labels = images.parent / {"img": "label", "imagesTr": "labelsTr"}[images.name]
    yield LabelNames("3d", {str(value): name for value, name in enumerate(ORGANS)})
    for item in masked_volumes(images, labels, "training", rename=("img", "label")):
        is_judged = isinstance(item, Found) and item.row["id"] in JUDGED
        yield item._replace(section="validation") if is_judged else item  # type: ignore[call-arg]
    for top in (images.parents[1], root):
        folder = top / TESTING[images.name]
        if folder.is_dir():
            yield from masked_volumes(folder, None, "unlabelled")
            break
