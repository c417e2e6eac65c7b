# SPDX-License-Identifier: Apache-2.0
"""Two gloo processes with half the batch each train as one process with the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from tests.engines.toy_run import ToyRun, same


def start_ranks(function: Callable[..., None], *arguments: Any) -> None:
    """Forks, since importing everything anew in each rank would take longer than the test."""
    mp.start_processes(in_rank, args=(function, arguments), nprocs=2, start_method="fork")


def in_rank(rank: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    store = f"file://{arguments[0]}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    function(rank, *arguments)
    dist.destroy_process_group()


def distributed(network: Any) -> DistributedDataParallel:
    return DistributedDataParallel(network, find_unused_parameters=True)


def train_ranks(rank: int, folder: Path, arguments: dict[str, Any]) -> None:
    run = ToyRun(folder / "two", dropout=0.0, wrap=distributed, **arguments).run()
    torch.save(run.weights(), folder / f"weights-{rank}.pt")


def nan_on_one_rank(rank: int, folder: Path) -> None:
    run = ToyRun(folder / "nan", dropout=0.0, wrap=distributed)
    if rank == 1:
        run.network.student.hidden.weight.data.fill_(float("nan"))
    run.trainer.network = run.network  # keeps the weights of the ranks apart
    with pytest.raises(RuntimeError, match="loss = nan") as error:
        run.run()
    (folder / f"message-{rank}").write_text(str(error.value))


@pytest.mark.parametrize("arguments", [{"selection_refresh": 3}, {"accumulation_steps": 2}])
def test_two_ranks_equal_one_process(arguments: dict[str, Any], tmp_path: Path) -> None:
    arguments = {**arguments, "max_epochs": 2, "epoch_length": 4}
    start_ranks(train_ranks, tmp_path, arguments)
    one = ToyRun(tmp_path / "one", dropout=0.0, **arguments).run()
    weights = [torch.load(tmp_path / f"weights-{rank}.pt", weights_only=True) for rank in range(2)]
    assert same(*weights)
    for name, value in one.weights().items():
        assert torch.allclose(value, weights[0][name], atol=1e-5), name
    states = [torch.load(tmp_path / name / "resume.pt", weights_only=True) for name in ("one", "two")]
    caches = [state["trainer"]["selection_cache"] for state in states]
    assert caches[0]["uses"].keys() == caches[1]["uses"].keys()
    for source, uses in caches[0]["uses"].items():
        assert torch.equal(uses, caches[1]["uses"][source])
    one_rank, two_ranks = (state["objects"]["network"]["student.hidden.weight"] for state in states)
    assert torch.allclose(one_rank, two_ranks, atol=1e-5)  # under the same name, without "module."


def test_nan_on_one_rank_stops_all_with_all_rows(tmp_path: Path) -> None:
    start_ranks(nan_on_one_rank, tmp_path)
    messages = [(tmp_path / f"message-{rank}").read_text() for rank in range(2)]
    assert messages[0] == messages[1]
    assert messages[0].split("; 3d")[0].count("2d-") == 4
