# SPDX-License-Identifier: Apache-2.0
"""Muon in single precision is PyTorch's up to its rounding, and its iteration the formula."""

from __future__ import annotations

import pytest
import torch

from monai_unimedi.optimizers.float32_muon import Float32Muon, newton_schulz

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


@pytest.mark.parametrize("shape", [(8, 8), (4, 12), (12, 4), (1, 5)])
def test_iteration_maps_each_singular_value_by_the_polynomial(shape: tuple[int, int]) -> None:
    a, b, c = COEFFICIENTS
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values = values / values.square().sum().sqrt()
    for _ in range(5):
        values = a * values + b * values**3 + c * values**5
    torch.testing.assert_close(newton_schulz(matrix, COEFFICIENTS, 5, 1e-7), left * values @ right)


def test_a_matrix_of_zeros_stays_zero() -> None:
    assert torch.equal(newton_schulz(torch.zeros(3, 4), COEFFICIENTS, 5, 1e-7), torch.zeros(3, 4))


@pytest.mark.parametrize("rule", ["match_rms_adamw", "original"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_steps_are_those_of_pytorch_up_to_bfloat16(rule: str, nesterov: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    start = [torch.randn(size, generator=draw) for size in ((16, 16), (8, 24), (24, 8))]
    gradients = [[torch.randn(matrix.shape, generator=draw) for matrix in start] for _ in range(3)]
    moved = []
    for kind in (torch.optim.Muon, Float32Muon):
        matrices = [torch.nn.Parameter(matrix.clone()) for matrix in start]
        optimizer = kind(matrices, lr=0.1, weight_decay=0.05, momentum=0.9, nesterov=nesterov, adjust_lr_fn=rule)
        for step in gradients:
            for matrix, gradient in zip(matrices, step):
                matrix.grad = gradient.clone()
            optimizer.step()
        moved.append([(matrix - first).detach() for matrix, first in zip(matrices, start)])
    for theirs, ours in zip(*moved):
        assert (theirs - ours).norm() < 0.02 * theirs.norm()


def test_a_state_goes_over_from_one_to_the_other() -> None:
    matrix = torch.nn.Parameter(torch.ones(2, 3))
    matrix.grad = torch.full((2, 3), 0.5)
    first = torch.optim.Muon([matrix], lr=0.1, momentum=0.9)
    first.step()
    second = Float32Muon([matrix], lr=0.1, momentum=0.9)
    second.load_state_dict(first.state_dict())
    second.step()
    buffer = second.state_dict()["state"][0]["momentum_buffer"]
    torch.testing.assert_close(buffer, torch.full((2, 3), 0.5 * (1 - 0.9**2)))


def test_a_matrix_without_gradient_stays() -> None:
    matrix = torch.nn.Parameter(torch.ones(2, 2))
    Float32Muon([matrix]).step()
    assert torch.equal(matrix, torch.ones(2, 2))
