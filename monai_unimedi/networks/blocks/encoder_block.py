# SPDX-License-Identifier: Apache-2.0
"""Pre-norm transformer block whose attention can also hand out its [CLS] row.

UniMedI's slice selection (method, section 3) needs only the row of the attention matrix that belongs to [CLS]. The
block therefore attends by scaled-dot-product attention and computes that one row beside it from the same q and k; or,
from v as well, how much each patch contributes to what [CLS] receives, since attention to a small value moves nothing
(after Kobayashi et al., "Attention is not only a weight", EMNLP 2020).
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

    def heads_of(self, wanted: torch.Tensor, x: torch.Tensor) -> List[torch.Tensor]:
        """q of tokens (B, Q, C) alone, k and v of all tokens (B, L, C); (B, H, Q or L, C / H) each."""
        b, c = x.shape[0], x.shape[2]
        weight, bias = self.qkv.weight, self.qkv.bias
        q = F.linear(wanted, weight[:c], bias[:c] if bias is not None else None)
        kv = F.linear(x, weight[c:], bias[c:] if bias is not None else None)
        kv = kv.reshape(b, x.shape[1], 2, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        return [q.reshape(b, wanted.shape[1], self.num_heads, c // self.num_heads).transpose(1, 2), kv[0], kv[1]]

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attention output (B, Q, C) of q (B, H, Q, C / H) and k, v (B, H, L, C / H).

        Scaled-dot-product attention, but for bfloat16 on a CPU where gradients are wanted: there its backward pass
        is four times slower than two batched products (``docs/decisions.md``).
        """
        if q.dtype == torch.bfloat16 and not q.is_cuda and q.requires_grad:
            x = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        else:
            x = F.scaled_dot_product_attention(q, k, v)
        return self.out(x.transpose(1, 2).flatten(2))

    def class_row(self, q: torch.Tensor, k: torch.Tensor, num_groups: int) -> torch.Tensor:
        r"""[CLS] attention over the patch tokens, head by head.

        :math:`\mathrm{softmax}(q_{CLS} K_{patch}^T / \sqrt{C / H})`, joint over all patches when ``num_groups`` is 1,
        else within each of ``num_groups`` equal runs of patches.

        Returns:
            (B, H, N), float; each group sums to 1.
        """
        rows: List[torch.Tensor] = []
        for head in range(self.num_heads):  # one by one: all heads' products at once are 12 MB a volume, not 1
            rows.append((k[:, head, 1:].float() * q[:, head, :1].float()).sum(-1))
        logits = torch.stack(rows, 1) * (q.shape[-1] ** -0.5)  # (B, H, N)
        grouped = logits.reshape(logits.shape[0], logits.shape[1], num_groups, -1)
        return grouped.softmax(-1).flatten(2)

    def contributions(self, row: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        r"""What each patch adds to the update that [CLS] receives from all patches.

        With the heads' attention a and values v the update is :math:`u = \sum_n c_n`,
        :math:`c_n = W_{out} [a_{1n} v_{1n}; \dots; a_{Hn} v_{Hn}]`; patch n adds :math:`\max(0, c_n^T u / |u|)`.

        Args:
            row: (B, H, N), from ``class_row``.
            v: (B, H, 1 + N, C / H), [CLS] first.

        Returns:
            (B, N), float32 also under autocast, not normalised: a layer that moves [CLS] far has large contributions.
        """
        if torch.jit.is_scripting():  # which knows no autocast of a device that it learns when it runs
            return self._contributions(row, v)
        else:
            with torch.autocast(row.device.type, enabled=False):
                return self._contributions(row, v)

    def _contributions(self, row: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        values, weight = v[:, :, 1:].float(), self.out.weight.float()
        mixed = (row.unsqueeze(2) @ values).flatten(1)  # (B, C), the heads side by side
        direction = F.normalize(mixed @ weight.t(), dim=-1) @ weight  # along u, as the heads see it
        along = (values * direction.reshape(row.shape[0], row.shape[1], 1, -1)).sum(-1)  # (B, H, N)
        return (row * along).sum(1).clamp(min=0.0)

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

    def of_some(self, x: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """What ``forward`` gives for some tokens, the others being attended to and no more.

        Args:
            x: (B, L, C), all tokens.
            wanted: (B, Q, C), some of them.

        Returns:
            (B, Q, C).
        """
        q, k, v = self.attention.heads_of(self.norm1(wanted), self.norm1(x))
        wanted = wanted + self.attention.attend(q, k, v)
        return wanted + self.mlp(self.norm2(wanted))

    def forward_with_class_row(
        self, x: torch.Tensor, num_groups: int = 1, weighting: str = "attention"
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """As ``forward``, and what [CLS] takes from each patch in this block (B, L - 1) beside it."""
        q, k, v = self.attention.heads(self.norm1(x))
        row = self.weigh(q, k, v, num_groups, weighting)
        x = x + self.attention.attend(q, k, v)
        return x + self.mlp(self.norm2(x)), row

    def class_row(self, x: torch.Tensor, num_groups: int = 1, weighting: str = "attention") -> torch.Tensor:
        """The row (B, L - 1) alone: all that the last block owes to slice selection."""
        q, k, v = self.attention.heads(self.norm1(x))
        return self.weigh(q, k, v, num_groups, weighting)

    def weigh(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, num_groups: int, weighting: str) -> torch.Tensor:
        """[CLS] attention averaged over the heads, or, by ``contribution``, what each patch adds to [CLS]."""
        row = self.attention.class_row(q, k, num_groups)
        return self.attention.contributions(row, v) if weighting == "contribution" else row.mean(1)
