# SPDX-License-Identifier: Apache-2.0
"""What others load, written whenever validation improves (method section 8)."""

from __future__ import annotations

import json
import logging
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Events
from monai.engines import Evaluator
from torch import nn

from monai_unimedi.engines.distributed import rank, unwrap

from .checkpoint_file import save_tensors, write_atomically

__all__ = ["CARD", "BestModel"]

CARD = "encoder.json"
PUBLISHED = ("SHA256SUMS", "model.safetensors")  # of a downloaded bundle; of no use once it is trained anew

logger = logging.getLogger(__name__)


class BestModel:
    """Writes `<model_dir>/model.pt` and `<model_dir>/text/` at each improvement of the validator's key
    metric.

    Attach it to the validator and to the trainer: if there was no validation, or its metric was the same each of
    several times (such as Dice of a list without lesions), the last weights are written when the training ends. The
    best metric is its state, so that a resumed run compares with it. Rank 0 only.

    Args:
        model_dir: where the files go.
        network: the training module.
        part: attribute of `network` whose `state_dict` is `model.pt`: `student` or `teacher`; None takes all.
        save_text: called with an empty folder, writes the text tower and its tokenizer there.
        card: written as `encoder.json` (`CARD`): how the tower is built and how files become its input.
    """

    def __init__(
        self,
        model_dir: str | Path,
        network: nn.Module,
        part: str | None = "student",
        save_text: Callable[[Path], Any] | None = None,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(model_dir)
        self.network = network
        self.part = part
        self.save_text = save_text
        self.card = card
        self.best_metric: float | None = None
        self.best_epoch: int | None = None
        self.num_validations = 0
        self.is_flat = False
        self._validator: Any = None

    def attach(self, engine: Any) -> None:
        """Attaches to a validator or to the trainer; then the folder must be one to write in.

        Raises:
            OSError: When it is not.
        """
        if isinstance(engine, Evaluator):
            self._validator = engine
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._validated)
            self._tell_validator()
        else:
            self._check_folder()
            engine.add_event_handler(Events.COMPLETED, self._completed)

    def _check_folder(self) -> None:
        if rank() > 0:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise OSError(
                f"The folder of the model, {self.folder}, cannot be written to ({error}): give --model_dir another one."
            ) from error

    def _validated(self, engine: Any) -> None:
        name = engine.state.key_metric_name
        value = engine.state.metrics.get(name)
        if value is None or math.isnan(value):
            return
        self.is_flat = float(value) == self.best_metric and (self.is_flat or self.num_validations == 1)
        self.num_validations += 1
        if self.best_metric is None or engine.metric_cmp_fn(float(value), self.best_metric):
            self.best_metric, self.best_epoch = float(value), engine.state.epoch
            logger.info("Best %s so far: %.4f (epoch %d).", name, self.best_metric, self.best_epoch)
            self.save()

    def _completed(self, engine: Any) -> None:
        if self.best_metric is None or self.is_flat:
            self.save()

    def save(self) -> None:
        """Writes them now."""
        if rank() > 0:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in PUBLISHED:
            (self.folder / name).unlink(missing_ok=True)
        network = unwrap(self.network)
        part = network if self.part is None else getattr(network, self.part)
        save_tensors(self.folder / "model.pt", part.state_dict())
        if self.card is not None:
            text = json.dumps(self.card, indent=2) + "\n"
            write_atomically(self.folder / CARD, lambda file: file.write(text.encode()))
        if self.save_text is not None:
            self._save_text(self.save_text)

    def _save_text(self, save_text: Callable[[Path], Any]) -> None:
        aside, before, path = (self.folder / name for name in (".text.part", ".text.before", "text"))
        for leftover in (aside, before):
            shutil.rmtree(leftover, ignore_errors=True)
        aside.mkdir()
        save_text(aside)
        if path.exists():
            path.replace(before)
        aside.replace(path)
        shutil.rmtree(before, ignore_errors=True)

    def state_dict(self) -> dict[str, Any]:
        """Best metric, its epoch, the validations so far, and whether all of several had one metric."""
        names = ("best_metric", "best_epoch", "num_validations", "is_flat")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over the best metric, for the validator too."""
        self.best_metric, self.best_epoch = state["best_metric"], state["best_epoch"]
        self.num_validations, self.is_flat = state.get("num_validations", 2), state.get("is_flat", False)
        self._tell_validator()

    def _tell_validator(self) -> None:
        if self._validator is not None and self.best_metric is not None:
            self._validator.state.best_metric = self.best_metric
            self._validator.state.best_metric_epoch = self.best_epoch
