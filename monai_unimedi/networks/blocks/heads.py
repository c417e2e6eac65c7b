# SPDX-License-Identifier: Apache-2.0
"""The head of the self-distillation: tokens to prototype logits (DINO, Caron et al. 2021; iBOT, Zhou et al. 2022)."""

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["DistillationHead"]


class DistillationHead(nn.Module):
    """3-layer MLP, bottleneck, L2 norm, and a last layer of unit-norm prototypes; one head for [CLS] and patches.

    Args:
        hidden_size: width of the tokens.
        mlp_dim: width of the hidden layers (2048 at the paper's scale).
        bottleneck_dim: width before the prototypes (256).
        num_prototypes: K (8192 at the paper's scale, 64 to 256 at the demo's).
    """

    def __init__(
        self, hidden_size: int, mlp_dim: int = 2048, bottleneck_dim: int = 256, num_prototypes: int = 8192
    ) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(hidden_size, mlp_dim),
            nn.GELU(),
            nn.Linear(mlp_dim, mlp_dim),
            nn.GELU(),
            nn.Linear(mlp_dim, bottleneck_dim),
        )
        self.prototypes = nn.Parameter(torch.randn(num_prototypes, bottleneck_dim))
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens: (..., C), float. Returns logits (..., K) in [-1, 1], before any temperature; float32 also under
        autocast, since a temperature of 0.04 makes a tenth of a step of bfloat16."""
        bottleneck = self.mlp(tokens)
        with torch.autocast(tokens.device.type, enabled=False):
            bottleneck = F.normalize(bottleneck.float(), dim=-1)
            return F.linear(bottleneck, F.normalize(self.prototypes, dim=-1).to(bottleneck.dtype))
