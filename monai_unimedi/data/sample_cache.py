# SPDX-License-Identifier: Apache-2.0
"""Transformed images in memory that forked loader workers share: the first to transform a row keeps it."""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping, Sequence

import torch

__all__ = ["SampleCache"]


def _shared(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Zeros in anonymous shared memory, untouched until written, not limited by the size of /dev/shm."""
    count = math.prod(shape)
    if count == 0:  # no row fits
        return torch.zeros(shape, dtype=dtype)
    return torch.frombuffer(mmap.mmap(-1, count * dtype.itemsize), dtype=dtype, count=count).view(shape)


class SampleCache:
    """One preallocated array per key for the first ``num_rows`` rows.

    Pages are taken from the system when a row is first stored. Two workers may store a row at the same time;
    both write the same bits, and the row counts as present only afterwards. Pickled to a spawned process it
    arrives empty.

    Args:
        example: one row's tensors; shapes and types hold for all rows.
        num_rows: rows that fit.
        largest: (X, Y[, Z]) that no row exceeds, where sizes differ; room is set aside for it, and a smaller row
            takes what it needs.
    """

    def __init__(
        self, example: Mapping[str, torch.Tensor], num_rows: int, largest: Sequence[int] | None = None
    ) -> None:
        self.num_rows = num_rows
        self.largest = None if largest is None else tuple(largest)
        self.shapes = {key: (tensor.shape[0], *(largest or tensor.shape[1:])) for key, tensor in example.items()}
        self.dtypes = {key: tensor.dtype for key, tensor in example.items()}
        self._arrays = {
            key: _shared((num_rows, math.prod(shape)), self.dtypes[key]) for key, shape in self.shapes.items()
        }
        self._sizes = {key: _shared((num_rows, len(shape)), torch.int64) for key, shape in self.shapes.items()}
        self._is_present = _shared((num_rows,), torch.uint8)

    def get(self, row: int) -> dict[str, torch.Tensor] | None:
        """Views of a stored row's tensors (not to be written to), or None."""
        if row >= self.num_rows or not self._is_present[row]:
            return None
        shapes = {key: self._sizes[key][row].tolist() for key in self._arrays}
        return {key: array[row, : math.prod(shapes[key])].view(shapes[key]) for key, array in self._arrays.items()}

    def put(self, row: int, tensors: Mapping[str, torch.Tensor]) -> None:
        """Store a row's tensors; rows beyond ``num_rows`` are not kept.

        Raises:
            ValueError: When shapes or keys differ from the example's, or a row is larger than the largest.
        """
        shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        if self.largest is not None:
            self._check_room(shapes)
        elif shapes != self.shapes:
            raise ValueError(
                f"All transformed images of a source must have one shape, {self.shapes}, got {shapes}; "
                "end the deterministic transforms with a crop or pad to a fixed size, or set cache to False."
            )
        if row < self.num_rows:
            for key, tensor in tensors.items():
                self._arrays[key][row, : tensor.numel()].copy_(tensor.reshape(-1))
                self._sizes[key][row] = torch.tensor(tensor.shape)
            self._is_present[row] = 1

    def _check_room(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        too_large = {
            key: shape
            for key, shape in shapes.items()
            if key not in self.shapes
            or len(shape) != len(self.shapes[key])
            or any(side > most for side, most in zip(shape, self.shapes[key]))
        }
        if too_large or shapes.keys() != self.shapes.keys():
            raise ValueError(f"Transformed images must have at most the shapes {self.shapes}, got {shapes}.")

    def __reduce__(self) -> tuple[object, ...]:
        example = {key: torch.empty(shape, dtype=self.dtypes[key]) for key, shape in self.shapes.items()}
        return SampleCache, (example, self.num_rows, self.largest)
