# SPDX-License-Identifier: Apache-2.0
"""Attentive slice selection (method, section 3): the axial slices that the report-trained [CLS] token attends to.

s_i is the mean of the [CLS] attention over the patches of slice i, the attention being joint over all slices of the
volume; the k slices with the largest s_i are fed beside the volume, in anatomical order.

With ``debiased`` the attention counts by how far it exceeds its running mean at that place (``usual_attention``).
Where only attended slices are ever fed, [CLS] need not tell them from others: an ``explored_share`` of the k are drawn
in training.
"""

from typing import Optional, Tuple

import torch
from torch import nn

from monai_unimedi.networks.blocks.token_masking import hashed_uniform
from monai_unimedi.networks.blocks.usual_attention import above_usual, relative_attention

__all__ = ["SliceSelector"]

RULES = ("attention", "uniform", "random", "none")
REDUCTIONS = ("mean", "max")


class SliceSelector(nn.Module):
    """From attention on slice patches to scores, and from scores to the selected slices.

    Args:
        num_selected_slices: k. Open in the paper.
        rule: ``attention`` (the paper's), or the baselines ``uniform``, ``random``, ``none``.
        reduction: ``mean`` (the paper's) or ``max`` over the patches of a slice.
        debiased: score by what exceeds the running mean attention at the same place. Open; off by default.
        explored_share: of the k slices that the rule ``attention`` selects in training, this share, rounded down, is
            drawn among all others, whatever their scores. Open; the paper's is 0.
        num_places: bins (X, Y, Z) of that running mean; those of any grid are the nearest.

    Raises:
        ValueError: When ``rule`` or ``reduction`` is unknown, ``num_selected_slices`` is negative, or
            ``explored_share`` is not from 0 to 1.
    """

    place_mean: torch.Tensor

    def __init__(
        self,
        num_selected_slices: int,
        rule: str = "attention",
        reduction: str = "mean",
        debiased: bool = False,
        explored_share: float = 0.0,
        num_places: Tuple[int, int, int] = (16, 16, 32),
    ) -> None:
        super().__init__()
        if rule not in RULES:
            raise ValueError(f"slice_rule must be one of {RULES}, got {rule!r}.")
        if reduction not in REDUCTIONS:
            raise ValueError(f"score_reduction must be one of {REDUCTIONS}, got {reduction!r}.")
        if num_selected_slices < 0:
            raise ValueError(f"num_selected_slices must be 0 or more, got {num_selected_slices}.")
        self.num_selected_slices = 0 if rule == "none" else num_selected_slices
        if not 0.0 <= explored_share <= 1.0:
            raise ValueError(f"explored_share must be from 0 to 1, got {explored_share}.")
        self.num_explored = int(explored_share * num_selected_slices) if rule == "attention" else 0
        self.rule = rule
        self.reduction = reduction
        self.debiased = debiased
        self.register_buffer("place_mean", torch.zeros(num_places))

    def excess(self, attention: torch.Tensor) -> torch.Tensor:
        """attention: (B, gx, gy, S), each volume's sums to 1. Returns it as it is, or, ``debiased``, the share of each
        patch in what exceeds the usual."""
        return above_usual(attention, self.place_mean) if self.debiased else attention

    def scores(self, attention: torch.Tensor) -> torch.Tensor:
        """attention: (B, gx, gy, S), on the patches of S slices. Returns ``slice_scores`` (B, S)."""
        return attention.amax((1, 2)) if self.reduction == "max" else attention.mean((1, 2))

    @torch.jit.unused
    def places(self, attention: torch.Tensor) -> torch.Tensor:
        """Attention (B, gx, gy, S) before ``excess``, as what ``place_mean`` is the mean of: (B, *num_places)."""
        return relative_attention(attention, self.place_mean)

    def select(self, scores: torch.Tensor, sample_seed: Optional[torch.Tensor]) -> torch.Tensor:
        """The selected slices, in anatomical order.

        Args:
            scores: (B, S), float.
            sample_seed: (B,), int64; the rule ``random`` draws from it, zeros when absent. With it the selector, in
                training, explores.

        Returns:
            ``slice_indices`` (B, k), int64.

        Raises:
            ValueError: When the volume has fewer slices than k.
        """
        num_slices, k = scores.shape[1], self.num_selected_slices
        if k > num_slices:
            raise ValueError(
                f"num_selected_slices must be at most the number of slices, got k = {k} and {num_slices} slices: "
                "lower num_selected_slices or use deeper volumes."
            )
        if self.rule == "random":
            if sample_seed is None:
                sample_seed = torch.zeros(scores.shape[0], dtype=torch.int64, device=scores.device)
            scores = hashed_uniform(sample_seed, num_slices, 1).to(scores.dtype)
        if self.rule == "uniform":
            step = (torch.arange(k, device=scores.device) * 2 + 1) * num_slices // max(2 * k, 1)
            return step[None].expand(scores.shape[0], -1)
        if self.training and self.num_explored > 0 and sample_seed is not None:
            attended = scores.topk(k - self.num_explored, dim=1)[1]
            scores = hashed_uniform(sample_seed, num_slices, 1).scatter(1, attended, 1.0)  # all others are below 1
        return scores.topk(k, dim=1)[1].sort(1)[0]
