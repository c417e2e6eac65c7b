# SPDX-License-Identifier: Apache-2.0
"""The running mean against its sum written out, however the samples come."""

from __future__ import annotations

import pytest
import torch

from monai_unimedi.networks.blocks.running_mean import RunningMean

STEPS = [torch.rand(n, 2, 3, generator=torch.Generator().manual_seed(n)) for n in (5, 1, 8, 3)]
MEMORY = 7.0


def running(steps: list[list[torch.Tensor]]) -> torch.Tensor:
    """Each step in parts."""
    found, mean = RunningMean((2, 3), MEMORY), torch.zeros(2, 3)
    for parts in steps:
        for part in parts:
            found.add(part)
        mean.lerp_(*found.take())
        mean.lerp_(*found.take())  # nothing was added: nothing moves
    return mean


def written_out() -> torch.Tensor:
    later = [sum(len(step) for step in STEPS[index + 1 :]) for index in range(len(STEPS))]
    weights = torch.cat([torch.full((len(step),), (1 - 1 / MEMORY) ** after) for step, after in zip(STEPS, later)])
    return torch.einsum("n,nxy->xy", weights / weights.sum(), torch.cat(STEPS))


def test_mean_is_that_of_all_samples_by_their_weights() -> None:
    torch.testing.assert_close(running([[step] for step in STEPS]), written_out())
    torch.testing.assert_close(running([list(step.split(2)) for step in STEPS]), written_out())
    torch.testing.assert_close(running([[STEPS[0]]]), STEPS[0].mean(0))


def test_ranks_with_unequal_shares_have_the_mean_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = [RunningMean((2, 3), MEMORY) for _ in range(2)]
    means = torch.zeros(2, 2, 3)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    for step in STEPS:
        shares = step.split([len(step) // 3, len(step) - len(step) // 3])
        for rank, share in zip(ranks, shares):
            rank.add(share)
        for name in ("total", "count"):
            average = torch.stack([getattr(rank, name) for rank in ranks]).mean(0)
            for rank in ranks:
                getattr(rank, name).copy_(average)
        for mean, rank in zip(means, ranks):
            mean.lerp_(*rank.take())
    for mean in means:
        torch.testing.assert_close(mean, written_out())


def test_state_goes_on() -> None:
    whole, half, other = (RunningMean((2, 3), MEMORY) for _ in range(3))
    for step in STEPS[:2]:
        for found in (whole, half):
            found.add(step)
            found.take()
    other.load_state_dict(half.state_dict())
    for found in (whole, other):
        found.add(STEPS[2])
    for one, two in zip(whole.take(), other.take()):
        assert torch.equal(one, two)
