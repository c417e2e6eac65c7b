# SPDX-License-Identifier: Apache-2.0
"""Several gloo processes with a share of the batch each train as one process with the whole batch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from monai_unimedi.engines.distributed import average_buffers, no_sync, unwrap
from tests.engines.toy_run import ToyRun, same


def start_ranks(function: Callable[..., None], *arguments: Any, count: int = 2) -> None:
    """Forks of a process that has imported everything and has no threads; a fork of this one may wait for ever."""
    mp.start_processes(in_rank, args=(count, function, arguments), nprocs=count, start_method="forkserver")


def in_rank(rank: int, count: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    store = Path(arguments[0]) / f"store-{count}"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=count)
    function(rank, *arguments)
    dist.destroy_process_group()


def distributed(network: Any) -> DistributedDataParallel:
    return DistributedDataParallel(network, find_unused_parameters=True)


def train_ranks(rank: int, folder: Path, arguments: dict[str, Any]) -> None:
    run = ToyRun(folder / "several", dropout=0.0, wrap=distributed, **arguments).run()
    torch.save(run.weights(), folder / f"weights-{rank}.pt")


def nan_on_one_rank(rank: int, folder: Path) -> None:
    run = ToyRun(folder / "nan", dropout=0.0, wrap=distributed)
    if rank == 1:
        run.network.student.hidden.weight.data.fill_(float("nan"))
    run.trainer.network = run.network  # keeps the weights of the ranks apart
    with pytest.raises(RuntimeError, match="loss = nan") as error:
        run.run()
    (folder / f"message-{rank}").write_text(str(error.value))


@pytest.mark.parametrize(
    ("count", "arguments"),
    [(2, {"selection_refresh": 3}), (2, {"accumulation_steps": 2}), (4, {"selection_refresh": 3})],
)
def test_ranks_equal_one_process(count: int, arguments: dict[str, Any], tmp_path: Path) -> None:
    arguments = {**arguments, "max_epochs": 2, "epoch_length": 4}
    start_ranks(train_ranks, tmp_path, arguments, count=count)
    one = ToyRun(tmp_path / "one", dropout=0.0, **arguments).run()
    weights = [torch.load(tmp_path / f"weights-{rank}.pt", weights_only=True) for rank in range(count)]
    assert all(same(weights[0], others) for others in weights)
    for name, value in one.weights().items():
        assert torch.allclose(value, weights[0][name], atol=1e-5), name
    states = [torch.load(tmp_path / name / "resume.pt", weights_only=True) for name in ("one", "several")]
    caches = [state["trainer"]["selection_cache"] for state in states]
    assert caches[0]["uses"].keys() == caches[1]["uses"].keys()
    for source, uses in caches[0]["uses"].items():
        assert torch.equal(uses, caches[1]["uses"][source])
    one_rank, ranks = (state["objects"]["network"]["student.hidden.weight"] for state in states)
    assert torch.allclose(one_rank, ranks, atol=1e-5)  # under the same name, without "module."


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 4)])
def test_run_goes_on_with_another_number_of_ranks(before: int, after: int, tmp_path: Path) -> None:
    arguments = {"max_epochs": 2, "epoch_length": 4, "selection_refresh": 2, "keep_last": 9}
    first, then = tmp_path / "first", tmp_path / "then"
    for folder in (first, then):
        folder.mkdir()
    one = ToyRun(tmp_path / "one", dropout=0.0, **arguments).run()
    start_ranks(train_ranks, first, arguments, count=before)
    (then / "several").mkdir()
    shutil.copy(first / "several" / "resume_00000004.pt", then / "several" / "resume.pt")
    start_ranks(train_ranks, then, arguments, count=after)
    weights = torch.load(then / "weights-0.pt", weights_only=True)
    for name, value in one.weights().items():
        assert torch.allclose(value, weights[name], atol=1e-5), name


def find_own_checkpoint(rank: int, folder: Path) -> None:
    run = ToyRun(folder / f"of-{rank}", dropout=0.0)
    with pytest.raises(ValueError, match="rank 0: 20, rank 1: none; let --output_dir be on a disk that all"):
        run.resume.restore()


def test_ranks_that_find_different_checkpoints_stop(tmp_path: Path) -> None:
    ToyRun(tmp_path / "of-0", dropout=0.0).run()
    start_ranks(find_own_checkpoint, tmp_path)


def wrap_in_both_orders(rank: int, folder: Path) -> None:
    network = nn.Linear(2, 2)
    for wrapped in (torch.compile(distributed(network)), distributed(torch.compile(network))):
        ddp = getattr(wrapped, "_orig_mod", wrapped)
        assert unwrap(wrapped) is network
        with no_sync(wrapped):
            assert not ddp.require_backward_grad_sync
        assert ddp.require_backward_grad_sync


def test_compiled_and_distributed_networks_are_unwrapped_in_whatever_order(tmp_path: Path) -> None:
    start_ranks(wrap_in_both_orders, tmp_path, count=1)
    network = nn.Linear(2, 2)
    assert unwrap(network) is network
    with no_sync(network):
        assert unwrap(torch.compile(network)) is network


def move_running_mean(rank: int, folder: Path) -> None:
    layer = nn.BatchNorm1d(3, affine=False)
    layer.running_mean = torch.full((3,), 1.0 + rank)
    average_buffers(layer)
    assert layer.running_mean.tolist() == [1.5] * 3
    assert layer.running_var is not None and layer.running_var.tolist() == [1.0] * 3
    assert layer.num_batches_tracked is not None and int(layer.num_batches_tracked) == 0


def test_running_means_become_those_of_all_ranks(tmp_path: Path) -> None:
    start_ranks(move_running_mean, tmp_path)


def test_processes_without_a_group_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError, match=r"4 processes .* one process group, got none: add the bundle's configs"):
        ToyRun(tmp_path).run()
    assert not (tmp_path / "resume.pt").exists()


def test_nan_on_one_rank_stops_all_with_all_rows(tmp_path: Path) -> None:
    start_ranks(nan_on_one_rank, tmp_path)
    messages = [(tmp_path / f"message-{rank}").read_text() for rank in range(2)]
    assert messages[0] == messages[1]
    assert messages[0].split("; 3d")[0].count("2d-") == 4
