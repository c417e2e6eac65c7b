# SPDX-License-Identifier: Apache-2.0
"""Images and token ids of rows that lie in shards, as `SourceDataset` wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform

from monai_unimedi.data.shard_steps import dequantise, remaining_steps
from monai_unimedi.data.shards import ShardReader, read_index
from monai_unimedi.transforms.checks import RowError
from monai_unimedi.transforms.report import report_group

__all__ = ["ShardImages"]

Row = Mapping[str, Any]


class ShardImages:
    """Reads the rows of one folder of shards.

    Args:
        rows: of `shard_content`.

    Raises:
        ValueError: When some rows come from files, or from another folder.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        folders = {Path(row["image"]).parents[1] if "shard_row" in row else None for row in rows}
        if len(folders) != 1 or None in folders:
            raise ValueError("All rows of a source must lie in one folder of shards, or none of them.")
        self.recipe: dict[str, Any] = read_index(next(folder for folder in folders if folder))["recipe"]
        self.reader = ShardReader()
        self._buffer: np.ndarray | None = None  # of the last batch, as stored

    def remaining(self, transforms: Sequence[Transform]) -> list[Transform]:
        """See `remaining_steps`."""
        return remaining_steps(transforms, self.recipe)

    def images(self, rows: Sequence[Row]) -> list[dict[str, torch.Tensor]]:
        """By row, ``image`` (1, X, Y[, Z]) float32, X-rays in [0, 1] and CTs in HU, and where the row has one
        ``lesion_mask`` (1, X, Y[, Z]) uint8. One gather for all rows.

        Raises:
            RowError: When an array cannot be read.
        """
        if not rows:
            return []
        if self._buffer is None or len(self._buffer) < len(rows):
            self._buffer = self._gather(rows)
        else:
            self._gather(rows, out=self._buffer)
        values = dequantise(self._buffer[: len(rows)], self.recipe)[:, None]
        found: list[dict[str, torch.Tensor]] = [{"image": image} for image in values]
        for row, tensors in zip(rows, found):
            if row.get("lesion_mask") is not None:
                tensors["lesion_mask"] = torch.from_numpy(self._gather([row], "lesion_mask"))
        return found

    def _gather(self, rows: Sequence[Row], key: str = "image", out: np.ndarray | None = None) -> np.ndarray:
        try:
            return self.reader.gather(rows, key, out)
        except (OSError, ValueError, IndexError) as error:
            names = ", ".join(repr(row.get("id")) for row in rows)
            raise RowError(
                f"key {key!r} of the rows {names} could not be read from shards: {error}"
            ) from error

    def tokens(self, row: Row, report: object) -> dict[str, Any]:
        """``token_ids`` (L,) and ``tokenizer``, its digest, where ids were kept and the report is shown
        whole; else nothing, and the collate function tokenises."""
        tokenizer = self.recipe.get("tokenizer")
        if tokenizer is None or not isinstance(report, str) or report_group(report) != row.get("pair_group"):
            return {}
        return {"token_ids": self.reader.tokens(row), "tokenizer": tokenizer}
