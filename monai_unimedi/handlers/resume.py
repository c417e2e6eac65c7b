# SPDX-License-Identifier: Apache-2.0
"""Exact resume: killed at any point and started again by the same command, a run ends with the same weights.

`<output_dir>/resume.pt` holds the state of everything that changes: network with teacher, optimizer,
schedule, the losses' centres, counters of handlers, and of the trainer its position, best metric, selection
cache and scaler. Random numbers need no state, since all of them are drawn from (seed, iteration) or the
sample's own seed (`StepSeed`), and the sampler's state is its step.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Events
from torch import nn

from monai_unimedi.engines.distributed import rank, unwrap

from .checkpoint_file import load_first_readable, remove_leftovers, save_tensors
from .fingerprint import check_fingerprint
from .launch import check_same_step, continues_launch, this_launch

__all__ = ["ResumeCheckpoint"]

logger = logging.getLogger(__name__)


class ResumeCheckpoint:
    """Saves `resume.pt` every `save_interval` seconds, between optimizer steps, and goes on from it.

    Attach it last, so that at the end of an epoch it saves after validation and the best model: a kill during
    either does both again. Call `restore()` before `trainer.run()`. Rank 0 writes, all ranks read.
    Checkpoints hold tensors and plain containers only.

    Args:
        output_dir: where `resume.pt` and up to `keep_last - 1` older `resume_<step>.pt` are kept.
        save_dict: name to object with `state_dict` and `load_state_dict`.
        trainer: a `UniMediPretrainer`; saved as well.
        fingerprint: what must be the same for the run to go on, see `fingerprint.fingerprint`.
        resume: False starts again; the newest checkpoint is kept as `resume.pt.bak`, older ones are removed. Where
            torchrun restarts the processes of a launch that began anew, they go on with it.
        save_interval: seconds between checkpoints, the most that a kill can cost.
        keep_last: number of checkpoints kept.
        sampler: has `set_step(iteration)`, if it is not the batch sampler of the trainer's loader.

    Raises:
        ValueError: In `restore`, when a checkpoint has another fingerprint, none is readable, or ranks find
            different ones.
        OSError: In a run, when a checkpoint cannot be written; the one before survives.
    """

    def __init__(
        self,
        output_dir: str | Path,
        save_dict: Mapping[str, Any],
        trainer: Any,
        fingerprint: Mapping[str, Any] | None = None,
        resume: bool = True,
        save_interval: float = 60.0,
        keep_last: int = 2,
        sampler: Any = None,
    ) -> None:
        if keep_last < 1:
            raise ValueError(f"keep_last must be 1 or more, got {keep_last}.")
        self.folder = Path(output_dir)
        self.path = self.folder / "resume.pt"
        self.save_dict = dict(save_dict)
        self.trainer = trainer
        self.fingerprint = dict(fingerprint or {})
        self.resume = resume
        self.save_interval = save_interval
        self.keep_last = keep_last
        self.sampler = sampler
        self._last_saved = self._last_asked = time.monotonic()
        self._step_on_disk: int | None = None  # of resume.pt, when that file is known to be good

    def attach(self, engine: Any) -> None:
        """Attaches to the trainer, after every other handler."""
        engine.add_event_handler(Events.STARTED, self._started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self._completed)

    def restore(self) -> bool:
        """Takes over the newest whole checkpoint, if there is one; tells whether there was."""
        if rank() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.folder)
        found = self._newest()
        if found is None and not self.resume:
            self._set_aside()
        check_same_step(self.folder, None if found is None else int(found[1]["step"]))
        if found is None:
            return False
        path, checkpoint = found
        check_fingerprint(checkpoint["fingerprint"], self.fingerprint, path)
        self._check_names(checkpoint["objects"], path)
        for name, item in self.save_dict.items():
            _stateful(item).load_state_dict(checkpoint["objects"][name])
        self.trainer.load_state_dict(checkpoint["trainer"])
        if self.sampler is not None:
            self.sampler.set_step(self.trainer.state.iteration)
        self._step_on_disk = checkpoint["step"] if path == self.path else None
        self._report(path)
        return True

    def save(self) -> None:
        """Writes `resume.pt`; the one before becomes `resume_<step>.pt`. Does nothing on ranks above 0."""
        if rank() > 0:
            return
        step = self.trainer.completed_steps
        content = {
            "step": step,
            "launch": this_launch(),
            "fingerprint": self.fingerprint,
            "trainer": self.trainer.state_dict(),
            "objects": {name: _stateful(item).state_dict() for name, item in self.save_dict.items()},
        }
        if self._step_on_disk not in (None, step):
            self._keep_present_file()
        save_tensors(self.path, content)
        self._step_on_disk = step
        for path in self._older()[self.keep_last - 1 :]:
            path.unlink(missing_ok=True)
        self._last_saved = self._last_asked = time.monotonic()

    # ---- when

    def _started(self, engine: Any) -> None:
        self._last_saved = self._last_asked = time.monotonic()

    def _iteration_completed(self, engine: Any) -> None:
        if engine.ends_optimizer_step and not engine.ends_epoch:  # an epoch's end waits for validation
            self._save_if_due()

    def _epoch_completed(self, engine: Any) -> None:
        self._save_if_due()

    def _completed(self, engine: Any) -> None:
        self.save()

    def _save_if_due(self) -> None:
        """Saves where the next step, if as long as the last, would end beyond the interval."""
        now = time.monotonic()
        step, self._last_asked = now - self._last_asked, now
        if now - self._last_saved + step >= self.save_interval:
            self.save()

    # ---- files

    def _older(self) -> list[Path]:
        """Older checkpoints, newest first."""
        return sorted(self.folder.glob("resume_*.pt"), reverse=True)

    def _keep_present_file(self) -> None:
        """Gives the present `resume.pt` a second name, so that at no moment there is none."""
        if self.keep_last == 1:
            return
        older = self.folder / f"resume_{self._step_on_disk:08d}.pt"
        older.unlink(missing_ok=True)
        try:
            os.link(self.path, older)
        except OSError:  # a file system without links
            shutil.copyfile(self.path, older)

    def _newest(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest whole checkpoint; where the run is to start again, one that this very launch wrote."""
        if not self.resume and this_launch() is None:
            return None
        try:
            found = load_first_readable([self.path, *self._older()])
        except ValueError:
            if self.resume:
                raise
            return None
        is_wanted = found is None or self.resume or continues_launch(found[1].get("launch"))
        return found if is_wanted else None

    def _set_aside(self) -> None:
        if rank() > 0 or not (self.path.exists() or self._older()):
            return
        backup = self.folder / "resume.pt.bak"
        newest = self.path if self.path.exists() else self._older()[0]
        newest.replace(backup)
        for path in self._older():
            path.unlink()
        logger.info(
            "Starting again (resume is false); the checkpoint of the run before is kept as %s.", backup
        )

    # ---- messages

    def _check_names(self, objects: Mapping[str, Any], path: Path) -> None:
        if set(objects) != set(self.save_dict):
            raise ValueError(
                f"{path} must hold the state of {', '.join(sorted(self.save_dict))}, got "
                f"{', '.join(sorted(objects))}; give `--resume false` to start again, or another "
                "`--output_dir`."
            )

    def _report(self, path: Path) -> None:
        trainer = self.trainer
        if trainer.is_finished:
            logger.info("%s: the run is finished (%d optimizer steps).", path, trainer.completed_steps)
        else:
            logger.info(
                "Going on from %s: optimizer step %d of %d is done, %.0f s of training so far.",
                *(path, trainer.completed_steps, trainer.total_steps, trainer.train_seconds),
            )


def _stateful(item: Any) -> Any:
    """The object whose state is saved: networks without their distributed wrapper."""
    return unwrap(item) if isinstance(item, nn.Module) else item
