# SPDX-License-Identifier: Apache-2.0
"""The processes that a launcher started become one group, also when it has started them again.

torchrun keeps one store for all starts of a launch, with the addresses that the processes before them left in it. A
process that reads those of a dead one waits for it until gloo or NCCL gives up, half an hour later. So each start
agrees on a name of its own, under which nothing was left.
"""

from __future__ import annotations

import os
import time
import uuid
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.constants import default_pg_timeout

__all__ = ["agree_on_name", "join_ranks"]

PATIENCE = timedelta(seconds=0.2)  # until rank 0 looks whether it has answered a process of the start before


def join_ranks(device: torch.device | str) -> None:
    """Makes the default process group of the launcher's processes: NCCL on GPUs, gloo without. Once a process.

    Args:
        device: of this process.

    Raises:
        DistStoreError: When the other processes do not come within half an hour.
    """
    if dist.is_initialized():
        return
    _heed_torchrun()
    store, rank, world_size = next(dist.rendezvous("env://"))
    store = dist.PrefixStore(agree_on_name(store, rank, world_size), store)
    backend = "nccl" if torch.device(device).type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size)


def _heed_torchrun() -> None:
    """Ignite takes Slurm's variables for each process's own, but they describe the task, which is torchrun itself: all
    processes of a machine would have local rank 0 and one GPU."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        os.environ.pop("SLURM_JOB_ID", None)


def agree_on_name(store: dist.Store, rank: int, world_size: int, timeout: timedelta = default_pg_timeout) -> str:
    """A name that all ranks of this start have in common, and that no start before had.

    Neither the launcher's count of restarts (each machine has its own) nor a count in the store (a process may die
    before it counts) is such a name. So rank 0 draws one, and answers each other rank by the number that it drew.

    Args:
        store: seen by all ranks; may hold what an earlier start left.
        rank: of this process.
        world_size: number of ranks.
        timeout: the longest wait for another rank.

    Raises:
        DistStoreError: When another rank does not come in time.
    """
    store.set_timeout(timeout)
    drawn = uuid.uuid4().hex
    if rank > 0:
        store.set(f"asking/{rank}", drawn)
        name = store.get(f"answer/{drawn}").decode()
        store.set(f"heard/{name}/{rank}", "")
        return name
    for other in range(1, world_size):
        _answer(store, other, drawn, time.monotonic() + timeout.total_seconds())
    return drawn


def _answer(store: dist.Store, other: int, name: str, end: float) -> None:
    """Tells rank `other` the name, until it has heard it: its question may be that of a process that is dead."""
    while True:
        store.set(f"answer/{store.get(f'asking/{other}').decode()}", name)
        try:
            return store.wait([f"heard/{name}/{other}"], PATIENCE)
        except dist.DistStoreError:
            if time.monotonic() > end:
                raise
