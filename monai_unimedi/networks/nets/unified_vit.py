# SPDX-License-Identifier: Apache-2.0
"""One vision transformer for X-rays, axial slices and CT volumes (method, section 1)."""

from typing import Callable, List, Optional, Tuple

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from monai_unimedi.networks.blocks.encoder_block import EncoderBlock
from monai_unimedi.networks.blocks.image_tokenizer import ImageTokenizer

__all__ = ["UnifiedViT"]

MEAN, STD = 0.4, 0.25  # of intensities in [0, 1], folded into the initial patch embeddings


class UnifiedViT(nn.Module):
    """ViT over 2D and 3D tokens with shared blocks, positions and [CLS].

    An X-ray is [CLS] and its patches; a volume is [CLS], its T_3D tokens and the T_2D tokens of the slices named in
    ``slice_indices``. Any input size that the patches divide works.

    Args:
        in_channels: channels of the image.
        patch_size: in-plane patch in pixels.
        patch_depth: depth of a volume's patch in slices.
        grid_size: in-plane grid of the stored position table.
        num_depths: rows of the depth table.
        hidden_size: width C.
        mlp_dim: hidden width of the MLPs.
        num_layers: number of blocks.
        num_heads: attention heads.
        qkv_bias: whether q, k and v have a bias.
        norm_eps: epsilon of the layer norms.
        qk_gain: factor on the initial q and k weights; open. 2.5 shortens the flat start of a run from scratch.
    """

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
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.tokenizer = ImageTokenizer(in_channels, patch_size, patch_depth, grid_size, num_depths, hidden_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, hidden_size))
        self.cls_position = nn.Parameter(torch.zeros(1, 1, hidden_size))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, hidden_size))
        self.blocks = nn.ModuleList(
            [EncoderBlock(hidden_size, mlp_dim, num_heads, qkv_bias, norm_eps) for _ in range(num_layers)]
        )
        self.norm = nn.LayerNorm(hidden_size, eps=norm_eps)
        self._recomputes = False
        self.initialize(qk_gain)

    @torch.jit.unused
    def initialize(self, qk_gain: float) -> None:
        """Xavier-uniform weights, zero biases, small normal positions and tokens (as MAE, He et al. 2022).

        Patch embeddings start as if intensities were standardised: without, all images look alike to a new network
        and the contrast stays at log n for hundreds of steps.
        """
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv3d)):
                nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for parameter in (self.tokenizer.position, self.tokenizer.depth, self.cls_token, self.mask_token):
            nn.init.normal_(parameter, std=0.02)
        with torch.no_grad():
            for patch in (self.tokenizer.image_patch, self.tokenizer.volume_patch):
                patch.weight /= STD
                patch.bias.copy_(-MEAN * patch.weight.flatten(1).sum(1))
            for block in self.blocks:
                qkv = block.get_submodule("attention.qkv").get_parameter("weight")
                qkv[: 2 * qkv.shape[0] // 3] *= qk_gain

    def embed(
        self, image: torch.Tensor, slice_indices: Optional[torch.Tensor] = None
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """Patch tokens of an image, content and position apart.

        Args:
            image: (B, C, X, Y) or (B, C, X, Y, Z), float, intensity in [0, 1].
            slice_indices: (B, k), int64, the slices whose T_2D tokens follow the volume's.

        Returns:
            content (B, N, C) and position (1 or B, N, C).
        """
        if image.dim() == 4:
            return self.tokenizer.images(image)
        content, position = self.tokenizer.volumes(image)
        if slice_indices is None or slice_indices.shape[1] == 0:
            return content, position
        slice_content, slice_position = self.tokenizer.slices(image, slice_indices)
        position = torch.cat([position.expand(slice_position.shape[0], -1, -1), slice_position], 1)
        return torch.cat([content, slice_content], 1), position

    def with_class(self, tokens: torch.Tensor) -> torch.Tensor:
        """Put [CLS] before patch tokens (B, N, C)."""
        return torch.cat([(self.cls_token + self.cls_position).expand(tokens.shape[0], -1, -1), tokens], 1)

    def encode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Patch tokens (B, N, C), positions added, to final-norm tokens (B, 1 + N, C), [CLS] first."""
        x = self.with_class(tokens)
        for block in self.blocks:
            if torch.jit.is_scripting():
                x = block(x)
            else:
                x = self.through(block, x)
        return self.norm(x)

    def encode_some(self, tokens: torch.Tensor, is_wanted: Optional[torch.Tensor] = None) -> torch.Tensor:
        """Those rows of ``encode`` that are wanted: the last block computes nothing else.

        Args:
            tokens: (B, N, C), positions added.
            is_wanted: (B, N), bool, M patches in every row; None wants [CLS] alone.

        Returns:
            Final-norm tokens (B, 1 + M, C), [CLS] first.
        """
        x = self.with_class(tokens)
        for block in self.blocks[:-1]:
            x = self.through(block, x)
        wanted = x[:, :1]
        if is_wanted is not None:
            wanted = torch.cat([wanted, x[:, 1:][is_wanted].reshape(x.shape[0], -1, x.shape[2])], 1)
        last: EncoderBlock = self.blocks[-1]  # type: ignore[assignment]
        return self.norm(self.through(last.of_some, x, wanted))

    @torch.jit.unused
    def recompute_activations(self, is_on: bool = True) -> None:
        """Keep of each block in ``encode`` its input alone and compute the rest again in the backward pass: the same
        gradients in a fraction of the memory, for one more forward pass."""
        self._recomputes = bool(is_on)

    @torch.jit.unused
    def through(self, block: Callable[..., torch.Tensor], *tokens: torch.Tensor) -> torch.Tensor:
        """One block of tokens (B, L, C); see ``recompute_activations``."""
        if self._recomputes and torch.is_grad_enabled():
            return checkpoint(block, *tokens, use_reentrant=False)
        return block(*tokens)

    def hidden_states(
        self, image: torch.Tensor, layers: List[int], slice_indices: Optional[torch.Tensor] = None
    ) -> List[torch.Tensor]:
        """Tokens (B, 1 + N, C) after each of ``layers`` (from 0), in their order, for decoders; arguments as ``embed``.

        The last layer's carry the final norm, the others are as they leave their block.

        Raises:
            ValueError: When ``layers`` are not ascending layers of this network.
        """
        for i, layer in enumerate(layers):
            if layer < 0 or layer >= len(self.blocks) or (i > 0 and layer <= layers[i - 1]):
                raise ValueError(f"layers must ascend from 0 to {len(self.blocks) - 1}, got {layers}.")
        content, position = self.embed(image, slice_indices)
        x = self.with_class(content + position)
        states: List[torch.Tensor] = []
        for i, block in enumerate(self.blocks):
            if i <= layers[-1]:
                x = block(x)
                if i in layers:
                    states.append(self.norm(x) if i == len(self.blocks) - 1 else x)
        return states

    def class_attention(
        self, tokens: torch.Tensor, num_groups: int, layers: List[int], weighting: str = "attention",
        equal_layers: bool = False,
    ) -> torch.Tensor:
        """[CLS] attention over patch tokens (B, N, C), mean over heads and ``layers``, in one pass.

        The deepest layer of interest contributes its attention row only: nothing after it is computed.

        Args:
            tokens: (B, N, C), positions added.
            num_groups: the softmax runs within this many equal runs of tokens; 1 = joint, the paper's.
            layers: indices of the blocks, from 0.
            weighting: ``attention``, or ``contribution``: what each patch adds to [CLS].
            equal_layers: scale each layer's row to sum to 1, so that none outweighs the others.

        Returns:
            (B, N), float, not negative; attention sums to ``num_groups``, to 1 with ``equal_layers``.
        """
        x = self.with_class(tokens)
        total = torch.zeros(tokens.shape[0], tokens.shape[1], device=tokens.device)
        deepest = max(layers)
        for i, block in enumerate(self.blocks):
            row = torch.zeros_like(total)
            if i == deepest:
                row = block.class_row(x, num_groups, weighting)
            elif i < deepest and i in layers:
                x, row = block.forward_with_class_row(x, num_groups, weighting)
            elif i < deepest:
                x = block(x)
            total = total + (row / row.sum(1, keepdim=True).clamp(min=1e-12) if equal_layers else row)
        return total / len(layers)

    def forward(self, image: torch.Tensor, slice_indices: Optional[torch.Tensor] = None) -> torch.Tensor:
        """Final-norm tokens (B, 1 + N, C) of an image; arguments as ``embed``."""
        content, position = self.embed(image, slice_indices)
        return self.encode(content + position)
