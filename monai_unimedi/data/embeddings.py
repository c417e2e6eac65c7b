# SPDX-License-Identifier: Apache-2.0
"""The table of embeddings, a Parquet file: written as they come, read as one matrix.

| column | type | |
|---|---|---|
| ``id`` | string | of the datalist, or the path |
| ``path`` | string | relative to the data set's folder |
| ``dimension`` | string | ``2d`` or ``3d`` |
| ``embedding`` | float32[E] | L2-normalised |
| ``slice_scores`` | list of float32, or null | of a CT, from inferior to superior |

No report text and no header of a file is in it. The file's metadata name the weights that made it, so that a
sentence is never compared with the embeddings of another model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from monai_unimedi.file_digest import file_digest

__all__ = ["EmbeddingTable", "EmbeddingWriter", "read_embeddings", "weights_digest"]

_KEY = b"monai_unimedi"
_GROUP = 4096  # rows kept in memory
FORMAT = 1


def weights_digest(model_dir: str | os.PathLike) -> str:
    """First 16 digits of the SHA-256 of ``model.pt``."""
    return file_digest(Path(model_dir) / "model.pt")[:16]


class EmbeddingTable(NamedTuple):
    """What `read_embeddings` finds; the rows of all entries agree."""

    ids: list[str]
    paths: list[str]
    dimensions: list[str]
    embeddings: np.ndarray  # (N, E) float32
    weights: str


class EmbeddingWriter:
    """Writes a table batch by batch, aside; it gets its name when the ``with`` block ends well.

    Args:
        path: of the Parquet file.
        weights: digest of the model's weights.
    """

    def __init__(self, path: str | os.PathLike, weights: str = "") -> None:
        self.path = Path(path)
        self.aside = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self.weights = weights
        self.num_rows = 0
        self._writer: pq.ParquetWriter | None = None
        self._batches: list[pa.RecordBatch] = []

    def __enter__(self) -> EmbeddingWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def write(
        self, ids: Sequence[str], paths: Sequence[str], dimension: str, embeddings: np.ndarray,
        slice_scores: np.ndarray | Sequence[np.ndarray] | None = None,
    ) -> None:  # fmt: skip
        """Adds B rows.

        Args:
            ids: of the images.
            paths: of their files, relative.
            dimension: ``2d`` or ``3d``.
            embeddings: (B, E) float32.
            slice_scores: (B, S) of CTs, or one row (S,) each where S differs.

        Raises:
            ValueError: When a value is not finite, or lengths differ.
        """
        values = np.ascontiguousarray(embeddings, dtype=np.float32)
        if values.ndim != 2 or not len(ids) == len(paths) == len(values):
            raise ValueError(f"embeddings must be ({len(ids)}, E), one row an id, got {values.shape}.")
        if not np.isfinite(values).all():
            raise ValueError(f"embeddings must be finite, those of {list(ids)} are not: look at the model.")
        scores = [None] * len(values) if slice_scores is None else [row.tolist() for row in slice_scores]
        columns = [
            pa.array(list(ids), pa.string()),
            pa.array(list(paths), pa.string()),
            pa.array([dimension] * len(values), pa.string()),
            pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1]),
            pa.array(scores, pa.list_(pa.float32())),
        ]
        self._batches.append(pa.RecordBatch.from_arrays(columns, schema=self._schema(values.shape[1])))
        self.num_rows += len(values)
        if sum(batch.num_rows for batch in self._batches) >= _GROUP:
            self._flush()

    def _schema(self, size: int) -> pa.Schema:
        facts = json.dumps({"format": FORMAT, "weights": self.weights}).encode()
        fields = [(name, pa.string()) for name in ("id", "path", "dimension")]
        fields += [("embedding", pa.list_(pa.float32(), size)), ("slice_scores", pa.list_(pa.float32()))]
        return pa.schema(fields, metadata={_KEY: facts})

    def _flush(self) -> None:
        if not self._batches:
            return
        table = pa.Table.from_batches(self._batches)
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self.aside, table.schema, compression="zstd", use_dictionary=["dimension"]
            )
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._batches = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            if self._writer is None and not self._batches:
                pq.write_table(self._schema(1).empty_table(), self.aside)
            self._flush()
        if self._writer is not None:
            self._writer.close()
        if kind is None:
            self.aside.replace(self.path)
        self.aside.unlink(missing_ok=True)


def read_embeddings(path: str | os.PathLike, dimension: str | None = None) -> EmbeddingTable:
    """Reads a table.

    Args:
        path: of the Parquet file.
        dimension: ``2d`` or ``3d`` for these rows only.

    Raises:
        ValueError: When it is no such table, or has no row of the dimension.
    """
    try:
        file = pq.ParquetFile(path)
        facts: dict[str, Any] = json.loads(file.schema_arrow.metadata[_KEY])
    except (OSError, KeyError, TypeError, pa.ArrowInvalid) as error:
        raise ValueError(
            f"{str(path)!r} must be a table written by `python -m monai_unimedi embed ... --output "
            f"FILE.parquet`, it is not: {type(error).__name__}."
        ) from error
    filters = None if dimension is None else [("dimension", "=", dimension)]
    table = pq.read_table(path, columns=["id", "path", "dimension", "embedding"], filters=filters)
    if not table.num_rows:
        kinds = f" of dimension {dimension}" if dimension else ""
        raise ValueError(f"{str(path)!r} must have rows{kinds}, it has none.")
    size = table.schema.field("embedding").type.list_size
    chunks = [chunk.flatten().to_numpy() for chunk in table["embedding"].chunks]
    matrix = np.concatenate(chunks).reshape(table.num_rows, size)
    ids, paths, dimensions = (table[name].to_pylist() for name in ("id", "path", "dimension"))
    return EmbeddingTable(ids, paths, dimensions, matrix, str(facts.get("weights", "")))
