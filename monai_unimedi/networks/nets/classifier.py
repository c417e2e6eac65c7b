# SPDX-License-Identifier: Apache-2.0
"""The pre-trained tower with a head for labels: X-ray or CT to one logit a class."""

from typing import Optional, Tuple

import torch
from torch import nn

from monai_unimedi.networks.blocks.attention_pooling import AttentionPooling
from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder

__all__ = ["UniMediClassifier"]

POOLINGS = ("class", "attention")


class UniMediClassifier(nn.Module):
    """Image tower, pooling, one linear layer; of a CT, the slices that the tower selects are read beside the volume.

    Args:
        num_classes: F logits.
        pooling: ``class`` reads the final-norm [CLS] token (a linear head), ``attention`` asks all tokens by learnt
            queries.
        frozen: train the head alone; the tower stays in eval (a linear probe, with ``class``).
        dropout: before the linear layer.
        prior: probability that every logit starts from, one half where None.
        in_channels, patch_size, patch_depth, grid_size, num_depths, hidden_size, mlp_dim, num_layers, num_heads,
            qkv_bias, norm_eps, num_selected_slices, slice_rule, score_weighting: as in :class:`UniMediImageEncoder`.

    Raises:
        ValueError: When ``pooling`` is unknown or there is no class.
    """

    def __init__(
        self,
        num_classes: int,
        pooling: str = "class",
        frozen: bool = False,
        dropout: float = 0.0,
        prior: Optional[float] = None,
        in_channels: int = 1,
        patch_size: Tuple[int, int] = (16, 16),
        patch_depth: int = 4,
        grid_size: Tuple[int, int] = (14, 14),
        num_depths: int = 32,
        hidden_size: int = 768,
        mlp_dim: int = 3072,
        num_layers: int = 12,
        num_heads: int = 12,
        qkv_bias: bool = True,
        norm_eps: float = 1e-6,
        num_selected_slices: int = 4,
        slice_rule: str = "attention",
        score_weighting: str = "attention",
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {POOLINGS}, got {pooling!r}.")
        if num_classes < 1:
            raise ValueError(f"num_classes must be 1 or more, got {num_classes}.")
        self.frozen = frozen
        self.encoder = UniMediImageEncoder(
            in_channels, patch_size, patch_depth, grid_size, num_depths, hidden_size, mlp_dim, num_layers, num_heads,
            qkv_bias, norm_eps, num_selected_slices=num_selected_slices, slice_rule=slice_rule,
            score_weighting=score_weighting, debiased=True,  # by the mean that the pre-training left, if it did
        )  # fmt: skip
        self.encoder.add_module("projection", nn.Identity())  # into the space of the reports: of no use here
        self.pool = AttentionPooling(hidden_size, num_heads) if pooling == "attention" else nn.Identity()
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, num_classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.constant_(self.head.bias, 0.0 if prior is None else float(torch.logit(torch.tensor(prior))))
        self.encoder.requires_grad_(not frozen)

    @torch.jit.unused
    def train(self, mode: bool = True) -> "UniMediClassifier":
        """As every module's; a frozen tower stays in eval."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def tokens(self, image: torch.Tensor) -> torch.Tensor:
        """Final-norm tokens (B, 1 + N, C), [CLS] first; the choice of slices has no gradient."""
        with torch.no_grad():
            indices = self.encoder.select_slices(image, None, None)
        return self.encoder.vit(image, indices)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image: (B, C, X, Y) or (B, C, X, Y, Z), float, intensity in [0, 1]. Returns logits (B, F), float."""
        tokens = self.tokens(image)
        pooled = self.pool(tokens[:, 1:]) if self.pooling == "attention" else tokens[:, 0]
        return self.head(self.dropout(pooled))
