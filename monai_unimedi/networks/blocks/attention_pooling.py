# SPDX-License-Identifier: Apache-2.0
"""Attention pooling: one learnt query per head asks all patch tokens (Set Transformer, Lee et al. 2019; CoCa, 2022)."""

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["AttentionPooling"]


class AttentionPooling(nn.Module):
    """Patch tokens to one vector.

    Args:
        hidden_size: width C of the tokens; a multiple of ``num_heads``.
        num_heads: number of heads.
    """

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        if hidden_size % num_heads != 0:
            raise ValueError(f"hidden_size must be a multiple of num_heads, got {hidden_size} and {num_heads}.")
        self.num_heads = num_heads
        self.query = nn.Parameter(torch.zeros(1, num_heads, 1, hidden_size // num_heads))
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size)
        self.out = nn.Linear(hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens: (B, N, C), float. Returns (B, C); zero queries start as the mean over the tokens."""
        b, n, c = tokens.shape
        pair = self.key_value(tokens).reshape(b, n, 2, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        query = self.query.expand(b, -1, -1, -1).to(pair.dtype)
        pooled = F.scaled_dot_product_attention(query, pair[0], pair[1])
        return self.norm(self.out(pooled.flatten(1)))
