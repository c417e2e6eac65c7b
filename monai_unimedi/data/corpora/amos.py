# SPDX-License-Identifier: Apache-2.0
"""AMOS 2022: segmentation of 15 abdominal organs in CT.

Cases up to 0500 are CT, those above MR and left out. The official validation cases, which have masks, are the
test list; validation is drawn from training; test cases without masks are the list ``unlabelled``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from monai_unimedi.data.corpora.items import Found, Item, LabelNames, LeftOut, first_folder
from monai_unimedi.data.corpora.pairs import mask_names, masked_volumes

__all__ = ["AMOUNTS", "items"]

AMOUNTS = {"validation": 0.1}
LAST_CT = 500
ORGANS = [
    *("background", "spleen", "right kidney", "left kidney", "gall bladder", "esophagus", "liver"),
    *("stomach", "aorta", "postcava", "pancreas", "right adrenal gland", "left adrenal gland"),
    *("duodenum", "bladder", "prostate/uterus"),
]


def items(root: Path, options: argparse.Namespace) -> Iterator[Item]:
    """One row a case, id its name, label the mask's path."""
    images = first_folder(root, ("imagesTr", "amos22/imagesTr", "AMOS22/imagesTr"), "AMOS's scans")
    top = images.parent
    yield LabelNames("3d", mask_names(top / "dataset.json", ORGANS))
    for kind, section in (("Tr", "training"), ("Va", "test"), ("Ts", "unlabelled")):
        labels = top / f"labels{kind}"
        has_masks = labels.is_dir() and any(labels.iterdir())
        for item in masked_volumes(top / f"images{kind}", labels if has_masks else None, section):
            name = item.row["id"] if isinstance(item, Found) else getattr(item, "name", "")
            number = re.search(r"(\d+)$", name)
            is_mr = number is not None and int(number.group(1)) > LAST_CT
            if isinstance(item, Found) and "label" not in item.row:
                item = item._replace(section="unlabelled")
            yield LeftOut(name, "the case is MR") if is_mr else item
