# SPDX-License-Identifier: Apache-2.0
"""Going on past files that cannot be read, where the user asked for it: each is logged, none is replaced."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import monai.data
from torch.utils.data import Dataset, Subset

from monai_unimedi.transforms.checks import RowError

__all__ = ["CollateReadable", "NamedRows", "ReadableRows", "readable_subset"]

logger = logging.getLogger(__name__)


class NamedRows(monai.data.Dataset):
    """MONAI's dataset, whose errors say which row it was: id and path.

    Raises:
        RowError: When a row's files cannot be read or transformed.
    """

    def __getitem__(self, index: Any) -> Any:
        try:
            return super().__getitem__(index)
        except Exception as error:
            row, cause = self.data[index], error.__cause__ or error  # MONAI's own names the transform alone
            raise RowError(f"id {row.get('id')!r}, path {str(row.get('image'))!r}: {cause}") from error


class ReadableRows(Dataset):
    """A dataset that gives None for a row whose files cannot be read, and logs why.

    Args:
        dataset: raises `RowError` for such rows.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> dict[str, Any] | None:
        try:
            return self.dataset[row]
        except RowError as error:
            logger.warning("left out: %s", error)
            return None


class CollateReadable:
    """A collate function that passes over None; a batch of nothing else is empty.

    Args:
        collate: of the samples that are there.
    """

    def __init__(self, collate: Callable[[Sequence[dict[str, Any]]], dict[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, samples: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
        readable = [sample for sample in samples if sample is not None]
        return self.collate(readable) if readable else {}


def readable_subset(dataset: Any) -> Subset:
    """The rows of a dataset whose files can be read, for engines that take no empty batch; each is read once more
    where the dataset does not cache it.

    Raises:
        ValueError: When none can be read.
    """
    rows = ReadableRows(dataset)
    kept = [index for index in range(len(rows)) if rows[index] is not None]
    if not kept:
        raise ValueError(f"At least one of the {len(rows)} images must be readable, none is; the log has the reasons.")
    return Subset(dataset, kept)
