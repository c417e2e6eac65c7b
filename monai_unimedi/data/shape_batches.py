# SPDX-License-Identifier: Apache-2.0
"""Batches of images of one shape, by a number of rows or a budget of tokens: nothing is padded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

__all__ = ["ShapeBatches", "rows_in_budget"]

Shape = tuple[int, ...]


def rows_in_budget(source: str, shape: Shape, tokens: int, budget: int, multiple: int) -> int:
    """Rows of one shape that a budget of tokens holds.

    Args:
        source: for the message.
        shape: (C, X, Y[, Z]) of an image.
        tokens: of one such image.
        budget: tokens of a batch, over all ranks.
        multiple: the rows are a multiple of it.

    Raises:
        ValueError: When they are fewer than two, or than ``multiple``.
    """
    rows = budget // tokens // multiple * multiple
    if rows < max(2, multiple):
        raise ValueError(
            f"Source {source!r}: {budget} tokens must hold at least {max(2, multiple)} images of shape {shape}, "
            f"which have {tokens} tokens each, got {budget // tokens}: give tokens_{source} at least "
            f"{tokens * multiple * -(-max(2, multiple) // multiple)}."
        )
    return rows


class ShapeBatches:
    """How the rows of one source fall into batches of one shape.

    A pass makes of each shape as many whole batches as its rows fill, so that every pass has the same number; which
    rows are left over changes with the order.

    Args:
        source: for the messages.
        shapes: (C, X, Y[, Z]) of each row's image.
        rows_of: rows of a batch of one shape. A shape with fewer rows makes one batch of them all, down to a multiple
            of ``multiple``.
        multiple: see above.

    Raises:
        ValueError: When a shape has fewer rows than two, or than ``multiple``: they would never be seen.
    """

    def __init__(
        self, source: str, shapes: Sequence[Shape], rows_of: Callable[[Shape], int], multiple: int = 1
    ) -> None:
        kinds = sorted({tuple(shape) for shape in shapes})
        number = {shape: index for index, shape in enumerate(kinds)}
        self._kind = np.array([number[tuple(shape)] for shape in shapes], dtype=np.int64)
        counts = np.bincount(self._kind, minlength=len(kinds))
        wanted = [rows_of(shape) for shape in kinds]
        self.rows = [rows if rows <= n else int(n) // multiple * multiple for rows, n in zip(wanted, counts)]
        for shape, count, rows in zip(kinds, counts, self.rows):
            if rows < 2:
                raise ValueError(
                    f"Source {source!r} has {count} images of shape {shape}, fewer than the {max(2, multiple)} that "
                    "a batch of one shape needs: allow fewer shapes (ct_depths), or leave these rows out."
                )
        self.num_batches = sum(int(count) // rows for count, rows in zip(counts, self.rows))
        self.sizes: Mapping[Shape, int] = dict(zip(kinds, self.rows))

    def batches(self, order: np.ndarray) -> list[np.ndarray]:
        """The batches of one pass.

        Args:
            order: a permutation of the rows.

        Returns:
            Rows of each batch; a batch comes when ``order`` has filled it, so that shapes are mixed as the rows are.
        """
        found: list[tuple[int, np.ndarray]] = []
        for kind, rows in enumerate(self.rows):
            places = np.flatnonzero(self._kind[order] == kind)
            whole = places[: len(places) // rows * rows].reshape(-1, rows)
            found += [(int(batch[-1]), order[batch]) for batch in whole]
        return [batch for _, batch in sorted(found, key=lambda pair: pair[0])]
