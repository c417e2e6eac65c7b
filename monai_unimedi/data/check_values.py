# SPDX-License-Identifier: Apache-2.0
"""Do the numbers of an image mean what they should: Hounsfield units in a CT, a picture in an X-ray?

A CT that was rescaled twice, or windowed before it was saved, trains without a complaint and teaches nothing
that holds for other CTs. In HU, air or lung lies near -1000 to -700 and soft tissue near 0; where both lie
elsewhere by one common step, that step was added once too often.
"""

from __future__ import annotations

import numpy as np

__all__ = ["contrast_faults", "hounsfield_faults", "is_constant"]

Fault = tuple[str, str, str]
_SAMPLES = 1_000_000
_AIR = (-1060.0, -650.0)  # HU: air, lung
_TISSUE = (-150.0, 150.0)  # HU: fat, water, muscle
_STEPS = {
    -1024: "rescaled twice (its intercept was added again)",
    -1000: "rescaled twice (an offset of -1000 was added again)",
    1024: "not rescaled (stored values: the intercept is missing)",
    1000: "shifted by 1000 (CT numbers, not HU)",
    -8192: "rescaled twice (its intercept of -8192 was added again)",
    8192: "not rescaled (the intercept of -8192 is missing)",
}
_ENOUGH = 0.01  # of the voxels in each of the two ranges
_HARDLY = 0.002
_FAINT = 0.02


def is_constant(values: np.ndarray) -> bool:
    """Whether all values are equal."""
    return bool(values.min() == values.max())


def contrast_faults(grey: np.ndarray) -> list[Fault]:
    """A picture in which there is nothing to be seen.

    Args:
        grey: (X, Y) in [0, 1].
    """
    deviation = float(grey.std())
    if deviation >= _FAINT:
        return []
    message = (
        f"There should be a picture, the grey levels differ by {100 * deviation:.1f} % of the scale only."
    )
    return [("warning", "contrast", message)]


def hounsfield_faults(voxels: np.ndarray) -> list[Fault]:
    """What speaks against Hounsfield units; at most one fault.

    Args:
        voxels: (X, Y, Z), finite, not constant.
    """
    sample = _sample(voxels)
    low, high = float(voxels.min()), float(voxels.max())
    for bottom, top in ((0, 1), (-1, 1), (0, 255)):
        if bottom - 1e-3 <= low and high <= top + 1e-3:
            message = (
                f"A CT must be in HU, this one lies within {bottom} and {top}: it was windowed or scaled "
                "before it was saved; convert it again from DICOM."
            )
            return [("error", "HU", message)]
    if _in_both(sample, 0) >= _HARDLY:
        return []
    step = max(_STEPS, key=lambda s: _in_both(sample, s))
    if _in_both(sample, step) >= _ENOUGH:
        message = f"A CT must be in HU, this one looks {_STEPS[step]}; convert it again from DICOM."
        return [("error", "HU", message)]
    if _share(sample, _TISSUE, 0) >= _ENOUGH or _share(sample, _AIR, 0) >= _ENOUGH:
        return []  # a crop of one kind of tissue
    message = (
        f"A CT must be in HU, hardly a voxel of this one is air, lung or soft tissue (it runs from {low:g} "
        f"to {high:g}); convert it again from DICOM."
    )
    return [("error", "HU", message)]


def _sample(voxels: np.ndarray) -> np.ndarray:
    """About a million voxels, evenly spread."""
    step = max(1, round((voxels.size / _SAMPLES) ** (1 / 3)))
    return voxels[::step, ::step, ::step].astype(np.float32)


def _in_both(sample: np.ndarray, step: float) -> float:
    """The smaller share of air and of soft tissue if all values lie `step` too high."""
    return min(_share(sample, _AIR, step), _share(sample, _TISSUE, step))


def _share(sample: np.ndarray, span: tuple[float, float], step: float) -> float:
    return float(((sample >= span[0] + step) & (sample <= span[1] + step)).mean())
