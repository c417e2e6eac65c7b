# SPDX-License-Identifier: Apache-2.0
"""Where shards are cut in the chain of transforms: after geometry, before intensity and chance.

Reading, orientation, resampling and cropping cost nearly everything and have few sensible settings; window,
normalisation and augmentation are cheap and are what experiments change. So a CT is stored in Hounsfield
units on its final grid (int16, exact to half a unit; uint8 of a chosen window at half the size) and an X-ray
as grey on its final grid (uint8: its grey range comes from percentiles of the full-resolution image, which
must be taken before scaling). What follows in a config's chain (scaling to a smaller square, window, checks,
augmentation, report) runs as it does for files.

The steps are the bundle's own; `remaining_steps` compares a run's chain with the one that made the shards,
so that shards of another spacing, size or padding are refused instead of trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Orientationd, Transform

from monai_unimedi.transforms.checks import CheckImaged
from monai_unimedi.transforms.load_volume import LoadVolumed
from monai_unimedi.transforms.load_xray import LoadXrayd
from monai_unimedi.transforms.volume import CropOrPadBodyd, ResampleVolumed
from monai_unimedi.transforms.xray import ScaleXrayd, XrayToGrayd

__all__ = ["conversion_steps", "dequantise", "quantise", "remaining_steps"]

HEADS = {
    "2d": ("LoadXrayd", "XrayToGrayd"),
    "3d": ("LoadImaged", "LoadVolumed", "Orientationd", "ResampleVolumed", "CropOrPadBodyd"),
}
PASSED = ("CheckImaged", "ReportTextd")  # may stand among a head's steps
_KEYS = ("image", "lesion_mask")
_MODES = ("area", "nearest")
_INT16 = (-32768, 32767)


def conversion_steps(recipe: Mapping[str, Any]) -> list[Transform]:
    """The transforms of ``{"image", "lesion_mask"?}`` from paths to what a shard holds, in float.

    Args:
        recipe: ``source``; of X-rays ``xray_size`` and ``voi``; of CTs ``spacing`` (mm), ``ct_size``
            (voxels) and ``ct_padding``.
    """
    if recipe["source"] == "2d":
        return [
            LoadXrayd(_KEYS, recipe["voi"], recipe["xray_size"], allow_missing_keys=True),
            XrayToGrayd("image"),
            CheckImaged("image", spatial_dims=2),
            ScaleXrayd(_KEYS, recipe["xray_size"], mode=_MODES, allow_missing_keys=True),
            CheckImaged("image"),
        ]
    return [
        LoadVolumed("image", dtype=None),  # the file's integers: half the memory
        LoadVolumed("lesion_mask", dtype="uint8", allow_missing_keys=True),
        CheckImaged("image", spatial_dims=3),
        Orientationd(_KEYS, "LPS", labels=None, allow_missing_keys=True),
        ResampleVolumed(_KEYS, recipe["spacing"], _MODES, allow_missing_keys=True),
        CropOrPadBodyd(_KEYS, recipe["ct_size"], padding=recipe["ct_padding"], allow_missing_keys=True),
        CheckImaged("image"),
    ]


def quantise(image: torch.Tensor, recipe: Mapping[str, Any]) -> np.ndarray:
    """What a shard stores of one image, without its channel.

    Args:
        image: (1, X, Y) in [0, 1] or (1, X, Y, Z) in HU.
        recipe: ``dtype`` (``uint8`` or ``int16``) and, of a windowed CT, ``hu_range``.

    Raises:
        ValueError: When the image has more than one channel.
    """
    array = np.asarray(image, dtype=np.float32)
    if array.shape[0] != 1:
        raise ValueError(f"An image must have one channel, got {array.shape[0]} (a series in time?).")
    if recipe["dtype"] == "int16":
        return np.rint(np.clip(array[0], *_INT16)).astype(np.int16)
    low, high = recipe.get("hu_range") or (0.0, 1.0)
    return np.rint(np.clip((array[0] - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def dequantise(stored: np.ndarray, recipe: Mapping[str, Any]) -> torch.Tensor:
    """The other way round, float32, shape as stored: within half a step of what `quantise` was given."""
    values = torch.from_numpy(stored).to(torch.float32)
    if recipe["dtype"] == "int16":
        return values
    low, high = recipe.get("hu_range") or (0.0, 1.0)
    values.div_(255)
    return values if (low, high) == (0.0, 1.0) else values.mul_(high - low).add_(low)


def remaining_steps(transforms: Sequence[Transform], recipe: Mapping[str, Any]) -> list[Transform]:
    """A run's deterministic transforms that shards of this recipe still need.

    Raises:
        ValueError: When the run's geometry is not the shards', or a transform that the conversion does not
            know stands before its last step.
    """
    names = [type(transform).__name__ for transform in transforms]
    source = recipe["source"]
    last = max((i for i, name in enumerate(names) if name in HEADS[source]), default=-1)
    foreign = [name for name in names[: last + 1] if name not in (*HEADS[source], *PASSED)]
    if foreign:
        raise ValueError(
            f"Shards hold images after {names[last]}, so no other transform may stand before it, got "
            f"{', '.join(foreign)}: move it behind, or train from the datalist."
        )
    _compare(_geometry(transforms), recipe)
    return list(transforms[last + 1 :])


def _geometry(transforms: Sequence[Transform]) -> dict[str, Any]:
    """What a chain does to geometry, in the words of a recipe."""
    found: dict[str, Any] = {}
    for step in transforms:
        if isinstance(step, LoadXrayd):
            found["voi"] = step.load.voi
        elif isinstance(step, XrayToGrayd):
            levels = step.to_gray.levels
            found["grey"] = {
                "levels": None if levels is None else list(levels),
                "percentiles": list(step.to_gray.percentiles),
            }
        elif isinstance(step, ScaleXrayd):
            found |= {"xray_size": step.scale.size, "fit": step.scale.fit}
        elif isinstance(step, ResampleVolumed):
            found["spacing"] = [float(length) for length in step.resample.spacing]
        elif isinstance(step, CropOrPadBodyd):
            found |= {"ct_size": [int(n) for n in step.crop.size], "ct_padding": step.crop.padding}
            found["ct_depths"] = step.crop.depths  # shards have one depth
        elif type(step).__name__ == "ScaleIntensityRanged":
            scaler: Any = getattr(step, "scaler")  # noqa: B009  # of MONAI, untyped
            found["hu_range"] = [float(scaler.a_min), float(scaler.a_max)]
    return found


def _compare(run: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
    wrong = []
    for name in ("voi", "grey", "fit", "spacing", "ct_size", "ct_padding", "ct_depths"):
        if name in run and run[name] != recipe.get(name):
            wrong.append(f"{name} (shards {recipe.get(name)}, run {run[name]})")
    if run.get("xray_size", 0) > recipe.get("xray_size", 0):
        wrong.append(
            f"xray_size (shards {recipe.get('xray_size')}, run {run['xray_size']}, must not be larger)"
        )
    window, stored = run.get("hu_range"), recipe.get("hu_range")
    if window and stored and not (stored[0] <= window[0] and window[1] <= stored[1]):
        wrong.append(f"hu_range (shards {stored}, run {window}, must lie within)")
    if wrong:
        raise ValueError(
            f"The run's images must be those of the shards, but these differ: {'; '.join(wrong)}. Set the "
            "run's values to the shards', or convert the datalist with the run's."
        )
