# SPDX-License-Identifier: Apache-2.0
"""The image tower as it is shipped: UnifiedViT, slice selection and projection in one scriptable network.

Its state is ``models/model.pt``; at inference it selects its own slices (method, sections 3 and 8).
"""

from typing import Any, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import nn

from monai_unimedi.networks.blocks.slice_selection import SliceSelector
from monai_unimedi.networks.blocks.usual_attention import above_usual, relative_attention
from monai_unimedi.networks.nets.unified_vit import UnifiedViT

__all__ = ["UniMediImageEncoder"]

WEIGHTINGS = ("attention", "contribution")


class UniMediImageEncoder(nn.Module):
    """X-ray or CT volume to one L2-normalised embedding in the space of the reports.

    Args:
        in_channels, patch_size, patch_depth, grid_size, num_depths, hidden_size, mlp_dim, num_layers, num_heads,
            qkv_bias, norm_eps, qk_gain: as in :class:`UnifiedViT`.
        embed_dim: size E of the joint space.
        num_selected_slices: k slices fed beside a volume. Open in the paper.
        slice_rule: ``attention`` (the paper's), ``uniform``, ``random`` or ``none``.
        explored_share: this share of the k slices by ``attention`` is drawn at random in training. Open.
        score_reduction: ``mean`` (the paper's) or ``max`` over the patches of a slice.
        score_weighting: ``attention`` (the paper's), or ``contribution``: what each patch adds to [CLS], its value
            weighed in; in volumes each layer's contributions count as shares of their sum. Open.
        score_layers: layers (from 0) whose attention scores the slices; None = all, the paper's.
        joint_softmax: softmax over the patches of all slices together; per slice the scores say nothing.
        debiased: attention maps, and the slices' scores, are what exceeds the usual at the same place: the running
            mean of volumes (:class:`SliceSelector`), in X-rays ``xray_usual`` (``XrayUsualAttention``).

    Raises:
        ValueError: When ``score_layers`` names a layer that is not there, or ``score_weighting`` is unknown.
    """

    xray_usual: torch.Tensor

    def __init__(
        self,
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
        qk_gain: float = 1.0,
        embed_dim: int = 512,
        num_selected_slices: int = 4,
        slice_rule: str = "attention",
        score_reduction: str = "mean",
        score_weighting: str = "attention",
        score_layers: Optional[Sequence[int]] = None,
        joint_softmax: bool = True,
        debiased: bool = False,
        explored_share: float = 0.0,
    ) -> None:
        super().__init__()
        self.vit = UnifiedViT(
            in_channels,
            patch_size,
            patch_depth,
            grid_size,
            num_depths,
            hidden_size,
            mlp_dim,
            num_layers,
            num_heads,
            qkv_bias,
            norm_eps,
            qk_gain,
        )
        self.selector = SliceSelector(num_selected_slices, slice_rule, score_reduction, debiased, explored_share)
        self.register_buffer("xray_usual", torch.zeros(self.selector.place_mean.shape[:2]))
        self.projection = nn.Linear(hidden_size, embed_dim, bias=False)
        self.every_layer: List[int] = list(range(num_layers))
        self.score_layers: List[int] = _layers(score_layers, num_layers)
        if score_weighting not in WEIGHTINGS:
            raise ValueError(f"score_weighting must be one of {WEIGHTINGS}, got {score_weighting!r}.")
        self.score_weighting = score_weighting
        self.joint_softmax = joint_softmax

    @torch.jit.unused
    def num_tokens(self, shape: Sequence[int]) -> int:
        """Tokens of one image of ``shape`` (C, X, Y) or (C, X, Y, Z) in this network: [CLS], patches, and the patches
        of a volume's selected slices."""
        tokenizer = self.vit.tokenizer
        plane = (shape[1] // tokenizer.patch_x) * (shape[2] // tokenizer.patch_y)
        if len(shape) == 3:
            return 1 + plane
        return 1 + plane * (shape[3] // tokenizer.patch_z + self.selector.num_selected_slices)

    @torch.jit.export
    def attention_map(self, image: torch.Tensor) -> torch.Tensor:
        """[CLS] attention per patch: (B, gx, gy) for X-rays, (B, gx, gy, S) for all S slices of volumes.

        image: (B, C, X, Y) or (B, C, X, Y, Z), float, intensity in [0, 1]. Each sample sums to 1. Mean over all
        layers for X-rays, over ``score_layers`` for volumes; by ``contribution`` each patch's share of what they add.
        With ``debiased`` it is what exceeds the usual map.
        """
        if image.dim() == 5:
            return self.selector.excess(self.volume_attention(image))
        attention = self.xray_attention(image)
        return above_usual(attention, self.xray_usual) if self.selector.debiased else attention

    @torch.jit.export
    def xray_attention(self, image: torch.Tensor) -> torch.Tensor:
        """[CLS] attention (B, gx, gy) on the patches of X-rays (B, C, X, Y), the usual part included; each sums to
        1."""
        gx, gy = image.shape[2] // self.vit.tokenizer.patch_x, image.shape[3] // self.vit.tokenizer.patch_y
        content, position = self.vit.tokenizer.images(image)
        row = self.vit.class_attention(content + position, 1, self.every_layer, self.score_weighting)
        return self.share(row).reshape(-1, gx, gy)

    @torch.jit.unused
    def relative_xray_attention(self, image: torch.Tensor) -> torch.Tensor:
        """What ``xray_usual`` is made of: (B, bins, bins), 1 = even, of X-rays (B, C, X, Y)."""
        return relative_attention(self.xray_attention(image), self.xray_usual)

    @torch.jit.export
    def volume_attention(self, image: torch.Tensor) -> torch.Tensor:
        """[CLS] attention (B, gx, gy, S) on the patches of all S slices of volumes (B, C, X, Y, Z), the usual part
        included; each volume's sums to 1."""
        gx, gy = image.shape[2] // self.vit.tokenizer.patch_x, image.shape[3] // self.vit.tokenizer.patch_y
        num_slices = image.shape[4]
        every = torch.arange(num_slices, device=image.device)[None].expand(image.shape[0], -1)
        content, position = self.vit.tokenizer.slices(image, every)
        groups = 1 if self.joint_softmax else num_slices
        row = self.vit.class_attention(
            content + position, groups, self.score_layers, self.score_weighting, equal_layers=True
        )
        return self.share(row).reshape(-1, num_slices, gx, gy).permute(0, 2, 3, 1)

    def share(self, row: torch.Tensor) -> torch.Tensor:
        """Each patch's share of a row (B, N) that is not negative; equal shares where all are zero."""
        return (row + 1e-12) / (row + 1e-12).sum(1, keepdim=True)

    @torch.jit.export
    def slice_scores(self, image: torch.Tensor) -> torch.Tensor:
        """``slice_scores`` (B, S) of volumes (B, C, X, Y, Z): how much [CLS] attends to each axial slice."""
        return self.selector.scores(self.attention_map(image))

    @torch.jit.export
    def select_slices(
        self, image: torch.Tensor, slice_scores: Optional[torch.Tensor], sample_seed: Optional[torch.Tensor]
    ) -> Optional[torch.Tensor]:
        """``slice_indices`` (B, k) of volumes; None for X-rays and where no slices are used.

        Args:
            image: (B, C, X, Y) or (B, C, X, Y, Z).
            slice_scores: (B, S) scores to use instead of this network's own.
            sample_seed: (B,), int64, as :meth:`SliceSelector.select` has it.
        """
        if image.dim() == 4 or self.selector.num_selected_slices == 0:
            return None
        if slice_scores is None:
            if self.selector.rule == "attention":
                slice_scores = self.slice_scores(image)
            else:
                slice_scores = torch.zeros(image.shape[0], image.shape[4], device=image.device)
        return self.selector.select(slice_scores, sample_seed)

    @torch.jit.export
    def features(self, image: torch.Tensor) -> torch.Tensor:
        """Final-norm [CLS] (B, C) of an image, with the slices that this network selects."""
        return self.vit(image, self.select_slices(image, None, None))[:, 0]

    @torch.jit.export
    def project(self, class_token: torch.Tensor) -> torch.Tensor:
        """Final-norm [CLS] (B, C) to the L2-normalised embedding (B, E)."""
        return F.normalize(self.projection(class_token).float(), dim=-1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image: (B, C, X, Y) or (B, C, X, Y, Z), float, [0, 1]. Returns ``image_embedding`` (B, E), L2-normalised."""
        return self.project(self.features(image))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *further: Any) -> None:
        """Weights saved before there was a usual attention of X-rays have none: what is here stays."""
        state_dict.setdefault(f"{prefix}xray_usual", self.xray_usual)
        super()._load_from_state_dict(state_dict, prefix, *further)


def _layers(score_layers: Any, num_layers: int) -> List[int]:
    """Numbers of the layers; all for None, which a command line gives as a word."""
    if score_layers is None or str(score_layers).strip().lower() in ("none", "null", ""):
        return list(range(num_layers))
    chosen = list(score_layers) if isinstance(score_layers, (list, tuple)) else []
    if not chosen or not set(chosen) <= set(range(num_layers)):
        raise ValueError(
            f"score_layers must be a list of layers from 0 to {num_layers - 1}, such as [{num_layers - 1}], or null "
            f"for all, got {score_layers!r}."
        )
    return [int(index) for index in chosen]
