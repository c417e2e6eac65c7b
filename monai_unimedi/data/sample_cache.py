# SPDX-License-Identifier: Apache-2.0
"""Transformed images in memory that forked loader workers share: the first to transform a row keeps it."""

from __future__ import annotations

import math
import mmap
import multiprocessing
from collections.abc import Mapping, Sequence

import torch

__all__ = ["SampleCache"]

DTYPES = (
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int8, torch.int16, torch.int32,
    torch.int64, torch.bool,
)  # fmt: skip
ALIGNMENT = 16  # bytes
MAX_AXES = 5
FACTS = 3 + MAX_AXES  # of a tensor: its place in DTYPES counted from 1 (0: the row lacks it), first byte, axes, sizes


def _shared(num_bytes: int) -> torch.Tensor:
    """Zeros in anonymous shared memory, untouched until written, not limited by the size of /dev/shm."""
    if num_bytes == 0:  # no row fits
        return torch.zeros(0, dtype=torch.uint8)
    return torch.frombuffer(mmap.mmap(-1, num_bytes), dtype=torch.uint8, count=num_bytes)


class SampleCache:
    """Tensors of rows, one behind the other in memory that is set aside once; sizes and types may differ.

    Pages are taken from the system when a row is first stored. A row counts as present only once it is written.
    Pickled to a spawned process it arrives empty.

    Args:
        num_rows: rows of the dataset.
        keys: that a row may have.
        num_bytes: of memory; a row that finds no room is not kept.
    """

    def __init__(self, num_rows: int, keys: Sequence[str], num_bytes: int) -> None:
        self.num_rows, self.keys, self.num_bytes = num_rows, tuple(keys), max(0, int(num_bytes))
        self._memory = _shared(self.num_bytes)
        self._facts = _shared(8 * num_rows * len(self.keys) * FACTS).view(torch.int64).view(num_rows, -1, FACTS)
        self._end = _shared(8).view(torch.int64)
        self._is_present = _shared(num_rows)
        self._lock = multiprocessing.Lock()

    def get(self, row: int) -> dict[str, torch.Tensor] | None:
        """Views of a stored row's tensors (not to be written to), or None."""
        if not self._is_present[row]:
            return None
        facts = zip(self.keys, self._facts[row].tolist())
        return {key: self._view(*found) for key, found in facts if found[0]}

    def put(self, row: int, tensors: Mapping[str, torch.Tensor]) -> None:
        """Stores a row's tensors where there is room.

        Raises:
            ValueError: When a tensor has another key, more axes or a type that is not kept.
        """
        for key, tensor in tensors.items():
            if key not in self.keys or tensor.ndim > MAX_AXES or tensor.dtype not in DTYPES:
                raise ValueError(
                    f"A cache of {self.keys} keeps tensors of up to {MAX_AXES} axes of {DTYPES}, got {key!r} of shape "
                    f"{tuple(tensor.shape)} and {tensor.dtype}; set cache to False."
                )
        first = self._take(row, sum(map(_room, tensors.values())))
        if first is None:
            return
        for key, tensor in tensors.items():
            sizes = [*tensor.shape, *[1] * (MAX_AXES - tensor.ndim)]
            facts = [1 + DTYPES.index(tensor.dtype), first, tensor.ndim, *sizes]
            self._view(*facts).copy_(tensor)
            self._facts[row, self.keys.index(key)] = torch.tensor(facts)
            first += _room(tensor)
        self._is_present[row] = 1

    def _take(self, row: int, room: int) -> int | None:
        """The first of so many bytes, None where they are not there; of two workers with a row both write it."""
        with self._lock:
            first = int(self._end)
            if self._is_present[row] or first + room > self.num_bytes:
                return None
            self._end += room
        return first

    def _view(self, dtype: int, first: int, num_axes: int, *sizes: int) -> torch.Tensor:
        kind, shape = DTYPES[dtype - 1], sizes[:num_axes]
        return self._memory[first : first + math.prod(shape) * kind.itemsize].view(kind).view(shape)

    def __reduce__(self) -> tuple[object, ...]:
        return SampleCache, (self.num_rows, self.keys, self.num_bytes)


def _room(tensor: torch.Tensor) -> int:
    return -(-tensor.numel() * tensor.dtype.itemsize // ALIGNMENT) * ALIGNMENT
