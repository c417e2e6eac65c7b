# SPDX-License-Identifier: Apache-2.0
"""Processes that torchrun started, and starts again when one has died: do they go on together?"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from monai_unimedi.engines.distributed import gather_first_axis

__all__ = ["check_same_step", "continues_launch", "this_launch"]

UNNAMED = "none"  # torchrun's id of a launch without --standalone and --rdzv_id


def this_launch() -> str | None:
    """torchrun's id of this launch, the same after a restart of its processes; None without torchrun."""
    return os.environ.get("TORCHELASTIC_RUN_ID")


def continues_launch(saved: str | None) -> bool:
    """Whether the checkpoint of launch `saved` was written by these processes before they were started again."""
    if saved is None or saved != this_launch():
        return False
    return saved != UNNAMED or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def check_same_step(folder: Path, step: int | None) -> None:
    """Checks that every rank goes on from the same optimizer step.

    Args:
        folder: of the checkpoints, for the message.
        step: of the checkpoint that this rank found; None for none.

    Raises:
        ValueError: When the ranks found different ones; on all ranks alike.
    """
    steps = gather_first_axis(torch.tensor([-1 if step is None else step])).tolist()
    if len(set(steps)) > 1:
        found = ", ".join(f"rank {rank}: {'none' if step < 0 else step}" for rank, step in enumerate(steps))
        raise ValueError(
            f"All ranks must find the checkpoint of the same optimizer step in {folder}, got {found}; let "
            "--output_dir be on a disk that all machines share."
        )
