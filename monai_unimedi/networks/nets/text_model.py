# SPDX-License-Identifier: Apache-2.0
"""The Hugging Face model inside the text tower, and the tokenizer that belongs to it."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import MODEL_MAPPING, AutoConfig, AutoTokenizer, BertConfig, BertModel, PreTrainedModel
from transformers.utils import logging as transformers_logging

__all__ = [
    "build_text_model",
    "draw_weights",
    "load_text_model",
    "load_tokenizer",
    "position_limit",
    "recompute_activations",
    "use_attention",
]

_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model")
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "data2vec-text")


def load_tokenizer(model_name_or_path: str | Path, max_tokens: int | None = None) -> Any:
    """Loads the tokenizer that belongs to a text model, with a true `model_max_length`.

    Many tokenizers leave `model_max_length` unset (about 1e30) or above what the model's positions allow;
    here it is the smallest of the tokenizer's, the model's and `max_tokens`.

    Args:
        model_name_or_path: hub id, or local folder of a model, a saved text encoder or a vocabulary.
        max_tokens: a shorter limit, [CLS] and [SEP] included.

    Returns:
        A Hugging Face tokenizer.

    Raises:
        OSError: When the tokenizer is neither in a readable folder nor at a reachable hub id.
        ValueError: When a local folder has no tokenizer, or the tokenizer cannot pad, has no length limit, or
            has more tokens than the model.
    """
    name = str(model_name_or_path)
    _require_tokenizer(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:  # a damaged file raises anything
        raise _unreadable("tokenizer", name, error) from error
    if tokenizer.pad_token_id is None:
        raise ValueError(f"the tokenizer of {name} must have a pad_token; set it in tokenizer_config.json.")
    limits = [tokenizer.model_max_length] if max_tokens is None else [tokenizer.model_max_length, max_tokens]
    if not Path(name).is_dir() or (Path(name) / "config.json").is_file():
        config = _load_config(name)
        limits.append(position_limit(config))
        if len(tokenizer) > config.vocab_size:
            raise ValueError(
                f"the tokenizer of {name} must fit its model, but has {len(tokenizer)} tokens for "
                f"{config.vocab_size} embeddings; restore the tokenizer that the model was trained with."
            )
    if min(limits) > 1_000_000:
        raise ValueError(f"the tokenizer of {name} has no model_max_length; give max_tokens.")
    tokenizer.model_max_length = int(min(limits))
    return tokenizer


def load_text_model(name: str, dropout: float) -> PreTrainedModel:
    """Loads a pre-trained BERT-type model in float32, without its pooler, with one dropout everywhere.

    Args:
        name: hub id or local folder.
        dropout: of hidden states and attention weights.

    Raises:
        OSError: When `name` is neither a readable folder nor a reachable hub id.
        ValueError: When a local folder has no tokenizer, or the model is not BERT-type or lacks weights.
    """
    _require_tokenizer(name)
    config = _load_config(name)
    if type(config) not in MODEL_MAPPING or not (
        hasattr(config, "hidden_size") and hasattr(config, "vocab_size")
    ):
        raise ValueError(f"{name} must be a BERT-type text model, got model type {config.model_type!r}.")
    for key, value in config.to_dict().items():
        if "dropout" in key and isinstance(value, float):
            setattr(config, key, dropout)
    model_class: Any = MODEL_MAPPING[type(config)]
    options: dict[str, Any] = {"config": config, "output_loading_info": True}
    if "add_pooling_layer" in inspect.signature(model_class).parameters:
        options["add_pooling_layer"] = False
    try:
        with _no_progress_bar():
            model, info = model_class.from_pretrained(name, **options)
    except (OSError, SafetensorError) as error:
        raise _unreadable("text encoder", name, error) from error
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:8])
        raise ValueError(f"{name} must hold all weights of {model_class.__name__}, but lacks {missing}.")
    return model.float()


def build_text_model(
    vocab_size: int,
    hidden_size: int,
    num_layers: int,
    num_heads: int,
    mlp_dim: int | None,
    max_tokens: int,
    dropout: float,
) -> PreTrainedModel:
    """Builds a BERT with random weights and without pooler; arguments as in `ReportEncoder`.

    Words start five times as far apart as BERT's and token types at zero: else the pooled states of all reports
    are nearly equal, and a short run spends its first steps on telling them apart.
    """
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        intermediate_size=mlp_dim or 4 * hidden_size,
        max_position_embeddings=max_tokens,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    model = BertModel(config, add_pooling_layer=False)
    torch.nn.init.normal_(model.embeddings.word_embeddings.weight, std=0.1)
    torch.nn.init.zeros_(model.embeddings.token_type_embeddings.weight)
    return model


def draw_weights(model: PreTrainedModel) -> None:
    """Replaces a model's weights by the random ones that its configuration begins with."""
    model_class: Any = type(model)
    takes_pooler = "add_pooling_layer" in inspect.signature(model_class).parameters
    fresh = model_class(model.config, **({"add_pooling_layer": False} if takes_pooler else {}))
    model.load_state_dict(fresh.state_dict())


def use_attention(model: PreTrainedModel, attention: str) -> None:
    """Sets how a model computes its attention.

    Args:
        model: any Hugging Face model.
        attention: `sdpa` (the fused kernels of PyTorch) or `eager` (plain products, in bfloat16 on CPUs four
            times faster backwards).

    Raises:
        ValueError: When the name is another, or the model has no such implementation.
    """
    if attention not in ("sdpa", "eager"):
        raise ValueError(f"attention must be 'sdpa' or 'eager', got {attention!r}.")
    if model.config._attn_implementation != attention:
        model.set_attn_implementation(attention)


def recompute_activations(model: PreTrainedModel, is_on: bool = True) -> None:
    """Lets a model's trained layers keep their inputs alone and compute the rest again in the backward pass.

    Args:
        model: any Hugging Face model that supports it; `transformers` renames the method in version 6.
        is_on: False keeps all activations again.

    Raises:
        ValueError: When the model does not support it.
    """
    if is_on and getattr(model.config, "use_cache", False):
        model.config.use_cache = False  # decoders' key-value cache: never read here, and warned about
    verb = "enable" if is_on else "disable"
    renamed = getattr(model, f"activation_checkpointing_{verb}", None)
    switch: Any = renamed or getattr(model, f"gradient_checkpointing_{verb}")
    switch(*([{"use_reentrant": False}] if is_on else []))
    if hasattr(model, "_require_grads_hook"):  # without re-entrance it would only make frozen layers keep theirs
        model.disable_input_require_grads()


def position_limit(config: Any) -> int:
    """Longest sequence of a model, in tokens; RoBERTa's family keeps its first positions for padding."""
    positions = int(getattr(config, "max_position_embeddings", None) or 512)
    return positions - config.pad_token_id - 1 if config.model_type in _OFFSET_POSITIONS else positions


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    shows_bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shows_bar:
            transformers_logging.enable_progress_bar()


def _load_config(name: str) -> Any:
    try:
        return AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise _unreadable("text encoder", name, error) from error


def _unreadable(what: str, name: str, error: Exception) -> OSError:
    if Path(name).is_dir():
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return OSError(f"the {what} in {name} is incomplete or damaged: {reason}. Copy the folder anew.")
    return OSError(
        f"the {what} {name!r} must be a local folder or a Hugging Face id, and could not be read: download "
        "it once where the network is reachable (hf download ID --local-dir FOLDER) and give the folder, or "
        "set HF_HUB_OFFLINE=1 to use only what the local cache holds."
    )


def _require_tokenizer(name: str) -> None:
    folder = Path(name)
    if folder.is_dir() and not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        raise ValueError(
            f"the text model folder {folder} must hold its tokenizer, but has none of "
            f"{', '.join(_TOKENIZER_FILES)}: save it there with tokenizer.save_pretrained(folder)."
        )
