# SPDX-License-Identifier: Apache-2.0
"""Initial weights for the image tower: this project's, Hugging Face's or timm's (method, section 1)."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_unimedi.networks.blocks.image_tokenizer import resample_position
from monai_unimedi.networks.checkpoints import LAYOUTS, find_tower, read_card, read_tensors
from monai_unimedi.networks.conversion import convert, normalisation

logger = logging.getLogger(__name__)

__all__ = ["OWN_CARD", "load_encoder_weights", "say_from_scratch"]

OWN_CARD = "encoder.json"
_SIZES = (  # that change the tower's tensors
    "patch_size", "patch_depth", "grid_size", "num_depths", "hidden_size", "mlp_dim", "num_layers", "num_heads"
)  # fmt: skip
_TIMM_NAME = re.compile(r"(?:vit|deit3?)_(tiny|small|base|large|huge)_(?:distilled_)?patch\d+(_.*)?")
_TIMM_HEADS = {"tiny": 3, "small": 6, "base": 12, "large": 16, "huge": 16}
_TIMM_WIDE = {1152: 16, 1280: 16, 1408: 16, 1664: 16}  # heads by width where they are not of 64
_NORM_EPS = {"huggingface": 1e-12, "timm": 1e-6}
_TOWER = ("tokenizer.", "cls_token", "cls_position", "mask_token", "blocks.", "norm.")
_ABSENT_ELSEWHERE = ("tokenizer.depth", "tokenizer.kind", "mask_token")


def load_encoder_weights(
    network: nn.Module,
    checkpoint: str | Path | Mapping[str, Any],
    *,
    image_size: int | Sequence[int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    norm_eps: float | None = None,
    branch: str = "student",
    strict: bool = True,
) -> dict[str, Any]:
    """Loads an image tower's weights into any network that contains one, all of them or none.

    Call it before the network is copied or wrapped. Positions are resampled where the grid differs. What a
    foreign checkpoint cannot know (depth and kind embeddings, mask token), and everything of `network`
    outside the tower that the checkpoint lacks, stays as it was built and is listed.

    Args:
        network: module with one `UnifiedViT` anywhere inside.
        checkpoint: `model.pt`, `resume.pt` or state dict of this project; folder, hub id, file or state dict
            of a Hugging Face ViTModel or of a timm vision transformer.
        image_size: (rows, columns) in pixels that a foreign checkpoint was trained at; needed only where its
            positions are not [CLS] and a square grid, and its folder does not say.
        mean: of the foreign checkpoint's image normalisation, per channel, for intensities in [0, 1]; None
            reads it from the folder.
        std: as `mean`.
        norm_eps: epsilon of the foreign checkpoint's layer norms; None reads it from the folder, else takes
            the layout's default (Hugging Face 1e-12, timm 1e-6). The network's norms are set to it.
        branch: `student` or `teacher`, where the checkpoint holds both.
        strict: raise on anything unmatched; False lists it and loads the rest.

    Returns:
        `layout`, and lists of strings: `loaded`, `resampled`, `fresh` (of the network, not in the
        checkpoint), `left_out` (of the checkpoint, not in the network), `unmatched` (empty when strict),
        `notes`.

    Raises:
        FileNotFoundError: When the checkpoint cannot be found.
        ValueError: When anything is unmatched or of another shape (every key is listed), when the
            normalisation is not known, when the number of heads differs, or when the file may run code.
    """
    card = read_card(checkpoint)
    notes: list[str] = []
    layout, prefix, tensors = find_tower(read_tensors(checkpoint), branch)
    target, own = network.state_dict(), _own_prefix(network)
    tower = network.get_submodule(own.rstrip("."))
    if layout == "unimedi":
        _refuse(mean=mean, std=std, norm_eps=norm_eps, image_size=image_size)
        _require_same_heads(tower, checkpoint)
        weights, left_out = _own_weights(tensors, prefix, target, own)
        unknown: list[str] = []
    else:
        _require_same_model(tower, card)
        volume_patch = target.get(f"{own}tokenizer.volume_patch.weight")
        depth = None if volume_patch is None else volume_patch.shape[-1]
        size = image_size or card.get("image_size")
        converted, left_out, unknown = convert(tensors, prefix, *normalisation(mean, std, card), size, depth)
        weights = {own + key: value for key, value in converted.items()}
    fitted, resampled, misfits = _fit(weights, target)
    fresh = [key for key in target if key not in weights]
    unmatched = [f"{key} (checkpoint only)" for key in unknown] + misfits
    unmatched += [f"{key} (network only)" for key in fresh if _is_lacking(key, own, layout)]
    if unmatched and (strict or not fitted):
        raise ValueError(
            f"the {layout} checkpoint must match the network's image tower, but {len(unmatched)} entries do "
            f"not: {'; '.join(unmatched)}. Build the network with the checkpoint's sizes"
            f"{_as_options(_own_sizes(checkpoint))}, or choose another."
        )
    if layout == "timm":
        notes += _require_timm_heads(tower, card, tensors[prefix + LAYOUTS["timm"]].shape[0])
    with torch.no_grad():
        for key, value in fitted.items():
            target[key].copy_(value)
    if layout != "unimedi":
        notes += _adopt(tower, float(norm_eps or card.get("layer_norm_eps") or _NORM_EPS[layout]))
    summary = {"layout": layout, "loaded": list(fitted), "resampled": resampled, "fresh": fresh}
    summary |= {"left_out": left_out, "unmatched": unmatched, "notes": notes}
    _log(summary)
    return summary


def _own_sizes(checkpoint: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """The bundles' options that built the network of this project's checkpoint; empty without a card beside it."""
    if isinstance(checkpoint, Mapping):
        return {}
    path = Path(checkpoint)
    card = (path if path.is_dir() else path.parent) / OWN_CARD
    return json.loads(card.read_text(encoding="utf-8")).get("sizes", {}) if card.is_file() else {}


def _as_options(sizes: Mapping[str, Any]) -> str:
    return "".join(f" --{name} '{json.dumps(sizes[name])}'" for name in _SIZES if name in sizes)


def say_from_scratch() -> None:
    """Logs that a downstream training starts without pre-trained weights, and how to give some."""
    logger.info(
        "The encoder starts from random weights; --pretrained PATH takes a pre-trained one (model.pt of the "
        "pre-training, a Hugging Face or a timm vision transformer)."
    )


def _own_prefix(network: nn.Module) -> str:
    marker = LAYOUTS["unimedi"]
    keys = [key for key in network.state_dict() if key == marker or key.endswith("." + marker)]
    if len(keys) != 1:
        raise ValueError(
            f"network must hold one image tower, got {len(keys)} in a {type(network).__name__} "
            f"({', '.join(keys) or 'no ' + marker}); of a training module pass .student, then call "
            "reset_teacher()."
        )
    return keys[0][: -len(marker)]


def _own_weights(
    tensors: dict[str, Tensor], prefix: str, target: Mapping[str, Tensor], own: str
) -> tuple[dict[str, Tensor], list[str]]:
    """The tower, and what lies beside it under the same name in the network (projection, slice selection)."""
    root, own_root = prefix.removesuffix("vit."), own.removesuffix("vit.")
    weights, beside = {}, []
    for key, value in tensors.items():
        if key.startswith(prefix) and key[len(prefix) :].startswith(_TOWER):
            weights[own + key[len(prefix) :]] = value
        elif key.startswith(root) and own_root + key[len(root) :] in target and prefix != root:
            weights[own_root + key[len(root) :]] = value
        else:
            beside.append(key)
    return weights, beside


def _refuse(**options: Any) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ValueError(
            f"{', '.join(given)} must stay None for this project's checkpoints, which say it all themselves."
        )


def _require_same_model(tower: nn.Module, card: Mapping[str, Any]) -> None:
    """Compares what the weights' shapes do not show."""
    heads, expected = _heads(tower), card.get("num_attention_heads")
    if expected is not None and heads and heads != {int(expected)}:
        raise ValueError(f"num_heads must be the checkpoint's {expected}, got {', '.join(map(str, heads))}.")
    if card.get("hidden_act", "gelu") != "gelu":
        raise ValueError(f"the checkpoint must use the activation gelu, got {card['hidden_act']!r}.")


def _require_timm_heads(tower: nn.Module, card: Mapping[str, Any], width: int) -> list[str]:
    """Compares the heads with those of a timm model: of its card's `model_args`, else of the model's name, else
    those that timm's models of this width have.

    Returns:
        What was assumed.
    """
    name, heads = str(card.get("architecture") or ""), _heads(tower)
    given = (card.get("model_args") or {}).get("num_heads")
    known = _TIMM_NAME.fullmatch(name.split(".")[0])
    expected = int(given) if given else _TIMM_HEADS[known[1]] if known else _TIMM_WIDE.get(width, width // 64)
    shown = ", ".join(map(str, sorted(heads)))
    is_told = bool(given or known)
    if not is_told and width % 64:
        return [f"the checkpoint does not say its num_heads: the network's {shown} were taken"]
    assumed = f"num_heads {expected} was assumed, as timm's models of width {width} have"
    if heads and heads != {expected}:
        remedy = '; if it has others, name a folder with it and a config.json of {"model_args": {"num_heads": N}}'
        told = "" if is_told else f" ({assumed}{remedy})"
        raise ValueError(f"num_heads must be the checkpoint's {expected}, got {shown}{told}.")
    return [] if is_told else [assumed]


def _heads(tower: nn.Module) -> set[Any]:
    return {module.num_heads for module in tower.modules() if hasattr(module, "num_heads")}


def _require_same_heads(tower: nn.Module, checkpoint: str | Path | Mapping[str, Any]) -> None:
    """Compares the heads with those of the card that this project writes beside its weights, where there is one."""
    _require_same_model(tower, {"num_attention_heads": _own_sizes(checkpoint).get("num_heads")})


def _fit(
    weights: Mapping[str, Tensor], target: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Resamples tables to the network's size; returns what fits, what was resampled, and every misfit."""
    fitted, resampled, misfits = {}, [], []
    for key, value in weights.items():
        if key not in target:
            misfits.append(f"{key} (checkpoint only)")
            continue
        shape = target[key].shape
        if key.endswith("tokenizer.position"):
            value = resample_position(value, list(shape[2:]))
        elif key.endswith("tokenizer.depth") and value.shape[0] != shape[0]:
            value = F.interpolate(value.T[None], size=shape[0], mode="linear", align_corners=False)[0].T
        if value.shape != shape:
            misfits.append(f"{key} (checkpoint {tuple(value.shape)}, network {tuple(shape)})")
            continue
        if value.shape != weights[key].shape:
            resampled.append(f"{key}: {tuple(weights[key].shape)} to {tuple(shape)}")
        fitted[key] = value
    return fitted, resampled, misfits


def _is_lacking(key: str, own: str, layout: str) -> bool:
    """Whether a key of the network belongs to the tower and should have come from the checkpoint."""
    name = key.removeprefix(own)
    tolerated = () if layout == "unimedi" else _ABSENT_ELSEWHERE
    return key.startswith(own) and name.startswith(_TOWER) and name not in tolerated


def _adopt(tower: nn.Module, eps: float) -> list[str]:
    """Makes the rest of the tower agree with the source model on X-rays."""
    notes = []
    norms = [module for module in tower.modules() if isinstance(module, nn.LayerNorm) and module.eps != eps]
    if norms:
        notes.append(f"{len(norms)} layer norms set to eps {eps:g}: build the network with norm_eps={eps:g}")
    for module in norms:
        module.eps = eps
    kind = tower.get_parameter("tokenizer.kind")
    if kind[0].any():
        with torch.no_grad():
            kind[0] = 0.0
        notes.append("the kind embedding of X-rays was set to zero")
    return notes


def _log(summary: Mapping[str, Any]) -> None:
    logger.info("loaded %d tensors of a %s checkpoint", len(summary["loaded"]), summary["layout"])
    for name in ("resampled", "fresh", "left_out", "notes"):
        if summary[name]:
            logger.info("%s: %s", name.replace("_", " "), "; ".join(_grouped(summary[name])))
    if summary["unmatched"]:
        logger.warning("unmatched and not loaded: %s", "; ".join(summary["unmatched"]))


def _grouped(names: Sequence[str], limit: int = 12) -> list[str]:
    return [*names[:limit], f"and {len(names) - limit} more"] if len(names) > limit else list(names)
