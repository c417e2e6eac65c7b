# SPDX-License-Identifier: Apache-2.0
r"""``torch.optim.Muon`` with its iteration in single precision.

PyTorch's own iterates in bfloat16, which CPUs without units for it multiply ten times more slowly than float32, and
whose rounding makes several processes differ from one by up to 1e-3 (1e-6 here).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Float32Muon", "newton_schulz"]


def newton_schulz(update: Tensor, coefficients: tuple[float, float, float], num_steps: int, eps: float) -> Tensor:
    r"""The nearest matrix with singular values of about 1.

    :math:`X_0 = U / \|U\|_F` and ``num_steps`` times :math:`X \leftarrow aX + (bXX^T + c(XX^T)^2)X` (Jordan et al.
    2024). Singular values end between about 0.7 and 1.2.

    Args:
        update: (rows, columns), float.
        coefficients: a, b, c.
        num_steps: of the iteration.
        eps: lower bound of the norm.

    Returns:
        (rows, columns), in the precision of ``update``.
    """
    a, b, c = coefficients
    is_tall = update.shape[0] > update.shape[1]
    x = update.T if is_tall else update
    x = x / x.norm().clamp(min=eps)
    for _ in range(num_steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x


class Float32Muon(torch.optim.Muon):
    """Same arguments, state and result as PyTorch's, up to its rounding."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step all matrices that have a gradient; ``closure`` is evaluated before."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._step_matrix(matrix, matrix.grad, group)
        return loss

    def _step_matrix(self, matrix: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[matrix], group["momentum"]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        mean = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        update = gradient.lerp(mean, momentum) if group["nesterov"] else mean
        update = newton_schulz(update.float(), group["ns_coefficients"], group["ns_steps"], group["eps"])
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(update, alpha=-_scaled(group["lr"], group["adjust_lr_fn"], matrix.shape))


def _scaled(lr: float, rule: str | None, shape: torch.Size) -> float:
    """The learning rate of a matrix: by its larger side to AdamW's size of update, or by its sides' ratio."""
    if rule == "match_rms_adamw":
        return lr * 0.2 * math.sqrt(max(shape))
    return lr * math.sqrt(max(1.0, shape[0] / shape[1]))
