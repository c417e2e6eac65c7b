# SPDX-License-Identifier: Apache-2.0
"""Reads, transforms and embeds every image file by the bundle's inference transforms."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch

from monai_unimedi.data.discover import discover
from monai_unimedi.encoder import load_encoder

__all__ = ["embed_every_file"]

CROPS = "lidc_nodule_voi"


def embed_every_file(data: Path, models: Path, crop_models: Path) -> dict[str, Any]:
    """Counts by folder and kind of file, and what failed with its reason.

    Args:
        data: folder of the real files; masks among them are no images and left out.
        models: ``models/`` for whole images.
        crop_models: ``models/`` of a training at the crops' spacing, for the crops as they are in the folder.
    """
    encoders = {False: load_encoder(models), True: load_encoder(crop_models)}
    counts: Counter[str] = Counter()
    failed = []
    for source, rows in discover(data).items():
        for row in rows:
            folder = row["id"].split("/")[0]
            if "mask" in row["id"]:
                continue
            try:
                embedding = encoders[folder == CROPS].image(row["image"])
            except ValueError as error:
                reason = str(error).replace(str(data), "")
                failed.append({"id": row["id"], "source": source, "reason": reason})
                continue
            if not torch.isfinite(embedding).all():
                failed.append({"id": row["id"], "source": source, "reason": "the embedding is not finite"})
                continue
            counts[f"{folder} ({_ending(row['id'])}, {source})"] += 1
    return {"embedded": sum(counts.values()), "by_folder": dict(sorted(counts.items())), "failed": failed}


def _ending(name: str) -> str:
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix.lower().replace(".jpeg", ".jpg")
