# SPDX-License-Identifier: Apache-2.0
"""Two gloo ranks with half the rows each equal one process with all: loss, gradient, centres, weights."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

WORKER = Path(__file__).with_name("two_rank_worker.py")
ROOT = WORKER.parents[2]
SIZE, PROTOTYPES, TOKENS, STEPS = 6, 8, 4, 3


def rows(count: int, generator: torch.Generator, grouped: bool) -> dict[str, Tensor]:
    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    drawn = {
        "tokens": normal(count, 1 + TOKENS, SIZE),
        "text": normal(count, SIZE),
        "teacher": normal(count, 1 + TOKENS, PROTOTYPES),
    }
    if grouped:
        drawn["pair_group"] = torch.randint(0, count // 2, (count,), generator=generator)  # over ranks too
    return drawn


def case(centring: str, joint_contrast: bool, grouped: bool) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    batches = [{"2d": rows(8, generator, grouped), "3d": rows(4, generator, grouped)} for _ in range(STEPS)]
    return {
        "size": SIZE,
        "prototypes": PROTOTYPES,
        "centring": centring,
        "joint_contrast": joint_contrast,
        "batches": batches,
    }


CASES = {
    "centre, shared targets": ("centre", False, True),
    "centre, own targets": ("centre", False, False),
    "sinkhorn, joint contrast": ("sinkhorn", True, True),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All cases by one process and by two, from separate interpreters."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.save([case(*arguments) for arguments in CASES.values()], folder / "case.pt")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    workers = [
        subprocess.Popen([sys.executable, str(WORKER), str(rank), "2", str(folder)], env=environment)
        for rank in range(2)
    ]
    specification = importlib.util.spec_from_file_location("two_rank_worker", WORKER)
    assert specification is not None
    assert specification.loader is not None
    worker = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(worker)
    single = [worker.steps(each, 0, 1) for each in torch.load(folder / "case.pt", weights_only=True)]
    assert [process.wait(timeout=120) for process in workers] == [0, 0]
    weighted = worker.weighted_gradients(0, 1)
    ranks = [torch.load(folder / f"rank_{rank}.pt") for rank in range(2)]
    return {"single": single, "weighted": weighted, "ranks": ranks}


def assert_close(found: list[Tensor], expected: list[Tensor]) -> None:
    for ours, whole in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_mean_over_ranks_is_the_loss_of_the_whole_batch(runs: dict[str, Any], name: str) -> None:
    index = list(CASES).index(name)
    single, ranks = runs["single"][index], [rank["cases"][index] for rank in runs["ranks"]]
    for step in range(STEPS):
        for term, value in single["history"][step]["terms"].items():
            found = [rank["history"][step]["terms"][term].item() for rank in ranks]
            assert sum(found) / 2 == pytest.approx(value.item(), abs=1e-9), (step, term)
            if "entropy" in term:  # so that all ranks stop at a collapse, or none
                assert found[0] == found[1]


@pytest.mark.parametrize("name", CASES)
def test_averaged_gradient_centres_and_weights_are_those_of_the_whole_batch(
    runs: dict[str, Any], name: str
) -> None:
    index = list(CASES).index(name)
    single = runs["single"][index]
    for rank in runs["ranks"]:
        found = rank["cases"][index]
        for step in range(STEPS):
            assert_close(found["history"][step]["gradients"], single["history"][step]["gradients"])
        assert_close(found["weights"], single["weights"])
        assert_close(list(found["buffers"].values()), list(single["buffers"].values()))
    assert single["history"][0]["gradients"][-1].any()


def test_each_rank_may_have_its_own_factor_on_the_loss(runs: dict[str, Any]) -> None:
    for number, whole in enumerate(runs["weighted"]):
        assert_close([torch.cat([rank["weighted"][number] for rank in runs["ranks"]])], [whole])


def test_one_row_a_rank_is_contrast_enough(runs: dict[str, Any]) -> None:
    assert [rank["one_row_each"].item() for rank in runs["ranks"]] == pytest.approx([math.log(2)] * 2)


def test_ranks_with_different_row_counts_are_refused(runs: dict[str, Any]) -> None:
    for rank in runs["ranks"]:
        assert "every rank must hold the same number of rows, got [2, 3] by rank" in rank["uneven"]
