# SPDX-License-Identifier: Apache-2.0
"""Text tower E_l: a Hugging Face BERT-type model, pooling, and the projection to the joint space.

Section 3.1 of the paper: reports supervise the image tower through a text encoder; here any BERT-type model
by hub id or local folder, or a small one from scratch.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from monai_unimedi.networks.nets.length_groups import length_groups
from monai_unimedi.networks.nets.text_model import (
    build_text_model,
    draw_weights,
    load_text_model,
    load_tokenizer,
    position_limit,
    recompute_activations,
    use_attention,
)

__all__ = ["ReportEncoder", "load_tokenizer"]

_SETTINGS = "unimedi_text.json"
_PROJECTION = "projection.safetensors"


class ReportEncoder(nn.Module):
    r"""Encodes reports into the joint space.

    :math:`t = W \, \mathrm{pool}(\mathrm{BERT}(\text{report})) / \lVert \cdot \rVert_2`, where the pool is
    the first token's state (`cls`) or the mean over real tokens (`mean`, as sentence encoders are trained).

    Args:
        model_name_or_path: hub id or local folder of a BERT-type model; None builds a BERT from scratch.
        vocab_size: tokens of the vocabulary, from scratch only; `len(load_tokenizer(folder))`.
        hidden_size: width, from scratch only.
        num_layers: layers, from scratch only.
        num_heads: attention heads, from scratch only.
        mlp_dim: inner width of the MLPs, from scratch only; None is four times `hidden_size`.
        max_tokens: longest sequence, [CLS] and [SEP] included, from scratch only; else the model says it.
        embed_dim: size E of the joint space.
        pooling: `cls` or `mean`.
        num_frozen_layers: 0 trains all; n freezes the embeddings and the first n layers; -1 freezes the whole
            model and trains only the projection. Frozen parts stay in eval mode.
        dropout: of hidden states and attention weights. Default 0: the contrast compares reports exactly.
        attention: `sdpa` or `eager`, which in bfloat16 on CPUs is four times faster backwards.
        num_remembered: keep the pooled states of that many texts, so that each is read once. For a wholly
            frozen model and reports shown whole; a text's states are computed alone and in float32, so that
            they do not depend on the batch it came with.
        call_cost: None pads the reports of a batch to the longest of them. A number reads them in groups of like
            length, each padded to its own longest, and is what one further call is worth, in tokens: 0 pads
            nothing. The embeddings are equal up to rounding.

    Raises:
        OSError: When the model is neither a readable folder nor a reachable hub id.
        ValueError: When a local folder has no tokenizer, `pooling` or `num_frozen_layers` is unknown,
            `vocab_size` is missing from scratch, texts are to be remembered by a model that is trained, or
            `call_cost` is negative.
    """

    def __init__(
        self,
        model_name_or_path: str | None = None,
        vocab_size: int | None = None,
        hidden_size: int = 128,
        num_layers: int = 2,
        num_heads: int = 4,
        mlp_dim: int | None = None,
        max_tokens: int = 256,
        embed_dim: int = 512,
        pooling: str = "cls",
        num_frozen_layers: int = 0,
        dropout: float = 0.0,
        attention: str = "sdpa",
        num_remembered: int = 0,
        call_cost: int | None = None,
    ) -> None:
        super().__init__()
        if pooling not in ("cls", "mean"):
            raise ValueError(f"pooling must be 'cls' or 'mean', got {pooling!r}.")
        if num_remembered and num_frozen_layers != -1:
            raise ValueError(
                f"num_remembered must be 0 unless num_frozen_layers is -1 (all), got {num_frozen_layers} "
                "frozen layers: what is trained cannot be remembered."
            )
        if call_cost is not None and call_cost < 0:
            raise ValueError(f"call_cost must be None or 0 tokens or more, got {call_cost}.")
        self.num_remembered = num_remembered
        self.call_cost = call_cost
        self._remembered: dict[tuple[int, ...], torch.Tensor] = {}
        if model_name_or_path is not None:
            self.model = load_text_model(str(model_name_or_path), dropout)
        elif vocab_size is not None:
            self.model = build_text_model(
                vocab_size, hidden_size, num_layers, num_heads, mlp_dim, max_tokens, dropout
            )
        else:
            raise ValueError(
                "ReportEncoder needs model_name_or_path, or from scratch vocab_size, the tokenizer's length."
            )
        use_attention(self.model, attention)
        self.pooling = pooling
        self.max_tokens = position_limit(self.model.config)
        self.projection = nn.Linear(self.model.config.hidden_size, embed_dim, bias=False)
        self._frozen = _frozen_parts(self.model, num_frozen_layers)
        for part in self._frozen:
            part.requires_grad_(False)
        self.train(self.training)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Embeds reports.

        Args:
            input_ids: (B, L), int64, padded to the longest of the batch.
            attention_mask: (B, L), int64, 1 = real token.

        Returns:
            `text_embedding`, (B, E), L2-normalised.

        Raises:
            ValueError: When L is above `max_tokens`.
        """
        return F.normalize(self.projection(self.features(input_ids, attention_mask)).float(), dim=-1)

    def features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Pooled states before the projection, (B, hidden), not normalised; arguments as in `forward`."""
        if input_ids.shape[1] > self.max_tokens:
            raise ValueError(
                f"input_ids must have at most {self.max_tokens} tokens, got shape {tuple(input_ids.shape)}; "
                "shorten the reports with the tokenizer of load_tokenizer, which knows this limit."
            )
        if not self.num_remembered:
            return self._pool(input_ids, attention_mask)
        texts = [ids[mask.bool()] for ids, mask in zip(input_ids, attention_mask)]
        return torch.stack([self._recall(text) for text in texts])

    def _recall(self, text: torch.Tensor) -> torch.Tensor:
        """Pooled states (hidden,) of one text (L,) without padding."""
        key = tuple(text.tolist())
        if key not in self._remembered:
            if len(self._remembered) >= self.num_remembered:
                del self._remembered[next(iter(self._remembered))]
            whole = torch.autocast(text.device.type, enabled=False)
            with torch.inference_mode(False), torch.no_grad(), whole:
                self._remembered[key] = self._pool(text[None], torch.ones_like(text)[None])[0]
        return self._remembered[key].to(text.device)

    def recompute_activations(self, is_on: bool = True) -> None:
        """Keep of each trained layer its input alone, and compute the rest again in the backward pass."""
        recompute_activations(self.model, is_on)

    def _pool(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        if self.call_cost is None or len(input_ids) < 2:
            return self._pool_group(input_ids, attention_mask)
        place = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device)
        lengths = (attention_mask * place).amax(1).tolist()  # up to the last real token
        groups = length_groups(lengths, self.call_cost)
        pooled = []
        for group in groups:
            rows, longest = torch.tensor(group, device=input_ids.device), lengths[group[-1]]
            pooled.append(self._pool_group(input_ids[rows, :longest], attention_mask[rows, :longest]))
        order = torch.tensor([row for group in groups for row in group], device=input_ids.device)
        return torch.cat(pooled)[order.argsort()]

    def _pool_group(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state  # (B, L, H)
        if self.pooling == "cls":
            return states[:, 0]
        weight = attention_mask.unsqueeze(-1).to(states.dtype)
        return (states * weight).sum(1) / weight.sum(1).clamp(min=1e-9)

    def train(self, mode: bool = True) -> ReportEncoder:
        """Sets the mode; frozen parts stay in eval."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def reset_parameters(self) -> ReportEncoder:
        """Forgets everything: all weights are drawn anew, as a comparison with an untrained tower needs."""
        draw_weights(self.model)
        self._remembered.clear()
        self.projection.reset_parameters()
        return self

    def save_pretrained(self, folder: str | Path, tokenizer: Any) -> Path:
        """Writes model, tokenizer, projection and pooling as one Hugging Face folder, all or nothing.

        Args:
            folder: new, empty, or written by this method before; other folders are refused.
            tokenizer: the Hugging Face tokenizer that made the `input_ids`.

        Returns:
            `folder`, for `from_folder`.

        Raises:
            FileExistsError: When `folder` holds something else.
        """
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()) and not (folder / _SETTINGS).is_file():
            raise FileExistsError(f"{folder} must be new or hold a saved text encoder; it holds other files.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = folder.with_name(f".{folder.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)  # left by a killed run
        draft.mkdir()
        try:
            self._write(draft, tokenizer)
            _swap(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return folder

    def _write(self, folder: Path, tokenizer: Any) -> None:
        shows_bar = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        self.model.save_pretrained(folder)
        if shows_bar:
            transformers_logging.enable_progress_bar()
        tokenizer.save_pretrained(folder)
        save_file({"weight": self.projection.weight.detach().cpu().contiguous()}, folder / _PROJECTION)
        settings = {"format": 1, "embed_dim": self.projection.out_features, "pooling": self.pooling}
        (folder / _SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")

    @classmethod
    def from_folder(
        cls, folder: str | Path, num_frozen_layers: int = 0, dropout: float = 0.0
    ) -> ReportEncoder:
        """Restores what `save_pretrained` wrote, exactly and without the network.

        Args:
            folder: the text folder of a bundle, e.g. `models/text`.
            num_frozen_layers: as in the constructor.
            dropout: as in the constructor.

        Raises:
            FileNotFoundError: When `folder` was not written by `save_pretrained`.
        """
        folder = Path(folder)
        for name in (_SETTINGS, _PROJECTION):
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"{folder} must be a folder of ReportEncoder.save_pretrained, but has no {name}; a plain "
                    "Hugging Face folder goes to ReportEncoder(model_name_or_path=...)."
                )
        settings = json.loads((folder / _SETTINGS).read_text())
        encoder = cls(
            str(folder),
            embed_dim=settings["embed_dim"],
            pooling=settings["pooling"],
            num_frozen_layers=num_frozen_layers,
            dropout=dropout,
        )
        encoder.projection.load_state_dict(load_file(folder / _PROJECTION))
        return encoder


def _frozen_parts(model: PreTrainedModel, num_frozen_layers: int) -> list[nn.Module]:
    if num_frozen_layers == 0:
        return []
    if num_frozen_layers == -1:
        return [model]
    total = model.config.num_hidden_layers
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == total]
    if not stacks or not hasattr(model, "embeddings") or not 0 < num_frozen_layers <= total:
        raise ValueError(
            f"num_frozen_layers must be -1 (all), 0 (none) or at most the {total} separate layers of this "
            f"{type(model).__name__}, got {num_frozen_layers}."
        )
    return [model.embeddings, *stacks[0][:num_frozen_layers]]


def _swap(draft: Path, folder: Path) -> None:
    """Puts the finished draft in the folder's place."""
    previous = folder.with_name(f".{folder.name}.previous")
    shutil.rmtree(previous, ignore_errors=True)
    if folder.exists():
        os.replace(folder, previous)
    os.replace(draft, folder)
    shutil.rmtree(previous, ignore_errors=True)
