# SPDX-License-Identifier: Apache-2.0
"""What a training took, for the evaluation's metrics file."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Events
from torch import nn

from monai_unimedi.engines.distributed import rank, unwrap
from monai_unimedi.file_digest import file_digest

from .checkpoint_file import write_atomically
from .run_options import run_options

__all__ = ["TrainingRecord", "peak_memory_gb"]


class TrainingRecord:
    """Writes `<output_dir>/training.json` when the training ends: seconds, steps, parameters, peak memory.

    `parameters` counts the image tower, which is what others load; `parameters_in_training` everything with
    the teacher, the report tower and the heads. Attach it before `ResumeCheckpoint`, so that a run is
    finished only with its record. Rank 0 only.

    Where the details name a file that the weights started from (`pretrained`), `pretrained_sha256` is its digest
    when the training was set up. `options` is what its config holds other than the bundle's file, see `run_options`.

    Args:
        output_dir: the run's folder.
        part: attribute of the network that holds the image tower; None counts the whole network.
        details: further plain values, such as the seed.
    """

    def __init__(
        self, output_dir: str | Path, part: str | None = "student", details: Mapping[str, Any] | None = None
    ) -> None:
        self.path = Path(output_dir) / "training.json"
        self.part = part
        self.details = {**(details or {}), **_start(details or {}), "options": run_options()}

    def attach(self, engine: Any) -> None:
        """Attaches to a `UniMediPretrainer`."""
        if rank() == 0:
            engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        network = unwrap(engine.network)
        record = {
            "steps": engine.completed_steps,
            "seconds": round(engine.train_seconds, 3),
            "parameters": _count(network if self.part is None else getattr(network, self.part)),
            "parameters_in_training": _count(network),
            "peak_memory_gb": round(peak_memory_gb(), 3),
            **self.details,
        }
        text = json.dumps(record, indent=2) + "\n"
        write_atomically(self.path, lambda file: file.write(text.encode()))


def peak_memory_gb() -> float:
    """Most main memory (GB) that this process has held, and beside it the largest of its ended children."""
    unit = 1 if sys.platform == "darwin" else 1024
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(one).ru_maxrss for one in who) * unit / 1e9


def _start(details: Mapping[str, Any]) -> dict[str, str]:
    path = Path(str(details.get("pretrained", "")))
    return {"pretrained_sha256": file_digest(path)} if rank() == 0 and path.is_file() else {}


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
