# SPDX-License-Identifier: Apache-2.0
"""The pre-trained encoder as a segmentation network: X-rays and CTs, by one of three decoders."""

from typing import List, Optional, Tuple

import torch
from torch import nn

from monai_unimedi.networks.blocks.hybrid_decoder import HybridDecoder
from monai_unimedi.networks.blocks.upsampling import ProgressiveUpsampling, UnetrDecoder
from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder

__all__ = ["DECODERS", "UniMediSegmenter"]

DECODERS = {"unetr": UnetrDecoder, "setr_pup": ProgressiveUpsampling, "hybrid": HybridDecoder}


class UniMediSegmenter(nn.Module):
    """Image to logits of its size: tokens of several layers of the encoder, and a decoder that undoes the patches.

    ``load_encoder_weights`` fills the encoder; the decoder starts anew. Any image size that the patches divide works.

    What [CLS] says about the whole image is added to every voxel's logits of a channel (``presence``, zero at the
    start or set by ``prompted_head.py``): the decoder's instance norms cannot carry it, as they subtract whatever is
    the same everywhere.

    Args:
        spatial_dims: 2 for X-rays, 3 for CTs.
        in_channels: channels of the image.
        out_channels: channels of the result: one a class, background included where classes exclude each other.
        patch_size, patch_depth, grid_size, num_depths, hidden_size, mlp_dim, num_layers, num_heads, qkv_bias,
            norm_eps, slice_rule, score_weighting: as in :class:`UniMediImageEncoder`.
        num_selected_slices: k slices whose tokens are fed beside the volume's, as in pre-training; 0 leaves them out,
            which saves their share of the time. The decoder reads the volume's tokens only.
        feature_size: channels of the decoder's finest features.
        norm_name: normalisation in the decoder.
        frozen: train the decoder alone; the encoder then stays in eval.
        prior: probability that the untrained network gives every channel (Lin et al., Focal Loss, 2017): lesions are
            rare, and a start at one half costs the first hundred steps. None starts at zero logits.
        decoder: ``unetr`` and ``setr_pup`` read tokens of several layers, ``hybrid`` those of the last one at the
            bottom of a U-Net. None: UNETR's for CTs, SETR's progressive upsampling for X-rays.

    Raises:
        ValueError: When ``spatial_dims`` is neither 2 nor 3, there are fewer layers than decoder stages (of those that
            read several), ``prior`` is no probability, or ``decoder`` none of :data:`DECODERS`.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int = 1,
        out_channels: int = 1,
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
        num_selected_slices: int = 0,
        slice_rule: str = "attention",
        score_weighting: str = "attention",
        feature_size: int = 16,
        norm_name: str = "instance",
        frozen: bool = False,
        prior: Optional[float] = None,
        decoder: Optional[str] = None,
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 (X-rays) or 3 (CTs), got {spatial_dims}.")
        decoder = decoder or ("unetr" if spatial_dims == 3 else "setr_pup")
        if decoder not in DECODERS:
            raise ValueError(f"decoder must be one of {', '.join(DECODERS)}, got {decoder!r}.")
        self.spatial_dims = spatial_dims
        self.frozen = frozen
        self.encoder = UniMediImageEncoder(
            in_channels, patch_size, patch_depth, grid_size, num_depths, hidden_size, mlp_dim, num_layers, num_heads,
            qkv_bias, norm_eps, num_selected_slices=num_selected_slices, slice_rule=slice_rule,
            score_weighting=score_weighting, debiased=True,  # by the mean that the pre-training left, if it did
        )  # fmt: skip
        self.encoder.projection = nn.Identity()  # type: ignore[assignment]
        patch = [int(side) for side in patch_size] + [int(patch_depth)]
        self.patch: List[int] = patch[:spatial_dims]
        built = DECODERS[decoder](in_channels, out_channels, hidden_size, self.patch, feature_size, norm_name)
        self.layers: List[int] = skip_layers(num_layers, built.num_states)
        self.decoder = built
        self.presence = nn.Linear(hidden_size, out_channels)
        nn.init.zeros_(self.presence.weight)
        nn.init.zeros_(self.presence.bias)
        self.encoder.requires_grad_(not frozen)
        self.start_at(prior)

    @torch.jit.unused
    def start_at(self, prior: Optional[float]) -> None:
        """Set the output's bias so that every channel starts at this probability."""
        if prior is None:
            return
        if not 0 < prior < 1:
            raise ValueError(f"prior must be a probability between 0 and 1, got {prior}.")
        bias = self.decoder.get_submodule("out.conv.conv").get_parameter("bias")
        nn.init.constant_(bias, float(torch.logit(torch.tensor(prior))))

    @torch.jit.unused
    def train(self, mode: bool = True) -> "UniMediSegmenter":
        """As every module's; a frozen encoder stays in eval."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def tokens(self, image: torch.Tensor) -> Tuple[torch.Tensor, List[torch.Tensor]]:
        """[CLS] (B, C) of the last layer, and the tokens of the decoder's layers as grids (B, C, *grid): the last
        layer's first, then from deep to shallow."""
        if image.dim() != self.spatial_dims + 2:
            raise ValueError(f"image must have {self.spatial_dims} spatial axes, got shape {list(image.shape)}.")
        grid = [side // patch for side, patch in zip(image.shape[2:], self.patch)]
        count = 1
        for side in grid:
            count *= side
        with torch.no_grad():
            indices = self.encoder.select_slices(image, None, None)
        grids: List[torch.Tensor] = []
        cls = image.new_zeros(0)
        for state in self.encoder.vit.hidden_states(image, self.layers, indices):
            tokens = state[:, 1 : 1 + count]  # without [CLS] and the slices' tokens, which come last
            cls = state[:, 0]
            grids.insert(0, tokens.transpose(1, 2).reshape([image.shape[0], tokens.shape[2]] + grid))  # noqa: RUF005 - TorchScript
        return cls, grids

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """
        Args:
            image: (B, C, X, Y) or (B, C, X, Y, Z), float, intensity in [0, 1].

        Returns:
            (B, out_channels, X, Y[, Z]), float, logits.
        """
        cls, grids = self.tokens(image)
        logits = self.decoder(image, grids)
        presence = self.presence(cls)
        presence = presence.reshape(list(presence.shape) + [1] * self.spatial_dims)
        return logits + presence


def skip_layers(num_layers: int, num_stages: int) -> List[int]:
    """The layers (from 0) that the decoder reads: the last, and for each further stage one, evenly spaced.

    Twelve layers and four stages give UNETR's 3, 6, 9 and 12 (here from 0).
    """
    if num_layers < num_stages:
        raise ValueError(
            f"the encoder must have a layer for each of the decoder's {num_stages} stages, got {num_layers} layers: "
            "use a patch with fewer factors or a deeper encoder."
        )
    return [num_layers * (index + 1) // num_stages - 1 for index in range(num_stages)]
