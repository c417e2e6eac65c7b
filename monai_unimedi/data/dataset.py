# SPDX-License-Identifier: Apache-2.0
"""Datasets whose sample is a pure function of (source, row, sample_seed).

The transforms up to the first random one run once per row and are cached; the random rest is seeded anew from
``sample_seed`` at each access, so that neither the order of access nor the number of loader workers changes a
sample.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Randomizable, RandomizableTrait, Transform
from monai.utils import get_torch_dtype_from_string
from torch.utils.data import Dataset

from monai_unimedi.data.hashing import stable_hash
from monai_unimedi.data.sample_cache import ALIGNMENT, SampleCache
from monai_unimedi.data.shard_images import ShardImages
from monai_unimedi.transforms.checks import RowError

__all__ = ["SourceDataset", "SourcesDataset"]

logger = logging.getLogger(__name__)
Row = dict[str, Any]
_GIB = 2**30
SPREAD = 4  # times the first row's size that rows of unknown sizes may have on average


class SourceDataset(Dataset):
    """Rows of one source after its transforms; for evaluation an ordinary dataset in row order.

    A sample holds the row's own keys, the transforms' results as plain tensors, and ``source``, ``row`` and
    ``sample_seed``. Deterministic transforms that touch no key of ``cache_keys`` (report cleaning) run at
    each access; they are cheaper than sharing strings between processes.

    Args:
        rows: from ``check_datalist``. Images of rows from shards are read from there, by the transforms that
            the conversion has left (`remaining_steps`), and are not cached.
        transforms: one ``Compose`` or a sequence.
        source: "2d" or "3d".
        cache: keep the deterministic transforms' tensors in memory shared by forked workers.
        cache_gb: memory (GiB) that they may take; rows that find no room are read again at each access.
        cache_dtype: type of cached floating-point tensors. float16 holds [0, 1] in steps of at most 1/2048
            (0.7 HU of the default window, a tenth of a grey level); whether a row is cached or not, it is
            rounded the same.
        cache_keys: keys whose tensors are cached.
        seed: for the random transforms of a sample asked for by its row number alone.
        largest: (X, Y[, Z]) that no image exceeds after its deterministic transforms, where their sizes differ and
            are known; unknown sizes find room for four times the first row's on average.
        skip_unreadable: the caller passes over rows that cannot be read: the cache is as large as the first readable
            row asks for. By default a first row that cannot be read stops here.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        transforms: Compose | Sequence[Transform],
        source: str = "3d",
        cache: bool = True,
        cache_gb: float = 4.0,
        cache_dtype: str | torch.dtype = "float16",
        cache_keys: Sequence[str] = ("image", "lesion_mask"),
        seed: int = 0,
        largest: Sequence[int] | None = None,
        skip_unreadable: bool = False,
    ) -> None:
        self.largest = largest
        self.skip_unreadable = skip_unreadable
        self.rows = list(rows)
        self.source = source
        self.seed = seed
        self.cache_keys = tuple(cache_keys)
        self.dtype = get_torch_dtype_from_string(cache_dtype) if isinstance(cache_dtype, str) else cache_dtype
        self._heavy: list[Transform] = []
        self._split(list(transforms.transforms if isinstance(transforms, Compose) else transforms))
        self.shards = ShardImages(self.rows) if any("shard_row" in row for row in self.rows) else None
        if self.shards is not None:
            cache, self._heavy = False, self.shards.remaining(self._heavy)
        self.cache: SampleCache | None = None
        self._row_bytes = 0
        if cache and self.rows:
            self._start_cache(cache_gb)

    def _split(self, transforms: Sequence[Transform]) -> None:
        first = next((i for i, t in enumerate(transforms) if isinstance(t, RandomizableTrait)), len(transforms))
        steady, self._random = transforms[:first], transforms[first:]
        self._light = [t for t in steady if not self._touches_images(t)]
        self._heavy = [t for t in steady if self._touches_images(t)]
        for transform in self._random:
            if isinstance(transform, Randomizable):
                transform.set_random_state(seed=0)  # its own generator instead of the one of its class

    def _touches_images(self, transform: Transform) -> bool:
        keys = getattr(transform, "keys", None)
        return not isinstance(keys, tuple) or bool(set(keys) & set(self.cache_keys))

    def _start_cache(self, cache_gb: float) -> None:
        row, example = self._first_readable()
        if not example:
            return
        sizes = [t.dtype.itemsize * t.shape[0] * math.prod(self.largest or t.shape[1:]) for t in example.values()]
        self._row_bytes = sum(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes)
        room = len(self.rows) * self._row_bytes * (1 if self.largest else SPREAD)
        self.cache = SampleCache(len(self.rows), self.cache_keys, min(room, int(cache_gb * _GIB)))
        self.cache.put(row, example)
        logger.info(
            "%s: about %d of %d rows are cached, %.2f GiB",
            self.source, self.num_cached, len(self.rows), self.cache_bytes / _GIB,
        )  # fmt: skip

    def _first_readable(self) -> tuple[int, dict[str, torch.Tensor]]:
        """The row that the cache is sized by, and its tensors; none where no row can be read."""
        for row in range(len(self.rows) if self.skip_unreadable else 1):
            try:
                return row, self._deterministic(row)
            except RowError:
                if not self.skip_unreadable:
                    raise
        return 0, {}

    def shape(self, row: int) -> tuple[int, ...]:
        """(C, X, Y[, Z]) of a row's image after the deterministic transforms; reads it."""
        return tuple(self.steady(row)["image"].shape)

    @property
    def cache_bytes(self) -> int:
        """Memory that the cache takes when full, were all rows as large as the first, or as ``largest``."""
        return self.num_cached * self._row_bytes

    @property
    def num_cached(self) -> int:
        """Rows for which the cache has room, were all as large as the first, or as ``largest``."""
        if self.cache is None:
            return 0
        return min(len(self.rows), self.cache.num_bytes // max(1, self._row_bytes))

    def _deterministic(self, row: int, images: Mapping[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
        data: Any = {**self.rows[row], "source": self.source, "row": row}
        if self.shards is not None:
            data |= images or self.shards.images([self.rows[row]])[0]
        for transform in self._heavy:
            data = self._apply(transform, data, row)
        tensors = {key: data[key] for key in self.cache_keys if isinstance(data.get(key), torch.Tensor)}
        return {key: self._storable(tensor) for key, tensor in tensors.items()}

    def _storable(self, tensor: torch.Tensor) -> torch.Tensor:
        plain = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
        return plain.to(self.dtype) if plain.is_floating_point() else plain

    def _apply(self, transform: Transform, data: Any, row: int) -> Any:
        try:
            return transform(data)
        except RowError:
            raise
        except Exception as error:
            raise RowError(f"{self._location(row)}: {type(transform).__name__} failed: {error}") from error

    def _location(self, row: int) -> str:
        given = self.rows[row]
        paths = ", ".join(f"key {key!r}, path {given[key]!r}" for key in self.cache_keys if key in given)
        return f"source {self.source!r}, row {row}, id {given.get('id')!r}, {paths}"

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Row:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row must lie in [0, {len(self)}), got {row}.")
        row = row % len(self)
        return self.sample(row, stable_hash("sample", self.seed, self.source, 0, row))

    def sample(self, row: int, sample_seed: int) -> Row:
        """One sample; equal arguments give equal bits, cached or not.

        Raises:
            RowError: When the row's files cannot be read or transformed.
        """
        return self._sample(row, sample_seed, self.steady(row))

    def samples(self, requests: Sequence[tuple[int, int]]) -> list[Row]:
        """The samples of some ``(row, sample_seed)``; rows of shards are read by one gather."""
        if self.shards is None:
            return [self.sample(row, seed) for row, seed in requests]
        images = self.shards.images([self.rows[row] for row, _ in requests])
        return [
            self._sample(row, seed, self._deterministic(row, found)) for (row, seed), found in zip(requests, images)
        ]

    def _sample(self, row: int, sample_seed: int, tensors: Mapping[str, torch.Tensor]) -> Row:
        data: Any = {**self.rows[row], "source": self.source, "row": row, "sample_seed": sample_seed}
        for key, tensor in tensors.items():
            dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
            data[key] = tensor.to(dtype, copy=self.shards is None)
        for transform in self._light:
            data = self._apply(transform, data, row)
        for number, transform in enumerate(self._random):
            if isinstance(transform, Randomizable):
                _reseed(transform, stable_hash(sample_seed, number) % 2**32)
            data = self._apply(transform, data, row)
        return data if self.shards is None else data | self.shards.tokens(self.rows[row], data.get("report"))

    def steady(self, row: int) -> dict[str, torch.Tensor]:
        """A row's tensors after the deterministic transforms, not to be written to; reads and caches it."""
        if self.cache is not None and (known := self.cache.get(row)) is not None:
            return known
        tensors = self._deterministic(row)
        if self.cache is not None:
            try:
                self.cache.put(row, tensors)
            except ValueError as error:
                raise RowError(f"{self._location(row)}: {error}") from error
        return tensors


def _reseed(transform: Randomizable, seed: int) -> None:
    """``set_random_state``, without a new generator (70 times the cost) where that is all it makes."""
    if type(transform).set_random_state is Randomizable.set_random_state:
        transform.R.seed(seed)
    else:
        transform.set_random_state(seed=seed)


class SourcesDataset(Dataset):
    """All sources behind one index: ``dataset[source, row, sample_seed]``, as ``SourcesBatchSampler`` asks.

    For evaluation it is an ordinary dataset too: ``dataset[i]`` counts through the rows, source after source.

    Args:
        data: rows of each source, from a datalist or from shards. A source without rows is left out.
        transform: transforms of each source.
        cache: as in ``SourceDataset``.
        cache_gb: memory (GiB) of a machine: its processes share it, in each the first source takes what it needs first.
        cache_dtype: as in ``SourceDataset``.
        cache_keys: as in ``SourceDataset``.
        largest: by source, as in ``SourceDataset``; sources that are not named have images of one size.
        skip_unreadable: as in ``SourceDataset``.

    Raises:
        ValueError: When a source has no transforms.
    """

    def __init__(
        self,
        data: Mapping[str, Sequence[Row]],
        transform: Mapping[str, Compose | Sequence[Transform]],
        cache: bool = True,
        cache_gb: float = 4.0,
        cache_dtype: str | torch.dtype = "float16",
        cache_keys: Sequence[str] = ("image", "lesion_mask"),
        largest: Mapping[str, Sequence[int]] | None = None,
        skip_unreadable: bool = False,
    ) -> None:
        self.datasets: dict[str, SourceDataset] = {}
        cache_gb /= (processes := int(os.environ.get("LOCAL_WORLD_SIZE", "1")))  # torchrun's, on this machine
        for source, rows in data.items():
            if not rows:
                continue
            if source not in transform:
                raise ValueError(f"Source {source!r} must have transforms, they are given for {sorted(transform)}.")
            dataset = SourceDataset(
                rows, transform[source], source, cache, cache_gb, cache_dtype, cache_keys,
                largest=(largest or {}).get(source), skip_unreadable=skip_unreadable,
            )  # fmt: skip
            cache_gb = max(0.0, cache_gb - dataset.cache_bytes / _GIB)
            self.datasets[source] = dataset
        self.spare_gb = cache_gb * processes  # of `cache_gb`, for another dataset

    @property
    def lengths(self) -> dict[str, int]:
        """Rows of each source, as ``SourcesBatchSampler`` takes them."""
        return {source: len(dataset) for source, dataset in self.datasets.items()}

    def __len__(self) -> int:
        return sum(self.lengths.values())

    def __getitems__(self, requests: Sequence[tuple[str, int, int] | int]) -> list[Row]:
        """The samples of a batch, in order, rows of shards by one gather. ``DataLoader`` calls it."""
        found: dict[int, Row] = {}
        for source, dataset in self.datasets.items():
            asked = {i: r[1:] for i, r in enumerate(requests) if isinstance(r, tuple) and r[0] == source}
            found |= dict(zip(asked, dataset.samples(list(asked.values()))))
        return [found[i] if i in found else self[request] for i, request in enumerate(requests)]

    def __getitem__(self, request: tuple[str, int, int] | int) -> Row:
        if isinstance(request, tuple):
            source, row, sample_seed = request
            return self.datasets[source].sample(row, sample_seed)
        row = int(request)
        for dataset in self.datasets.values():
            if 0 <= row < len(dataset):
                return dataset[row]
            row -= len(dataset)
        raise IndexError(f"row must lie in [0, {len(self)}), got {request}.")
