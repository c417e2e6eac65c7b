# SPDX-License-Identifier: Apache-2.0
"""Embeddings of all cases, kept beside the images in a table that ``python -m monai_unimedi search`` reads too.

``<studies>/.unimedi/embeddings.parquet`` has a row a case; a file that changed, or other weights, make its row anew.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_unimedi.data.embeddings import EmbeddingWriter, read_embeddings, weights_digest
from monai_unimedi.data.search import EmbeddingIndex
from monai_unimedi.encoder import ImageTextEncoder, load_encoder

from .devices import turn_on
from .images import dimension_of, own_file
from .weights import write_whole

__all__ = ["Cases"]

logger = logging.getLogger(__name__)
SAVE_EVERY = 50
SOURCES = {2: "2d", 3: "3d"}


class Cases:
    """The cases of a datastore as the pre-trained encoder sees them.

    Args:
        model_dir: folder that a pre-training wrote.
        datastore: of MONAI Label.
        folder: where the table goes; beside the images by default.
        device: where to compute.
        limit: embed at most so many cases that have none yet at a request, the rest at the next.
    """

    def __init__(
        self, model_dir: Path, datastore: Any, folder: Path, device: str = "cpu", limit: int = 1_000_000
    ) -> None:
        self.model_dir, self.datastore, self.device, self.limit = Path(model_dir), datastore, device, limit
        self.table, self.signs = folder / "embeddings.parquet", folder / "files.json"
        self._lock, self._loading = threading.RLock(), threading.Lock()
        self._encoder: ImageTextEncoder | None = None
        self._digest = ""
        self._known: dict[str, tuple[str, str, np.ndarray]] = {}  # id: sign of the file, dimension, embedding
        self._unreadable: dict[str, str] = {}
        self._is_read = False

    @property
    def encoder(self) -> ImageTextEncoder:
        """The encoder, loaded on first use."""
        with self._loading:
            if self._encoder is None:
                self._encoder = load_encoder(self.model_dir, self.device)
            return self._encoder

    def digest(self) -> str:
        """Of the encoder's weights."""
        self._digest = self._digest or weights_digest(self.model_dir)
        return self._digest

    def text(self, sentence: str) -> np.ndarray:
        """Embedding (E,) of a sentence.

        Raises:
            ValueError: When it is empty.
        """
        if not sentence.strip():
            raise ValueError('There must be a sentence to search for, such as "Pleural effusion on the right.".')
        with turn_on(self.device):
            return self.encoder.text(sentence.strip()).numpy()

    def embeddings(self, ids: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Embeddings (E,) by id, those that are missing computed now; files that cannot be read are left out.

        Args:
            ids: of the cases; all of the datastore where None.
        """
        wanted = list(self.datastore.list_images() if ids is None else ids)
        with self._lock:
            self._read()
            new = 0
            for case in wanted:
                if new >= self.limit:
                    break
                new += self._ensure(case)
                if new and new % SAVE_EVERY == 0:
                    self._write()
            if new:
                self._write()
            return {case: self._known[case][2] for case in wanted if case in self._known}

    def nearest(
        self, query: np.ndarray, top: int, ids: Sequence[str] | None = None, without: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """The cases most like an embedding (E,), ``{"id", "similarity", "dimension"}`` each, best first."""
        found = {case: vector for case, vector in self.embeddings(ids).items() if case not in set(without)}
        if not found:
            return []
        names = list(found)
        scores, rows = EmbeddingIndex(np.stack(list(found.values()))).search(torch.as_tensor(query)[None], top)
        return [
            {"id": names[row], "similarity": round(float(score), 4), "dimension": self._known[names[row]][1]}
            for score, row in zip(scores[0].tolist(), rows[0].tolist())
        ]

    def count(self) -> int:
        """How many cases have an embedding."""
        return len(self._known)

    def _ensure(self, case: str) -> bool:
        """Whether the case's embedding had to be computed."""
        try:
            path = own_file(Path(self.datastore.get_image_uri(case)))
            facts = path.stat()
        except (ValueError, OSError):
            self._known.pop(case, None)
            return False
        sign = f"{facts.st_mtime_ns}:{facts.st_size}"
        if (case in self._known and self._known[case][0] == sign) or self._unreadable.get(case) == sign:
            return False
        try:
            with turn_on(self.device):
                vectors, _ = self.encoder.embed([self.encoder.read(path)])
            self._known[case] = (sign, SOURCES[dimension_of(path)], vectors[0].numpy())
        except ValueError:
            self._unreadable[case] = sign
            self._known.pop(case, None)
            logger.warning("%s cannot be read: it is left out of searches.", case)
        return True

    def _read(self) -> None:
        if self._is_read:
            return
        self._is_read = True
        try:
            signs = json.loads(self.signs.read_text(encoding="utf-8"))
            table = read_embeddings(self.table)
        except (OSError, ValueError):
            return
        if table.weights != self.digest():
            return
        rows = zip(table.ids, table.dimensions, table.embeddings)
        self._known = {case: (signs[case], kind, vector) for case, kind, vector in rows if case in signs}

    def _write(self) -> None:
        by_kind: dict[str, list[str]] = {}
        for case, (_, kind, _) in self._known.items():
            by_kind.setdefault(kind, []).append(case)
        with EmbeddingWriter(self.table, self.digest()) as writer:
            for kind, ids in by_kind.items():
                paths = [os.path.basename(self.datastore.get_image_info(case).get("name", case)) for case in ids]
                writer.write(ids, paths, kind, np.stack([self._known[case][2] for case in ids]))
        write_whole(self.signs, json.dumps({case: sign for case, (sign, _, _) in self._known.items()}) + "\n")
