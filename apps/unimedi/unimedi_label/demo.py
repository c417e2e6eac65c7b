# SPDX-License-Identifier: Apache-2.0
"""A studies folder of synthetic patients, to try the app on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from monai_unimedi.data.phantom import ensure_phantom

__all__ = ["demo_studies"]

COUNT = 24  # of each kind
FEW = {"2d": 8, "3d": 8}


def demo_studies(folder: Path) -> Path:
    """CTs ``ct_000.nii.gz`` and X-rays ``xray_000.png`` without their masks; made on first use."""
    studies = folder / "studies"
    if studies.is_dir():
        return studies
    lists = ensure_phantom(
        folder / "phantom", num_training=FEW, num_validation=FEW, num_test={"2d": COUNT, "3d": COUNT}
    )
    aside = folder / ".studies.part"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for kind, name in (("3d", "ct"), ("2d", "xray")):
        path = Path(lists[kind])
        for number, row in enumerate(json.loads(path.read_text(encoding="utf-8"))["test"]):
            image = path.parent / row["image"]
            shutil.copyfile(image, aside / f"{name}_{number:03d}{''.join(image.suffixes)}")
    aside.replace(studies)
    return studies
