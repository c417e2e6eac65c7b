# SPDX-License-Identifier: Apache-2.0
"""Muon for the matrices inside transformer stacks, AdamW for everything else, as one optimizer.

PyTorch's own ``torch.optim.Muon`` (Jordan et al. 2024; it takes matrices alone), or its form in single precision, and
``torch.optim.AdamW``. From
scratch a short run learns several times faster than by AdamW alone (``docs/decisions.md``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.optimizer import Optimizer

from monai_unimedi.precision import has_bfloat16_units

from .float32_muon import Float32Muon
from .param_groups import split_by_decay

__all__ = ["MuonAdamW", "stack_matrices"]


def stack_matrices(network: nn.Module) -> list[nn.Parameter]:
    """Trained weights of the linear layers inside transformer stacks (anything below an ``nn.ModuleList``).

    Embeddings, positions, projections and heads lie outside of stacks.
    """
    stacks = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    linears = [layer for stack in stacks for layer in stack.modules() if isinstance(layer, nn.Linear)]
    weights = [layer.get_parameter("weight") for layer in linears]
    unique = {id(weight): weight for weight in weights if weight.requires_grad}
    return list(unique.values())


class MuonAdamW(Optimizer):
    """One optimizer of two parts, whose learning rates a scheduler scales alike.

    Args:
        network: the module to train; frozen parameters are left out, so freeze before.
        lr: of AdamW: tables, biases, norms, projections, heads.
        muon_lr: of Muon, at the scale of AdamW's updates ("match_rms_adamw").
        betas: of AdamW.
        weight_decay: of both, on matrices and tables alone.
        momentum: of Muon.
        float32_iteration: Muon iterates in float32 instead of bfloat16; by default where the network's device has no
            units for bfloat16 (`has_bfloat16_units`).

    Raises:
        ValueError: When the network has no transformer stack to train; use AdamW then.
    """

    def __init__(
        self,
        network: nn.Module,
        lr: float = 1e-3,
        muon_lr: float = 5e-3,
        betas: tuple[float, float] = (0.9, 0.98),
        weight_decay: float = 0.05,
        momentum: float = 0.95,
        float32_iteration: bool | None = None,
    ) -> None:
        matrices = stack_matrices(network)
        if not matrices:
            raise ValueError("network must have a trained transformer stack for Muon, got none; use AdamW.")
        held = {id(matrix) for matrix in matrices}
        others = split_by_decay(network, weight_decay)
        for group in others:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in held]
        self.adamw = AdamW([group for group in others if group["params"]], lr=lr, betas=(betas[0], betas[1]))
        if float32_iteration is None:
            float32_iteration = not has_bfloat16_units(matrices[0].device)
        self.muon = (Float32Muon if float32_iteration else torch.optim.Muon)(
            matrices, lr=muon_lr, momentum=momentum, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        super().__init__(self.adamw.param_groups + self.muon.param_groups, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step both parts; ``closure`` is evaluated once, before."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.adamw.step()
        self.muon.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """State of both parts, by name."""
        return {"adamw": self.adamw.state_dict(), "muon": self.muon.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` gave."""
        self.adamw.load_state_dict(state_dict["adamw"])
        self.muon.load_state_dict(state_dict["muon"])
        self.param_groups = self.adamw.param_groups + self.muon.param_groups
