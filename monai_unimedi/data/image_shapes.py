# SPDX-License-Identifier: Apache-2.0
"""The shape of every image after its transforms, which a sampler of unpadded batches has to know beforehand."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from monai_unimedi.data.dataset import SourceDataset, SourcesDataset

__all__ = ["image_shapes"]

logger = logging.getLogger(__name__)
Shape = tuple[int, ...]


class _Shapes(Dataset):
    """The shape of each row's image; workers that were forked fill the dataset's cache on the way."""

    def __init__(self, dataset: SourceDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> Shape:
        return self.dataset.shape(row)


def image_shapes(
    dataset: SourcesDataset,
    varying: Sequence[str] = (),
    cache_file: str | os.PathLike | None = None,
    recipe: Any = None,
    num_workers: int = 0,
) -> dict[str, list[Shape]]:
    """Shapes (C, X, Y[, Z]) of all images, by source.

    Args:
        dataset: all sources.
        varying: sources whose images differ: each is read once, with a progress bar, and cached as in training. Of
            other sources the first image stands for all.
        cache_file: JSON that keeps the shapes, so that a run that goes on does not read again. It holds no paths.
        recipe: what the shapes depend on beside the rows, such as the sizes of the preprocessing.
        num_workers: processes that read.

    Raises:
        RowError: When an image cannot be read.
    """
    path = None if cache_file is None else Path(cache_file)
    found: dict[str, list[Shape]] = {}
    for name, source in dataset.datasets.items():
        if name not in varying:
            found[name] = [source.shape(0)] * len(source)
            continue
        digest = _digest(source, recipe)
        known = _read(path, name, digest)
        if known is None:
            known = _measure(source, num_workers)
            _write(path, name, digest, known)
        found[name] = known
        logger.info("%s: %d images of %d shapes", name, len(known), len(set(known)))
    return found


def _measure(source: SourceDataset, num_workers: int) -> list[Shape]:
    loader = DataLoader(_Shapes(source), batch_size=None, num_workers=num_workers, collate_fn=tuple)
    return [tuple(shape) for shape in tqdm(loader, desc=f"sizes of {source.source}", disable=None)]


def _digest(source: SourceDataset, recipe: Any) -> str:
    rows = [str(row.get("image")) for row in source.rows]
    return hashlib.sha256(json.dumps([source.source, rows, recipe], default=str).encode()).hexdigest()


def _read(path: Path | None, name: str, digest: str) -> list[Shape] | None:
    if path is None or not path.is_file():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8")).get(name, {})
    except ValueError:  # cut off by a kill
        return None
    return [tuple(shape) for shape in kept["shapes"]] if kept.get("digest") == digest else None


def _write(path: Path | None, name: str, digest: str, shapes: Sequence[Shape]) -> None:
    """All or nothing; of several processes the last one's file stays, they are equal."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps({name: {"digest": digest, "shapes": shapes}}) + "\n", encoding="utf-8")
    os.replace(draft, path)
