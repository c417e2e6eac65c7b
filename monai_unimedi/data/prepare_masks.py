# SPDX-License-Identifier: Apache-2.0
"""Masks of X-rays from run lengths and boxes, as PNG files: bit 0 is where the finding is.

That is the form of ``lesion_mask`` in datalists: one 8-bit picture, bit i for finding i of ``label_names``.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["box_mask", "run_length_mask", "write_mask"]


def run_length_mask(code: str, rows: int, columns: int) -> np.ndarray:
    """The mask of one run-length code of SIIM-ACR.

    The code alternates gaps and lengths: each gap counts from the end of the run before, and runs go down
    the columns.

    Args:
        code: numbers between spaces; ``-1`` for none.
        rows: height, pixels.
        columns: width, pixels.

    Returns:
        (rows, columns), bool.

    Raises:
        ValueError: When the code is not pairs of whole numbers, or runs beyond the image.
    """
    mask = np.zeros(rows * columns, dtype=bool)
    words = code.split()
    if words in (["-1"], []):
        return mask.reshape(rows, columns)
    try:
        numbers = np.array(words, dtype=np.int64)
        gaps, lengths = numbers.reshape(-1, 2).T
    except ValueError as error:
        raise ValueError(f"A run-length code must be pairs of numbers, got {len(words)} words.") from error
    ends = np.cumsum(gaps + lengths)
    if numbers.min() < 0 or ends[-1] > mask.size:
        raise ValueError(f"A run-length code must stay within {rows} x {columns} pixels.")
    for end, length in zip(ends, lengths):
        mask[end - length : end] = True
    return mask.reshape(columns, rows).T


def box_mask(boxes: Iterable[Sequence[float]], rows: int, columns: int) -> np.ndarray:
    """The union of boxes ``[x, y, width, height]`` in pixels, from the upper left: (rows, columns), bool."""
    mask = np.zeros((rows, columns), dtype=bool)
    for x, y, width, height in boxes:
        left, upper = max(round(x), 0), max(round(y), 0)
        mask[upper : round(y + height), left : round(x + width)] = True
    return mask


def write_mask(path: Path, mask: np.ndarray) -> Path:
    """Writes a (rows, columns) bool mask as an 8-bit PNG of 0 and 1, unless the file is the same; returns the
    path."""
    content = _png(mask.shape, mask.tobytes())
    if not path.is_file() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_bytes(content)
        os.replace(part, path)
    return path


@lru_cache(maxsize=4)  # the empty mask comes thousands of times
def _png(shape: tuple[int, ...], values: bytes) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.frombuffer(values, dtype=np.uint8).reshape(shape)).save(stream, format="PNG")
    return stream.getvalue()
