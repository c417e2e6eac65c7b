# SPDX-License-Identifier: Apache-2.0
"""The fused AdamW of paper.json is AdamW."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from monai_unimedi.optimizers import split_by_decay


def trained(is_fused: bool, dtype: torch.dtype) -> list[torch.Tensor]:
    """Weights after 20 steps of a small network."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, 4)).to(dtype)
    optimizer = torch.optim.AdamW(split_by_decay(network, 0.05), lr=1e-3, betas=(0.9, 0.999), fused=is_fused)
    for _ in range(20):
        optimizer.zero_grad()
        network(torch.randn(8, 16, dtype=dtype)).square().mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return [parameter.detach() for parameter in network.parameters()]


def test_fused_steps_equal_plain_ones(pretrain_bundle: Path) -> None:
    optimizer = json.loads((pretrain_bundle / "configs" / "paper.json").read_text())["optimizer"]
    assert optimizer["_target_"] == "torch.optim.AdamW" and optimizer["fused"] is True
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        torch.testing.assert_close(trained(True, dtype), trained(False, dtype), rtol=tolerance, atol=tolerance)
