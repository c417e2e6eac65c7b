# SPDX-License-Identifier: Apache-2.0
"""Zero-shot recognition: sentences that state and deny a finding are the classifier.

A finding's positive and its negative prompts are embedded, each normalised, averaged and normalised again
(prompt ensembling as in CLIP, arXiv 2103.00020, section 3.1.4); an image's score is sim(positive) -
sim(negative).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["NOTHING_SAID", "ZeroShotInferer", "embed_prompts", "embed_sentences", "load_prompts"]

POLARITIES = ("positive", "negative")
NOTHING_SAID = ""


def load_prompts(path: str | Path) -> dict[str, dict[str, list[str]]]:
    """Read a prompt file: ``{finding: {"positive": [sentence, ...], "negative": [sentence, ...]}}``.

    A finding may also have only its positive sentences, ``{finding: [sentence, ...]}`` or ``{finding: sentence}``;
    they are then held against the empty text.

    Raises:
        ValueError: When the file is no JSON object with a finding in it, or a finding lacks a polarity or a sentence.
    """
    try:
        prompts = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} must be a JSON file, got: {error}.") from error
    if not isinstance(prompts, dict) or not prompts:
        raise ValueError(f"{path} must hold an object with one entry a finding, got {type(prompts).__name__}.")
    return {finding: _polarities(finding, given, path) for finding, given in prompts.items()}


def _polarities(finding: str, given: Any, path: str | Path) -> dict[str, list[str]]:
    if isinstance(given, str | list):
        given = {"positive": [given] if isinstance(given, str) else given, "negative": [NOTHING_SAID]}
    for polarity in POLARITIES:
        found = given.get(polarity) if isinstance(given, dict) else None
        is_empty_text = polarity == "negative" and found == [NOTHING_SAID]
        if not is_empty_text and not (
            isinstance(found, list) and found and all(isinstance(one, str) and one.strip() for one in found)
        ):
            raise ValueError(
                f"Each finding must have a list of at least one sentence under {POLARITIES}, "
                f"got {found!r} at '{finding}' / '{polarity}' in {path}: add the sentences there."
            )
    return {polarity: list(given[polarity]) for polarity in POLARITIES}


@torch.no_grad()
def embed_sentences(
    sentences: Sequence[str],
    text_encoder: Callable[..., Tensor],
    tokenizer: Callable[..., Any],
    max_tokens: int = 256,
) -> Tensor:
    """Embed sentences in one padded batch.

    Args:
        sentences: at least one.
        text_encoder: from `input_ids` and `attention_mask`, each (B, L) int64, 1 = real token, to (B, E). A
            module is used as it is: put it in eval before.
        tokenizer: a Hugging Face tokenizer, or anything called like one.
        max_tokens: longer sentences are cut there.

    Returns:
        (B, E) float32 on the CPU, L2-normalised.
    """
    tokens = tokenizer(
        list(sentences), padding=True, truncation=True, max_length=max_tokens, return_tensors="pt"
    )
    parameters = getattr(text_encoder, "parameters", None)
    device = next(parameters()).device if parameters is not None else torch.device("cpu")
    embedding = text_encoder(tokens["input_ids"].to(device), tokens["attention_mask"].to(device))
    return normalize(embedding.float().cpu(), dim=-1)


def embed_prompts(
    prompts: Mapping[str, Mapping[str, Sequence[str]]],
    text_encoder: Callable[..., Tensor],
    tokenizer: Callable[..., Any],
    max_tokens: int = 256,
) -> dict[str, dict[str, Tensor]]:
    """Embed a prompt file's sentences and average them.

    Args:
        prompts: as `load_prompts` gives them.
        text_encoder: see `embed_sentences`.
        tokenizer: see `embed_sentences`.
        max_tokens: see `embed_sentences`.

    Returns:
        By finding, ``positive`` and ``negative``, each (E,) float32 on the CPU, L2-normalised.
    """
    return {
        finding: {
            polarity: normalize(
                embed_sentences(sentences[polarity], text_encoder, tokenizer, max_tokens).mean(dim=0), dim=0
            )
            for polarity in POLARITIES
        }
        for finding, sentences in prompts.items()
    }


class ZeroShotInferer(Inferer):
    """Scores images for the findings of a prompt file.

    Args:
        prompt_embedding: by finding, ``positive`` and ``negative``, each (E,), L2-normalised; from
            `embed_prompts`.
        label_names: findings in the order wanted; the prompts' own order where not given.
    """

    def __init__(
        self, prompt_embedding: Mapping[str, Mapping[str, Tensor]], label_names: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        self.label_names = list(prompt_embedding) if label_names is None else list(label_names)
        missing = [name for name in self.label_names if name not in prompt_embedding]
        if missing:
            raise ValueError(
                f"Every finding must have prompts, got none for {missing}: add them to the prompt file."
            )
        positive, negative = (
            torch.stack([prompt_embedding[name][polarity] for name in self.label_names])
            for polarity in POLARITIES
        )
        self.direction = positive - negative  # (F, E)

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Score a batch.

        Args:
            inputs: (B, C, X, Y) or (B, C, X, Y, Z), float, intensity in [0, 1].
            network: from `inputs` to image embeddings (B, E), L2-normalised.
            args: handed to `network`.
            kwargs: handed to `network`.

        Returns:
            (B, F) float, in [-2, 2]: sim(positive) - sim(negative), larger = more likely present.
        """
        embedding = network(inputs, *args, **kwargs)
        return embedding @ self.direction.to(embedding).T
