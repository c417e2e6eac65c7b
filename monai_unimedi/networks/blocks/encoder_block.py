# SPDX-License-Identifier: Apache-2.0
"""Pre-norm transformer block whose attention can also hand out its [CLS] row.

UniMedI's slice selection (method, section 3) needs only the row of the attention matrix that belongs to [CLS]. The
block therefore attends by scaled-dot-product attention and computes that one row beside it from the same q and k.
"""

from typing import List, Tuple

import torch
import torch.nn.functional as F
from monai.networks.blocks import MLPBlock
from torch import nn

__all__ = ["ClassRowAttention", "EncoderBlock"]


class ClassRowAttention(nn.Module):
    """Multi-head self-attention with access to the attention of [CLS] over the patches.

    Args:
        hidden_size: width C of the tokens; a multiple of ``num_heads``.
        num_heads: number of heads H.
        qkv_bias: whether q, k and v have a bias.

    Raises:
        ValueError: When ``hidden_size`` is not a multiple of ``num_heads``.
    """

    def __init__(self, hidden_size: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        if hidden_size % num_heads != 0:
            raise ValueError(f"hidden_size must be a multiple of num_heads, got {hidden_size} and {num_heads}.")
        self.num_heads = num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=qkv_bias)
        self.out = nn.Linear(hidden_size, hidden_size)

    def heads(self, x: torch.Tensor) -> List[torch.Tensor]:
        """Split tokens (B, L, C) into q, k, v of shape (B, H, L, C / H) each."""
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        return [qkv[0], qkv[1], qkv[2]]

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attention output (B, L, C) of q, k, v.

        Scaled-dot-product attention, but for bfloat16 on a CPU, where its backward pass is four times slower than
        two batched products (``docs/decisions.md``).
        """
        if q.dtype == torch.bfloat16 and not q.is_cuda:
            x = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        else:
            x = F.scaled_dot_product_attention(q, k, v)
        return self.out(x.transpose(1, 2).flatten(2))

    def class_row(self, q: torch.Tensor, k: torch.Tensor, num_groups: int) -> torch.Tensor:
        r"""[CLS] attention over the patch tokens, averaged over the heads.

        :math:`\mathrm{softmax}(q_{CLS} K_{patch}^T / \sqrt{C / H})`, joint over all patches when ``num_groups`` is 1,
        else within each of ``num_groups`` equal runs of patches.

        Returns:
            (B, N), float; each group sums to 1.
        """
        patches = k[:, :, 1:].float()
        logits = (patches * q[:, :, :1].float()).sum(-1) * (q.shape[-1] ** -0.5)  # (B, H, N)
        grouped = logits.reshape(logits.shape[0], logits.shape[1], num_groups, -1)
        return grouped.softmax(-1).flatten(2).mean(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, L, C), float. Returns (B, L, C)."""
        q, k, v = self.heads(x)
        return self.attend(q, k, v)


class EncoderBlock(nn.Module):
    """Pre-norm transformer block: attention, then a GELU MLP.

    MONAI's ``TransformerBlock`` keeps an unused cross-attention norm, which stops distributed training, and its
    attention returns the full matrix or nothing; hence this block around MONAI's ``MLPBlock``.

    Args:
        hidden_size: width C.
        mlp_dim: hidden width of the MLP.
        num_heads: number of attention heads.
        qkv_bias: whether q, k and v have a bias.
        norm_eps: epsilon of the layer norms; a converted checkpoint needs that of its source.
    """

    def __init__(
        self, hidden_size: int, mlp_dim: int, num_heads: int, qkv_bias: bool = True, norm_eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.attention = ClassRowAttention(hidden_size, num_heads, qkv_bias)
        self.norm2 = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.mlp = MLPBlock(hidden_size, mlp_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, L, C), float, [CLS] first. Returns (B, L, C)."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def forward_with_class_row(self, x: torch.Tensor, num_groups: int = 1) -> Tuple[torch.Tensor, torch.Tensor]:
        """As ``forward``, and the [CLS] row (B, L - 1) of this block's attention beside it."""
        q, k, v = self.attention.heads(self.norm1(x))
        row = self.attention.class_row(q, k, num_groups)
        x = x + self.attention.attend(q, k, v)
        return x + self.mlp(self.norm2(x)), row

    def class_row(self, x: torch.Tensor, num_groups: int = 1) -> torch.Tensor:
        """The [CLS] row (B, L - 1) alone: all that the last block owes to slice selection."""
        q, k, v = self.attention.heads(self.norm1(x))
        return self.attention.class_row(q, k, num_groups)
