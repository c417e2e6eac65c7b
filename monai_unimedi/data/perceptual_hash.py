# SPDX-License-Identifier: Apache-2.0
"""Near-equal images found by 256 bits each: re-saved, resized or brightened copies of one picture.

The signs of the 16 x 16 lowest cosine frequencies of a 32 x 32 picture against their median: brightness and
contrast do not move them, noise and compression move a few. Ten thousand images take 320 kB and are compared
with one another by matrix products, block by block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.fft import dctn

from monai_unimedi.transforms.resampling import resample_axis

__all__ = ["NEAR_BITS", "near_pairs", "perceptual_hash"]

NEAR_BITS = 20
"""Bits of 256 in which two images may differ and still count as one picture."""
_SIDE = 32
_FREQUENCIES = 16
_BLOCK = 2048


def perceptual_hash(image: np.ndarray) -> bytes:
    """32 bytes of a picture.

    Args:
        image: (X, Y) finite; any units.
    """
    small = image.astype(np.float32)
    for axis in (0, 1):
        size = small.shape[axis]
        small = resample_axis(small, axis, _SIDE, size / _SIDE)
    low = dctn(small, norm="ortho")[:_FREQUENCIES, :_FREQUENCIES].ravel()
    return np.packbits(low > np.median(low[1:])).tobytes()


def near_pairs(hashes: Sequence[bytes], limit: int = NEAR_BITS) -> Iterator[tuple[int, int, int]]:
    """Pairs ``(earlier, later, differing bits)`` of hashes that differ in at most `limit` bits."""
    if len(hashes) < 2:
        return
    bits = np.unpackbits(np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), -1), axis=1)
    signs = bits.astype(np.float32) * 2 - 1
    length = signs.shape[1]
    for start in range(0, len(signs), _BLOCK):
        block = signs[start : start + _BLOCK]
        differing = (length - block @ signs[: start + len(block)].T) / 2
        for row, column in np.argwhere(differing <= limit):
            if column < start + row:
                yield int(column), int(start + row), int(differing[row, column])
