# SPDX-License-Identifier: Apache-2.0
"""What a classification leaves behind: the probability of each class for each image, as a table and as JSON."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import torch
from ignite.engine import Events

from monai_unimedi.engines.distributed import rank

from .checkpoint_file import write_atomically

__all__ = ["PredictionSaver"]

logger = logging.getLogger(__name__)


class PredictionSaver:
    """Keeps every case's id, ``pred`` and ``label`` in :attr:`cases`, and writes the probabilities at the end.

    ``predictions.csv`` has the columns ``id`` and the classes; ``predictions.json`` the like by id. Ids are those of
    the datalist, or paths within the folder of the images.

    Args:
        output_dir: folder of the files.
        class_names: of the entries of ``pred``.
        num_images: of the first cases with images of each class to keep for a page, under ``image``.
    """

    def __init__(self, output_dir: str | Path, class_names: Sequence[str], num_images: int = 0) -> None:
        self.folder = Path(output_dir)
        self.class_names = list(class_names)
        self.num_images = num_images
        self.cases: list[dict[str, Any]] = []
        self._shown: dict[int, int] = {}

    def attach(self, engine: Any) -> None:
        """Attaches to an evaluator that decollates."""
        engine.add_event_handler(Events.STARTED, self._started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _started(self, engine: Any) -> None:
        self.cases, self._shown = [], {}

    def _keep(self, engine: Any) -> None:
        for row, output in zip(engine.state.batch, engine.state.output, strict=True):
            case: dict[str, Any] = {"id": str(row["id"]), "pred": _plain(output["pred"])}
            if row.get("label") is not None:
                case["label"] = _plain(row["label"])
                if self._is_shown(case["label"]):
                    case["image"] = _plain(row["image"])[0]
            self.cases.append(case)

    def _is_shown(self, label: torch.Tensor) -> bool:
        """The first cases of each class in turn, and some without any: chosen without looking at a result."""
        kinds = torch.nonzero(label == 1).flatten().tolist() or [len(label)]
        fewest = min(kinds, key=lambda kind: self._shown.get(kind, 0))
        if self._shown.get(fewest, 0) >= self.num_images:
            return False
        self._shown[fewest] = self._shown.get(fewest, 0) + 1
        return True

    def _write(self, engine: Any) -> None:
        if rank() > 0:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = [(case["id"], [round(value, 6) for value in case["pred"].tolist()]) for case in self.cases]
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["id", *self.class_names])
        writer.writerows([name, *values] for name, values in rows)
        content = {name: dict(zip(self.class_names, values)) for name, values in rows}
        files = {"predictions.csv": table.getvalue(), "predictions.json": json.dumps(content, indent=1) + "\n"}
        for file, text in files.items():
            write_atomically(self.folder / file, partial(_write_text, text))
        logger.info("%d images classified: %s", len(rows), self.folder)


def _write_text(text: str, file: IO[bytes]) -> None:
    file.write(text.encode())


def _plain(tensor: Any) -> torch.Tensor:
    return torch.as_tensor(tensor).as_subclass(torch.Tensor).detach().float().cpu()
