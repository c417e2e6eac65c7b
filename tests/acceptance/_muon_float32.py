# SPDX-License-Identifier: Apache-2.0
"""The shipped optimizer with Muon's iteration in single precision, to tell rounding from a wrong gradient."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch

from monai_unimedi.optimizers import MuonAdamW

ITERATION = "torch.optim._muon._zeropower_via_newtonschulz"


def newton_schulz(
    gradient: torch.Tensor, coefficients: tuple[float, float, float], num_steps: int, eps: float
) -> torch.Tensor:
    r"""``num_steps`` times :math:`X \leftarrow aX + (bXX^T + c(XX^T)^2)X`, from a gradient (rows, columns) of
    norm 1; PyTorch's own does it in bfloat16."""
    a, b, c = coefficients
    is_tall = gradient.shape[0] > gradient.shape[1]
    x = gradient.T if is_tall else gradient
    x = x / x.norm().clamp(min=eps)
    for _ in range(num_steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if is_tall else x


class Float32MuonAdamW(MuonAdamW):
    """``MuonAdamW``, its iteration replaced."""

    def step(self, closure: Any = None) -> Any:
        with mock.patch(ITERATION, newton_schulz):
            return super().step(closure)
