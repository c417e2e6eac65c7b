# SPDX-License-Identifier: Apache-2.0
"""Attentive slice selection (method, section 3): the axial slices that the report-trained [CLS] token attends to.

s_i is the mean of the [CLS] attention over the patches of slice i, the attention being joint over all slices of the
volume; the k slices with the largest s_i are fed beside the volume, in anatomical order.
"""

import torch
import torch.nn.functional as F
from torch import nn

from monai_unimedi.networks.blocks.token_masking import hashed_uniform

__all__ = ["SliceSelector"]

RULES = ("attention", "uniform", "random", "none")
REDUCTIONS = ("mean", "max")


class SliceSelector(nn.Module):
    """From attention on slice patches to scores, and from scores to the selected slices.

    Args:
        num_selected_slices: k. Open in the paper.
        rule: ``attention`` (the paper's), or the baselines ``uniform``, ``random``, ``none``.
        reduction: ``mean`` (the paper's) or ``max`` over the patches of a slice.
        debiased: divide the scores by their running mean at the same relative height. Open; off by default.
        num_heights: bins of that running mean.
        momentum: its momentum.

    Raises:
        ValueError: When ``rule`` or ``reduction`` is unknown, or ``num_selected_slices`` is negative.
    """

    height_mean: torch.Tensor

    def __init__(
        self,
        num_selected_slices: int,
        rule: str = "attention",
        reduction: str = "mean",
        debiased: bool = False,
        num_heights: int = 32,
        momentum: float = 0.99,
    ) -> None:
        super().__init__()
        if rule not in RULES:
            raise ValueError(f"slice_rule must be one of {RULES}, got {rule!r}.")
        if reduction not in REDUCTIONS:
            raise ValueError(f"score_reduction must be one of {REDUCTIONS}, got {reduction!r}.")
        if num_selected_slices < 0:
            raise ValueError(f"num_selected_slices must be 0 or more, got {num_selected_slices}.")
        self.num_selected_slices = 0 if rule == "none" else num_selected_slices
        self.rule = rule
        self.reduction = reduction
        self.debiased = debiased
        self.momentum = momentum
        self.register_buffer("height_mean", torch.ones(num_heights))

    def at_heights(self, num_slices: int) -> torch.Tensor:
        """The running mean score (num_slices,) at the slices' relative heights."""
        return F.interpolate(self.height_mean[None, None], size=num_slices, mode="linear", align_corners=False)[0, 0]

    def scores(self, attention: torch.Tensor) -> torch.Tensor:
        """attention: (B, S, N), the [CLS] attention on N patches of S slices. Returns ``slice_scores`` (B, S)."""
        scores = attention.amax(2) if self.reduction == "max" else attention.mean(2)
        if self.debiased:
            scores = scores / self.at_heights(scores.shape[1]).clamp(min=1e-6)
        return scores

    @torch.jit.unused
    def update_heights(self, scores: torch.Tensor) -> None:
        """Move the running mean towards the batch's scores (B, S), each volume scaled to mean 1 first."""
        raw = scores * self.at_heights(scores.shape[1]) if self.debiased else scores
        relative = (raw / raw.mean(1, keepdim=True).clamp(min=1e-12)).mean(0)
        bins = F.interpolate(relative[None, None], size=len(self.height_mean), mode="linear", align_corners=False)
        self.height_mean.lerp_(bins[0, 0].to(self.height_mean.dtype), 1 - self.momentum)

    def select(self, scores: torch.Tensor, sample_seed: torch.Tensor) -> torch.Tensor:
        """The selected slices, in anatomical order.

        Args:
            scores: (B, S), float.
            sample_seed: (B,), int64; read by the rule ``random`` alone.

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
            scores = hashed_uniform(sample_seed, num_slices, 1).to(scores.dtype)
        if self.rule == "uniform":
            step = (torch.arange(k, device=scores.device) * 2 + 1) * num_slices // max(2 * k, 1)
            return step[None].expand(scores.shape[0], -1)
        return scores.topk(k, dim=1)[1].sort(1)[0]
