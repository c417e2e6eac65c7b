# SPDX-License-Identifier: Apache-2.0
"""Separable, exact resampling along one axis: area average when downsampling, linear when upsampling.

An output voxel of width r = (target spacing / spacing) averages the input under it, fractions of voxels
included:

    y_j = 1/r * integral of x over [c_j - r/2, c_j + r/2],   c_j = (j + 1/2) r - 1/2 + (n - m r) / 2

so that the grids' centres coincide, and nothing above the new Nyquist frequency of a box survives as
aliasing.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.sparse import csr_matrix

__all__ = ["resample_axis", "sample_centres"]

_BLOCK = 1 << 14  # columns


def sample_centres(size: float, new_size: int, ratio: float) -> np.ndarray:
    """Centres of the output voxels in input voxel coordinates, (new_size,)."""
    return (np.arange(new_size) + 0.5) * ratio - 0.5 + (size - new_size * ratio) / 2


@lru_cache(maxsize=256)
def _weights(size: int, new_size: int, ratio: float, extent: float) -> csr_matrix:
    """Weights (new_size, size), rows summing to 1; beyond the border the edge voxel continues."""
    half = max(ratio, 1.0) / 2
    grid = np.arange(size)
    centres = sample_centres(extent, new_size, ratio)[:, None]
    if ratio > 1:  # overlap of the output voxel's box with each input voxel
        covered = np.minimum(centres + half, grid + 0.5) - np.maximum(centres - half, grid - 0.5)
        weights = np.clip(covered, 0, None)
    else:
        weights = np.clip(1 - np.abs(np.clip(centres, 0, size - 1) - grid), 0, None)
    return csr_matrix((weights / weights.sum(1, keepdims=True)).astype(np.float32))


def resample_axis(
    array: np.ndarray,
    axis: int,
    new_size: int,
    ratio: float,
    mode: str = "area",
    extent: float | None = None,
) -> np.ndarray:
    """Resample one axis.

    Args:
        array: any shape and real type; ``area`` computes in float32.
        axis: the axis, not negative.
        new_size: its size afterwards, in voxels.
        ratio: width of an output voxel in input voxels.
        mode: ``area`` (average or linear) or ``nearest`` (label masks).
        extent: voxels that the axis covers where its last one is not whole; its size where None.

    Returns:
        The array with ``new_size`` along ``axis``; float32 (``area``) or its own type (``nearest``).
    """
    size = array.shape[axis]
    if mode == "nearest":
        index = np.floor(sample_centres(size, new_size, ratio) + 0.5).astype(int)
        return np.take(array, np.clip(index, 0, size - 1), axis=axis)
    if array.flags.f_contiguous and not array.flags.c_contiguous:  # as NIfTI lies on disk
        return resample_axis(array.T, array.ndim - 1 - axis, new_size, ratio, mode, extent).T
    weights = _weights(size, new_size, ratio, size if extent is None else extent)
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    slabs = np.ascontiguousarray(array).reshape(int(np.prod(before)), size, int(np.prod(after)))
    if slabs.shape[2] == 1:  # the last axis: one dense product is faster than many sparse ones
        result = np.asarray(slabs[:, :, 0], dtype=np.float32) @ weights.toarray().T
    else:
        result = _sparse_products(weights, slabs)
    return result.reshape(*before, new_size, *after)


def _sparse_products(weights: csr_matrix, slabs: np.ndarray) -> np.ndarray:
    """``weights @ slab`` for slabs (N, size, M), in float32, a block of columns at a time: the whole
    volume is never copied to float."""
    result = np.empty((len(slabs), weights.shape[0], slabs.shape[2]), np.float32)
    for slab, product in zip(slabs, result):
        for first in range(0, slab.shape[1], _BLOCK):
            block = slice(first, first + _BLOCK)
            product[:, block] = weights @ np.asarray(slab[:, block], dtype=np.float32)
    return result
