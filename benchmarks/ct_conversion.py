# SPDX-License-Identifier: Apache-2.0
"""A CT of 512 x 512 x 300 voxels to 128 x 128 x 32 at 3 x 3 x 10 mm: conversion beside MONAI's transforms.

    python -m benchmarks.ct_conversion

The file is a real thorax, repeated along its axis, from ``../shared/data`` or the folder named by
UNIMEDI_REAL_DATA (``tcia_lung_ct``); a synthetic one where that is absent. Peer: ``LoadImage``,
``Orientation``, ``Spacing``, ``ScaleIntensityRange``, ``Resize``. Geometry: of all shifts by up to a voxel,
none brings MONAI's spaced volume nearer to ours than the place that both affines give.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import medians, one_thread, record

one_thread()

import nibabel  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from monai.transforms import (  # noqa: E402
    Compose,
    LoadImaged,
    Orientationd,
    Resized,
    ScaleIntensityRanged,
    Spacingd,
)

from monai_unimedi.data.shard_steps import conversion_steps, quantise  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]
SPACING, VOXELS, REPEATS = [3.0, 3.0, 10.0], [128, 128, 32], 3
RECIPE = {"source": "3d", "spacing": SPACING, "ct_size": VOXELS, "ct_padding": "constant", "dtype": "int16"}


def write_volume(path: Path) -> str:
    """512 x 512 x 300 int16, 1 mm slices; returns where the voxels are from."""
    data = Path(os.environ.get("UNIMEDI_REAL_DATA") or REPOSITORY.parent / "shared" / "data")
    found = sorted(data.glob("tcia_lung_ct/*[!k].nii.gz"))
    if found:
        image = nibabel.load(found[0])
        part = np.asarray(image.dataobj).astype(np.int16)
        volume = np.concatenate([part, part[:, :, ::-1], part, part], axis=2)[:, :, :300]
    else:
        random = np.random.RandomState(0)
        grid = np.indices((512, 512)) - 256
        body = np.where((grid[0] / 220) ** 2 + (grid[1] / 160) ** 2 < 1, 40, -1000)
        volume = (body[:, :, None] + random.randint(-25, 25, (512, 512, 300))).astype(np.int16)
    affine = np.diag([-0.977, -0.977, 1.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(volume, affine), path)
    return "real thorax" if found else "synthetic"


def ours(path: str) -> Any:
    """The image (1, X, Y, Z) in HU; quantised as a shard has it, and dropped."""
    row: Any = {"image": path}
    for step in conversion_steps(RECIPE):
        row = step(row)
    quantise(row["image"], RECIPE)
    return row["image"]


def is_best_at_the_affines_place(image: Any, spaced: Any) -> bool:
    """Whether the mean difference is smallest where the affines put the volume, among 27 shifts."""
    offset = np.linalg.inv(spaced.affine.numpy()) @ image.affine.numpy() @ [0, 0, 0, 1]
    start = np.rint(offset[:3]).astype(int)
    inner = image.numpy()[0]
    low = np.maximum(0, 1 - start)
    high = np.minimum(inner.shape, np.array(spaced.shape[1:]) - start - 1)
    box = tuple(slice(a, b) for a, b in zip(low, high))
    gaps = {}
    for shift in itertools.product((-1, 0, 1), repeat=3):
        there = tuple(slice(s.start + o + d, s.stop + o + d) for s, o, d in zip(box, start, shift))
        gaps[shift] = float(np.abs(spaced.numpy()[0][there] - inner[box]).mean())
    return min(gaps, key=lambda shift: gaps[shift]) == (0, 0, 0)


def main() -> None:
    torch.set_num_threads(1)
    load = [LoadImaged("image", ensure_channel_first=True), Orientationd("image", "LPS", labels=None)]
    spacing = Spacingd("image", SPACING, mode="bilinear")
    scale = [ScaleIntensityRanged("image", -1150, 350, 0, 1, clip=True), Resized("image", VOXELS)]
    peer = Compose([*load, spacing, *scale])
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "ct.nii.gz")
        kind = write_volume(Path(path))
        functions = {"here": lambda: ours(path), "peer": lambda: peer({"image": path})}
        seconds = medians(functions, REPEATS)
        is_same = is_best_at_the_affines_place(
            ours(path), Compose([*load, spacing])({"image": path})["image"]
        )
    record(
        "python -m benchmarks.ct_conversion",
        f"CT .nii.gz 512x512x300 ({kind}) to 128x128x32",
        f"{seconds['here']:.2f} s, anti-aliased, {'same' if is_same else 'OTHER'} place within half a voxel",
        f"{seconds['peer']:.2f} s, MONAI Load + Orientation + Spacing + Scale + Resize",
        f"{seconds['peer'] / seconds['here']:.1f}x",
        "5x, goal 7x",
    )


if __name__ == "__main__":
    main()
