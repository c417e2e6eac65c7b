# SPDX-License-Identifier: Apache-2.0
r"""A Hugging Face or timm ViT in the names, axes and intensities of `UnifiedViT` (method, section 1).

A foreign checkpoint reads three normalised channels as (rows, columns); `UnifiedViT` reads one channel in
[0, 1] as (columns, rows). The patch embedding :math:`\sum_c w_c * (g - \mu_c) / \sigma_c + b` of a grey
image g equals

.. math:: g * \Big(\sum_c w_c / \sigma_c\Big) + b - \sum_c \frac{\mu_c}{\sigma_c} \sum_{ij} w_{c,ij},

with kernels and position grid transposed. T_3D gets the kernel at every depth, divided by the depth, so that
a volume that is constant along z has the tokens of its slice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["convert", "normalisation"]

_HEADS = ("pooler.", "classifier.", "decoder.", "head.", "head_dist.", "pre_logits.")
_BLOCK_KEY = re.compile(r"(?:encoder\.layer|layers|blocks)\.(\d+)\.(.+)\.(weight|bias)")
_IN_BLOCK = {
    "attention.attention.query": "attention.q",
    "attention.attention.key": "attention.k",
    "attention.attention.value": "attention.v",
    "attention.q_proj": "attention.q",
    "attention.k_proj": "attention.k",
    "attention.v_proj": "attention.v",
    "attention.o_proj": "attention.out",
    "attention.output.dense": "attention.out",
    "intermediate.dense": "mlp.linear1",
    "output.dense": "mlp.linear2",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.out",
    "mlp.fc1": "mlp.linear1",
    "mlp.fc2": "mlp.linear2",
    "norm1": "norm1",
    "norm2": "norm2",
}
_OUTSIDE_BLOCKS = {
    "embeddings.patch_embeddings.projection.weight": "patch.weight",
    "embeddings.patch_embeddings.projection.bias": "patch.bias",
    "embeddings.position_embeddings": "positions",
    "embeddings.cls_token": "cls_token",
    "embeddings.mask_token": "mask_token",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
    "patch_embed.proj.weight": "patch.weight",
    "patch_embed.proj.bias": "patch.bias",
    "pos_embed": "positions",
    "cls_token": "cls_token",
    "norm.weight": "norm.weight",
    "norm.bias": "norm.bias",
}


def convert(
    tensors: dict[str, Tensor],
    prefix: str,
    mean: Sequence[float],
    std: Sequence[float],
    image_size: int | Sequence[int] | None,
    patch_depth: int | None,
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Converts a checkpoint.

    Args:
        tensors: flat state dict.
        prefix: of the tower's keys in it.
        mean: of the checkpoint's normalisation, per channel.
        std: as `mean`.
        image_size: (rows, columns) in pixels, where the position grid is not [CLS] and a square.
        patch_depth: depth of T_3D in slices; None leaves T_3D out.

    Returns:
        Tensors by their `UnifiedViT` key, float32; keys of task heads left out; keys that nothing here knows.

    Raises:
        ValueError: When mean or std do not fit the channels, or the position grid cannot be told.
    """
    tower, left_out, unmatched = _renamed(tensors, prefix)
    absent = [key for key in ("patch.bias", "positions", "cls_token") if key not in tower]
    if absent:
        raise ValueError(f"the checkpoint must be a plain vision transformer, but lacks {', '.join(absent)}.")
    _join_qkv(tower)
    weight, bias = _fold(tower.pop("patch.weight"), tower.pop("patch.bias"), mean, std)
    tower |= {"tokenizer.image_patch.weight": weight, "tokenizer.image_patch.bias": bias}
    if patch_depth is not None:
        inflated = weight.unsqueeze(-1).repeat(1, 1, 1, 1, patch_depth) / patch_depth
        tower |= {"tokenizer.volume_patch.weight": inflated, "tokenizer.volume_patch.bias": bias.clone()}
    patch = weight.shape[3], weight.shape[2]  # (rows, columns)
    tower |= _positions(tower.pop("positions"), patch, image_size)
    return {key: value.float() for key, value in tower.items()}, left_out, unmatched


def normalisation(
    mean: Sequence[float] | None, std: Sequence[float] | None, card: dict[str, Any]
) -> tuple[Sequence[float], Sequence[float]]:
    """The checkpoint's mean and std, as given or from its card.

    Raises:
        ValueError: When neither says it, or std is not positive.
    """
    if card.get("do_normalize", True):
        mean, std = mean or card.get("image_mean"), std or card.get("image_std")
    else:
        mean, std = mean or (0.0, 0.0, 0.0), std or (1.0, 1.0, 1.0)
    if mean is None or std is None:
        raise ValueError(
            "mean and std of the checkpoint's image normalisation must be given, as it has no card that "
            "says them: often mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), or the ImageNet values (0.485, "
            "0.456, 0.406) and (0.229, 0.224, 0.225)."
        )
    if min(std) <= 0:
        raise ValueError(f"std must be positive, got {tuple(std)}.")
    return mean, std


def _renamed(tensors: dict[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], list[str], list[str]]:
    tower: dict[str, Tensor] = {}
    left_out: list[str] = []
    unmatched: list[str] = []
    for key, value in tensors.items():
        name = key.removeprefix(prefix)
        block = _BLOCK_KEY.fullmatch(name)
        own = _OUTSIDE_BLOCKS.get(name)
        if block and block[2] in _IN_BLOCK:
            own = f"blocks.{block[1]}.{_IN_BLOCK[block[2]]}.{block[3]}"
        if key.startswith(prefix) and own:
            tower[own] = value.double()
        else:
            (left_out if name.startswith(_HEADS) else unmatched).append(key)
    return tower, left_out, unmatched


def _join_qkv(tower: dict[str, Tensor]) -> None:
    """Stacks separate q, k and v in the order of `ClassRowAttention.qkv`."""
    for key in [key for key in tower if ".attention.q." in key]:
        parts = [key.replace(".attention.q.", f".attention.{name}.") for name in "qkv"]
        if all(part in tower for part in parts):
            tower[key.replace(".attention.q.", ".attention.qkv.")] = torch.cat([tower.pop(p) for p in parts])


def _fold(weight: Tensor, bias: Tensor, mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor]:
    """weight: (C, channels, rows, columns). Returns (C, 1, columns, rows) and bias (C,) for grey images."""
    if not len(mean) == len(std) == weight.shape[1]:
        raise ValueError(
            f"mean and std must have one value for each of the checkpoint's {weight.shape[1]} channels, got "
            f"{len(mean)} and {len(std)}."
        )
    shift, scale = weight.new_tensor(mean), weight.new_tensor(std)
    weight = weight / scale[:, None, None]
    bias = bias - (weight.sum((2, 3)) * shift).sum(1)
    return weight.sum(1, keepdim=True).transpose(2, 3), bias


def _positions(
    table: Tensor, patch: tuple[int, int], image_size: int | Sequence[int] | None
) -> dict[str, Tensor]:
    """table: (1, N or 1 + N, C). Returns the grid (1, C, columns, rows) and the [CLS] position (1, 1, C)."""
    rows = columns = math.isqrt(table.shape[1] - 1)
    if image_size is not None:
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        rows, columns = height // patch[0], width // patch[1]
    extra = table.shape[1] - rows * columns
    if extra not in (0, 1) or (extra == 0 and image_size is None):
        raise ValueError(
            f"image_size must give the (rows, columns) in pixels that the checkpoint was trained at: its "
            f"{table.shape[1]} positions are not [CLS] and a {rows}x{columns} grid of patches."
        )
    grid = table[:, extra:].reshape(1, rows, columns, -1).permute(0, 3, 2, 1)
    own = table[:, :1] if extra else torch.zeros_like(table[:, :1])
    return {"tokenizer.position": grid, "cls_position": own}
