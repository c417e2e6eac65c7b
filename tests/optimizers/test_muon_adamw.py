# SPDX-License-Identifier: Apache-2.0
"""Two optimizers in one: who trains what, schedules, and an exact restart."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from monai_unimedi.optimizers.float32_muon import Float32Muon
from monai_unimedi.optimizers.muon_adamw import MuonAdamW, stack_matrices


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.blocks = nn.ModuleList([nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4)) for _ in range(2)])
        self.projection = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.table(x)
        for block in self.blocks:
            x = x + block(x)
        return self.projection(x)


def train(network: Stack, optimizer: MuonAdamW, steps: int) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        network(torch.arange(5).roll(step)).square().sum().backward()
        optimizer.step()


@pytest.fixture
def network() -> Stack:
    torch.manual_seed(0)
    return Stack()


def test_muon_trains_the_stacks_matrices_and_adamw_everything_else(network: Stack) -> None:
    optimizer = MuonAdamW(network)
    assert [id(p) for p in stack_matrices(network)] == [id(block[1].weight) for block in network.blocks]
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, trained)) == sorted(map(id, network.parameters()))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays[id(network.projection.bias)] == 0 and decays[id(network.table.weight)] == 0.05


def test_each_part_steps_as_it_does_alone(network: Stack) -> None:
    alone = copy.deepcopy(network)
    train(network, MuonAdamW(network, lr=0.01, muon_lr=0.02, float32_iteration=False), 3)
    matrices = stack_matrices(alone)
    held = {id(p) for p in matrices}
    others = [p for p in alone.parameters() if id(p) not in held]
    parts = [
        torch.optim.Muon(matrices, lr=0.02, momentum=0.95, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([p for p in others if p.ndim > 1], lr=0.01, betas=(0.9, 0.98), weight_decay=0.05),
        torch.optim.AdamW([p for p in others if p.ndim < 2], lr=0.01, betas=(0.9, 0.98), weight_decay=0),
    ]
    for step in range(3):
        alone.zero_grad()
        alone(torch.arange(5).roll(step)).square().sum().backward()
        for part in parts:
            part.step()
    torch.testing.assert_close(network.state_dict(), alone.state_dict())


def test_a_scheduler_scales_both_learning_rates(network: Stack) -> None:
    optimizer = MuonAdamW(network, lr=0.01, muon_lr=0.02)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    assert [group["lr"] for group in optimizer.adamw.param_groups + optimizer.muon.param_groups] == [0.005, 0.005, 0.01]


def test_stop_and_resume_equals_the_uninterrupted_run(network: Stack) -> None:
    resumed = copy.deepcopy(network)
    train(network, whole := MuonAdamW(network), 4)
    train(resumed, first := MuonAdamW(resumed), 2)
    second = MuonAdamW(resumed)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for step in range(2, 4):
        second.zero_grad()
        resumed(torch.arange(5).roll(step)).square().sum().backward()
        second.step()
    for a, b in zip(network.parameters(), resumed.parameters()):
        assert torch.equal(a, b)
    assert whole.param_groups[0]["lr"] == second.param_groups[0]["lr"]


@pytest.mark.parametrize("has_units", [True, False])
def test_the_iteration_is_in_the_precision_that_the_device_computes_fast(
    network: Stack, has_units: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monai_unimedi.optimizers.muon_adamw.has_bfloat16_units", lambda device: has_units)
    assert isinstance(MuonAdamW(network).muon, Float32Muon) is not has_units
    assert isinstance(MuonAdamW(network, float32_iteration=True).muon, Float32Muon)
    assert not isinstance(MuonAdamW(network, float32_iteration=False).muon, Float32Muon)


def test_a_network_without_a_stack_is_an_error() -> None:
    with pytest.raises(ValueError, match="transformer stack"):
        MuonAdamW(nn.Linear(2, 2))
