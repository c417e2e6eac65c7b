# SPDX-License-Identifier: Apache-2.0
"""Processes that are started again meet each other, and not what the dead ones left in the launcher's store."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import ignite.distributed as idist
import pytest
import torch
import torch.distributed as dist

from monai_unimedi.engines.join import agree_on_name, join_ranks

Server = tuple[dist.TCPStore, int]


@pytest.fixture
def server() -> Server:
    """The store that the launcher keeps for all starts, and its port."""
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    return store, store.port


def client(port: int) -> dist.TCPStore:
    return dist.TCPStore("localhost", port, wait_for_workers=False)


def start(port: int, count: int, late: int | None = None) -> list[str]:
    """The name of each of `count` ranks, one of which comes half a second after the others."""

    def name(rank: int) -> str:
        time.sleep(0.5 if rank == late else 0.0)
        return agree_on_name(client(port), rank, count, timedelta(seconds=20))

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(name, range(count)))


@pytest.mark.parametrize("late", [None, 0, 2])
def test_each_start_has_a_name_of_its_own(server: Server, late: int | None) -> None:
    names = [start(server[1], 3, late) for _ in range(3)]
    assert all(len(set(found)) == 1 for found in names)
    assert len({found[0] for found in names}) == 3


def test_rank_that_died_asking_does_not_stop_the_next_start(server: Server) -> None:
    server[0].set("asking/1", "of a dead process")
    assert len(set(start(server[1], 2, late=1))) == 1


def test_start_with_more_ranks_agrees(server: Server) -> None:
    assert len(set(start(server[1], 2))) == 1
    assert len(set(start(server[1], 4, late=3))) == 1


def test_rank_that_never_comes_ends_the_wait(server: Server) -> None:
    with pytest.raises(dist.DistStoreError):
        agree_on_name(client(server[1]), 0, 2, timedelta(seconds=0.5))
    server[0].set("asking/1", "of a dead process")
    with pytest.raises(dist.DistStoreError):
        agree_on_name(client(server[1]), 0, 2, timedelta(seconds=0.5))


def connect(port: int, late: int, wait: float) -> list[int]:
    """Sizes of the groups of two gloo ranks that find each other by the store; one of them comes later."""

    def size(rank: int) -> int:
        time.sleep(wait if rank == late else 0.0)
        store = client(port)
        named = dist.PrefixStore(agree_on_name(store, rank, 2), store)
        return dist.ProcessGroupGloo(named, rank, 2, timedelta(seconds=5)).size()

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(size, range(2)))


@pytest.mark.parametrize("late", [0, 1])
def test_processes_started_again_reach_each_other(server: Server, late: int) -> None:
    for wait in (0.0, 0.5):
        assert connect(server[1], late, wait) == [2, 2]


def test_group_that_is_there_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        join_ranks("cpu")
        assert dist.get_world_size() == 1
    finally:
        dist.destroy_process_group()


def test_joins_by_the_launchers_variables(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(server[1]), "RANK": "0", "WORLD_SIZE": "1"}
    for name, value in {**variables, "TORCHELASTIC_USE_AGENT_STORE": "True"}.items():
        monkeypatch.setenv(name, value)
    join_ranks(torch.device("cpu"))
    try:
        assert (dist.get_rank(), dist.get_world_size(), dist.get_backend()) == (0, 1, "gloo")
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
def test_local_rank_is_the_launchers(server: Server, launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(server[1]), "RANK": "0", "WORLD_SIZE": "1"}
    variables |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "LOCAL_RANK": "1"}
    variables |= {"SLURM_JOB_ID": "7", "SLURM_LOCALID": "0"}  # of the task, which under torchrun is torchrun
    variables |= {"TORCHELASTIC_RUN_ID": "7"} if launcher == "torchrun" else {}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    join_ranks("cpu")
    try:
        assert idist.get_local_rank() == (1 if launcher == "torchrun" else 0)
    finally:
        idist.finalize()
